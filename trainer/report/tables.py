"""The paper's tables: figures of this data beside the published ones, the best of each marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trainer.metrics import Estimate

Form = Literal["percent", "share"]


@dataclass(frozen=True)
class Column:
    """``percent``: 95.7; ``share``: 0.69, as the paper writes the two."""

    title: str
    form: Form = "share"


@dataclass(frozen=True)
class Cell:
    """A figure in [0, 1] and its interval, or nothing."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    published: bool = False
    best: bool = False
    form: Form = "share"

    @classmethod
    def of(cls, estimate: Estimate | None) -> Cell:
        """A figure measured here."""
        return cls() if estimate is None else cls(estimate.value, estimate.low, estimate.high)

    @property
    def text(self) -> str:
        """The figure as it is printed, empty where there is none."""
        return "" if self.value is None else _printed(self.value, self.form)

    @property
    def interval(self) -> str:
        """The interval as it is printed."""
        if self.low is None or self.high is None:
            return ""
        low, high = (_printed(bound, self.form).replace("0.", ".", 1) for bound in (self.low, self.high))
        return f"{low}–{high}"


def _printed(value: float, form: Form) -> str:
    return f"{100 * value:.1f}" if form == "percent" else f"{value:.2f}"


@dataclass(frozen=True)
class Line:
    """One row of cells, or a heading over those that follow."""

    label: str
    cells: tuple[Cell, ...] = ()
    published: bool = False
    heading: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its best figures marked. ``groups``: titles over several columns, with how many."""

    id: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Line, ...]
    groups: tuple[tuple[str, int], ...] = ()

    @classmethod
    def marked(
        cls,
        id: str,
        title: str,
        caption: str,
        columns: Sequence[Column],
        rows: Sequence[Line],
        groups: Sequence[tuple[str, int]] = (),
    ) -> Table:
        """With each column's best figures marked, those measured here and the published ones apart."""
        lines = [replace(row, cells=_formed(row.cells, columns)) for row in rows]
        bests = [_bests([row.cells[place] for row in lines if row.cells]) for place in range(len(columns))]
        shown = [replace(row, cells=tuple(map(_marked, row.cells, bests))) for row in lines]
        return cls(id, title, caption, tuple(columns), tuple(shown), tuple(groups))


def _formed(cells: Sequence[Cell], columns: Sequence[Column]) -> tuple[Cell, ...]:
    if not cells:  # a heading
        return ()
    return tuple(replace(cell, form=column.form) for cell, column in zip(cells, columns, strict=True))


def _bests(cells: Sequence[Cell]) -> dict[bool, str]:
    """The largest figure as it is printed, so that figures that look alike are all marked: here, and published."""
    largest: dict[bool, Cell] = {}
    for cell in cells:
        there = largest.get(cell.published)
        if cell.value is not None and (there is None or cell.value > (there.value or 0.0)):
            largest[cell.published] = cell
    return {published: cell.text for published, cell in largest.items()}


def _marked(cell: Cell, best: Mapping[bool, str]) -> Cell:
    return replace(cell, best=bool(cell.text) and cell.text == best[cell.published])
