"""Which kind of search, and how hard: by the recall that is measured against brute force on the index's own vectors."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.kinds import (
    KINDS,
    PQ_BYTES,
    PQ_DIMENSIONS,
    Effort,
    Engine,
    Kind,
    Plan,
    Reranked,
    add_candidates,
    candidate_rows,
    inner_index,
    kind_of,
    rerank,
    train_candidates,
)
from index.nearest import Rows, Stored, Vectors, nearest_stored
from index.schema import InvalidValueError

logger = logging.getLogger(__name__)

FLAT_UP_TO = 50_000  # vectors that auto searches exactly: a few milliseconds at 256 dimensions
_REDUCED = 256  # dimensions of candidates, where nobody says how many
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_DEEP, _MOST_CANDIDATES = 64, 2560  # depths up to 64 are tried in any case, and beyond while so few are re-ranked
_TIMED = 50  # queries with which each setting's latency is measured
_MOST_HIDDEN = 1000  # frames of one object that are looked past
_EQUAL = 1e-6  # similarities that differ by rounding alone
_QUIET = 20  # percentile of them that counts: the median of a busy machine tells what else it does


@dataclass(frozen=True)
class SearchConfig:
    """How an index's vectors shall be searched.

    Attributes:
        kind: auto: flat up to ``flat_up_to`` vectors; above, the first of ivf-sq with and without PCA that reaches the
            recall, or flat where neither does.
        recall: of the k nearest; the fastest setting that reaches it beyond a standard error is taken.
        reduce: dimension of the candidates; None: 256, or the vectors' own where that is less. ``ivf-pq`` takes the
            next below that a GPU can search.
        queries: of the index's own vectors, with which the recall is measured.
    """

    kind: Kind | Literal["auto"] = "auto"
    recall: float = 0.98
    k: int = 10
    reduce: int | None = None
    flat_up_to: int = FLAT_UP_TO
    queries: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("auto", *KINDS):
            raise InvalidValueError("kind", self.kind, f"auto or one of {', '.join(KINDS)}")
        if not 0 < self.recall <= 1:
            raise InvalidValueError("recall", self.recall, "above 0, at most 1")
        for name in ("k", "queries", "reduce"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InvalidValueError(name, getattr(self, name), "at least 1")

    def is_flat(self, vectors: int) -> bool:
        """Whether so many vectors are searched exactly without trying anything else."""
        return self.kind == "flat" or (self.kind == "auto" and vectors <= self.flat_up_to)

    def dimension(self, kind: Kind, of_vectors: int) -> int:
        """Of the candidates of vectors that have so many dimensions."""
        reduced = min(self.reduce or _REDUCED, of_vectors)
        if kind != "ivf-pq":
            return reduced
        return PQ_DIMENSIONS * max(count for count in PQ_BYTES if count <= max(1, reduced // PQ_DIMENSIONS))


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
    return _estimate(found, truth).recall


def _estimate(found: Rows, truth: Rows) -> Estimate:
    there = [(wanted[wanted >= 0], got) for wanted, got in zip(truth, found, strict=True)]
    return Estimate.of(np.array([np.isin(wanted, got).mean() for wanted, got in there if len(wanted)]))


@dataclass(frozen=True)
class Point:
    """What a setting is worth.

    Attributes:
        latency_ms: of single queries, on one thread.
        error: of the recall, one standard deviation.
    """

    effort: Effort
    recall: float
    latency_ms: float
    error: float = 0.0

    @property
    def least(self) -> float:
        """As ``Estimate.least``."""
        return self.recall - self.error


def curve(engine: Reranked, own: OwnTruth, target: float) -> list[Point]:
    """For each number of probes the least depth that reaches ``target``, or as much as more depth brings."""
    points: list[Point] = []
    for probes in _probes(engine.candidates, own.truth.k):
        effort, found = _least_depth(engine.candidates, own, probes, target)
        points.append(Point(effort, found.recall, latency_ms(_with(engine, effort), own.truth), found.error))
        # More probes than are needed only cost more.
        if found.least >= target and sum(point.least >= target for point in points) >= 3:
            break
    return points


def fastest(points: Sequence[Point], target: float) -> Point | None:
    """Of those that reach ``target``."""
    return min((p for p in points if p.least >= target), key=lambda p: p.latency_ms, default=None)


def latency_ms(engine: Engine, truth: Truth) -> float:
    """Of single queries on one thread, as the service answers, after one that warms up, while nothing else runs."""
    times = []
    with _one_thread():
        for query in truth.queries[:_TIMED]:
            start = time.perf_counter()
            engine.search(query[None], max(1, truth.k))
            times.append(time.perf_counter() - start)
    return 1000 * float(np.percentile(times[1:] or times, _QUIET))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def choose(
    vectors: Stored,
    config: SearchConfig,
    carried: faiss.Index | None = None,
    groups: Rows | None = None,
) -> tuple[Plan, faiss.Index | None]:
    """The plan for ``vectors`` (n, d), and the FAISS index of its candidates; None with flat.

    Args:
        vectors: as they are stored. What rounding to float16 changes of their order is no question of candidates.
        carried: candidates of these vectors that are there already: tried first.
        groups: as in ``OwnTruth.of``.

    Raises InvalidValueError where a kind is asked for that does not reach the recall with any setting.
    """
    own = OwnTruth.of(vectors, config, groups)
    best = 0.0
    for kind, index in _candidates(vectors, config, carried):
        plan, reached = best_plan(kind, Reranked(index, vectors, Effort(1, 1)), own, config)
        if plan is not None:
            return plan, index
        best = max(best, reached)
    if config.kind != "auto":
        raise InvalidValueError("recall", config.recall, f"at most {best:.3f}, which {config.kind} reaches here")
    logger.warning("recall %.3f is not reached by any kind but flat: %.3f at best", config.recall, best)
    return Plan.flat(vectors.shape[1], config.k, config.recall), None


def _candidates(
    vectors: Stored, config: SearchConfig, carried: faiss.Index | None
) -> Iterator[tuple[Kind, faiss.Index]]:
    """Candidates of the kinds that come into question, one after the other, each built when it is asked for."""
    if carried is not None and kind_of(carried) == (config.kind if config.kind != "auto" else "ivf-sq"):
        yield kind_of(carried), carried
    for kind, reduced in _tried(config, vectors.shape[1]):
        yield kind, built(kind, vectors, replace(config, reduce=reduced))


def built(kind: Kind, vectors: Stored, config: SearchConfig) -> faiss.Index:
    """The candidates of all ``vectors``."""
    index = train_candidates(kind, vectors, _said_dimension(kind, config, vectors.shape[1]), config.seed)
    with tqdm(total=len(vectors), desc=f"{kind}: vectors", unit_scale=True, disable=None) as bar:
        add_candidates(index, vectors, bar)
    return index


def best_plan(kind: Kind, engine: Reranked, own: OwnTruth, config: SearchConfig) -> tuple[Plan | None, float]:
    """The fastest setting that reaches the recall, and the most that any reaches, each less its standard error."""
    points = curve(engine, own, config.recall)
    for point in sorted((p for p in points if p.least >= config.recall), key=lambda p: p.latency_ms):
        measured = own.estimate(_with(engine, point.effort))
        if measured.least >= config.recall:
            reduced = inner_index(engine.candidates).d
            asked = (own.truth.k, len(own.own), config.recall)
            return Plan(kind, reduced, point.effort, measured.recall, *asked, own.recalled), measured.least
    return None, max(p.least for p in points)


def _tried(config: SearchConfig, dimension: int) -> list[tuple[Kind, int]]:
    if config.kind == "auto":
        return list(dict.fromkeys([("ivf-sq", config.dimension("ivf-sq", dimension)), ("ivf-sq", dimension)]))
    assert config.kind != "flat"
    return [(config.kind, _said_dimension(config.kind, config, dimension))]


def _said_dimension(kind: Kind, config: SearchConfig, of_vectors: int) -> int:
    """Of the candidates; where it is not what was asked for, the log says why."""
    dimension, asked = config.dimension(kind, of_vectors), min(config.reduce or _REDUCED, of_vectors)
    if dimension != asked:
        reason = f"a byte for {PQ_DIMENSIONS} of them, and GPUs search {', '.join(map(str, PQ_BYTES))} bytes a vector"
        logger.warning("%s: %d dimensions, not %d: %s", kind, dimension, asked, reason)
    return dimension


def _least_depth(index: faiss.Index, own: OwnTruth, probes: int, target: float) -> tuple[Effort, Estimate]:
    """Re-ranking finds whatever the candidates hold, so that their order says it for every depth at once."""
    k = max(1, own.truth.k)
    deepest = _deepest(index, probes, k)
    candidates = candidate_rows(index, own.truth.queries, probes, k * deepest + own.hidden)
    candidates = own.others(candidates, k * deepest)
    found: list[Estimate] = []
    for depth in (depth for depth in _DEPTHS if depth <= deepest):
        found.append(_estimate(candidates[:, : k * depth], own.truth.rows))
        if found[-1].least >= target:
            break
    least = np.array([estimate.least for estimate in found])
    best = int(np.argmax(least >= min(target, least.max() - 1e-3)))  # no depth for nothing
    return Effort(probes, _DEPTHS[best]), found[best]


def _deepest(index: faiss.Index, probes: int, k: int) -> int:
    """A graph's walk knows as many nodes as it keeps, so that more candidates were more probes."""
    return max(_DEEP, _MOST_CANDIDATES // k) if isinstance(inner_index(index), faiss.IndexIVF) else max(1, probes // k)


def _probes(index: faiss.Index, k: int) -> list[int]:
    """What comes into question: all lists where they are few, no fewer nodes than are asked for."""
    inner = inner_index(index)
    if isinstance(inner, faiss.IndexIVF):
        return sorted({min(probes, inner.nlist) for probes in _PROBES})
    return [probes for probes in _PROBES if probes >= k] or [k]


def _with(engine: Reranked, effort: Effort) -> Reranked:
    return Reranked(engine.candidates, engine.vectors, effort)
