"""Pictures and frames for the tests of training: smooth scenes, and videos of them that move."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray


def scenes(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, size, size, 3): coloured ellipses on a shaded ground, each scene with its own."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        corners = rng.integers(60, 200, (2, 2, 3)).astype(np.uint8)
        image = cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
        for _ in range(4):
            centre, axes = rng.integers(0, size, 2).tolist(), rng.integers(size // 10 + 1, size // 3 + 2, 2).tolist()
            colour = rng.integers(0, 256, 3).tolist()
            cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        drawn.append(image)
    return np.stack(drawn)


@dataclass(frozen=True, eq=False)
class FramesInMemory:
    """What the trainer uses of ``trainer.frames.Frames``, without files."""

    pictures: NDArray[np.uint8]
    sequence: NDArray[np.str_]
    object_id: NDArray[np.str_]
    category: NDArray[np.str_]
    split: NDArray[np.str_]
    time_s: NDArray[np.float64]
    rect: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.pictures)

    def image(self, row: int) -> NDArray[np.uint8]:
        return self.pictures[row]

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> FramesInMemory:
        return replace(self, **{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def tracks(self) -> list[NDArray[np.int64]]:
        names = np.char.add(np.char.add(self.sequence, "/"), self.object_id)
        rows = [np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())]
        return [track[np.argsort(self.time_s[track])] for track in rows]

    def track_numbers(self) -> NDArray[np.int64]:
        return np.array([next(k for k, track in enumerate(self.tracks()) if row in track) for row in range(len(self))])


def videos(count: int, frames: int, side: int = 96, every_s: float = 0.2, seed: int = 0) -> FramesInMemory:
    """``count`` videos of one object each, in which a scene glides sideways; every fourth is held out (``valid``)."""
    video = np.repeat(np.arange(count), frames)
    time = np.tile(np.arange(frames), count)
    still = scenes(count, side, seed)
    names = np.char.add("video-", video.astype(str))
    return FramesInMemory(
        pictures=np.stack([np.roll(still[v], 2 * t, axis=1) for v, t in zip(video, time, strict=True)]),
        sequence=names,
        object_id=np.char.add("object-", video.astype(str)),
        category=np.char.add("category-", (video % 3).astype(str)),
        split=np.where(video % 4 == 3, "valid", "train"),
        time_s=time * every_s,
        rect=np.tile([8.0, 16.0, 88.0, 80.0], (len(video), 1)),
    )
