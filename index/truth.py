"""What a search should find, the nearest of an index's own vectors by brute force, and the share that it does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from index.kinds import Reranked, rerank
from index.nearest import Rows, Stored, Vectors, nearest_stored

if TYPE_CHECKING:
    from index.recall import SearchConfig

_MOST_HIDDEN = 1000  # frames of one object that are looked past
_EQUAL = 1e-6  # similarities that differ by rounding alone


@dataclass(frozen=True)
class Estimate:
    """A recall, as so many queries tell it, and its standard error."""

    recall: float
    error: float

    @classmethod
    def of(cls, shares: NDArray[np.float64]) -> Estimate:
        """From (q,) the share of each query's neighbours that was found; without any nothing was missed."""
        return cls(float(shares.mean()), float(shares.std() / np.sqrt(len(shares)))) if len(shares) else cls(1.0, 0.0)

    @property
    def least(self) -> float:
        """What it is held to be: settings are chosen by the same queries, so that the luckiest would be taken."""
        return self.recall - self.error


@dataclass(frozen=True, eq=False)
class Truth:
    """Queries (q, d) float32 and the rows (q, k) that are nearest to each, by brute force."""

    queries: Vectors
    rows: Rows

    @property
    def k(self) -> int:
        """How many neighbours a query has."""
        return int(self.rows.shape[1])


@dataclass(frozen=True, eq=False)
class OwnTruth:
    """Truth whose queries are rows (q,) of the index.

    Attributes:
        groups: (n,) of every row; a query's own group does not count, and the query itself is in it. Groups are
            objects where the index shall find others than the query's: a known object's frames are found more easily,
            for they lie together.
    """

    own: Rows
    truth: Truth
    groups: Rows

    @classmethod
    def of(cls, vectors: Stored, config: SearchConfig, groups: Rows | None = None) -> OwnTruth:
        """As many queries as ``config`` says, at random; without ``groups`` only a query's own row does not count."""
        groups = np.arange(len(vectors)) if groups is None else groups
        count, k = min(config.queries, len(vectors)), min(config.k, len(vectors) - 1)
        own = np.sort(np.random.default_rng(config.seed).choice(len(vectors), count, replace=False))
        queries = vectors[own].astype(np.float32)
        truth = cls(own, Truth(queries, np.empty((count, k), np.int64)), groups)
        found = nearest_stored(queries, vectors, min(k + truth.hidden, len(vectors)))[1]
        return replace(truth, truth=Truth(queries, truth.others(found, k)))

    @property
    def recalled(self) -> Literal["other objects", "other rows"]:
        """What is to be found."""
        return "other rows" if self.hidden == 1 else "other objects"

    @property
    def hidden(self) -> int:
        """How many rows of the index a query's group has at most, up to a bound."""
        sizes = np.bincount(self.groups[self.own])
        return min(int(np.bincount(self.groups, minlength=len(sizes))[self.groups[self.own]].max()), _MOST_HIDDEN)

    def others(self, rows: Rows, k: int) -> Rows:
        """The first k of rows (q, c) that are not of the query's group; -1 where there are fewer."""
        dropped = (rows < 0) | (self.groups[rows] == self.groups[self.own][:, None])
        order = np.argsort(dropped, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(np.where(dropped, -1, rows), order, 1)

    def estimate(self, engine: Reranked) -> Estimate:
        """The share of the truth that candidates, re-ranked, hold, as if the query's group were not in the index.

        A row that is as near as the farthest of the truth counts too: frames of a camera that stands still are equal.
        """
        found = [
            engine.approximate(query[None], self.truth.k, self.groups != self.groups[row])[0]
            for query, row in zip(self.truth.queries, self.own, strict=True)
        ]
        wanted = rerank(self.truth.queries, engine.vectors, self.truth.rows, self.truth.k)[0]
        there = np.isfinite(wanted)
        farthest = np.where(there, wanted, np.inf).min(axis=1, keepdims=True, initial=np.inf)
        counts = there.sum(axis=1)
        hits = np.minimum((np.concatenate(found) >= farthest - _EQUAL).sum(axis=1), counts)
        return Estimate.of(hits[counts > 0] / counts[counts > 0])


def recall(found: Rows, truth: Rows) -> float:
    """The share of ``truth`` (q, k), -1 where there is none, that ``found`` (q, c) holds, whatever its order."""
    return share_found(found, truth).recall


def share_found(found: Rows, truth: Rows) -> Estimate:
    """As ``recall``, with its standard error."""
    there = [(wanted[wanted >= 0], got) for wanted, got in zip(truth, found, strict=True)]
    return Estimate.of(np.array([np.isin(wanted, got).mean() for wanted, got in there if len(wanted)]))
