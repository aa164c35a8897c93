"""Several sets of indexed frames, searched as if they were one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Protocol

import numpy as np

from index.confidence import Calibration
from index.nearest import Rows, Vectors, merged
from index.recognition import Recognition
from index.schema import Frame, InvalidValueError


class Searchable(Protocol):
    """What ``FrameIndex``, ``GrownFrames`` and ``JoinedIndex`` have in common; described at ``FrameIndex``."""

    def __len__(self) -> int: ...
    @property
    def dimension(self) -> int: ...
    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def objects(self) -> tuple[str, ...]: ...
    @property
    def by_identity(self) -> Searchable: ...
    def check_category(self, category: str | None) -> None: ...
    def row_of(self, frame_id: str) -> int: ...
    def object_of(self, row: int) -> str: ...
    def frames_of(self, object_id: str) -> int: ...
    def frame(self, row: int) -> Frame: ...
    def vector(self, row: int) -> Vectors: ...
    def search(
        self, vectors: Vectors, k: int, category: str | None = None, exclude_object: str | None = None
    ) -> tuple[Vectors, Rows]: ...


class Calibrated(Searchable, Protocol):
    """Frames that also know their encoder, and what their similarities are worth."""

    @property
    def encoder_digest(self) -> str | None: ...
    @property
    def by_identity(self) -> Calibrated: ...
    @property
    def identity_map(self) -> Vectors | None: ...
    @property
    def recognition(self) -> Sequence[Recognition]: ...
    @property
    def calibration(self) -> Calibration: ...


class JoinedIndex:
    """The rows of ``base``, then those of ``others``; encoder, identity map and calibrations are those of ``base``.

    Nothing is copied. A search is as exact as its parts': the k nearest of the parts' k nearest.

    Raises InvalidValueError when the lengths of the vectors differ.
    """

    def __init__(self, base: Calibrated, *others: Searchable) -> None:
        parts: tuple[Searchable, ...] = (base, *others)
        for part in parts:
            if part.dimension != base.dimension:
                raise InvalidValueError("dimension", part.dimension, f"{base.dimension}, as of the first part")
        self.encoder_digest, self.identity_map = base.encoder_digest, base.identity_map
        self.calibration, self.recognition = base.calibration, base.recognition
        self._first, self._parts = base, parts
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def dimension(self) -> int:
        """The length of a vector, d."""
        return self._parts[0].dimension

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that occur, sorted."""
        return tuple(sorted({name for part in self._parts for name in part.categories}))

    @property
    def objects(self) -> tuple[str, ...]:
        """The identities that occur, sorted."""
        return tuple(sorted({name for part in self._parts for name in part.objects}))

    @cached_property
    def by_identity(self) -> JoinedIndex:
        """The same frames, with vectors that tell objects apart."""
        return JoinedIndex(self._first.by_identity, *(part.by_identity for part in self._parts[1:]))

    def frames_of(self, object_id: str) -> int:
        """How many frames show an object."""
        return sum(part.frames_of(object_id) for part in self._parts)

    def check_category(self, category: str | None) -> None:
        """Raises InvalidValueError for a category that no part has; None is none in particular."""
        if category is not None and not any(category in part.categories for part in self._parts):
            raise InvalidValueError("category", category, f"one of {', '.join(self.categories)}")

    def part_of(self, row: int) -> tuple[int, int]:
        """Which part holds ``row``, and the row there. Raises IndexError when there is no such row."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        part = bisect_right(self._ends, row)
        return part, row - self._start(part)

    def row_of(self, frame_id: str) -> int:
        """The row of a frame. Raises KeyError when it is not indexed."""
        for number, part in enumerate(self._parts):
            try:
                return self._start(number) + part.row_of(frame_id)
            except KeyError:
                continue
        raise KeyError(frame_id)

    def object_of(self, row: int) -> str:
        """The identity that the frame in ``row`` shows."""
        part, row = self.part_of(row)
        return self._parts[part].object_of(row)

    def frame(self, row: int) -> Frame:
        """The frame in ``row``."""
        part, row = self.part_of(row)
        return self._parts[part].frame(row)

    def vector(self, row: int) -> Vectors:
        """The vector of the frame in ``row``, (d,)."""
        part, row = self.part_of(row)
        return self._parts[part].vector(row)

    def search(
        self, vectors: Vectors, k: int, category: str | None = None, exclude_object: str | None = None
    ) -> tuple[Vectors, Rows]:
        """As ``FrameIndex.search``."""
        self.check_category(category)
        searched = [n for n, part in enumerate(self._parts) if category is None or category in part.categories]
        found = [self._parts[n].search(vectors, k, category, exclude_object) for n in searched]
        shifted = [np.where(rows < 0, -1, rows + self._start(n)) for n, (_, rows) in zip(searched, found, strict=True)]
        return merged(k, *((s, rows) for (s, _), rows in zip(found, shifted, strict=True)))

    def _start(self, part: int) -> int:
        return self._ends[part - 1] if part else 0
