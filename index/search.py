"""Search over the vectors and frames of an index, by category and object; ``index.kinds`` says how they are found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache, partial

import numpy as np
import pyarrow as pa

from index.confidence import SHIPPED, Calibration
from index.contents import Census
from index.gpu import engine_on
from index.identity_map import to_identities
from index.kinds import Engine, Flat
from index.nearest import Rows as Rows
from index.nearest import Stored, Wanted
from index.nearest import Vectors as Vectors
from index.recognition import Recognition
from index.schema import Frame, InvalidValueError
from index.table import frame_from_row, numbered, table_from_frames

_FRAMES_KEPT = 65_536  # frames read from the table and kept: 3 kB each


class FrameIndex:
    """Vectors and the frames they belong to. Similar is what has a large inner product of unit vectors.

    Args:
        vectors: (n, d) float32 or float16 with unit rows, n >= 1. They may be mapped from a file: they are searched
            where they are, so that several processes hold them in memory once.
        table: n rows, the columns of ``index.table`` at least.
        engine: what finds neighbours among the vectors; None: exact search, on the GPUs where there are any.
    """

    encoder_digest: str | None = None
    calibration: Calibration = SHIPPED
    identity_map: Vectors | None = None  # (e, d): see index.identity
    identities: Stored | None = None  # (n, e), where they are stored
    identity_engine: Engine | None = None  # what finds neighbours among those
    recognition: Sequence[Recognition] = ()  # empty: nothing is called known or unknown

    def __init__(self, vectors: Stored, table: pa.Table, engine: Engine | None = None) -> None:
        if vectors.ndim != 2 or len(vectors) == 0 or len(vectors) != len(table):
            raise InvalidValueError("vectors", vectors.shape, f"(n, d) with n = {len(table)} frames, at least one")
        self.table = table
        self.vectors = vectors if vectors.dtype == np.float16 else np.ascontiguousarray(vectors, np.float32)
        self._engine = engine or engine_on("auto", Flat(self.vectors))
        self._categories, self._objects = numbered(table["category"]), numbered(table["object_id"])
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
        return tuple(sorted(self._categories[0]))

    @cached_property
    def objects(self) -> tuple[str, ...]:
        """The identities that occur, sorted."""
        return tuple(sorted(self._objects[0]))

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
        if self.identities is None:
            return FrameIndex(to_identities(self.identity_map, np.asarray(self.vectors, np.float32)), self.table)
        return FrameIndex(self.identities, self.table, self.identity_engine)

    @cached_property
    def _frames_of(self) -> dict[str, int]:
        names, numbers = self._objects
        return dict(zip(names, np.bincount(numbers).tolist(), strict=True))

    def frames_of(self, object_id: str) -> int:
        """How many frames show an object."""
        return self._frames_of.get(object_id, 0)

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
        names, numbers = self._objects
        return names[int(numbers[row])]

    def frame(self, row: int) -> Frame:
        """The frame in ``row``."""
        return self._kept_frame(row)

    def vector(self, row: int) -> Vectors:
        """The vector of the frame in ``row``, (d,)."""
        return np.asarray(self.vectors[row], np.float32)

    def search(
        self, vectors: Vectors, k: int, category: str | None = None, exclude_object: str | None = None
    ) -> tuple[Vectors, Rows]:
        """The k nearest frames of each query, most similar first; what ``category`` and ``exclude_object`` say is kept
        to the letter with every kind of search.

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
        similarities, rows = self._engine.search(queries, k, self._wanted(category, exclude_object))
        similarities[rows < 0] = -np.inf
        return similarities, rows

    def _wanted(self, category: str | None, exclude_object: str | None) -> Wanted | None:
        """(n,) the rows that may be found; None: all."""
        self.check_category(category)
        parts: list[Wanted] = []
        if category is not None:
            parts.append(_is(self._categories, category))
        if exclude_object is not None:
            parts.append(~_is(self._objects, exclude_object))
        return np.logical_and.reduce(parts) if parts else None


def _is(names: tuple[list[str], Rows], name: str) -> Wanted:
    known, numbers = names
    return np.asarray(numbers == (known.index(name) if name in known else -1))


def _read_frame(table: pa.Table, row: int) -> Frame:
    return frame_from_row(table.slice(row, 1).to_pylist()[0])
