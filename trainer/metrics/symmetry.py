"""Boxes of things that look the same from all sides: their yaw is not to be known, so the best one counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.iou import iou_3d
from trainer.metrics.objectron import answered

Array = NDArray[np.float64]

_TURNS = 72  # every 5 degrees, as the published evaluation
_BLOCK = 256  # boxes at once: 4 MB


def turned_to_best(predicted: Array, true: Array, turns: int = _TURNS) -> Array:
    """(n, 8, 3): each predicted box, turned about its own vertical axis through its centre to its best 3D IoU.

    predicted, true: (n, 8, 3) corners in the order of ``index.schema``; rows of NaN, which stay, where there is none.
    """
    best = predicted.copy()
    there = np.flatnonzero(answered(predicted))
    for start in range(0, len(there), _BLOCK):
        rows = there[start : start + _BLOCK]
        turned = _turned(predicted[rows], turns)
        repeated = np.broadcast_to(true[rows, None], turned.shape)
        overlaps = iou_3d(turned.reshape(-1, 8, 3), repeated.reshape(-1, 8, 3)).reshape(len(rows), turns)
        # Rounded: of turns that fit alike, the first, which is the least.
        best[rows] = turned[np.arange(len(rows)), np.round(overlaps, 12).argmax(axis=1)]
    return best


def _turned(corners: Array, turns: int) -> Array:
    """(n, 8, 3) -> (n, turns, 8, 3)."""
    center = corners.mean(axis=1)
    edges = corners[:, [4, 2, 1]] - corners[:, :1]  # along x, y, z
    camera_from_box = np.swapaxes(edges / np.linalg.norm(edges, axis=2, keepdims=True), 1, 2)
    angles = np.arange(turns) * 2 * np.pi / turns
    c, s, zero, one = np.cos(angles), np.sin(angles), np.zeros(turns), np.ones(turns)
    spun = np.stack([c, zero, s, zero, one, zero, -s, zero, c], axis=1).reshape(turns, 3, 3)
    in_box = np.einsum("nji,ncj->nci", camera_from_box, corners - center[:, None])
    return np.asarray(np.einsum("nij,tjk,nck->ntci", camera_from_box, spun, in_box) + center[:, None, None])
