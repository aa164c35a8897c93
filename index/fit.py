"""From neighbours to a box: what similar frames expect, weighed against what the query shows.

Every neighbour expects a box: its own, seen from the same side (the yaw is carried relative to the viewing ray, not to
the picture), about as large, standing on the ground as it does. ``index.solve`` finds the most probable box for each.
They then vote: by similarity, by how little the neighbour had to be bent to meet the rectangle, and by how much their
boxes overlap. The winner and those that agree with it pool what they expect, and one last box is solved for.

The paper's own transfer is ``index.transfer``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from index.carry import carry
from index.confidence import SHIPPED, Calibration, signs_of
from index.iou import iou_3d, pairwise_iou
from index.schema import (
    Array,
    BehindCameraError,
    Box,
    Frame,
    NoPoseError,
    OutOfViewError,
    RayMissesPlaneError,
    View,
)
from index.solve import CENTER, LOG_SIZE, YAW, Ground, Prior, Sights, Solutions, solve, turn

# Standard deviations. docs/LOG.md has what other values give: the shares of good boxes are flat around these.
_RECT_SHARE, _RECT_PIXELS = 0.015, 1.0  # of a rectangle's side: as a share of its length, and at least
_GROUND = 0.006  # of the height above the ground, as a share of the distance
_YAW = math.radians(12.0)  # between a neighbour's and the truth
_SCALE, _PROPORTION = 0.3, 0.15  # of log sizes: common to all three, and of each by itself
_SIZE = np.full((3, 3), _SCALE**2) + np.eye(3) * _PROPORTION**2

_SIMILARITY = 0.07  # a neighbour that is less similar than the nearest by this weighs 1/e of it
_EVIDENCE = 0.2  # how much a neighbour's cost counts: 1 would be right if all deviations were normal and independent
_AGREEMENT = 0.5  # the IoU at which two boxes count as the same answer: the benchmark's own threshold
_STANDARD = 2.0  # neighbours that the deviations above are worth against what the neighbours' own spread says

_MARGIN = 0.3  # the largest that a margin may be; beyond, a reference's box and rectangle do not belong together
_NEAR = 1e-3  # metres: what of a reference's box is nearer has no picture
_HOVER = (
    0.25  # in heights of the box: a reference that floats or sinks by more has a wrong plane, and is taken to stand
)
_IMPLAUSIBLE = 200.0  # the cost for each picture, which is some 1 as a rule and 30 at worst
_OFF_GROUND = 10.0  # standard deviations that a box may end away from the ground
_ANYWHERE = 3.0  # standard deviation of a position that nothing holds, as a share of the distance


_QUARTERS = np.array([[[c, 0, s], [0, 1, 0], [-s, 0, c]] for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))], float)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted box, in the query's camera frame (the world's, for several sightings).

    Attributes:
        confidence: P(3D IoU with the truth > 0.5), as ``index.confidence`` tells it from ``signs``.
        support: positions of the references whose own box overlaps ``box`` with 3D IoU > 0.5.
        covariance: (7, 7) of the centre (3, metres), the yaw about the box's y (radians) and the logarithms of its size
            (3). It counts what the neighbours disagree about, but not that all of them may be wrong.
    """

    box: Box
    confidence: float
    support: tuple[int, ...]
    covariance: Array
    signs: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Sighting:
    """One picture of the object, and what the index says of it.

    Attributes:
        references: nearest first; those without a box are passed over.
        similarities: their cosine similarities to the query; None: all weigh the same.
        camera_from_world: (4, 4). The world is what several sightings share.
    """

    view: View
    references: Sequence[Frame]
    similarities: Sequence[float] | None = None
    camera_from_world: Array = field(default_factory=lambda: np.eye(4))


def fit_box(
    references: Sequence[Frame],
    query: View,
    similarities: Sequence[float] | None = None,
    calibration: Calibration = SHIPPED,
) -> Fit:
    """The box of the object in ``query``, from the neighbours of its picture.

    Without a plane the box's distance comes from the size that the neighbours expect; without an up direction its tilt
    comes from theirs. The covariance then says how little that is, but not how wrong a tilt may be.

    Args:
        references, similarities: as in ``Sighting``.
        calibration: the index's own.

    Raises:
        NoPoseError: the query has no camera, or no reference a box.
        RayMissesPlaneError: nothing that stands on the query's plane could be seen in its rectangle.
        BehindCameraError: no box in front of the camera fits.
    """
    return fit_sightings([Sighting(query, references, similarities)], calibration)


def fit_sightings(sightings: Sequence[Sighting], calibration: Calibration = SHIPPED) -> Fit:
    """One box for several pictures of one object that has not moved, in the world's frame. Raises as ``fit_box``."""
    witnesses = [_witnesses(sighting) for sighting in sightings]
    priors = Prior(*(np.concatenate(parts) for parts in zip(*(w.priors for w in witnesses), strict=True)))
    sights, ground = _sights(sightings, [w.margins for w in witnesses]), _ground(sightings)
    solutions = solve(priors, sights, ground)
    votes = _votes(np.concatenate([w.similarities for w in witnesses]), solutions.costs)
    agreement = _overlaps(solutions)
    # Rounding keeps the choice from resting on the last bit where boxes tie.
    winner = int(np.round(agreement @ votes, 9).argmax())
    objects = [name for w in witnesses for name in w.objects]
    pool = _pool(priors, winner, votes * np.minimum(1, agreement[winner] / _AGREEMENT), objects)
    last = solve(pool.prior, sights, ground)
    _refuse(last, sights, ground)
    before = np.cumsum([0, *(len(sighting.references) for sighting in sightings)])
    positions = [int(first) + p for first, w in zip(before, witnesses, strict=False) for p in w.positions]
    covariance = _covariance(last, pool, sights)
    return _fit(last, pool, covariance, solutions, votes, positions, calibration)


def _refuse(last: Solutions, sights: Sights, ground: Ground) -> None:
    """Raises where the box is none: the neighbours would have to be bent beyond anything that is seen (docs/LOG.md)."""
    cost, off_ground = last.costs[0], abs(last.off_ground[0])
    if not np.isfinite(cost):
        raise BehindCameraError("no box in front of the camera shows itself in the rectangle")
    if cost <= _IMPLAUSIBLE * len(sights.rects) and off_ground <= _OFF_GROUND:
        return
    if math.isinf(ground.relative):
        raise OutOfViewError("nothing like the neighbours can be seen in the rectangle")
    plane = f"normal {np.round(ground.normal, 4).tolist()}, offset {ground.offset:.4g} m"
    raise RayMissesPlaneError(f"nothing like the neighbours that stands on the plane ({plane}) can be seen there")


@dataclass(frozen=True, eq=False)
class _Witnesses:
    """What one sighting's references expect, in the world."""

    priors: Prior
    similarities: Array  # (n,)
    margins: Array  # (4,): see _margins
    positions: list[int]  # among all references
    objects: list[str]


def _witnesses(sighting: Sighting) -> _Witnesses:
    positions = [p for p, reference in enumerate(sighting.references) if reference.box is not None]
    if not positions:
        raise NoPoseError("none of the neighbours has a box")
    references = [sighting.references[p] for p in positions]
    similarities = np.ones(len(sighting.references)) if sighting.similarities is None else sighting.similarities
    return _Witnesses(
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
    margins = np.where(cut, 0.0, (seen - rects) / lengths)
    return np.asarray(np.clip(np.median(margins, axis=0), -_MARGIN, _MARGIN))


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
        np.tile(_precision(_SIZE), (n, 1, 1)),
        np.full(n, 1 / _YAW),
    )


def _carried(rotations: Array, centers: Array, ups: Array, query: View) -> tuple[Array, Array]:
    """Rotations (n, 3, 3) and ups (n, 3) of references' boxes as ``carry`` puts them into the query's camera."""
    if query.camera is None:
        raise NoPoseError("a pose needs the view's camera")
    x0, y0, x1, y1 = query.rect
    ray = query.camera.rays(((x0 + x1) / 2, (y0 + y1) / 2))
    return carry(rotations, centers, ups, ray, np.zeros(3) if query.up is None else query.up)


def _standing_heights(heights: Array, rotations: Array, ups: Array, sizes: Array) -> Array:
    """(n,) heights of the centres above the ground, in heights of the boxes, of boxes that about stand."""
    upright = np.abs(np.einsum("ni,nij->nj", ups, rotations))
    standing = np.einsum("nj,nj->n", upright, sizes) / (2 * sizes[:, 1])
    return np.where(np.abs(heights - standing) <= _HOVER, heights, standing)


def _sights(sightings: Sequence[Sighting], margins: Sequence[Array]) -> Sights:
    cameras, rects, sides, precisions = [], [], [], []
    for sighting, margin in zip(sightings, margins, strict=True):
        camera, (x0, y0, x1, y1) = sighting.view.camera, sighting.view.rect
        assert camera is not None  # _carried has refused those without
        cameras.append([camera.fx, camera.fy, camera.cx, camera.cy])
        rects.append(np.array([x0, y0, x1, y1]) + margin * [x1 - x0, y1 - y0, x1 - x0, y1 - y0])
        sides.append([x0 <= 1, y0 <= 1, x1 >= camera.width - 1, y1 >= camera.height - 1])
        precisions.append(1 / math.hypot(_RECT_PIXELS, _RECT_SHARE * math.sqrt((x1 - x0) * (y1 - y0))))
    transforms = np.stack([sighting.camera_from_world[:3] for sighting in sightings])
    return Sights(np.array(cameras), transforms, np.array(rects), np.array(sides), np.array(precisions))


def _ground(sightings: Sequence[Sighting]) -> Ground:
    """The first sighting's plane, of those that have one, in the world."""
    for sighting in sightings:
        if (plane := sighting.view.plane) is not None:
            rotation, translation = sighting.camera_from_world[:3, :3], sighting.camera_from_world[:3, 3]
            offset = plane.offset + float(plane.normal @ translation)
            return Ground(np.ascontiguousarray(rotation.T @ plane.normal), offset, _GROUND)
    return Ground(np.zeros(3), 0.0, math.inf)


def _votes(similarities: Array, costs: Array) -> Array:
    """(n,) what each reference counts, summing to 1."""
    if not np.isfinite(costs).any():
        raise BehindCameraError("no box in front of the camera shows itself in the rectangle")
    logarithms = similarities / _SIMILARITY - _EVIDENCE * costs / 2
    unscaled: Array = np.exp(logarithms - logarithms.max())
    return np.asarray(unscaled / unscaled.sum())


def _overlaps(solutions: Solutions) -> Array:
    """(n, n) IoU of the references' boxes; 0 for those that there is none of."""
    found = np.isfinite(solutions.costs)
    table = np.zeros((len(found), len(found)))
    table[np.ix_(found, found)] = pairwise_iou(solutions.corners[found])
    return table


@dataclass(frozen=True, eq=False)
class _Pool:
    """What the references expect together.

    ``spread`` (4, 4) is the precision of yaw and log size that their disagreement speaks for, ``front`` by how many
    quarter turns the prior's front is to be turned.
    """

    prior: Prior
    spread: Array
    front: int


def _pool(priors: Prior, winner: int, weights: Array, objects: Sequence[str]) -> _Pool:
    """A box is the same box when it is turned by a quarter and its sides are swapped, so each reference is turned to
    where it is nearest to the winner. How far a new object may be from the mean is taken as the same whatever the
    references' spread: solving with the spread gave worse boxes (docs/LOG.md). It is only reported.
    """
    weights = weights / weights.sum()
    yaws, quarters = _relative_yaws(priors, winner)
    sizes = np.where((quarters % 2 == 1)[:, None], priors.log_size[:, [2, 1, 0]], priors.log_size)
    expected = np.concatenate([yaws[:, None], sizes], axis=1)
    mean = weights @ expected
    up = priors.up[winner]
    turned = np.empty((3, 3))
    turn(priors.rotation[winner], up, mean[0], turned)
    height = weights @ priors.height
    pooled = (turned, up, height, mean[1:], priors.size_precision[winner], priors.yaw_precision[winner])
    return _Pool(
        Prior(*(np.array(part, np.float64, order="C")[None] for part in pooled)),
        _spread(expected - mean, weights, objects),
        int(np.bincount(quarters, weights, minlength=4).argmax()),
    )


def _spread(apart: Array, weights: Array, objects: Sequence[str]) -> Array:
    """(4, 4) precision of a new object's yaw and log size about the mean of references that are so far ``apart`` of it.

    The frames of one object are one witness: they repeat its errors. What one witness cannot say, the standard
    deviations above do; they are of the difference of two objects, of which each has a half.
    """
    _, member = np.unique(objects, return_inverse=True)
    count = 1 / float((np.bincount(member, weights) ** 2).sum())
    standard = np.zeros((4, 4))
    standard[0, 0], standard[1:, 1:] = _YAW**2 / 2, _SIZE / 2
    scatter = (weights[:, None] * apart).T @ apart
    within = (_STANDARD * standard + count * scatter) / (_STANDARD + count - 1)
    return np.asarray(np.linalg.inv(within * (1 + 1 / count)))


def _relative_yaws(priors: Prior, winner: int) -> tuple[Array, NDArray[np.intp]]:
    """(n,) yaws from the winner's rotation to each, within an eighth of a turn, after (n,) quarter turns."""
    up = priors.up[winner]
    turns = priors.rotation @ priors.rotation[winner].T
    axes = np.stack([turns[:, 2, 1] - turns[:, 1, 2], turns[:, 0, 2] - turns[:, 2, 0], turns[:, 1, 0] - turns[:, 0, 1]])
    yaws = np.arctan2(up @ axes, np.trace(turns, axis1=1, axis2=2) - np.einsum("i,nij,j->n", up, turns, up))
    quarters = np.rint(yaws / (math.pi / 2)).astype(np.intp)
    return yaws - quarters * math.pi / 2, quarters % 4


def _precision(covariance: Array) -> Array:
    return np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(covariance)).T)


def _fit(
    last: Solutions,
    pool: _Pool,
    state_covariance: Array,
    solutions: Solutions,
    votes: Array,
    positions: Sequence[int],
    calibration: Calibration,
) -> Fit:
    found = np.flatnonzero(np.isfinite(solutions.costs))
    overlaps = iou_3d(np.repeat(last.corners, len(found), axis=0), solutions.corners[found])
    agreeing = found[overlaps > _AGREEMENT]
    sides = [2, 1, 0] if pool.front % 2 else [0, 1, 2]
    state = last.states[0]
    box = Box(last.rotations[0] @ _QUARTERS[pool.front], state[CENTER], np.exp(state[LOG_SIZE])[sides])
    order = [0, 1, 2, YAW, *(4 + side for side in sides)]
    covariance = state_covariance[np.ix_(order, order)]
    signs = signs_of(box, covariance, min(1.0, float(votes[agreeing].sum())))
    support = tuple(sorted(positions[i] for i in agreeing))
    return Fit(box, calibration.probability(signs), support, covariance, signs)


def _covariance(last: Solutions, pool: _Pool, sights: Sights) -> Array:
    """Of the state, with the references' spread in place of the deviations that were solved with."""
    information = last.information[0].copy()
    precision = pool.prior.size_precision[0]
    information[YAW, YAW] -= pool.prior.yaw_precision[0] ** 2
    information[LOG_SIZE, LOG_SIZE] -= precision.T @ precision
    information[YAW:, YAW:] += pool.spread
    rotation, translation = sights.camera_from_world[0, :, :3], sights.camera_from_world[0, :, 3]
    distance = float(np.linalg.norm(rotation @ last.states[0, CENTER] + translation))
    information[CENTER, CENTER] += np.eye(3) / (_ANYWHERE * distance) ** 2
    scale = 1 / np.sqrt(np.diag(information))  # metres and radians differ by orders of magnitude
    inverse = np.linalg.inv(information * np.outer(scale, scale)) * np.outer(scale, scale)
    return np.asarray((inverse + inverse.T) / 2)
