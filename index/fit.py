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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
from index.witnesses import SIZE_COVARIANCE, YAW_DEVIATION, Sighting, ground_of, sights_of, witnesses_of

_SIMILARITY = 0.08  # a neighbour that is less similar than the nearest by this weighs 1/e of it
_EVIDENCE = 0.2  # how much a neighbour's cost counts: 1 would be right if all deviations were normal and independent
_AGREEMENT = 0.5  # the IoU at which two boxes count as the same answer: the benchmark's own threshold
_STANDARD = 2.0  # neighbours that the usual deviations are worth against what the neighbours' own spread says

_EIGHTH = math.pi / 4 + 1e-6  # of a turn: no box that stands is further from another
_UPRIGHT = 0.99  # cosine between a box's y and up from which it stands
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
        covariance: (7, 7) of the centre (3, metres), the yaw about up (radians; the box's y, where it stands) and the
            logarithms of its size (3). It counts what the neighbours disagree about, but not that all may be wrong.
    """

    box: Box
    confidence: float
    support: tuple[int, ...]
    covariance: Array
    signs: tuple[float, ...]


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
        OutOfViewError: the same, where there is no plane.
        BehindCameraError: no box in front of the camera fits.
    """
    return fit_sightings([Sighting(query, references, similarities)], calibration)


def fit_sightings(sightings: Sequence[Sighting], calibration: Calibration = SHIPPED) -> Fit:
    """One box for several pictures of one object that has not moved, in the world's frame. Raises as ``fit_box``.

    The calibration is of single pictures: several are surer than their confidence says (docs/LOG.md).
    """
    every = [witnesses_of(sighting) for sighting in sightings]
    witnesses = [w for w in every if w is not None]
    if not witnesses:
        raise NoPoseError("none of the neighbours has a box")
    priors = Prior(*(np.concatenate(parts) for parts in zip(*(w.priors for w in witnesses), strict=True)))
    sights = sights_of(sightings, [np.zeros(4) if w is None else w.margins for w in every])
    ground = ground_of(sightings)
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
    positions = [int(first) + p for first, w in zip(before, every, strict=False) if w for p in w.positions]
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
    yaws, quarters = _relative_yaws(priors, winner)
    weights = np.where(np.abs(yaws) > _EIGHTH, 0.0, weights)  # two sides of a lying box have no mean
    weights = weights / weights.sum()
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

    The frames of one object are one witness: they repeat its errors. What one witness cannot say, the usual deviations
    (``index.witnesses``) do; they are of the difference of two objects, of which each has a half.
    """
    _, member = np.unique(objects, return_inverse=True)
    count = 1 / float((np.bincount(member, weights) ** 2).sum())
    standard = np.zeros((4, 4))
    standard[0, 0], standard[1:, 1:] = YAW_DEVIATION**2 / 2, SIZE_COVARIANCE / 2
    scatter = (weights[:, None] * apart).T @ apart
    within = (_STANDARD * standard + count * scatter) / (_STANDARD + count - 1)
    return np.asarray(np.linalg.inv(within * (1 + 1 / count)))


def _relative_yaws(priors: Prior, winner: int) -> tuple[Array, NDArray[np.intp]]:
    """(n,) yaws from the winner's rotation to each, after (n,) quarter turns that bring them as near as can be."""
    up = priors.up[winner]
    turns = priors.rotation @ priors.rotation[winner].T
    axes = np.stack([turns[:, 2, 1] - turns[:, 1, 2], turns[:, 0, 2] - turns[:, 2, 0], turns[:, 1, 0] - turns[:, 0, 1]])
    yaws = np.arctan2(up @ axes, np.trace(turns, axis1=1, axis2=2) - np.einsum("i,nij,j->n", up, turns, up))
    upright = np.abs(np.einsum("i,nij->nj", up, priors.rotation)[:, 1]) > _UPRIGHT
    quarters = np.rint(yaws / (math.pi / 2)).astype(np.intp)
    # Of boxes that do not stand, no turn about up leaves the box what it is.
    quarters = np.where(upright & upright[winner], quarters, 0)
    return yaws - quarters * math.pi / 2, quarters % 4


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
    signs = signs_of(box, covariance, pool.prior.up[0], min(1.0, float(votes[agreeing].sum())))
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
