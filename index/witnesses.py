"""What pictures show of an object, and what each neighbour expects of its box: the input of ``index.solve``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from index.carry import carry
from index.schema import Array, Frame, NoPoseError, View
from index.solve import Ground, Prior, Sights

# Standard deviations. docs/LOG.md has what other values give: the shares of good boxes are flat around these.
_RECT_SHARE, _RECT_PIXELS = 0.015, 1.0  # of a rectangle's side: as a share of its length, and at least
_GROUND = 0.006  # of the height above the ground, as a share of the distance
YAW_DEVIATION = math.radians(12.0)  # between a neighbour's and the truth
_SCALE, _PROPORTION = 0.3, 0.15  # of log sizes: common to all three, and of each by itself
SIZE_COVARIANCE = np.full((3, 3), _SCALE**2) + np.eye(3) * _PROPORTION**2
_SIZE_PRECISION = np.linalg.cholesky(np.linalg.inv(SIZE_COVARIANCE)).T

_MARGIN = 0.3  # the largest that a margin may be; beyond, a reference's box and rectangle do not belong together
_NEAR = 1e-3  # metres: what of a reference's box is nearer has no picture
# In heights of the box: a reference that floats or sinks by more has a wrong plane, and is taken to stand.
_HOVER = 0.25


@dataclass(frozen=True, eq=False)
class Sighting:
    """One picture of the object, and what the index says of it.

    Attributes:
        references: nearest first; those without a box are passed over.
        similarities: their cosine similarities to the query; None: all weigh the same.
        camera_from_world: (4, 4). The world is what several sightings share.
        rect_share: standard deviation of the rectangle's sides, as a share of its length.
    """

    view: View
    references: Sequence[Frame]
    similarities: Sequence[float] | None = None
    camera_from_world: Array = field(default_factory=lambda: np.eye(4))
    rect_share: float = _RECT_SHARE


@dataclass(frozen=True, eq=False)
class Witnesses:
    """What one sighting's references expect, in the world."""

    priors: Prior
    similarities: Array  # (n,)
    margins: Array  # (4,): see _margins
    positions: list[int]  # among all references
    objects: list[str]


def witnesses_of(sighting: Sighting) -> Witnesses | None:
    """None where no reference has a box. Raises NoPoseError where the picture has no camera."""
    if sighting.view.camera is None:
        raise NoPoseError("a pose needs the view's camera")
    positions = [p for p, reference in enumerate(sighting.references) if reference.box is not None]
    if not positions:
        return None
    references = [sighting.references[p] for p in positions]
    similarities = np.ones(len(sighting.references)) if sighting.similarities is None else sighting.similarities
    return Witnesses(
        _priors(references, sighting),
        np.asarray(similarities, np.float64)[positions],
        _margins(references),
        positions,
        [reference.object_id for reference in references],
    )


def _margins(references: Sequence[Frame]) -> Array:
    """(4,) by how much the sides of a box's picture lie beyond those of the rectangle, as shares of its lengths.

    Rectangles may be drawn round the thing or round its box: the query's are taken to be drawn as the references' are.
    """
    corners = np.stack([reference.box.corners for reference in references if reference.box is not None])
    cameras = [camera for reference in references if (camera := reference.view.camera) is not None]
    k = np.array([[c.fx, c.fy, c.cx, c.cy, c.width, c.height] for c in cameras])[:, :, None]
    pixels = corners.transpose(0, 2, 1)[:, :2] / np.maximum(corners[:, None, :, 2], _NEAR) * k[:, :2] + k[:, 2:4]
    seen = np.concatenate([pixels.min(axis=2), pixels.max(axis=2)], axis=1)
    rects = np.array([reference.view.rect for reference in references])
    lengths = np.tile(rects[:, 2:] - rects[:, :2], 2)
    cut = (rects <= 1) | (rects >= np.concatenate([k[:, 4:6, 0]] * 2, axis=1) - 1)
    margins = np.where(cut, np.nan, (seen - rects) / lengths)
    margins[:, cut.all(axis=0)] = 0.0
    return np.asarray(np.clip(_medians(margins), -_MARGIN, _MARGIN))


def _medians(values: Array) -> Array:
    """(n, m) with a number in each column -> (m,) medians without the NaNs; ``np.nanmedian`` takes 0.2 ms for it."""
    ordered, count = np.sort(values, axis=0), (~np.isnan(values)).sum(axis=0)  # sorting puts NaN last
    columns = np.arange(values.shape[1])
    return np.asarray((ordered[(count - 1) // 2, columns] + ordered[count // 2, columns]) / 2)


def _priors(references: Sequence[Frame], sighting: Sighting) -> Prior:
    """What each reference expects by itself, n of them."""
    boxes = [reference.box for reference in references if reference.box is not None]
    planes = [plane for reference in references if (plane := reference.view.plane) is not None]
    centers, rotations, sizes = (np.stack([getattr(b, name) for b in boxes]) for name in ("center", "rotation", "size"))
    ups = np.stack([plane.normal for plane in planes])
    heights = np.einsum("ni,ni->n", ups, centers) + [plane.offset for plane in planes]
    turned, turned_ups = _carried(rotations, centers, ups, sighting.view)
    world_from_camera = sighting.camera_from_world[:3, :3].T
    n = len(boxes)
    return Prior(
        world_from_camera @ turned,
        turned_ups @ world_from_camera.T,
        _standing_heights(heights / sizes[:, 1], rotations, ups, sizes),
        np.log(sizes),
        np.tile(_SIZE_PRECISION, (n, 1, 1)),
        np.full(n, 1 / YAW_DEVIATION),
    )


def _carried(rotations: Array, centers: Array, ups: Array, query: View) -> tuple[Array, Array]:
    """Rotations (n, 3, 3) and ups (n, 3) of references' boxes as ``carry`` puts them into the query's camera."""
    assert query.camera is not None  # witnesses_of has refused those without
    x0, y0, x1, y1 = query.rect
    ray = query.camera.rays(((x0 + x1) / 2, (y0 + y1) / 2))
    up = np.zeros(3) if query.up is None else np.array(query.up)  # a copy: one type, compiled once
    return carry(rotations, centers, ups, ray, up)


def _standing_heights(heights: Array, rotations: Array, ups: Array, sizes: Array) -> Array:
    """(n,) heights of the centres above the ground, in heights of the boxes, of boxes that about stand."""
    upright = np.abs(np.einsum("ni,nij->nj", ups, rotations))
    standing = np.einsum("nj,nj->n", upright, sizes) / (2 * sizes[:, 1])
    return np.where(np.abs(heights - standing) <= _HOVER, heights, standing)


def sights_of(sightings: Sequence[Sighting], margins: Sequence[Array]) -> Sights:
    """What the pictures show; ``margins`` (4,) are those of each one's ``Witnesses``."""
    cameras, rects, sides, precisions = [], [], [], []
    for sighting, margin in zip(sightings, margins, strict=True):
        camera, (x0, y0, x1, y1) = sighting.view.camera, sighting.view.rect
        assert camera is not None  # witnesses_of has refused those without
        cameras.append([camera.fx, camera.fy, camera.cx, camera.cy])
        rects.append(np.array([x0, y0, x1, y1]) + margin * [x1 - x0, y1 - y0, x1 - x0, y1 - y0])
        sides.append([x0 <= 1, y0 <= 1, x1 >= camera.width - 1, y1 >= camera.height - 1])
        precisions.append(1 / math.hypot(_RECT_PIXELS, sighting.rect_share * math.sqrt((x1 - x0) * (y1 - y0))))
    transforms = np.stack([sighting.camera_from_world[:3] for sighting in sightings])
    return Sights(np.array(cameras), transforms, np.array(rects), np.array(sides), np.array(precisions))


def ground_of(sightings: Sequence[Sighting]) -> Ground:
    """The first sighting's plane, of those that have one, in the world."""
    for sighting in sightings:
        if (plane := sighting.view.plane) is not None:
            rotation, translation = sighting.camera_from_world[:3, :3], sighting.camera_from_world[:3, 3]
            offset = plane.offset + float(plane.normal @ translation)
            return Ground(np.ascontiguousarray(rotation.T @ plane.normal), offset, _GROUND)
    return Ground(np.zeros(3), 0.0, math.inf)
