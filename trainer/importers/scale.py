"""The metre, for recordings that have no unit: from one length that the user knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from index.schema import Array, InvalidValueError
from trainer.importers.recording import Ground, Recording, scaled
from trainer.importers.settings import ImportConfig


def with_scale(recording: Recording, config: ImportConfig) -> Recording:
    """The recording in metres where ``config`` tells a length, or unchanged.

    Raises InvalidValueError for frames that are not there, points that are not on the ground, and lengths of which the
    recording knows better.
    """
    told = [name for name in ("camera_height", "camera_distance", "scale_points") if getattr(config, name) is not None]
    if recording.metric:
        lengths = [name for name in told if name != "camera_height"]
        if lengths:
            raise InvalidValueError(f"import.{lengths[0]}", getattr(config, lengths[0]), "left out: this is in metres")
        return recording
    if len(told) > 1:
        raise InvalidValueError("import", told, "one length alone")
    if config.camera_height is not None:
        return scaled(recording, config.camera_height / _camera_height(recording), "the cameras' height")
    if config.camera_distance is not None:
        return _by_camera_distance(recording, *config.camera_distance)
    if config.scale_points is not None:
        number, *pixels, metres = config.scale_points
        return scaled(recording, metres / _ground_length(recording, number, pixels), "a length on the ground")
    return recording


def ground_by_camera_height(recording: Recording, up: Array, camera_height: float) -> Recording:
    """Where no points show the ground of a metric recording: ``camera_height`` below the cameras' median."""
    heights = recording.positions @ up
    ground = Ground(up, up * (float(np.median(heights)) - camera_height), "the cameras' height, as it was given")
    return replace(recording, ground=ground)


def _camera_height(recording: Recording) -> float:
    if recording.ground is None:
        raise InvalidValueError("import.camera_height", None, "left out: no ground was found that it could be above")
    return float(np.median(recording.ground.height(recording.positions)))


def _by_camera_distance(recording: Recording, a: int, b: int, metres: float) -> Recording:
    for number in (a, b):
        _check_frame(recording, number, "camera_distance")
    distance = float(np.linalg.norm(recording.positions[a] - recording.positions[b]))
    if distance <= 1e-6 * recording.distance():
        raise InvalidValueError("import.camera_distance", (a, b), "two frames whose cameras stood apart")
    return scaled(recording, metres / distance, f"the distance of cameras {a} and {b}")


def _ground_length(recording: Recording, number: int, pixels: list[float]) -> float:
    """How far two pixels of a picture are apart on the ground, in the recording's unit."""
    _check_frame(recording, number, "scale_points")
    if recording.ground is None:
        raise InvalidValueError("import.scale_points", pixels, "left out: no ground was found for them to lie on")
    frame = recording.frames[number]
    rays = frame.camera.rays(np.array(pixels).reshape(2, 2)) @ frame.world_from_camera[:3, :3].T
    along = -recording.ground.height(frame.world_from_camera[:3, 3]) / (rays @ recording.ground.normal)
    length = float(np.linalg.norm(along[0] * rays[0] - along[1] * rays[1]))
    if not (along > 0).all() or not np.isfinite(length) or length == 0:
        raise InvalidValueError("import.scale_points", pixels, "two points that the picture shows on the ground")
    return length


def _check_frame(recording: Recording, number: int, name: str) -> None:
    if not 0 <= number < len(recording.frames):
        raise InvalidValueError(f"import.{name}", number, f"a frame's number, from 0 to {len(recording.frames) - 1}")
