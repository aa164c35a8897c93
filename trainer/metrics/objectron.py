"""Objectron's figures of boxes: errors of pairs, what a prediction is taken for, average precision (docs/metrics.md).

Two modes. ``official`` is the published evaluator bug for bug, so that figures compare with published ones;
``corrected`` is what it means to be. A box's *keypoints* are its centre and its eight corners, in the order of
``index.schema``, (9, 3) metres in the camera's frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.compiled import compiled
from index.iou import iou_3d
from index.schema import InvalidValueError
from trainer.metrics.estimate import Estimate, Sampled

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Mode = Literal["official", "corrected"]
MODES: tuple[Mode, ...] = ("official", "corrected")

# The published evaluator's, 21 each. It prints those of pixels and angles as a tenth of what they are.
THRESHOLDS: Mapping[str, Array] = {
    "iou": np.linspace(0, 1, 21),
    "pixels": np.linspace(0, 20, 21),
    "azimuth_deg": np.linspace(0, 30, 21),
    "elevation_deg": np.linspace(0, 20, 21),
    "add_m": np.linspace(0, 1, 21),
    "adds_m": np.linspace(0, 1, 21),
}
_UNIT = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_IOU_REPORTED = (0.25, 0.5, 0.7)


@dataclass(frozen=True)
class Curve:
    """A figure at thresholds, both of one length."""

    thresholds: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, thresholds: ArrayLike, values: ArrayLike) -> Curve:
        """From arrays (t,)."""
        x, y = (tuple(np.asarray(part, np.float64).tolist()) for part in (thresholds, values))
        return cls(x, y)


@dataclass(frozen=True)
class Detection:
    """What the evaluator says of many predictions, averaged over categories.

    ``curves`` of ``THRESHOLDS`` are average precisions (``iou``: of boxes with at least that IoU; others: at most that
    error). ``ap_iou_*`` are points of the first one, with intervals. ``mean_errors`` are over matched predictions,
    by the same names. ``official`` takes the error in the picture, ``pixels``, in shares of the picture's sides.
    """

    mode: Mode
    ap_iou_25: Estimate
    ap_iou_50: Estimate
    ap_iou_70: Estimate
    curves: Mapping[str, Curve]
    mean_errors: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Errors:
    """Of n pairs of boxes, (n,) each; NaN (IoU 0) where there is no prediction.

    ``pixels`` is the mean over the corners of their distance in the picture, ``shares`` that in shares of its width
    and height. ``add_m`` is the mean distance of keypoints, ``adds_m`` that of each predicted one to the nearest true.
    """

    iou: Array
    azimuth_deg: Array
    elevation_deg: Array
    pixels: Array
    shares: Array
    add_m: Array
    adds_m: Array


def errors_between(predicted: Array, true: Array, cameras: Array) -> Errors:
    """Of predicted boxes (n, 8, 3), rows of NaN where there is none, from the true ones (n, 8, 3).

    cameras: (n, 6) fx, fy, cx, cy, width, height, pixels. Corners in the order of ``index.schema``, in the camera's
    frame, metres, all in front of the camera.
    """
    there = np.flatnonzero(answered(predicted))
    found = {field.name: np.full(len(predicted), np.nan) for field in fields(Errors)}
    found["iou"][:] = 0.0
    a, b, k = predicted[there], true[there], cameras[there]
    points_a, points_b = keypoints(a), keypoints(b)
    found["iou"][there] = iou_3d(a, b)
    azimuth, elevation = viewpoint_errors(points_a, points_b)
    found["azimuth_deg"][there], found["elevation_deg"][there] = azimuth, elevation
    apart = projected(a, k) - projected(b, k)
    found["pixels"][there] = np.linalg.norm(apart, axis=2).mean(axis=1)
    found["shares"][there] = np.linalg.norm(apart / k[:, None, 4:6], axis=2).mean(axis=1)
    found["add_m"][there] = add(points_a, points_b)
    found["adds_m"][there] = adds(points_a, points_b)
    return Errors(**found)


def answered(predicted: Array) -> NDArray[np.bool_]:
    """(n, 8, 3) -> (n,): whether there is a prediction."""
    return np.asarray(~np.isnan(predicted).any(axis=(1, 2)))


def keypoints(corners: Array) -> Array:
    """(n, 8, 3) corners -> (n, 9, 3): the centre first."""
    return np.concatenate([corners.mean(axis=1, keepdims=True), corners], axis=1)


def projected(points: Array, cameras: Array) -> Array:
    """(n, p, 3) points of n cameras (n, 6) -> (n, p, 2) pixels."""
    k = cameras[:, None]
    return np.asarray(points[..., :2] / points[..., 2:] * k[..., 0:2] + k[..., 2:4])


def viewpoint(points: Array) -> tuple[Array, Array]:
    """Keypoints (n, 9, 3) -> azimuth and elevation (n,), degrees, of the camera as the box sees it (y up, z front).

    By the evaluator's own least squares from camera to box, which need not be a rotation where keypoints are no box.
    """
    sides = np.linalg.norm(points[:, [5, 3, 2]] - points[:, [1]], axis=2)
    in_box = np.concatenate([np.zeros((1, 3)), _UNIT]) * sides[:, None]
    homogeneous = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2)
    box_from_camera = np.linalg.pinv(homogeneous) @ in_box
    x, y, z = box_from_camera[:, 3].T  # where the camera's origin goes
    return np.degrees(np.arctan2(z, x)), np.degrees(np.arctan2(y, np.hypot(x, z)))


def viewpoint_errors(predicted: Array, true: Array) -> tuple[Array, Array]:
    """Of keypoints (n, 9, 3) each: azimuth, at most 180, and elevation (n,), degrees."""
    (azimuth_a, elevation_a), (azimuth_b, elevation_b) = viewpoint(predicted), viewpoint(true)
    apart = np.abs(azimuth_a - azimuth_b)
    return np.minimum(apart, 360 - apart), np.abs(elevation_a - elevation_b)


def add(predicted: Array, true: Array) -> Array:
    """Keypoints (n, 9, 3) each -> (n,) metres."""
    return np.asarray(np.linalg.norm(predicted - true, axis=2).mean(axis=1))


def adds(predicted: Array, true: Array) -> Array:
    """The same to the nearest keypoint, which several may share."""
    apart = np.linalg.norm(predicted[:, :, None] - true[:, None], axis=3)
    return np.asarray(apart.min(axis=2).mean(axis=1))


@dataclass(frozen=True, eq=False)
class Things:
    """What n queries ask for: the true boxes, and the pictures that they are in.

    corners: (n, 8, 3). cameras: (n, 6), see ``errors_between``. pictures: (n,) the picture's number, files' order.
    """

    corners: Array
    cameras: Array
    pictures: Rows

    def centred(self) -> NDArray[np.bool_]:
        """(n,): whether the box's centre is in front of the camera and inside the picture."""
        centers = self.corners.mean(axis=1, keepdims=True)
        ahead = centers[:, 0, 2] > 0
        shares = projected(np.where(ahead[:, None, None], centers, 1.0), self.cameras)[:, 0] / self.cameras[:, 4:6]
        return np.asarray(ahead & ((shares > 0) & (shares < 1)).all(axis=1))


def matched(predicted: Array, things: Things, confidence: Array, mode: Mode) -> Rows:
    """(n,): the query of the thing that each query's prediction (n, 8, 3) is taken for; -1: none, or no prediction.

    The prediction's corners are compared in the picture, in shares of its sides, with those of all things in it.
    ``official``: the nearest, so that several may be taken for one thing. ``corrected``: in order of falling
    ``confidence`` (n,) the nearest that is still free.
    """
    there = answered(predicted)
    result = np.where(there, np.arange(len(predicted)), -1)
    numbers, counts = np.unique(things.pictures, return_counts=True)
    for number in numbers[counts > 1]:
        rows = np.flatnonzero(things.pictures == number)
        asked = rows[there[rows]]
        if mode == "corrected":
            asked = asked[np.argsort(-confidence[asked], kind="stable")]
        scale = things.cameras[rows[:1], None, 4:6]
        shares = projected(things.corners[rows], things.cameras[rows]) / scale
        free = np.ones(len(rows), bool)
        for query in asked:
            guess = projected(predicted[[query]], things.cameras[[query]]) / scale
            distance = np.where(free, np.linalg.norm(guess - shares, axis=(1, 2)), np.inf)
            nearest = int(distance.argmin())
            result[query] = rows[nearest]
            free[nearest] &= mode == "official"
    return result


def average_precision(hits: Array, misses: Array, total: ArrayLike) -> Array:
    """All-point interpolated (PASCAL VOC 2012): the area under precision's envelope over recall.

    Args:
        hits, misses: (..., n), how many there are at each of n places of the ranking.
        total: (...), what there is to find.

    Returns:
        (...,); above 1 where there are more hits than things to find, as the official mode allows.
    """
    found, wrong = np.cumsum(hits, axis=-1), np.cumsum(misses, axis=-1)
    recall = found / np.maximum(np.asarray(total, np.float64), 1e-9)[..., None]
    precision = found / np.maximum(found + wrong, 1e-9)
    return area_under(recall, precision)


def area_under(recall: Array, precision: Array) -> Array:
    """(..., n) each, recall rising -> (...): the sum of recall's steps times the best precision from there on."""
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray((np.diff(recall, axis=-1, prepend=0.0) * envelope).sum(axis=-1))


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Predictions in the order in which they count: p rows of queries, and the errors of each, unmatched ones as such.

    place: (p,) which point of the curve a prediction is part of; rising from 0. instances: (n,) per query, how many
    things to find it stands for.
    """

    rows: Rows
    errors: Errors
    place: Rows
    instances: Array


def detection(predicted: Array, things: Things, confidence: Array, sampled: Sampled, mode: Mode) -> Detection:
    """The evaluator's figures.

    Args:
        predicted: (n, 8, 3) a box a query; rows of NaN where there is none.
        confidence: (n,) by which ``corrected`` ranks; ``official`` knows none.
    """
    if mode not in MODES:
        raise InvalidValueError("mode", mode, f"one of {', '.join(MODES)}")
    ranking = _ranked(predicted, things, confidence, mode)
    at = [_with_interval(ranking, sampled, mode, level) for level in _IOU_REPORTED]
    curves = {name: _curve(name, ranking, sampled, mode) for name in THRESHOLDS}
    return Detection(mode, at[0], at[1], at[2], curves, _mean_errors(ranking, sampled, mode))


def _ranked(predicted: Array, things: Things, confidence: Array, mode: Mode) -> _Ranking:
    taken_for = matched(predicted, things, confidence, mode)
    there = np.flatnonzero(answered(predicted))
    instances = np.ones(len(predicted))
    if mode == "official":
        accepted = np.isin(things.pictures, things.pictures[things.centred()])
        there, instances = there[accepted[there]], accepted.astype(np.float64)
        there = there[np.argsort(things.pictures[there], kind="stable")]
        _, place = np.unique(things.pictures[there], return_inverse=True)
    else:
        there = there[np.argsort(-confidence[there], kind="stable")]
        place = np.arange(len(there))
    targets = taken_for[there]
    found = errors_between(
        np.where((targets >= 0)[:, None, None], predicted[there], np.nan),
        things.corners[targets],
        things.cameras[there],
    )
    return _Ranking(there, found, place, instances)


def _figure(name: str, mode: Mode) -> str:
    return "shares" if (name, mode) == ("pixels", "official") else name


def _hits(name: str, ranking: _Ranking, mode: Mode, thresholds: Array) -> NDArray[np.bool_]:
    """(t, p): IoUs at least a threshold, errors at most one. Officially, unmatched ones have the largest error."""
    values = getattr(ranking.errors, _figure(name, mode))
    if name == "iou":
        return np.asarray(values >= thresholds[:, None])
    if mode == "official":
        values = np.where(np.isnan(values), THRESHOLDS[name][-1], values)
    return np.asarray(values <= thresholds[:, None])  # never for NaN


def _precision_of(hits: NDArray[np.bool_], ranking: _Ranking, rows: Rows, counts: Array) -> Array:
    """(draws,) average precision of a category's queries ``rows`` (m,) that count (draws, m) times; hits (p,)."""
    column = np.full(len(ranking.instances), -1)
    column[rows] = np.arange(len(rows))
    chosen = column[ranking.rows] >= 0
    ends = np.flatnonzero(np.diff(ranking.place[chosen], append=-1)) + 1
    total = counts @ ranking.instances[rows]
    return _drawn_precisions(counts, column[ranking.rows[chosen]], hits[chosen], ends, total)


@compiled
def _drawn_precisions(counts: Array, column: Rows, hits: NDArray[np.bool_], ends: Rows, total: Array) -> Array:
    """``average_precision`` of every draw, without its arrays: (draws,).

    counts: (draws, m). column, hits: (p,) which of the m a prediction is of, and whether it is right. ends: (points,)
    where each point of the curve ends among the p. total: (draws,).
    """
    areas, recall, precision = np.zeros(len(counts)), np.zeros(len(ends) + 1), np.zeros(len(ends) + 1)
    for draw in range(len(counts)):
        found, wrong, start = 0.0, 0.0, 0
        for point in range(len(ends)):
            for k in range(start, ends[point]):
                if hits[k]:
                    found += counts[draw, column[k]]
                else:
                    wrong += counts[draw, column[k]]
            start = ends[point]
            recall[point + 1] = found / max(total[draw], 1e-9)
            precision[point + 1] = found / max(found + wrong, 1e-9)
        best = 0.0
        for point in range(len(ends), 0, -1):
            best = max(best, precision[point])
            areas[draw] += (recall[point] - recall[point - 1]) * best
    return areas


def _curve(name: str, ranking: _Ranking, sampled: Sampled, mode: Mode) -> Curve:
    hits = _hits(name, ranking, mode, THRESHOLDS[name])
    by_category = []
    for category in np.unique(sampled.categories):
        rows = np.flatnonzero(sampled.categories == category)
        once = np.ones((1, len(rows)))
        by_category.append([_precision_of(level, ranking, rows, once)[0] for level in hits])
    return Curve.of(THRESHOLDS[name], np.mean(by_category, axis=0))


def _with_interval(ranking: _Ranking, sampled: Sampled, mode: Mode, level: float) -> Estimate:
    hits = _hits("iou", ranking, mode, np.array([level]))[0]
    estimate = sampled.statistic(lambda rows, counts: _precision_of(hits, ranking, rows, counts))
    assert estimate is not None  # an average precision is 0 where nothing is found
    return estimate


def _mean_errors(ranking: _Ranking, sampled: Sampled, mode: Mode) -> dict[str, float]:
    categories = sampled.categories[ranking.rows]
    result = {}
    for name in THRESHOLDS:
        values = getattr(ranking.errors, _figure(name, mode))
        known = ~np.isnan(values)
        means = [values[known & (categories == c)].mean() for c in np.unique(categories[known])]
        if name != "iou" and means:
            result[name] = float(np.mean(means))
    return result
