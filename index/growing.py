"""Frames in memory to which more are added while others search: the part of an index that users enrol."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from index.identity_map import to_identities
from index.nearest import Rows, Vectors, bitmap_of, nearest
from index.schema import Frame, InvalidValueError

Labels = NDArray[np.int32]
Buffer = TypeVar("Buffer", Vectors, Labels)

_LEAST_CAPACITY = 64


@dataclass(frozen=True, eq=False)
class _Names:
    """The names that occur and their numbers, in order of their first frame. Both only ever grow."""

    known: list[str]
    numbers: dict[str, int]

    def number(self, name: str) -> int:
        if name not in self.numbers:
            self.known.append(name)
            self.numbers[name] = len(self.known) - 1
        return self.numbers[name]


class GrownFrames:
    """The frames that a ``GrowingIndex`` held at one moment; what is added later does not show. Searched as FrameIndex.

    Attributes:
        vectors: (n, d) float32 with unit rows, n >= 0.
    """

    def __init__(self, index: GrowingIndex) -> None:
        count = len(index)
        self.vectors = index.vectors[:count]
        self._identities = None if index.identities is None else index.identities[:count]
        self._labels = index.labels[:count]
        self._frames, self._row_by_id = index.frames, index.rows
        self._categories, self._objects = index.categories, index.objects
        self._counts = (len(index.categories.known), len(index.objects.known))

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dimension(self) -> int:
        """The length of a vector, d."""
        return int(self.vectors.shape[1])

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that occur, sorted."""
        return tuple(sorted(self._categories.known[: self._counts[0]]))

    @property
    def objects(self) -> tuple[str, ...]:
        """The identities that occur, sorted."""
        return tuple(sorted(self._objects.known[: self._counts[1]]))

    @property
    def by_identity(self) -> GrownFrames:
        """The same frames, with vectors that tell objects apart; these where there is no map."""
        if self._identities is None:
            return self
        same = copy.copy(self)
        same.vectors, same._identities = self._identities, None
        return same

    def frames_of(self, object_id: str) -> int:
        """How many frames show an object."""
        number = self._objects.numbers.get(object_id, self._counts[1])
        return int(self._frames_of[number]) if number < self._counts[1] else 0

    @cached_property
    def _frames_of(self) -> NDArray[np.int64]:
        return np.bincount(self._labels[:, 1], minlength=self._counts[1])

    def check_category(self, category: str | None) -> None:
        """Raises InvalidValueError for a category that is not here; None is none in particular."""
        if category is not None and category not in self.categories:
            raise InvalidValueError("category", category, f"one of {', '.join(self.categories)}")

    def row_of(self, frame_id: str) -> int:
        """The row of a frame. Raises KeyError when it is not here."""
        row = self._row_by_id[frame_id]
        if row >= len(self):
            raise KeyError(frame_id)
        return row

    def object_of(self, row: int) -> str:
        """The identity that the frame in ``row`` shows."""
        return self._frames[row].object_id

    def frame(self, row: int) -> Frame:
        """The frame in ``row``."""
        return self._frames[row]

    def vector(self, row: int) -> Vectors:
        """The vector of the frame in ``row``, (d,)."""
        vector: Vectors = self.vectors[row]
        return vector

    def search(
        self, vectors: Vectors, k: int, category: str | None = None, exclude_object: str | None = None
    ) -> tuple[Vectors, Rows]:
        """As ``FrameIndex.search``."""
        if k < 1:
            raise InvalidValueError("k", k, "at least 1")
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InvalidValueError("vectors", vectors.shape, f"(n, {self.dimension})")
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        if len(self) == 0:
            self.check_category(category)
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        unfiltered = category is None and exclude_object is None
        selector = None if unfiltered else self._selector(category, exclude_object)
        similarities, rows = nearest(queries, self.vectors, k, selector)
        similarities[rows < 0] = -np.inf
        return similarities, rows

    def _selector(self, category: str | None, exclude_object: str | None) -> faiss.IDSelectorBitmap:
        self.check_category(category)
        wanted = np.ones(len(self), dtype=bool)
        if category is not None:
            wanted &= self._labels[:, 0] == self._categories.numbers[category]
        if exclude_object is not None:
            wanted &= self._labels[:, 1] != self._objects.numbers.get(exclude_object, -1)
        return bitmap_of(wanted)


class GrowingIndex:
    """Vectors and frames in memory, for one writer and any number of readers at the same time.

    ``view`` costs nothing and never changes: rows behind its end are written where it does not look, and a buffer that
    is full is copied into one of twice the size.

    Args:
        dimension: the length of a vector, d.
        identity_map: (e, d), where the encoder has one: see ``index.identity``.
    """

    def __init__(self, dimension: int, identity_map: Vectors | None = None) -> None:
        self.vectors: Vectors = np.empty((_LEAST_CAPACITY, dimension), np.float32)
        self.identity_map = identity_map
        self.identities: Vectors | None = None
        if identity_map is not None:
            self.identities = np.empty((_LEAST_CAPACITY, len(identity_map)), np.float32)
        self.labels: Labels = np.empty((_LEAST_CAPACITY, 2), np.int32)
        self.frames: list[Frame] = []
        self.rows: dict[str, int] = {}
        self.categories, self.objects = _Names([], {}), _Names([], {})

    def __len__(self) -> int:
        return len(self.frames)

    def view(self) -> GrownFrames:
        """What is here now."""
        return GrownFrames(self)

    def append(self, frames: Sequence[Frame], vectors: Vectors) -> None:
        """Adds frames, whose ids must be new, with their (n, d) vectors.

        Raises InvalidValueError when there is not one vector of the index's dimension for each frame.
        """
        count, dimension = len(self), self.vectors.shape[1]
        if vectors.shape != (len(frames), dimension):
            raise InvalidValueError("vectors", vectors.shape, f"({len(frames)}, {dimension})")
        stop = count + len(frames)
        self.vectors, self.labels = _with_room(self.vectors, stop), _with_room(self.labels, stop)
        self.vectors[count:stop] = vectors
        if self.identities is not None:
            self.identities = _with_room(self.identities, stop)
            self.identities[count:stop] = to_identities(self.identity_map, vectors)
        for row, frame in enumerate(frames, start=count):
            self.labels[row] = self.categories.number(frame.category), self.objects.number(frame.object_id)
            self.rows[frame.id] = row
        self.frames.extend(frames)

    def keeping(self, rows: Sequence[int]) -> GrowingIndex:
        """Another index with only these rows, in their order."""
        kept = GrowingIndex(self.vectors.shape[1], self.identity_map)
        kept.append([self.frames[row] for row in rows], self.vectors[np.asarray(rows, np.int64)])
        return kept


def _with_room(buffer: Buffer, count: int) -> Buffer:
    """``buffer``, or its rows in a larger one where it has fewer than ``count``."""
    if count <= len(buffer):
        return buffer
    larger = np.empty((max(count, 2 * len(buffer)), buffer.shape[1]), buffer.dtype)
    larger[: len(buffer)] = buffer
    return larger
