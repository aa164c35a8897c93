"""Exact nearest neighbours: brute force over vectors that are searched where they are, in memory or mapped."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from index.mapped import gathered

Vectors = NDArray[np.float32]
Stored = NDArray[np.float32] | NDArray[np.float16]
Rows = NDArray[np.int64]
Wanted = NDArray[np.bool_]

_BLOCK_BYTES = 64 << 20  # of float32 at a time, where the vectors are stored as float16 or lie apart


def bitmap_of(wanted: Wanted) -> faiss.IDSelectorBitmap:
    """(n,) bool as what FAISS takes to look at those rows alone."""
    bitmap = np.packbits(wanted, bitorder="little")
    return faiss.IDSelectorBitmap(bitmap)  # type: ignore[call-arg,arg-type]  # its stubs are those of the C++ class


def nearest(
    queries: Vectors, vectors: Vectors, k: int, selector: faiss.IDSelectorBitmap | None = None
) -> tuple[Vectors, Rows]:
    """What ``faiss.IndexFlatIP`` does, on vectors that are not copied into it; ``faiss.knn`` takes no selector."""
    n, d = queries.shape
    similarities, rows = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
    arrays = [faiss.swig_ptr(array) for array in (queries, vectors, similarities, rows)]
    faiss.knn_inner_product(arrays[0], arrays[1], d, n, len(vectors), k, arrays[2], arrays[3], selector)
    return similarities, rows


def nearest_stored(queries: Vectors, vectors: Stored, k: int, wanted: Wanted | None = None) -> tuple[Vectors, Rows]:
    """The k nearest by inner product among the ``wanted`` rows of ``vectors`` (n, d), float32 or float16.

    Sums are in float32 either way; what float16 costs says ``index.kinds``.
    """
    if vectors.dtype == np.float32:
        return nearest(queries, vectors, k, None if wanted is None else bitmap_of(wanted))  # type: ignore[arg-type]
    best = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    for rows, block in _blocks(vectors, wanted):
        similarities, found = nearest(queries, block, min(k, len(block)))
        best = merged(k, best, (similarities, rows[found]))
    return best


def merged(k: int, *parts: tuple[Vectors, Rows]) -> tuple[Vectors, Rows]:
    """The k best of several searches' results, the first part's first where they are equal."""
    similarities, rows = (np.hstack(arrays) for arrays in zip(*parts, strict=True))
    best = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(similarities, best, 1), np.take_along_axis(rows, best, 1)


def _blocks(vectors: Stored, wanted: Wanted | None) -> Iterator[tuple[Rows, Vectors]]:
    rows = np.arange(len(vectors)) if wanted is None else np.flatnonzero(wanted)
    step = max(1, _BLOCK_BYTES // (4 * vectors.shape[1]))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        # A slice reads a mapped file in order; rows picked one by one are what a filter needs.
        part = vectors[block[0] : block[-1] + 1] if block[-1] - block[0] + 1 == len(block) else gathered(vectors, block)
        yield block, part.astype(np.float32)
