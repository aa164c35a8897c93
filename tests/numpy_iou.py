"""``index.iou``, whose docstring has the derivation, once more in NumPy: the compiled kernel's oracle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.schema import Array

_Indices = NDArray[np.intp]

# Corner index = 4*[x>0] + 2*[y>0] + [z>0]; the loops run anticlockwise as seen from outside.
_FACES = np.array([[4, 6, 7, 5], [0, 1, 3, 2], [2, 3, 7, 6], [0, 4, 5, 1], [1, 5, 7, 3], [0, 2, 6, 4]])
_BATCH = 512  # pairs at a time: the polygons of a batch stay in the processor's cache


def iou_3d(a: Array, b: Array) -> Array:
    """As ``index.iou.iou_3d``, of boxes that are known to be some."""
    return np.concatenate([_iou(a[i : i + _BATCH], b[i : i + _BATCH]) for i in range(0, len(a), _BATCH)])


def _edges(corners: Array) -> Array:
    """(n, 8, 3) -> (n, 3, 3): the edge vectors along the box's x, y, z axes as columns."""
    return np.stack([corners[:, k] - corners[:, 0] for k in (4, 2, 1)], axis=-1)


def _iou(a: Array, b: Array) -> Array:
    volume_a, volume_b = (np.abs(np.linalg.det(_edges(box))) for box in (a, b))
    # The larger box becomes the unit cube, so that the other's coordinates stay small.
    swap = (volume_a > volume_b)[:, None, None]
    small, large = np.where(swap, b, a), np.where(swap, a, b)
    ratio = np.minimum(volume_a, volume_b) / np.maximum(volume_a, volume_b)
    unit_from_frame = np.linalg.inv(_edges(large))
    centered = small - large.mean(axis=1, keepdims=True)
    shared = _volume_in_unit_cube(np.einsum("nij,nkj->kin", unit_from_frame, centered))
    shared = np.clip(shared, 0.0, ratio)
    iou: Array = shared / (1.0 + ratio - shared)
    return iou


def _volume_in_unit_cube(corners: Array) -> Array:
    """(8, 3, n) -> (n,): the volume of each box inside [-½, ½]³. n comes last, so that every step runs along it."""
    polygons = corners[_FACES.T]  # (4 vertices, 6 faces, 3, n)
    polygons = np.ascontiguousarray(polygons.transpose(0, 2, 1, 3)).reshape(4, 3, -1)  # (4, 3, 6n)
    for axis in (1, 2):
        for sign in (1.0, -1.0):
            polygons = _clip(polygons, 0.5 + sign * polygons[:, axis])
    flux = -0.5 * _projected_area(polygons)
    for sign, level in ((1.0, -0.5), (-1.0, 0.5)):
        above = _clip(polygons, polygons[:, 0] - level)
        flux += sign * _integral(above, above[:, 0] - level)
    volume: Array = _orientation(corners) * flux.reshape(6, -1).sum(axis=0)
    return volume


def _orientation(corners: Array) -> Array:
    """(8, 3, n) -> (n,): +1, or -1 for mirrored corners, whose loops run clockwise."""
    x, y, z = (corners[k] - corners[0] for k in (4, 2, 1))
    handedness: Array = np.sign(np.einsum("in,in->n", x, np.cross(y, z, axis=0)))
    return handedness


def _clip(polygons: Array, inside: Array) -> Array:
    """Clips convex polygons by a half-space.

    Args:
        polygons: (m, 3, n) vertices; repeated vertices are fine.
        inside: (m, n) signed distance of each vertex, >= 0 on the side that is kept.

    Returns:
        (m + 1, 3, n): the part inside, padded by repeating vertices; all vertices equal where nothing is left.
    """
    m, n = inside.shape
    keep = inside >= 0
    count = keep.sum(axis=0)
    entering = keep & ~np.roll(keep, 1, axis=0)
    first = np.where(count == m, 0, entering.argmax(axis=0))
    columns: _Indices = np.arange(n)
    # Output j is vertex (first + j) while it is inside; then the exit point, then the entry point.
    steps = np.minimum(np.arange(m + 1)[:, None], np.maximum(count - 1, 0))
    clipped = polygons[(first + steps) % m, :, columns].transpose(0, 2, 1)
    last = (first + count - 1) % m
    partial = (count > 0) & (count < m)
    exit_point = _crossing(polygons, inside, last, (last + 1) % m, columns)
    entry_point = _crossing(polygons, inside, first, (first - 1) % m, columns)
    slots = np.arange(m + 1)[:, None, None]
    clipped = np.where(partial & (slots == count), exit_point, clipped)
    return np.where(partial & (slots > count), entry_point, clipped)


def _crossing(polygons: Array, inside: Array, start: _Indices, end: _Indices, columns: _Indices) -> Array:
    """(3, n): where the edge from vertex ``start`` (inside) to vertex ``end`` (outside) meets the boundary."""
    s0, s1 = inside[start, columns], inside[end, columns]
    gap = s0 - s1
    t = np.divide(s0, gap, out=np.zeros_like(s0), where=gap > 0)
    p0, p1 = polygons[start, :, columns], polygons[end, :, columns]
    points: Array = (p0 + t[:, None] * (p1 - p0)).T
    return points


def _triangles(polygons: Array) -> Array:
    """(m, 3, n) -> (m - 2, n): signed areas, projected onto the yz plane, of the fan of triangles at vertex 0."""
    edges = polygons[1:, 1:] - polygons[:1, 1:]
    areas: Array = 0.5 * (edges[:-1, 0] * edges[1:, 1] - edges[:-1, 1] * edges[1:, 0])
    return areas


def _projected_area(polygons: Array) -> Array:
    area: Array = _triangles(polygons).sum(axis=0)
    return area


def _integral(polygons: Array, values: Array) -> Array:
    """∬ f dy dz over each polygon, f linear with ``values`` (m, n) at its vertices."""
    means = (values[:1] + values[1:-1] + values[2:]) / 3.0
    integral: Array = (_triangles(polygons) * means).sum(axis=0)
    return integral
