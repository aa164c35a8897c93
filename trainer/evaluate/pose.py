"""Figures of boxes: from the answers to queries to what ``evaluation.json`` says of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import spearmanr

from index.schema import box_corners
from trainer.boxes import Answers, Asked, Boxes, Method
from trainer.evaluate.schema import Bin, Calibration, Condition, Pose, PoseFigures, Slice
from trainer.frames import Frames
from trainer.metrics import (
    Curve,
    Errors,
    Estimate,
    Sampled,
    Split,
    Spread,
    Things,
    detection,
    errors_between,
    turned_to_best,
)
from trainer.metrics.objectron import answered, keypoints, projected, viewpoint

Array = NDArray[np.float64]

_CURVE = np.linspace(0, 1, 101)
_BINS = 10
_SLICES: dict[Condition, tuple[float, ...]] = {
    "elevation_deg": (-90.0, 0.0, 15.0, 30.0, 45.0, 60.0, 90.0),
    "truncation": (0.0, 0.01, 0.1, 0.3, 1.0),
    "size": (0.0, 0.2, 0.35, 0.5, 0.7, 1.0),
}


@dataclass(frozen=True, eq=False)
class Truths:
    """The queries whose box is known, m of n, and what it is.

    known: (n,) bool. symmetric: (m,) whether it looks the same from all sides.
    """

    known: NDArray[np.bool_]
    things: Things
    rects: Array  # (m, 4) pixels
    sampled: Sampled
    symmetric: NDArray[np.bool_]

    @classmethod
    def of(cls, queries: Frames, symmetric: Collection[str]) -> Truths:
        """symmetric: names of categories, or of single objects."""
        known = ~np.asarray(queries.table["box"].combine_chunks().is_null(), bool)
        frames = queries.select(known)
        boxes, cameras = (_numbers(frames, name) for name in ("box", "camera"))
        corners = box_corners(boxes[:, :9].reshape(-1, 3, 3), boxes[:, 9:12], boxes[:, 12:])
        return cls(
            known,
            Things(corners, cameras, _pictures(frames)),
            frames.rect,
            Sampled(frames.category, frames.sequence),
            np.isin(frames.category, list(symmetric)) | np.isin(frames.object_id, list(symmetric)),
        )

    def __len__(self) -> int:
        return len(self.rects)

    @cached_property
    def conditions(self) -> dict[Condition, Array]:
        """(m,) each: what slices are by."""
        cameras, elevation = self.things.cameras, viewpoint(keypoints(self.things.corners))[1]
        pixels, size = projected(self.things.corners, cameras), cameras[:, 4:6]
        low, high = pixels.min(axis=1), pixels.max(axis=1)
        inside = np.clip(np.minimum(high, size) - np.maximum(low, 0), 0, None)
        sides = self.rects[:, 2:] - self.rects[:, :2]
        return {
            "elevation_deg": elevation,
            "truncation": 1 - inside.prod(axis=1) / (high - low).prod(axis=1),
            "size": sides.max(axis=1) / size.max(axis=1),
        }


def _numbers(frames: Frames, column: str) -> Array:
    """(m, fields) of a struct column whose rows all are there."""
    parts = frames.table[column].combine_chunks().flatten()
    columns = []
    for part in parts:
        several = pa.types.is_fixed_size_list(part.type)
        values = np.asarray(part.flatten() if several else part, np.float64)
        columns.append(values.reshape(len(frames), part.type.list_size if several else 1))
    return np.concatenate(columns, axis=1)


def _pictures(frames: Frames) -> NDArray[np.int64]:
    """(m,) the picture that each frame is of, numbered in the files' order."""
    places = list(zip(frames.table["shard"].to_pylist(), frames.table["offset"].to_pylist(), strict=True))
    numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
    return np.array([numbers[place] for place in places], np.int64)


@dataclass(frozen=True, eq=False)
class Measured:
    """The boxes of one method (m, of the queries whose box is known), and how wrong they are, turned and not."""

    method: Method
    boxes: Boxes
    errors: Errors
    turned: Array  # (m, 8, 3)
    turned_errors: Errors

    @classmethod
    def of(cls, method: Method, boxes: Boxes, truths: Truths) -> Measured:
        """boxes: of all n queries."""
        chosen = Boxes(boxes.values[truths.known], boxes.confidence[truths.known])
        corners, true, cameras = chosen.corners, truths.things.corners, truths.things.cameras
        turned, same = corners.copy(), truths.symmetric
        turned[same] = turned_to_best(corners[same], true[same])
        errors = errors_between(corners, true, cameras)
        return cls(method, chosen, errors, turned, errors_between(turned, true, cameras) if same.any() else errors)


def measured(answers: Answers, truths: Truths) -> list[Measured]:
    """Of every method; empty where no query's box is known."""
    return [Measured.of(method, boxes, truths) for method, boxes in answers.items()] if len(truths) else []


def poses(found: Measured, truths: Truths) -> tuple[Pose, ...]:
    """The figures of one method, as they are and with symmetric things turned."""
    plain = _pose(found, truths, symmetric=False)
    if not truths.symmetric.any():
        return plain, replace(plain, symmetric=True)
    return plain, _pose(found, truths, symmetric=True)


def _pose(found: Measured, truths: Truths, *, symmetric: bool) -> Pose:
    corners, errors = (found.turned, found.turned_errors) if symmetric else (found.boxes.corners, found.errors)
    sampled, confidence = truths.sampled, found.boxes.confidence
    overall, by_category = _figures(errors, answered(corners), sampled)
    return Pose(
        found.method,
        symmetric,
        overall,
        by_category,
        _shares_above(errors.iou, sampled),
        detection(corners, truths.things, confidence, sampled, "official"),
        detection(corners, truths.things, confidence, sampled, "corrected"),
        tuple(_slices(errors.iou, truths)),
    )


def _figures(errors: Errors, there: NDArray[np.bool_], sampled: Sampled) -> tuple[PoseFigures, dict[str, PoseFigures]]:
    """Over categories, and of each."""
    means = {
        name: sampled.means(values.astype(np.float64))
        for name, values in {
            "answered": there,
            "iou_25": errors.iou > 0.25,
            "iou_50": errors.iou > 0.5,
            "iou_70": errors.iou > 0.7,
            "mean_iou": errors.iou,
        }.items()
    }
    spreads = {
        name: (sampled.means(getattr(errors, name)), sampled.medians(getattr(errors, name)))
        for name in ("azimuth_deg", "elevation_deg", "pixels", "add_m", "adds_m")
    }

    def figures(of: Callable[[Split], Estimate | None]) -> PoseFigures:
        shares = {name: _there(of(split)) for name, split in means.items()}
        apart = {name: _spread(of(mean), of(median)) for name, (mean, median) in spreads.items()}
        return PoseFigures(**shares, **apart)  # type: ignore[arg-type]  # by name, each of its kind

    def figures_of(category: str) -> PoseFigures:
        return figures(lambda split: split.by_category.get(category))

    return figures(lambda split: split.overall), {name: figures_of(name) for name in means["answered"].by_category}


def _spread(mean: Estimate | None, median: Estimate | None) -> Spread | None:
    return Spread(mean, median) if mean and median else None


def _there(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


def share(values: NDArray[np.bool_] | Array, sampled: Sampled) -> Estimate:
    """The mean of (n,) values that all are there."""
    return _there(sampled.mean(values.astype(np.float64)))


def _shares_above(iou: Array, sampled: Sampled) -> Curve:
    above = iou > _CURVE[:, None]
    names = np.unique(sampled.categories)
    return Curve.of(_CURVE, np.mean([above[:, sampled.categories == name].mean(axis=1) for name in names], axis=0))


def _slices(iou: Array, truths: Truths) -> list[Slice]:
    found = []
    for by, edges in _SLICES.items():
        values = truths.conditions[by]
        for low, high in pairwise(edges):
            rows = (values >= low) & ((values < high) | (high == edges[-1]))
            if rows.any():
                part = truths.sampled.select(rows)
                hits = [share(iou[rows] > level, part) for level in (0.5, 0.7)]
                found.append(Slice(by, low, high, int(rows.sum()), *hits))
    return found


def calibration(asked: Asked, service: Measured, truths: Truths) -> Calibration:
    """What the nearest frame's similarity and the answer's confidence tell of the IoU."""
    similarity, iou = asked.similarities[truths.known, 0].astype(np.float64), service.errors.iou
    alike = np.array_split(np.argsort(similarity, kind="stable"), min(_BINS, len(iou)))
    confidence = service.boxes.confidence
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    sure = [rows for number in range(_BINS) if len(rows := np.flatnonzero(place == number))]
    bins = tuple(_bin(confidence, iou, rows) for rows in sure)
    error = sum(b.queries * abs(b.mean - b.iou_50) for b in bins) / len(iou)
    varied = np.ptp(similarity) > 0 and np.ptp(iou) > 0
    return Calibration(
        tuple(_bin(similarity, iou, rows) for rows in alike),
        float(spearmanr(similarity, iou).statistic) if varied else None,
        bins,
        float(error),
    )


def _bin(values: Array, iou: Array, rows: NDArray[np.intp]) -> Bin:
    part = values[rows]
    hits = float((iou[rows] > 0.5).mean())
    return Bin(float(part.min()), float(part.max()), len(rows), float(part.mean()), float(iou[rows].mean()), hits)
