"""An index's vectors as points of the plane, to look at."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_NUMBERED = re.compile(r"(.*?)(\d+)(?:\.(\d+))?")  # a sequence's name, a frame's number, an object's number in it

Layout = NDArray[np.float32]


def principal_plane(vectors: NDArray[np.float32]) -> Layout:
    """(n, d) -> (n, 2) float32: along the two directions in which the vectors differ most. Always the same."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    scatter = vectors.T @ vectors - len(vectors) * np.outer(mean, mean)  # without a copy of the vectors
    axes = np.linalg.eigh(scatter)[1][:, ::-1][:, :2].astype(np.float32)  # of the largest eigenvalue first
    axes = axes * np.where(axes.sum(axis=0) < 0, -1, 1)  # an eigenvector's sign is anyone's choice
    plane = np.zeros((len(vectors), 2), np.float32)
    plane[:, : axes.shape[1]] = vectors @ axes - mean @ axes
    return plane


def positions_in_sequence(ids: Sequence[str]) -> NDArray[np.float64]:
    """(n,) where in its video each frame is, from 0 at the first indexed frame to 1 at the last.

    A frame's id ends in its number in the video, as all readers name them; 0 where it does not, or is the only one.
    """
    parts = [_NUMBERED.fullmatch(frame) for frame in ids]
    names = np.array([f"{part[1]}.{part[3]}" if part else frame for part, frame in zip(parts, ids, strict=True)])
    numbers = np.array([float(part[2]) if part else 0.0 for part in parts])
    _, sequence = np.unique(names, return_inverse=True)
    first, last = np.full(len(ids), np.inf), np.full(len(ids), -np.inf)
    np.minimum.at(first, sequence, numbers)
    np.maximum.at(last, sequence, numbers)
    length = (last - first)[sequence]
    positions: NDArray[np.float64] = np.divide(
        numbers - first[sequence], length, out=np.zeros(len(ids)), where=length > 0
    )
    return positions
