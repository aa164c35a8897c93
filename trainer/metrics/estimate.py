"""Means, medians and average precisions with confidence intervals over sequences: frames of one video are alike.

A figure of several categories is the mean of the categories' (paper section 3.4), however many queries each has. Its
interval comes from a bootstrap that draws, within each category, as many sequences as it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.compiled import compiled

_DRAWS = 1000
LEVEL = 0.95
_CELLS = 2_000_000  # draws times queries at once: 16 MB

Array = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64], Array], Array]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:5.1f} [{100 * self.low:.0f}, {100 * self.high:.0f}]"


@dataclass(frozen=True)
class Spread:
    """An error over the queries that have one: its mean and its median."""

    mean: Estimate
    median: Estimate


@dataclass(frozen=True)
class Split:
    """A figure over categories and of each: None, and left out, where no query has it."""

    overall: Estimate | None
    by_category: Mapping[str, Estimate]


@dataclass(frozen=True, eq=False)
class _Category:
    """A category: the rows of its queries (m,), their sequence (m,), and how often each sequence was drawn (draws, s).

    The first draw is of each sequence once: the figure itself.
    """

    name: str
    rows: NDArray[np.int64]
    member: NDArray[np.int64]
    drawn: NDArray[np.int64]

    def counts(self, columns: NDArray[np.int64]) -> Iterator[Array]:
        """How often the queries at ``columns`` (c,) were drawn, (some draws, c) at a time."""
        step = max(1, _CELLS // max(1, len(columns)))
        for start in range(0, len(self.drawn), step):
            yield self.drawn[start : start + step, self.member[columns]].astype(np.float64)


@dataclass(frozen=True, eq=False)
class Sampled:
    """The queries that figures are of, n: what category and what sequence each belongs to."""

    categories: NDArray[np.str_]
    sequences: NDArray[np.str_]
    draws: int = _DRAWS
    seed: int = 0

    def __len__(self) -> int:
        return len(self.categories)

    def select(self, rows: NDArray[np.bool_]) -> Sampled:
        """Those of a mask (n,)."""
        return Sampled(self.categories[rows], self.sequences[rows], self.draws, self.seed)

    def mean(self, values: Array) -> Estimate | None:
        """Of (n,), NaN for queries that do not have the figure; None where none has."""
        return self.means(values).overall

    def median(self, values: Array) -> Estimate | None:
        """As ``mean``, of the categories' medians."""
        return self.medians(values).overall

    def means(self, values: Array) -> Split:
        """``mean``, and each category's."""
        return self._split(lambda category: _means(category, values[category.rows]))

    def medians(self, values: Array) -> Split:
        """``median``, and each category's."""
        return self._split(lambda category: _medians(category, values[category.rows]))

    def statistic(self, of: Statistic) -> Estimate | None:
        """Of a figure that is told from a category's rows (m,) and how often each counts, (draws, m) -> (draws,)."""
        return self._split(
            lambda category: np.concatenate(
                [of(category.rows, counts) for counts in category.counts(np.arange(len(category.rows)))]
            )
        ).overall

    def _split(self, of: Callable[[_Category], Array]) -> Split:
        drawn = {category.name: of(category) for category in self._by_category}
        there = {name: figures for name, figures in drawn.items() if not np.isnan(figures[0])}
        overall = _estimate(np.stack(list(there.values()))) if there else None
        return Split(overall, {name: _estimate(figures[None]) for name, figures in there.items()})

    @cached_property
    def _by_category(self) -> list[_Category]:
        rng, found = np.random.default_rng(self.seed), []
        for category in np.unique(self.categories):
            rows = np.flatnonzero(self.categories == category)
            _, member = np.unique(self.sequences[rows], return_inverse=True)
            count = int(member.max()) + 1
            drawn = rng.multinomial(count, np.full(count, 1 / count), self.draws)
            found.append(_Category(str(category), rows, member, np.concatenate([np.ones((1, count), np.int64), drawn])))
        return found


def _estimate(drawn: Array) -> Estimate:
    """Of categories' figures (c, draws); a draw in which one has no query that has the figure says nothing of it."""
    known = ~np.isnan(drawn)
    counts = known.sum(axis=0)
    means = np.where(known, drawn, 0.0).sum(axis=0) / np.maximum(counts, 1)
    low, high = np.quantile(means[1:][counts[1:] > 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(means[0]), float(low), float(high))


def _means(category: _Category, values: Array) -> Array:
    known = ~np.isnan(values)
    sequences = category.drawn.shape[1]
    totals = np.bincount(category.member[known], values[known], sequences)
    counts = category.drawn @ np.bincount(category.member[known], minlength=sequences)
    return np.asarray(np.where(counts > 0, category.drawn @ totals / np.maximum(counts, 1), np.nan))


def _medians(category: _Category, values: Array) -> Array:
    known = np.flatnonzero(~np.isnan(values))
    if len(known) == 0:
        return np.full(len(category.drawn), np.nan)
    ordered = known[np.argsort(values[known], kind="stable")]
    return _weighted_medians(values[ordered], category.member[ordered], category.drawn)


@compiled
def _weighted_medians(values: Array, member: NDArray[np.int64], drawn: NDArray[np.int64]) -> Array:
    """(draws,) of values (m,), rising, of sequences (m,) that were drawn (draws, s) times; NaN where none was.

    The mean of the two in the middle where their number is even, as the median is defined.
    """
    medians = np.full(len(drawn), np.nan)
    for draw in range(len(drawn)):
        total = 0
        for row in range(len(values)):
            total += drawn[draw, member[row]]
        upto, low = 0, np.nan
        for row in range(len(values)):
            upto += drawn[draw, member[row]]
            if np.isnan(low) and 2 * upto >= total and upto > 0:
                low = values[row]
            if 2 * upto > total:
                medians[draw] = (low + values[row]) / 2
                break
    return medians


def category_mean(values: Array, categories: NDArray[np.str_], sequences: NDArray[np.str_], seed: int = 0) -> Estimate:
    """``Sampled.mean`` of values (n,) that all are there."""
    estimate = Sampled(categories, sequences, seed=seed).mean(values)
    assert estimate is not None
    return estimate
