"""Figures of an evaluation, with confidence intervals over sequences (frames of one video are not independent)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWS = 1000
_LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:5.1f} [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def category_mean(
    values: NDArray[np.float64], categories: NDArray[np.str_], sequences: NDArray[np.str_], seed: int = 0
) -> Estimate:
    """The mean over categories of the mean over a category's queries (section 3.4), with a bootstrap over sequences.

    Args:
        values: (n,) one figure a query.
        categories, sequences: (n,) what each query belongs to.

    Returns:
        The estimate; its interval comes from drawing, within each category, as many sequences as it has.
    """
    draws = np.zeros((_DRAWS, len(np.unique(categories))))
    means = []
    rng = np.random.default_rng(seed)
    for column, category in enumerate(np.unique(categories)):
        chosen = categories == category
        _, member = np.unique(sequences[chosen], return_inverse=True)
        totals, counts = np.bincount(member, values[chosen]), np.bincount(member)
        picks = rng.integers(0, len(totals), (_DRAWS, len(totals)))
        draws[:, column] = totals[picks].sum(axis=1) / counts[picks].sum(axis=1)
        means.append(values[chosen].mean())
    low, high = np.quantile(draws.mean(axis=1), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(float(np.mean(means)), float(low), float(high))


def average_precisions(
    similarities: NDArray[np.float32], relevant: NDArray[np.bool_], ignored: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Average precision of each query's ranking (re-identification, section 3.4).

    Args:
        similarities: (n, m) of n queries to m gallery frames.
        relevant: (n, m) whether a gallery frame shows the query's object.
        ignored: (n, m) gallery frames that do not count for the query, such as itself.

    Returns:
        (n,) float64; NaN where nothing relevant is left to find.
    """
    result = np.full(len(similarities), np.nan)
    for query, (row, wanted, skipped) in enumerate(zip(similarities, relevant, ignored, strict=True)):
        order = np.argsort(-row[~skipped], kind="stable")
        hits = wanted[~skipped][order]
        if hits.any():
            ranks = np.flatnonzero(hits) + 1
            result[query] = (np.arange(1, len(ranks) + 1) / ranks).mean()
    return result
