"""Means, medians and average precisions with confidence intervals over sequences: frames of one video are alike.

A figure of several categories is the mean of the categories' (paper section 3.4), however many queries each has. Its
interval comes from a bootstrap that draws, within each category, as many sequences as it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_DRAWS = 1000
_LEVEL = 0.95
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


@dataclass(frozen=True, eq=False)
class _Category:
    """The rows of a category's queries (m,), their sequence (m,), and how often each sequence was drawn (draws, s).

    The first draw is of each sequence once: the figure itself.
    """

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
        return self._estimate(lambda category: _means(category, values[category.rows]))

    def median(self, values: Array) -> Estimate | None:
        """As ``mean``, of the categories' medians."""
        return self._estimate(lambda category: _medians(category, values[category.rows]))

    def spread(self, values: Array) -> Spread | None:
        """Both."""
        mean, median = self.mean(values), self.median(values)
        return Spread(mean, median) if mean and median else None

    def statistic(self, of: Statistic) -> Estimate | None:
        """Of a figure that is told from a category's rows (m,) and how often each counts, (draws, m) -> (draws,)."""
        return self._estimate(
            lambda category: np.concatenate(
                [of(category.rows, counts) for counts in category.counts(np.arange(len(category.rows)))]
            )
        )

    def _estimate(self, of: Callable[[_Category], Array]) -> Estimate | None:
        drawn = [of(category) for category in self._by_category]
        there = [figures for figures in drawn if not np.isnan(figures[0])]
        if not there:
            return None
        # A draw in which a category has no query with the figure says nothing of that category.
        figures = np.stack(there)
        known = ~np.isnan(figures)
        means = np.where(known, figures, 0.0).sum(axis=0) / known.sum(axis=0)
        means = means[known.any(axis=0)]
        low, high = np.quantile(means[1:], [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        return Estimate(float(means[0]), float(low), float(high))

    @cached_property
    def _by_category(self) -> list[_Category]:
        rng, found = np.random.default_rng(self.seed), []
        for category in np.unique(self.categories):
            rows = np.flatnonzero(self.categories == category)
            _, member = np.unique(self.sequences[rows], return_inverse=True)
            count = int(member.max()) + 1
            drawn = rng.multinomial(count, np.full(count, 1 / count), self.draws)
            found.append(_Category(rows, member, np.concatenate([np.ones((1, count), np.int64), drawn])))
        return found


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
    found = []
    for counts in category.counts(ordered):
        upto = np.cumsum(counts, axis=1)
        half = upto[:, -1:] / 2
        # The mean of the two in the middle where their number is even, as the median is defined.
        low, high = (upto < half).sum(axis=1), (upto <= half).sum(axis=1)
        middle = [values[ordered[np.minimum(at, len(ordered) - 1)]] for at in (low, high)]
        found.append(np.where(upto[:, -1] > 0, (middle[0] + middle[1]) / 2, np.nan))
    return np.concatenate(found)


def category_mean(values: Array, categories: NDArray[np.str_], sequences: NDArray[np.str_], seed: int = 0) -> Estimate:
    """``Sampled.mean`` of values (n,) that all are there."""
    estimate = Sampled(categories, sequences, seed=seed).mean(values)
    assert estimate is not None
    return estimate
