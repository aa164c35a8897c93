"""What every importer yields: posed pictures of one walk around an object, in one world.

World frames differ from source to source; a ``Recording`` says which way is up in its own. Cameras and poses are in our
conventions (``index.schema``): OpenCV axes, pixels from the corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from index.posed import aim
from index.schema import Array, Camera, InvalidValueError
from trainer.importers.lens import NO_DISTORTION, Distortion

_RATE = 5.0  # pictures a second


@dataclass(frozen=True, eq=False)
class RecordedFrame:
    """One picture, its camera and where that stood.

    Attributes:
        file: a picture, or the video that ``index`` is a picture's number in.
        time_s: rises from frame to frame.
        camera: of the picture as it is stored (an EXIF orientation is not applied), distortion aside.
        world_from_camera: (4, 4), OpenCV axes of the stored picture.
    """

    file: Path
    time_s: float
    camera: Camera
    world_from_camera: Array
    index: int | None = None
    distortion: Distortion = NO_DISTORTION

    @property
    def name(self) -> str:
        """As messages call it."""
        return self.file.name if self.index is None else f"{self.file.name}, picture {self.index}"


@dataclass(frozen=True, eq=False)
class Ground:
    """The plane that the object stands on: unit ``normal`` (3,), any ``point`` (3,) of it, in the world."""

    normal: Array
    point: Array
    found_by: str

    def height(self, points: Array) -> Array:
        """(..., 3) in the world -> (...,), positive on the normal's side."""
        heights: Array = (points - self.point) @ self.normal
        return heights


@dataclass(frozen=True, eq=False)
class RecordedObject:
    """An object whose box the source knows, in the world: ``rotation`` is world_from_box, y up and z front."""

    id: str
    category: str
    rotation: Array
    center: Array
    size: Array


@dataclass(frozen=True, eq=False)
class Recording:
    """Everything that a source tells.

    Attributes:
        source: what it was recorded with, as users call it.
        up: (3,) against gravity in the world, or None where nothing says it.
        metric: whether the world's unit is the metre; if not, it is unknown.
        points: (n, 3) of surfaces, n may be 0.
        notes: what was skipped or assumed; users are told.
    """

    source: str
    frames: tuple[RecordedFrame, ...]
    up: Array | None = None
    metric: bool = True
    ground: Ground | None = None
    points: Array = field(default_factory=lambda: np.empty((0, 3)))
    objects: tuple[RecordedObject, ...] = ()
    notes: tuple[str, ...] = ()

    def noted(self, *notes: str) -> Recording:
        """The same, with more to tell."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def positions(self) -> Array:
        """(frames, 3) where the cameras stood."""
        return np.array([frame.world_from_camera[:3, 3] for frame in self.frames])

    def aim(self) -> Array:
        """(3,) what the cameras look at."""
        return aim(np.array([frame.world_from_camera for frame in self.frames]))

    def distance(self) -> float:
        """The median distance of the cameras from what they look at."""
        return float(np.median(np.linalg.norm(self.positions - self.aim(), axis=1)))


def timed(frames: Sequence[RecordedFrame]) -> tuple[RecordedFrame, ...]:
    """Frames that have no times, as a walk at ingest's own pace."""
    return tuple(replace(frame, time_s=k / _RATE) for k, frame in enumerate(frames))


def similar(recording: Recording, scale: float, rotation: Array, translation: Array) -> Recording:
    """The recording in another world: ``new = scale * rotation @ old + translation``."""

    def moved(point: Array) -> Array:
        new: Array = scale * point @ rotation.T + translation
        return new

    def frame(old: RecordedFrame) -> RecordedFrame:
        pose = np.eye(4)
        pose[:3, :3] = rotation @ old.world_from_camera[:3, :3]
        pose[:3, 3] = moved(old.world_from_camera[:3, 3])
        return replace(old, world_from_camera=pose)

    def thing(old: RecordedObject) -> RecordedObject:
        return replace(old, rotation=rotation @ old.rotation, center=moved(old.center), size=scale * old.size)

    ground = recording.ground
    return replace(
        recording,
        frames=tuple(frame(old) for old in recording.frames),
        up=None if recording.up is None else rotation @ recording.up,
        ground=ground and replace(ground, normal=rotation @ ground.normal, point=moved(ground.point)),
        points=moved(recording.points),
        objects=tuple(thing(old) for old in recording.objects),
    )


def scaled(recording: Recording, factor: float, told_by: str) -> Recording:
    """The recording in metres: its unit was ``factor`` metres, as ``told_by`` says."""
    if not np.isfinite(factor) or factor <= 0:
        raise InvalidValueError("scale", factor, "a positive number of metres")
    moved = similar(recording, factor, np.eye(3), np.zeros(3))
    return replace(moved, metric=True).noted(f"scale: one unit was {factor:.6g} m, by {told_by}")
