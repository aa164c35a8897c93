"""Exact search over the vectors and frames of an index, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.confidence import SHIPPED, Calibration
from index.recognition import Recognition
from index.schema import Frame, InvalidValueError
from index.table import frame_from_row, table_from_frames

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


class FrameIndex:
    """Vectors and the frames they belong to, in memory. Search is exact: the inner product of unit vectors.

    Args:
        vectors: (n, d) float32 with unit rows, n >= 1.
        table: n rows, the columns of ``index.table`` at least.
    """

    encoder_digest: str | None = None
    calibration: Calibration = SHIPPED
    identity_map: Vectors | None = None  # (e, d): see index.identity
    identities: Vectors | None = None  # (n, e)
    recognition: Sequence[Recognition] = ()  # empty: nothing is called known or unknown

    def __init__(self, vectors: Vectors, table: pa.Table) -> None:
        if vectors.ndim != 2 or len(vectors) == 0 or len(vectors) != len(table):
            raise InvalidValueError("vectors", vectors.shape, f"(n, d) with n = {len(table)} frames, at least one")
        self.table = table
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._categories = np.array(table["category"].to_pylist())
        self._objects = np.array(table["object_id"].to_pylist())
        self._flat = faiss.IndexFlatIP(self.dimension)
        self._flat.add(self.vectors)
        self._searcher = _on_gpu(self._flat)

    @classmethod
    def from_frames(cls, vectors: Vectors, frames: Sequence[Frame]) -> FrameIndex:
        """An index that lives in memory only."""
        return cls(vectors, table_from_frames(frames))

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dimension(self) -> int:
        """The length of a vector, d."""
        return int(self.vectors.shape[1])

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The categories that occur, sorted."""
        return tuple(sorted(set(self._categories.tolist())))

    @cached_property
    def objects(self) -> tuple[str, ...]:
        """The identities that occur, sorted."""
        return tuple(sorted(set(self._objects.tolist())))

    @cached_property
    def _row_by_id(self) -> dict[str, int]:
        return {frame_id: row for row, frame_id in enumerate(self.table["id"].to_pylist())}

    def row_of(self, frame_id: str) -> int:
        """The row of a frame. Raises KeyError when it is not indexed."""
        return self._row_by_id[frame_id]

    def object_of(self, row: int) -> str:
        """The identity that the frame in ``row`` shows."""
        return str(self._objects[row])

    def frame(self, row: int) -> Frame:
        """The frame in ``row``."""
        return frame_from_row(self.table.slice(row, 1).to_pylist()[0])

    def search(
        self, vectors: Vectors, k: int, category: str | None = None, exclude_object: str | None = None
    ) -> tuple[Vectors, Rows]:
        """The k nearest frames of each query, most similar first.

        Args:
            vectors: (n, d) float32 with unit rows.
            category: only frames of this category.
            exclude_object: no frames of this object.

        Returns:
            Cosine similarities (n, k) float32 and rows (n, k) int64; -1 (similarity -inf) where fewer than k.

        Raises:
            InvalidValueError: k < 1, another dimension, or a category that is not in the index.
        """
        if k < 1:
            raise InvalidValueError("k", k, "at least 1")
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InvalidValueError("vectors", vectors.shape, f"(n, {self.dimension})")
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        if category is None and exclude_object is None:
            similarities, rows = self._searcher.search(queries, k)
        else:
            selector = self._selector(category, exclude_object)
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # its stubs lack it
            similarities, rows = self._flat.search(queries, k, params=parameters)
        similarities[rows < 0] = -np.inf
        return similarities, rows

    def _selector(self, category: str | None, exclude_object: str | None) -> faiss.IDSelectorBitmap:
        if category is not None and category not in self.categories:
            raise InvalidValueError("category", category, f"one of {', '.join(self.categories)}")
        wanted = np.ones(len(self), dtype=bool) if category is None else self._categories == category
        if exclude_object is not None:
            wanted &= self._objects != exclude_object
        bitmap = np.packbits(wanted, bitorder="little")
        return faiss.IDSelectorBitmap(bitmap)  # type: ignore[call-arg,arg-type]  # its stubs are those of the C++ class


def _on_gpu(flat: faiss.IndexFlatIP) -> faiss.Index:
    """The same index on the GPU when there is one. Filtered searches stay on the CPU: GPU indexes take no selector."""
    if getattr(faiss, "get_num_gpus", lambda: 0)() == 0:
        return flat
    return faiss.index_cpu_to_all_gpus(flat)
