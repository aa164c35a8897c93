"""Exact search over the vectors and frames of an index, in memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.confidence import SHIPPED, Calibration
from index.contents import Census
from index.identity_map import to_identities
from index.recognition import Recognition
from index.schema import Frame, InvalidValueError
from index.table import frame_from_row, table_from_frames

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

_FRAMES_KEPT = 65_536  # frames read from the table and kept: 3 kB each


class FrameIndex:
    """Vectors and the frames they belong to. Search is exact: the inner product of unit vectors.

    Args:
        vectors: (n, d) float32 with unit rows, n >= 1. They may be mapped from a file: they are searched where they
            are, so that several processes hold them in memory once.
        table: n rows, the columns of ``index.table`` at least.
    """

    encoder_digest: str | None = None
    calibration: Calibration = SHIPPED
    identity_map: Vectors | None = None  # (e, d): see index.identity
    identities: Vectors | None = None  # (n, e), where they are stored
    recognition: Sequence[Recognition] = ()  # empty: nothing is called known or unknown

    def __init__(self, vectors: Vectors, table: pa.Table) -> None:
        if vectors.ndim != 2 or len(vectors) == 0 or len(vectors) != len(table):
            raise InvalidValueError("vectors", vectors.shape, f"(n, d) with n = {len(table)} frames, at least one")
        self.table = table
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._categories = np.array(table["category"].to_pylist())
        self._objects = np.array(table["object_id"].to_pylist())
        self._on_gpu, self._gpu_lock = _gpu_index(self.vectors), threading.Lock()
        # Not of this object's own method: the two would hold each other, and old indexes stay in memory for long.
        self._kept_frame = lru_cache(_FRAMES_KEPT)(partial(_read_frame, table))

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
    def census(self) -> Census:
        """The objects that occur, counted."""
        return Census.of(self.table)

    @property
    def by_identity(self) -> FrameIndex:
        """The same frames by vectors that tell objects apart (``index.identity``); these where there is no map."""
        return self if self.identity_map is None else self._mapped

    @cached_property
    def _mapped(self) -> FrameIndex:
        stored = self.identities
        return FrameIndex(to_identities(self.identity_map, self.vectors) if stored is None else stored, self.table)

    @cached_property
    def _frames_of(self) -> Counter[str]:
        return Counter(self._objects.tolist())

    def frames_of(self, object_id: str) -> int:
        """How many frames show an object."""
        return self._frames_of[object_id]

    @cached_property
    def _row_by_id(self) -> dict[str, int]:
        return {frame_id: row for row, frame_id in enumerate(self.table["id"].to_pylist())}

    def check_category(self, category: str | None) -> None:
        """Raises InvalidValueError for a category that is not in the index; None is none in particular."""
        if category is not None and category not in self.categories:
            raise InvalidValueError("category", category, f"one of {', '.join(self.categories)}")

    def row_of(self, frame_id: str) -> int:
        """The row of a frame. Raises KeyError when it is not indexed."""
        return self._row_by_id[frame_id]

    def object_of(self, row: int) -> str:
        """The identity that the frame in ``row`` shows."""
        return str(self._objects[row])

    def frame(self, row: int) -> Frame:
        """The frame in ``row``."""
        return self._kept_frame(row)

    def vector(self, row: int) -> Vectors:
        """The vector of the frame in ``row``, (d,)."""
        vector: Vectors = self.vectors[row]
        return vector

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
        unfiltered = category is None and exclude_object is None
        if unfiltered and self._on_gpu is not None:
            with self._gpu_lock:  # GPU indexes are for one thread at a time
                similarities, rows = self._on_gpu.search(queries, k)
        else:
            selector = None if unfiltered else self._selector(category, exclude_object)
            similarities, rows = nearest(queries, self.vectors, k, selector)
        similarities[rows < 0] = -np.inf
        return similarities, rows

    def _selector(self, category: str | None, exclude_object: str | None) -> faiss.IDSelectorBitmap:
        self.check_category(category)
        wanted = np.ones(len(self), dtype=bool) if category is None else self._categories == category
        if exclude_object is not None:
            wanted &= self._objects != exclude_object
        return bitmap_of(wanted)


def _read_frame(table: pa.Table, row: int) -> Frame:
    return frame_from_row(table.slice(row, 1).to_pylist()[0])


def bitmap_of(wanted: NDArray[np.bool_]) -> faiss.IDSelectorBitmap:
    """(n,) bool as what ``nearest`` takes to look at those rows alone."""
    bitmap = np.packbits(wanted, bitorder="little")
    return faiss.IDSelectorBitmap(bitmap)  # type: ignore[call-arg,arg-type]  # its stubs are those of the C++ class


def nearest(
    queries: Vectors, vectors: Vectors, k: int, selector: faiss.IDSelectorBitmap | None
) -> tuple[Vectors, Rows]:
    """What ``faiss.IndexFlatIP`` does, on vectors that are not copied into it; ``faiss.knn`` takes no selector."""
    n, d = queries.shape
    similarities, rows = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
    arrays = [faiss.swig_ptr(array) for array in (queries, vectors, similarities, rows)]
    faiss.knn_inner_product(arrays[0], arrays[1], d, n, len(vectors), k, arrays[2], arrays[3], selector)
    return similarities, rows


def _gpu_index(vectors: Vectors) -> faiss.Index | None:
    """The vectors on all GPUs, where there are any. Filtered searches stay on the CPU: GPU indexes take no selector."""
    if getattr(faiss, "get_num_gpus", lambda: 0)() == 0:
        return None
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    return faiss.index_cpu_to_all_gpus(flat)
