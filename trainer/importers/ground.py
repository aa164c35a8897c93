"""Where the ground is, and which way is up, where a source does not say it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.schema import Array
from trainer.importers.recording import Ground, Recording

# In units of the cameras' median distance from what they look at.
_TOLERANCE = 0.007
_AROUND = 0.8  # ground further away than this is another floor
_UNDER = 0.2  # nothing is seen below the ground within this of the object

_LEAST_POINTS = 40
_LEAST_SHARE, _LEAST_INSIDE = 0.12, 25  # of the points around the object: fewer do not make a plane
_CONE = np.radians(20)  # a guessed up is this good
_STRAYS_PERCENT = 1.0
_TRIALS = 2000
_BELOW_WEIGHT = 5.0
_MOST_BELOW = 0.1  # of the plane's points: more of them under the object, and the plane is the top of something
_SECTORS, _LEAST_SECTORS = 8, 4  # around the object, each with some of the plane's points
_OFF_AIM = 0.1
# Right (or down) directions of cameras that a person holds level lie in a plane: the least share of variance off it.
_LEVEL = 0.2
_LEAST_TURN = 0.02


def up_from_cameras(recording: Recording) -> Array | None:
    """(3,) against gravity as the cameras were held: level, or all on their side. None where they do not tell.

    People hold cameras level and walk around: the pictures' horizontal axes are then all horizontal, and point in
    different directions. What is perpendicular to all of them is up.
    """
    rotations = np.array([frame.world_from_camera[:3, :3] for frame in recording.frames])
    best: tuple[float, int, Array] | None = None
    for axis in (0, 1):  # pictures that stand, and pictures that lie
        values, vectors = np.linalg.eigh(np.einsum("ni,nj->ij", rotations[:, :, axis], rotations[:, :, axis]))
        values = values / len(rotations)
        gap = float(values[1] - values[0])
        if values[1] >= _LEAST_TURN and values[0] <= _LEVEL * values[1] and (best is None or gap > best[0]):
            best = gap, axis, vectors[:, 0]
    if best is None:
        return None
    _, axis, up = best
    # Pictures that stand show up at their top. Those that lie show it left or right: but people look down at things.
    sign = -(rotations[:, :, 1] @ up).mean() if axis == 0 else -(rotations[:, :, 2] @ up).mean()
    return np.asarray(up * (1 if sign >= 0 else -1))


def find_ground(recording: Recording, up: Array, measured: bool) -> Ground | None:
    """The plane below what the cameras look at, or None where there are too few points.

    ``up`` is kept as the normal where it was ``measured``; a guess is improved by the points.
    """
    distance = recording.distance()
    scene = _Scene(recording.points, recording.aim(), distance)
    if len(scene.around) < _LEAST_POINTS:
        return None
    if not measured:
        tilted = _tilted(scene, up)
        if tilted is not None:
            return tilted
    how = "its normal is the world's up" if measured else "its normal is a guess from how the cameras were held"
    height, support = _level(scene, up)
    if not scene.convinces(up, up * height):
        return _below(scene, up)
    return Ground(up, up * height, f"{support} of {len(scene.around)} sparse points; {how}")


@dataclass(frozen=True, eq=False)
class _Scene:
    points: Array
    aim: Array
    distance: float

    @property
    def around(self) -> Array:
        near: NDArray[np.bool_] = np.linalg.norm(self.points - self.aim, axis=1) < _AROUND * self.distance
        return np.asarray(self.points[near])

    def score(self, heights: Array, across: Array) -> float:
        """Of a plane: the points in it, less those below it under the object.

        ``heights`` of the points around above the plane, ``across`` from the vertical through the aim, both (n,).
        """
        inside, below = self._counts(heights, across)
        return inside - _BELOW_WEIGHT * below

    def _counts(self, heights: Array, across: Array) -> tuple[int, int]:
        tolerance = _TOLERANCE * self.distance
        under = (heights < -2 * tolerance) & (across < _UNDER * self.distance)
        return int((np.abs(heights) < tolerance).sum()), int(under.sum())

    def convinces(self, normal: Array, point: Array) -> bool:
        """Whether a plane is the ground, not the top of something: enough points, all around, and few below."""
        around = self.around
        heights, across = (around - point) @ normal, _across(around, self.aim, normal)
        inside, below = self._counts(heights, across)
        if inside < max(_LEAST_INSIDE, _LEAST_SHARE * len(around)) or below > _MOST_BELOW * inside:
            return False
        ring = (np.abs(heights) < _TOLERANCE * self.distance) & (across > _OFF_AIM * self.distance)
        one, other = np.linalg.svd(normal[None])[2][1:]
        angles = np.arctan2((around[ring] - self.aim) @ one, (around[ring] - self.aim) @ other)
        occupied = np.histogram(angles, _SECTORS, (-np.pi, np.pi))[0] >= 2
        return bool(occupied.sum() >= _LEAST_SECTORS)


def _across(points: Array, aim: Array, up: Array) -> Array:
    """Horizontal distances from the vertical through the aim."""
    off = points - aim
    distances: Array = np.linalg.norm(off - (off @ up)[:, None] * up, axis=1)
    return distances


def _level(scene: _Scene, up: Array) -> tuple[float, int]:
    """The best height (of the plane ``up . x = height``) and how many points lie in it."""
    around = scene.around
    heights, across = around @ up, _across(around, scene.aim, up)
    tolerance = _TOLERANCE * scene.distance
    highest = min(heights.max(), scene.aim @ up) + tolerance  # people look at things, not at what is below their ground
    candidates = np.arange(min(heights.min(), highest), highest, tolerance / 2)
    best = max(candidates, key=lambda height: scene.score(heights - height, across))
    inside = np.abs(heights - best) < tolerance
    return float(np.median(heights[inside])) if inside.any() else float(best), int(inside.sum())


def _below(scene: _Scene, up: Array) -> Ground | None:
    """A guess where the pictures show no ground: below all that the cameras look at, but for strays."""
    near = scene.around[_across(scene.around, scene.aim, up) < _UNDER * scene.distance]
    if len(near) < _LEAST_POINTS:
        return None
    height = float(np.percentile(near @ up, _STRAYS_PERCENT))
    return Ground(up, up * height, f"A GUESS: no plane is seen, so below the lowest of {len(near)} sparse points")


def _tilted(scene: _Scene, up: Array) -> Ground | None:
    """RANSAC: the best plane whose normal is within a cone around ``up``, then fitted to its points."""
    around = scene.around
    rng = np.random.default_rng(0)
    triples = around[rng.integers(len(around), size=(_TRIALS, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    upright = np.abs(normals @ up) >= np.cos(_CONE) * np.maximum(lengths, 1e-12)
    planes = [(n / np.linalg.norm(n), p[0]) for n, p in zip(normals[upright], triples[upright], strict=True)]
    planes = [(normal if normal @ up > 0 else -normal, point) for normal, point in planes]
    planes = [(normal, point) for normal, point in planes if (point - scene.aim) @ normal < _TOLERANCE * scene.distance]
    if not planes:
        return None
    normal, point = max(planes, key=lambda plane: _tilted_score(scene, around, *plane))
    for _ in range(3):
        inside = around[np.abs((around - point) @ normal) < _TOLERANCE * scene.distance]
        if len(inside) < _LEAST_INSIDE:
            return None
        point = inside.mean(axis=0)
        fitted = np.linalg.svd(inside - point, full_matrices=False)[2][2]
        normal = fitted if fitted @ up > 0 else -fitted
    above_aim = (point - scene.aim) @ normal > _TOLERANCE * scene.distance
    if above_aim or normal @ up < np.cos(_CONE) or not scene.convinces(normal, point):
        return None
    return Ground(normal, point, f"RANSAC: {len(inside)} of {len(around)} sparse points")


def _tilted_score(scene: _Scene, around: Array, normal: Array, point: Array) -> float:
    return scene.score((around - point) @ normal, _across(around, scene.aim, normal))


def upright_world(recording: Recording, up: Array) -> tuple[Array, Array]:
    """(3, 3) and (3,), new_from_old, of a world whose y is up and whose origin lies on the ground (or where the cameras
    look), below what they look at; z points to the first camera."""
    origin = recording.aim()
    if recording.ground:
        origin = origin - recording.ground.height(origin) * recording.ground.normal
    towards = recording.positions[0] - origin
    towards = towards - (towards @ up) * up
    if np.linalg.norm(towards) < 1e-9:
        towards = np.linalg.svd(up[None])[2][2]
    z = towards / np.linalg.norm(towards)
    rotation = np.stack([np.cross(up, z), up, z])
    return rotation, -rotation @ origin
