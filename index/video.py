"""Videos, read a picture at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from index.capture import CaptureError
from index.picture import Image

# Containers may announce a few frames that were never finished.
_MISSING_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A picture of a video that is not decoded yet, ``time_s`` after the first one.

    ``decode`` is good until the next one is asked for.
    """

    index: int
    time_s: float
    _capture: cv2.VideoCapture

    def decode(self) -> Image | None:
        """(h, w, 3) uint8 RGB, turned upright as the container says; None when it cannot be decoded."""
        decoded, bgr = self._capture.retrieve()
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8) if decoded else None


@dataclass(frozen=True)
class VideoFacts:
    """What a video's container says: the size of its pictures, how many there are, and how many a second."""

    width: int
    height: int
    pictures: int
    rate: float


def video_facts(path: Path, as_stored: bool = False) -> VideoFacts:
    """Without reading more than its head; ``as_stored`` leaves out the turn that the container asks for.

    Raises CaptureError when it cannot be opened.
    """
    with _opened(path, as_stored) as capture:
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        pictures, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        return VideoFacts(int(width), int(height), int(pictures), rate)


def video_frames(path: Path, as_stored: bool = False) -> Iterator[VideoFrame]:
    """Every picture of a video, undecoded, in order; ``as_stored`` leaves out the turn that the container asks for.

    Raises CaptureError when it cannot be opened, holds no picture, or ends before the length that it announces.
    """
    with _opened(path, as_stored) as capture:
        count = yield from _grabbed(capture)
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if count == 0 or announced - count > 1 + _MISSING_SHARE * announced:
            raise CaptureError(path, f"truncated: ends after {count} of {announced} pictures")


@contextmanager
def _opened(path: Path, as_stored: bool) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise CaptureError(path, "missing")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise CaptureError(path, "not a readable video")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0 if as_stored else 1)
        yield capture
    finally:
        capture.release()


def _grabbed(capture: cv2.VideoCapture) -> Generator[VideoFrame, None, int]:
    rate = capture.get(cv2.CAP_PROP_FPS)
    index, start_s = 0, 0.0
    while capture.grab():
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if index == 0:
            start_s = stamp_s
        elif stamp_s <= start_s and rate > 0:  # a container without timestamps
            stamp_s = start_s + index / rate
        yield VideoFrame(index, stamp_s - start_s, capture)
        index += 1
    return index
