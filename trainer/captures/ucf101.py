"""UCF101 as it is published: one action per video, no camera, no box.

::

    <path>/[videos/]<Class>/v_<Class>_g<group>_c<clip>.avi
    <path>/ucfTrainTestlist/{trainlist,testlist}0<split>.txt     `<Class>/<file>`, in train lists with a label behind
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from index.schema import Frame, View
from index.video import video_frames
from trainer.captures.shot import CaptureError, Image, Reason, Shot, frame_id
from trainer.captures.video import Sampler

logger = logging.getLogger(__name__)

_LISTS = "ucfTrainTestlist"


@dataclass(frozen=True)
class UcfVideo:
    """One video. Its category is the class, its object the video itself."""

    video: Path
    category: str
    split: str
    fps: float

    @property
    def key(self) -> str:
        return f"{self.category}/{self.video.stem}"

    def files(self) -> tuple[Path, ...]:
        return (self.video,)

    def read(self) -> Iterator[Shot]:
        sampler = Sampler(self.fps)
        for picture in video_frames(self.video):
            if sampler.keeps(picture.time_s):
                yield self._shot(picture.decode(), picture.index, picture.time_s)

    def _shot(self, image: Image | None, index: int, time_s: float) -> Shot:
        name = self.video.stem
        if image is None:
            return Shot(None, (), name, self.split, time_s, (Reason.UNREADABLE,))
        height, width = image.shape[:2]
        frame = Frame(frame_id(name, index, 0), self.category, name, _central_square(width, height))
        return Shot(image, (frame,), name, self.split, time_s)


def _central_square(width: int, height: int) -> View:
    side = min(width, height)
    x0, y0 = (width - side) / 2, (height - side) / 2
    return View(None, None, (x0, y0, x0 + side, y0 + side))


def ucf101_sources(path: Path, fps: float, split: int) -> list[UcfVideo]:
    """The videos that the lists of ``split`` (1 to 3) name, in order of their paths.

    Raises CaptureError when a list is missing.
    """
    if not (path / _LISTS).is_dir():
        return []
    root = path / "videos" if (path / "videos").is_dir() else path
    splits = listed_splits(path / _LISTS, split)
    videos = sorted(root.glob("*/v_*.avi"))
    unlisted = [video for video in videos if video.name.casefold() not in splits]
    if unlisted:
        logger.warning("%d videos left out: in neither list of split %d (%s)", len(unlisted), split, unlisted[0])
    return [
        UcfVideo(video, video.parent.name, splits[video.name.casefold()], fps)
        for video in videos
        if video.name.casefold() in splits
    ]


def listed_splits(lists: Path, split: int) -> dict[str, str]:
    """``train`` or ``test`` by a video's file name, in lower case: the lists do not agree on one class's capitals."""
    splits = {}
    for name in ("train", "test"):
        file = lists / f"{name}list{split:02d}.txt"
        if not file.is_file():
            raise CaptureError(file, "missing")
        for line in file.read_text().splitlines():
            if line.strip():
                splits[line.split()[0].rsplit("/", 1)[-1].casefold()] = name
    return splits
