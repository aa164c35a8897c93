"""What an index holds, in short: its objects, and a map of its frames. Small, whatever the size of the index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.layout import Layout, positions_in_sequence, principal_plane

Method = Literal["t-sne", "pca"]

CENSUS_SCHEMA = pa.schema([("object_id", pa.string()), ("category", pa.string()), ("frames", pa.int64())])


class Census:
    """The objects of an index, and how many frames show each.

    Args:
        table: CENSUS_SCHEMA; one row for each pair of object and category that occurs, sorted by object, that of the
            object's first frame first.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, table: pa.Table) -> Census:
        """Counts the rows of a table with the columns ``category`` and ``object_id``."""
        rows = table.select(["object_id", "category"]).append_column("row", pa.array(np.arange(len(table))))
        pairs = rows.group_by(["object_id", "category"]).aggregate([("row", "min"), ("row", "count")])
        ordered = pairs.sort_by([("object_id", "ascending"), ("row_min", "ascending")])
        columns = (ordered["object_id"], ordered["category"], ordered["row_count"])
        return cls(pa.table([*columns], schema=CENSUS_SCHEMA))

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The categories that occur, sorted."""
        return tuple(sorted(pc.unique(self.table["category"]).to_pylist()))

    @cached_property
    def objects(self) -> tuple[str, ...]:
        """The identities that occur, sorted."""
        return tuple(sorted(self._frames))

    def frames_of(self, object_id: str) -> int:
        """How many frames show an object."""
        return self._frames[object_id]

    def category_of(self, object_id: str) -> str:
        """The category of an object's first frame. Raises KeyError for an object that does not occur."""
        return self._category[object_id]

    def by_category(self) -> list[tuple[str, int, int]]:
        """Each category with how many frames and how many objects it has, sorted."""
        found = self.table.group_by("category").aggregate([("frames", "sum"), ("object_id", "count")])
        return sorted(
            zip(*(found[name].to_pylist() for name in ("category", "frames_sum", "object_id_count")), strict=True)
        )

    @cached_property
    def _frames(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for name, frames in zip(*(self.table[column].to_pylist() for column in ("object_id", "frames")), strict=True):
            counts[name] += frames
        return counts

    @cached_property
    def _category(self) -> dict[str, str]:
        names, categories = (self.table[column].to_pylist()[::-1] for column in ("object_id", "category"))
        return dict(zip(names, categories, strict=True))


@dataclass(frozen=True, eq=False)
class Outline:
    """Frames of an index, laid out in the plane: all of them, or where they are many every so manieth.

    Attributes:
        table: m rows: ``id``, ``category``, and ``position``, where in its video a frame is, from 0 to 1.
        layout: (m, 2) float32.
        method: how they were laid out, t-sne or pca.
    """

    table: pa.Table
    layout: Layout
    method: Method

    @classmethod
    def of(cls, table: pa.Table, vectors: NDArray[np.floating], layout: Layout | None) -> Outline:
        """Of all frames of a table. ``layout`` (n, 2) is the build's; None: the vectors (n, d) are projected."""
        position = positions_in_sequence(table["id"].to_pylist())
        columns = table.select(["id", "category"]).append_column("position", pa.array(position))
        if layout is None:
            return cls(columns, principal_plane(np.asarray(vectors, np.float32)), "pca")
        return cls(columns, layout, "t-sne")

    def every(self, step: int) -> Outline:
        """Every ``step``-th of its frames."""
        rows = np.arange(0, len(self.table), step)
        return Outline(self.table.take(rows), self.layout[rows], self.method)
