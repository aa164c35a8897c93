"""Textured surfaces and the few shapes that everything in the demo is made of.

Right-handed, metres, y up, z towards the front. Shapes return lists of ``Part``, to be joined with ``+``. A part is
smooth all over: an edge that should look hard is where one part ends and the next begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from trainer.demo.textures import Texture

Points = NDArray[np.float64]

_CREASE = np.cos(np.radians(40))
_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
# Corners of each face of a block, from its lower left as seen from outside, against the clock.
_BLOCK_FACES = {
    "right": ((1, -1, 1), (1, -1, -1), (1, 1, -1), (1, 1, 1)),
    "left": ((-1, -1, -1), (-1, -1, 1), (-1, 1, 1), (-1, 1, -1)),
    "top": ((-1, 1, 1), (1, 1, 1), (1, 1, -1), (-1, 1, -1)),
    "bottom": ((-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)),
    "front": ((-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)),
    "back": ((1, -1, -1), (-1, -1, -1), (-1, 1, -1), (1, 1, -1)),
}


@dataclass(frozen=True, eq=False)
class Material:
    """What a surface is painted with: texture (h, w, 3) uint8 RGB, roughness from 0 (mirror) to 1 (chalk)."""

    texture: Texture
    roughness: float = 0.6


@dataclass(frozen=True, eq=False)
class Part:
    """A smooth surface: vertices and unit normals (n, 3), texture coordinates (n, 2), triangles (m, 3) of indices.

    Texture coordinates are shares of the picture, (0, 0) its top left corner, and repeat outside 0..1. Triangles run
    against the clock when seen from the side that the normals point to.
    """

    vertices: Points
    normals: Points
    uvs: Points
    triangles: NDArray[np.int64]
    material: Material


def _unit(vectors: ArrayLike) -> Points:
    vectors = np.asarray(vectors, np.float64)
    lengths: Points = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return vectors / lengths


def _oriented(vertices: Points, normals: Points, triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """The triangles, those that run against their normals turned."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    wrong = (np.cross(b - a, c - a) * normals[triangles].sum(axis=1)).sum(axis=1) < 0
    return np.where(wrong[:, None], triangles[:, ::-1], triangles)


def _shares(points: Points) -> Points:
    """(n, ..., 3) -> (n,): how far along the path each row is, from 0 to 1."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    steps = steps.reshape(len(steps), -1).mean(axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    shares: Points = along / max(along[-1], 1e-12)
    return shares


def _grid_normals(grid: Points) -> Points:
    """Unit normals of a (rows, columns, 3) grid, across the seam where its last column is its first."""
    up = np.gradient(grid, axis=0)
    if np.allclose(grid[:, 0], grid[:, -1]):
        ring = grid[:, :-1]
        around = np.roll(ring, -1, axis=1) - np.roll(ring, 1, axis=1)
        around = np.concatenate([around, around[:, :1]], axis=1)
    else:
        around = np.gradient(grid, axis=1)
    normals = np.cross(around, up)
    # A row that has shrunk to a point has no direction around: take its neighbour's.
    for pole, neighbour in ((0, 1), (-1, -2)):
        if np.linalg.norm(normals[pole], axis=-1).max() < 1e-12:
            normals[pole] = normals[neighbour]
    return _unit(normals)


def surface(grid: ArrayLike, material: Material, v: ArrayLike | None = None) -> Part:
    """The surface through a (rows, columns, 3) grid of points.

    With rows going up and columns to the right it faces the viewer, and its texture stands upright. ``v`` (rows,)
    replaces the vertical texture coordinate, by default by arc length from 1 at the first row to 0 at the last.
    """
    grid = np.asarray(grid, np.float64)
    rows, columns, _ = grid.shape
    v = 1 - _shares(grid) if v is None else np.asarray(v)
    u = _shares(grid.swapaxes(0, 1))
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, above, across = corner + 1, corner + columns, corner + columns + 1
    triangles = np.concatenate([np.stack([corner, right, across], 1), np.stack([corner, across, above], 1)])
    vertices, normals = grid.reshape(-1, 3), _grid_normals(grid).reshape(-1, 3)
    uvs = np.stack(np.broadcast_arrays(u[None, :], v[:, None]), axis=-1).reshape(-1, 2)
    return Part(vertices, normals, uvs, _oriented(vertices, normals, triangles), material)


def polygon(corners: ArrayLike, uvs: ArrayLike, normal: ArrayLike, material: Material) -> Part:
    """The flat convex polygon with these corners (n, 3) in order, their texture coordinates (n, 2), and normal (3,)."""
    vertices = np.asarray(corners, np.float64)
    fan = np.arange(1, len(vertices) - 1)
    triangles = np.stack([np.zeros_like(fan), fan, fan + 1], axis=1)
    normals = np.tile(_unit(normal), (len(vertices), 1))
    return Part(vertices, normals, np.asarray(uvs, np.float64), _oriented(vertices, normals, triangles), material)


def point(x: float, y: float, z: float) -> Points:
    """(3,) metres."""
    return np.array([x, y, z])


def block(
    center: ArrayLike, size: ArrayLike, material: Material, faces: Mapping[str, Material] | None = None
) -> list[Part]:
    """A box with sharp edges. ``faces`` names the sides that have a material of their own: right, left, top, ..."""
    parts = []
    for side, signs in _BLOCK_FACES.items():
        corners = np.asarray(center) + np.array(signs) * np.asarray(size) / 2
        own = (faces or {}).get(side, material)
        normal = np.mean(signs, axis=0)
        parts.append(polygon(corners, [(0, 1), (1, 1), (1, 0), (0, 0)], normal, own))
    return parts


def ellipse(width: float, depth: float, sides: int = 28) -> Points:
    """An outline in the (x, z) plane, (sides + 1, 2): from the back over the left, the front and the right, closed."""
    angles = np.linspace(-np.pi, np.pi, sides + 1)
    return np.stack([width / 2 * np.sin(angles), depth / 2 * np.cos(angles)], axis=1)


def rounded_rectangle(width: float, depth: float, radius: float, steps: int = 4) -> Points:
    """An outline in the (x, z) plane with rounded corners, (4 * (steps + 1) + 2, 2), in the order of ``ellipse``."""
    inner = np.array([width / 2 - radius, depth / 2 - radius])
    corners = []
    for sign, start in (((-1, -1), -np.pi), ((-1, 1), -np.pi / 2), ((1, 1), 0.0), ((1, -1), np.pi / 2)):
        angles = np.linspace(start, start + np.pi / 2, steps + 1)
        corners.append(inner * sign + radius * np.stack([np.sin(angles), np.cos(angles)], axis=1))
    back = np.array([[0.0, -depth / 2]])
    return np.concatenate([back, *corners, back])


def _at_height(outline: Points, y: float) -> Points:
    return np.stack([outline[:, 0], np.full(len(outline), y), outline[:, 1]], axis=1)


def _cap(outline: Points, y: float, up: float, material: Material) -> Part:
    span = np.maximum(np.ptp(outline, axis=0), 1e-9)
    uvs = (outline[:-1] - outline.min(axis=0)) / span
    if up < 0:
        uvs = uvs * (-1, 1) + (1, 0)
    return polygon(_at_height(outline, y)[:-1], uvs, (0, up, 0), material)


def slab(
    outline: Points,
    low: float,
    high: float,
    side: Material,
    top: Material | None = None,
    bottom: Material | None = None,
    bevel: float = 0.0,
) -> list[Part]:
    """The outline (k, 2) in (x, z), raised from y = ``low`` to ``high``, its edges rounded off by ``bevel`` metres."""
    if not bevel:
        walls = [surface([_at_height(outline, low), _at_height(outline, high)], side)]
        return [*walls, _cap(outline, low, -1, bottom or side), _cap(outline, high, 1, top or side)]
    middle = (outline.max(axis=0) + outline.min(axis=0)) / 2
    half = np.ptp(outline, axis=0) / 2
    rings, heights = [], []
    for angle in np.linspace(-np.pi / 2, np.pi / 2, 6):
        inset = bevel * (1 - np.cos(angle))
        rings.append(middle + (outline - middle) * (half - inset) / half)
        heights.append((low + bevel if angle < 0 else high - bevel) + bevel * np.sin(angle))
    wall = surface([_at_height(r, y) for r, y in zip(rings, heights, strict=True)], side)
    return [wall, _cap(rings[0], low, -1, bottom or side), _cap(rings[-1], high, 1, top or side)]


def smooth_runs(profile: Points) -> list[slice]:
    """Where to cut a polyline (n, 2) so that no run of it turns sharply."""
    steps = _unit(np.diff(profile, axis=0))
    sharp = np.flatnonzero((steps[1:] * steps[:-1]).sum(axis=1) < _CREASE) + 1
    bounds = [0, *sharp.tolist(), len(profile) - 1]
    return [slice(a, b + 1) for a, b in pairwise(bounds)]


def lathe(
    profile: Sequence[tuple[float, float]],
    material: Material,
    sides: int = 28,
    depth: float = 1.0,
    center: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> list[Part]:
    """The profile of (radius, y) pairs turned about the y axis; ``depth`` scales z. Going up, it faces outwards.

    The texture's middle is at the front.
    """
    points = np.asarray(profile, np.float64)
    circle = _at_height(ellipse(2, 2 * depth, sides), 0.0)
    grid = points[:, :1, None] * circle[None]
    grid[..., 1] = points[:, 1:]
    v = 1 - _shares(points[:, None])
    return [surface(grid[run] + center, material, v[run]) for run in smooth_runs(points)]


def _frames(path: Points) -> tuple[Points, Points]:
    """Two unit vectors across the path at each of its points, (n, 3) each, carried along without twist."""
    steps = np.gradient(path, axis=0)
    if np.allclose(path[0], path[-1]):
        steps[[0, -1]] = path[1] - path[-2]
    along = _unit(steps)
    helper = np.eye(3)[np.abs(along[0]).argmin()]
    across = [_unit(np.cross(helper, along[0]))]
    for direction in along[1:]:
        across.append(_unit(across[-1] - direction * (across[-1] @ direction)))
    first = np.array(across)
    return first, np.cross(along, first)


def tube(path: ArrayLike, radius: ArrayLike, material: Material, sides: int = 10) -> list[Part]:
    """A pipe of ``radius`` (one, or one a point) along the path (n, 3), closed by flat ends unless it is a loop."""
    path = np.asarray(path, np.float64)
    radii = np.broadcast_to(np.asarray(radius, np.float64), len(path))
    first, second = _frames(path)
    angles = np.linspace(0, 2 * np.pi, sides + 1)[None, :, None]
    ring = np.cos(angles) * first[:, None] + np.sin(angles) * second[:, None]
    grid = path[:, None] + radii[:, None, None] * ring
    parts = [surface(grid, material)]
    if not np.allclose(path[0], path[-1]):
        disc = np.stack([np.cos(angles[0, :-1, 0]), np.sin(angles[0, :-1, 0])], axis=1) / 2 + 0.5
        parts.append(polygon(grid[0, :-1], disc, path[0] - path[1], material))
        parts.append(polygon(grid[-1, :-1], disc, path[-1] - path[-2], material))
    return parts


def rod(start: ArrayLike, stop: ArrayLike, radius: float, material: Material, sides: int = 10) -> list[Part]:
    """A straight pipe with closed ends."""
    return tube(np.array([start, stop]), radius, material, sides)


def arc(
    center: ArrayLike, first: ArrayLike, second: ArrayLike, start: float = 0.0, stop: float = 2 * np.pi, steps: int = 24
) -> Points:
    """Points (steps + 1, 3) at ``center + cos(a) * first + sin(a) * second`` for a from ``start`` to ``stop``."""
    angles = np.linspace(start, stop, steps + 1)[:, None]
    points: Points = np.asarray(center) + np.cos(angles) * np.asarray(first) + np.sin(angles) * np.asarray(second)
    return points


def disc(center: ArrayLike, axis: str, radius: float, material: Material, sides: int = 24) -> Part:
    """A round plate that faces along +``axis`` ('y' or 'z'); its texture stands upright."""
    x, y = (
        radius * np.sin(np.linspace(0, 2 * np.pi, sides + 1)[:-1]),
        radius * np.cos(np.arange(sides) * 2 * np.pi / sides),
    )
    flat = np.zeros_like(x)
    corners = np.stack([x, y, flat] if axis == "z" else [x, flat, -y], axis=1)
    uvs = np.stack([x, -y], axis=1) / (2 * radius) + 0.5
    return polygon(corners + np.asarray(center), uvs, _AXES[axis], material)


def moved(parts: Sequence[Part], offset: ArrayLike) -> list[Part]:
    """The parts, shifted by ``offset`` (3,)."""
    return [replace(part, vertices=part.vertices + np.asarray(offset)) for part in parts]


def turned(parts: Sequence[Part], axis: str, angle: float, pivot: ArrayLike = (0.0, 0.0, 0.0)) -> list[Part]:
    """The parts, turned by ``angle`` radians about the x, y or z axis through ``pivot`` (right-handed)."""
    rotation = Rotation.from_rotvec(np.array(_AXES[axis]) * angle).as_matrix()
    pivot = np.asarray(pivot)
    return [
        replace(p, vertices=(p.vertices - pivot) @ rotation.T + pivot, normals=p.normals @ rotation.T) for p in parts
    ]


def scaled(parts: Sequence[Part], factors: ArrayLike) -> list[Part]:
    """The parts, scaled along x, y and z by positive ``factors`` (3,) about the origin."""
    factors = np.asarray(factors, np.float64)
    return [replace(p, vertices=p.vertices * factors, normals=_unit(p.normals / factors)) for p in parts]


def extents(parts: Sequence[Part]) -> tuple[Points, Points]:
    """The lowest and the highest corner of the parts' bounding box, (3,) each."""
    vertices = np.concatenate([part.vertices for part in parts])
    return vertices.min(axis=0), vertices.max(axis=0)
