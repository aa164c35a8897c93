"""How far to trust a fitted box: signs of doubt, and what they have meant on frames whose box is known.

``Calibration`` is a logistic regression of "3D IoU with the truth above 0.5" on three signs. ``trainer.build`` makes it
for every index, from its own frames, each looked up as if its object were not in the index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from index.iou import iou_3d
from index.schema import Array, Box, InvalidValueError, box_corners

SIGNS = ("agreement", "overlap", "flatness")

_DRAWS = np.random.default_rng(0).standard_normal((64, 7))
_RIDGE = 1.0  # of the standardised weights: a sign that tells nothing gets none
_LEAST = 50  # frames; from fewer, the shipped calibration is the better guess
_LARGEST = 12.0  # of the logit: no confidence rounds to 0 or 1


@dataclass(frozen=True)
class Calibration:
    """P(IoU > 0.5) = logistic(weights[0] + weights[1:] . signs).

    ``frames`` are how many of the index's own it was made from; 0: it is the one that ships.
    """

    weights: tuple[float, ...]
    frames: int

    def probability(self, signs: Sequence[float]) -> float:
        """In (0, 1)."""
        logit = self.weights[0] + float(np.dot(self.weights[1:], signs))
        return 1 / (1 + math.exp(-min(max(logit, -_LARGEST), _LARGEST)))

    @classmethod
    def from_manifest(cls, value: Any) -> Calibration:
        """What ``trainer.build`` wrote; the shipped calibration where it wrote none."""
        if value is None:
            return SHIPPED
        weights = tuple(float(weight) for weight in value["weights"])
        if len(weights) != 1 + len(SIGNS):
            raise InvalidValueError("calibration.weights", weights, f"{1 + len(SIGNS)} numbers")
        return cls(weights, int(value["frames"]))


def calibrate(signs: Array, hits: NDArray[np.bool_]) -> Calibration | None:
    """From the signs (n, 3) of n boxes and whether each was good; None where that is too little to tell."""
    if len(hits) < _LEAST or not 0 < hits.sum() < len(hits):
        return None
    mean, deviation = signs.mean(axis=0), np.maximum(signs.std(axis=0), 1e-6)
    rows = np.column_stack([np.ones(len(hits)), (signs - mean) / deviation])

    def loss(weights: Array) -> tuple[float, Array]:
        logits = rows @ weights
        excess = 1 / (1 + np.exp(-logits)) - hits
        ridge = np.concatenate([[0.0], weights[1:]]) * _RIDGE
        value = float(np.logaddexp(0, np.where(hits, -logits, logits)).sum() + ridge @ weights / 2)
        return value, rows.T @ excess + ridge

    fitted = minimize(loss, np.zeros(rows.shape[1]), jac=True).x
    slopes = fitted[1:] / deviation
    return Calibration((float(fitted[0] - slopes @ mean), *(float(slope) for slope in slopes)), len(hits))


def signs_of(box: Box, covariance: Array, up: Array, agreement: float) -> tuple[float, ...]:
    """What a box's confidence is told from; ``up`` (3,) is the axis of the covariance's yaw.

    agreement: the share of the votes whose own box overlaps it with IoU > 0.5.
    overlap: the mean IoU of the box with boxes drawn from its ``covariance``: how much of it the doubt leaves.
    flatness: the logarithm of its shortest by its longest side: flat boxes miss each other by a hair.
    """
    drawn = _drawn(box, covariance, up)
    overlap = float(iou_3d(np.repeat(box.corners[None], len(drawn), axis=0), drawn).mean())
    return agreement, overlap, float(np.log(box.size.min() / box.size.max()))


def _drawn(box: Box, covariance: Array, up: Array) -> Array:
    """(n, 8, 3) corners of boxes drawn about ``box``."""
    values, vectors = np.linalg.eigh(covariance)
    apart = _DRAWS * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cosines, sines = np.cos(apart[:, 3])[:, None, None], np.sin(apart[:, 3])[:, None, None]
    x, y, z = up
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turns = np.eye(3) * cosines + across * sines + np.outer(up, up) * (1 - cosines)
    sizes = box.size * np.exp(np.clip(apart[:, 4:], -3, 3))
    return box_corners(turns @ box.rotation, box.center + apart[:, :3], sizes)


# From the demo's captures with seed 100, which no table is made of (docs/LOG.md).
SHIPPED = Calibration((-5.739, 0.924, 11.532, 0.265), 0)
