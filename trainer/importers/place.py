"""About where the object is: what a user starts from when drawing its box."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from index.schema import Array
from trainer.importers.recording import Recording

# In units of the cameras' median distance from what they look at.
_REACH = 0.3
_OFF_GROUND = 0.02
_GUESS = 0.3
_LEAST_POINTS = 30
_DIGITS = 4


@dataclass(frozen=True, eq=False)
class Place:
    """A rough box in the world: ``rotation`` world_from_box, y up, z towards the first camera; ``seen``: of points."""

    rotation: Array
    center: Array
    size: Array
    seen: bool


def place(recording: Recording, up: Array) -> Place:
    """A box around the points off the ground that the cameras look at, or, without points, a cube of a likely size."""
    distance, aim = recording.distance(), recording.aim()
    rotation = _axes(recording.positions[0] - aim, up)
    ground = recording.ground
    base = aim - (ground.height(aim) if ground else 0.0) * up
    off = (recording.points - base) @ rotation  # in the box's axes, from the ground below the aim
    near = np.hypot(off[:, 0], off[:, 2]) < _REACH * distance
    if ground:
        near &= (off[:, 1] > _OFF_GROUND * distance) & (off[:, 1] < 2 * _REACH * distance)
    if near.sum() >= _LEAST_POINTS:
        low, high = np.percentile(off[near], [3, 97], axis=0)
        low[1] = 0.0 if ground else low[1]
        return Place(rotation, base + rotation @ ((low + high) / 2), high - low, True)
    size = np.full(3, _GUESS * distance)
    return Place(rotation, base + (up * size[1] / 2 if ground else 0.0), size, False)


def _axes(towards: Array, up: Array) -> Array:
    """(3, 3) world_from_box: y is up, z the horizontal part of ``towards``."""
    level = towards - (towards @ up) * up
    if np.linalg.norm(level) < 1e-9:
        level = np.linalg.svd(up[None])[2][2]
    z = level / np.linalg.norm(level)
    return np.stack([np.cross(up, z), up, z], axis=1)


def annotation(found: Place, name: str, category: str = "CATEGORY") -> str:
    """What to put into capture.json, as text."""
    # A rotation is checked to three digits: rounded to four it still is one.
    box = {
        "center": np.round(found.center, _DIGITS).tolist(),
        "size": np.round(found.size, _DIGITS).tolist(),
        "rotation": np.round(found.rotation, 6).tolist(),
    }
    return f'"objects": [{{"id": {json.dumps(name)}, "category": {json.dumps(category)},\n  "box": {json.dumps(box)}}}]'
