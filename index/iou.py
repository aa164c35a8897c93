"""Exact 3D intersection over union of oriented boxes, compiled.

The volume of A ∩ B, in the frame in which B is the unit cube [-½, ½]³, is by the divergence theorem the flux of the
field ``(clamp(x), 0, 0)`` through the surface of A ∩ {|y| ≤ ½, |z| ≤ ½}. The faces that the clipping itself creates lie
on y = ±½ and z = ±½, where that field has no flux, so only A's own six faces count:

    volume = Σ_faces ± ∬_{face ∩ {|y| ≤ ½, |z| ≤ ½}} clamp(x, -½, ½) dy dz
    clamp(x, -½, ½) = -½ + max(x + ½, 0) - max(x - ½, 0)

Every term is a linear function integrated over a clipped convex polygon: exact, and continuous in the input. Boxes that
touch, coincide or almost coincide need no special case and no tolerance, unlike clipping followed by a convex hull.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.compiled import compiled
from index.schema import Array, InvalidValueError

# Corner index = 4*[x>0] + 2*[y>0] + [z>0]; the loops run anticlockwise as seen from outside.
_FACES = np.array([[4, 6, 7, 5], [0, 1, 3, 2], [2, 3, 7, 6], [0, 4, 5, 1], [1, 5, 7, 3], [0, 2, 6, 4]])
_MOST = 32  # vertices: a rectangle's four, and one more for each of five half-spaces; rounding may add some


def iou_3d(corners_a: ArrayLike, corners_b: ArrayLike) -> Array:
    """Intersection over union of n pairs of boxes.

    Args:
        corners_a, corners_b: (n, 8, 3) metres, both in one frame, in the order of ``index.schema``. n may be 0.

    Returns:
        (n,) float64 in [0, 1], exact to float64 rounding; never NaN.

    Raises:
        InvalidValueError: not (n, 8, 3), not finite, or a box without volume.
    """
    a, b = _checked("corners_a", corners_a), _checked("corners_b", corners_b)
    if len(a) != len(b):
        raise InvalidValueError("corners_b", b.shape, f"as many boxes as corners_a, {len(a)}")
    ious = _paired(a, b)
    if np.isnan(ious).any():
        raise InvalidValueError("corners", "a box without volume", "boxes with three positive lengths")
    return ious


def _checked(field: str, corners: ArrayLike) -> Array:
    points = np.ascontiguousarray(corners, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (8, 3) or not np.isfinite(points).all():
        raise InvalidValueError(field, points.shape, "(n, 8, 3) finite numbers")
    return points


@compiled
def _paired(a: Array, b: Array) -> Array:
    """(n,) IoU; NaN where a box has no volume."""
    result = np.empty(len(a))
    unit, edges = np.empty((8, 3)), np.empty((3, 3))
    polygon, clipped = np.empty((_MOST, 3)), np.empty((_MOST, 3))
    for pair in range(len(a)):
        result[pair] = _iou(a[pair], b[pair], unit, edges, polygon, clipped)
    return result


@compiled
def _iou(a: Array, b: Array, unit: Array, edges: Array, polygon: Array, clipped: Array) -> float:
    volume_a, volume_b = _volume(a, edges), _volume(b, edges)
    if not (volume_a > 0 and volume_b > 0):
        return math.nan
    # The larger box becomes the unit cube, so that the other's coordinates stay small.
    small, large = (b, a) if volume_a > volume_b else (a, b)
    _to_unit_cube(small, large, unit, edges)
    ratio = min(volume_a, volume_b) / max(volume_a, volume_b)
    shared = min(max(_volume_in_unit_cube(unit, polygon, clipped), 0.0), ratio)
    return shared / (1.0 + ratio - shared)


@compiled
def _volume(box: Array, edges: Array) -> float:
    _edges(box, edges)
    volume: float = abs(_triple(edges[0], edges[1], edges[2]))
    return volume


@compiled
def _edges(box: Array, out: Array) -> None:
    """(8, 3) -> (3, 3): the edge vectors along the box's x, y, z axes as rows."""
    for axis in range(3):
        for k in range(3):
            out[axis, k] = box[4 >> axis, k] - box[0, k]


@compiled
def _triple(a: Array, b: Array, c: Array) -> float:
    """a . (b x c)"""
    x, y, z = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
    product: float = a[0] * x + a[1] * y + a[2] * z
    return product


@compiled
def _to_unit_cube(box: Array, cube: Array, out: Array, edges: Array) -> None:
    """``box`` in the frame in which ``cube`` is the unit cube, by Cramer's rule."""
    _edges(cube, edges)
    whole = _triple(edges[0], edges[1], edges[2])
    center, point = np.zeros(3), np.empty(3)
    for corner in range(8):
        for k in range(3):
            center[k] += cube[corner, k] / 8
    for corner in range(8):
        for k in range(3):
            point[k] = box[corner, k] - center[k]
        out[corner, 0] = _triple(point, edges[1], edges[2]) / whole
        out[corner, 1] = _triple(edges[0], point, edges[2]) / whole
        out[corner, 2] = _triple(edges[0], edges[1], point) / whole


@compiled
def _volume_in_unit_cube(corners: Array, polygon: Array, clipped: Array) -> float:
    """The volume of a box (8, 3) inside [-½, ½]³."""
    flux = 0.0
    for face in range(6):
        for vertex in range(4):
            for k in range(3):
                polygon[vertex, k] = corners[_FACES[face, vertex], k]
        count = _clip(polygon, 4, 1, 1.0, -0.5, clipped)
        count = _clip(clipped, count, 1, -1.0, -0.5, polygon)
        count = _clip(polygon, count, 2, 1.0, -0.5, clipped)
        count = _clip(clipped, count, 2, -1.0, -0.5, polygon)
        flux -= 0.5 * _integral(polygon, count, 0.0, 1.0)
        flux += _integral(clipped, _clip(polygon, count, 0, 1.0, -0.5, clipped), 1.0, 0.5)
        flux -= _integral(clipped, _clip(polygon, count, 0, 1.0, 0.5, clipped), 1.0, -0.5)
    _edges(corners, polygon)
    mirrored = _triple(polygon[0], polygon[1], polygon[2]) < 0
    return -flux if mirrored else flux  # mirrored corners' loops run clockwise


@compiled
def _clip(polygon: Array, count: int, axis: int, sign: float, level: float, out: Array) -> int:
    """Keeps of a convex polygon what has ``sign * coordinate >= level``; returns how many vertices are left."""
    kept = 0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        here, there = sign * polygon[i, axis] - level, sign * polygon[j, axis] - level
        if here >= 0:
            for k in range(3):
                out[kept, k] = polygon[i, k]
            kept += 1
        if kept + 2 > len(out):  # never seen; nothing checks compiled writes
            break
        if (here >= 0) != (there >= 0):
            t = here / (here - there)
            for k in range(3):
                out[kept, k] = polygon[i, k] + t * (polygon[j, k] - polygon[i, k])
            kept += 1
    return kept


@compiled
def _integral(polygon: Array, count: int, slope: float, constant: float) -> float:
    """∬ slope * x + constant dy dz over a convex polygon, as a fan of triangles at its first vertex."""
    total = 0.0
    for i in range(1, count - 1):
        y1, z1 = polygon[i, 1] - polygon[0, 1], polygon[i, 2] - polygon[0, 2]
        y2, z2 = polygon[i + 1, 1] - polygon[0, 1], polygon[i + 1, 2] - polygon[0, 2]
        mean_x = (polygon[0, 0] + polygon[i, 0] + polygon[i + 1, 0]) / 3
        total += 0.5 * (y1 * z2 - z1 * y2) * (slope * mean_x + constant)
    return total


def pairwise_iou(corners: Array) -> NDArray[np.float64]:
    """(n, 8, 3) boxes in one frame -> (n, n): the IoU of each with each, as ``iou_3d``."""
    table = _table(_checked("corners", corners))
    if np.isnan(table).any():
        raise InvalidValueError("corners", "a box without volume", "boxes with three positive lengths")
    return table


@compiled
def _table(boxes: Array) -> Array:
    """(n, n) IoU; NaN where a box has no volume."""
    table = np.eye(len(boxes))
    unit, edges = np.empty((8, 3)), np.empty((3, 3))
    polygon, clipped = np.empty((_MOST, 3)), np.empty((_MOST, 3))
    for i in range(len(boxes)):
        for j in range(i):
            table[i, j] = table[j, i] = _iou(boxes[i], boxes[j], unit, edges, polygon, clipped)
    return table
