"""What users may say about an import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from index.schema import Array, InvalidValueError

_AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


@dataclass(frozen=True)
class ImportConfig:
    """How a recording becomes a capture.

    Attributes:
        format: one of ``trainer.importers.FORMATS``; None: recognised.
        name: of the capture; None: the source's.
        force: replace a capture of that name that nobody has annotated.
        fps: pictures a second to keep of a video; ingest keeps five.
        up: the world's axis that points up (``y``, ``-z``), for sources that do not say it or say it wrongly.
        metric: the world's unit is the metre, for sources that do not say it.
        focal: focal length in pixels of the pictures as they are, for photos and videos without poses.
        camera_height: the cameras' median height above the ground in metres: tells scale, or where the ground is.
        camera_distance: two frames' numbers and the metres between their cameras.
        scale_points: frame, x0, y0, x1, y1, metres: two points of the ground in an upright picture, and how far apart.
        split: ``train``, ``valid`` or ``test``.
        max_side: pictures are written no longer than this, in pixels.
        threads: of structure from motion; -1: one a core.
    """

    format: str | None = None
    name: str | None = None
    force: bool = False
    fps: float = 5.0
    up: str | None = None
    metric: bool = False
    focal: float | None = None
    camera_height: float | None = None
    camera_distance: tuple[int, int, float] | None = None
    scale_points: tuple[int, float, float, float, float, float] | None = None
    split: Literal["train", "valid", "test"] = "train"
    max_side: int = 1920
    threads: int = -1

    def __post_init__(self) -> None:
        lengths = {
            "fps": self.fps,
            "focal": self.focal,
            "camera_height": self.camera_height,
            "camera_distance": self.camera_distance and self.camera_distance[2],
            "scale_points": self.scale_points and self.scale_points[5],
        }
        for name, value in lengths.items():
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InvalidValueError(f"import.{name}", value, "positive")
        if self.max_side < 64:
            raise InvalidValueError("import.max_side", self.max_side, "at least 64 pixels")
        if self.up is not None and self.up.lstrip("+-") not in _AXES:
            raise InvalidValueError("import.up", self.up, "one of x, y, z, -x, -y, -z")
        if self.name is not None and (not self.name or self.name.strip(".") == "" or set(self.name) & set("/\\\0")):
            raise InvalidValueError("import.name", self.name, "the name of a folder")

    @property
    def up_axis(self) -> Array | None:
        """``up`` as a unit vector (3,) in the world."""
        if self.up is None:
            return None
        return np.array(_AXES[self.up.lstrip("+-")], float) * (-1 if self.up.startswith("-") else 1)
