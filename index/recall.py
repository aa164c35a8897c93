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
    train_candidates,
)
from index.nearest import Rows, Stored
from index.schema import InvalidValueError
from index.truth import Estimate, OwnTruth, Truth, share_found

logger = logging.getLogger(__name__)

FLAT_UP_TO = 50_000  # vectors that auto searches exactly: a few milliseconds at 256 dimensions
_REDUCED = 256  # dimensions of candidates, where nobody says how many
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_DEEP, _MOST_CANDIDATES = 64, 2560  # depths up to 64 are tried in any case, and beyond while so few are re-ranked
_TIMED = 50  # queries with which each setting's latency is measured
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
    for index in _candidates(vectors, config, carried):
        engine = Reranked(index, vectors, Effort(1, 1))
        plan, reached = best_plan(engine, curve(engine, own, config.recall), own, config)
        if plan is not None:
            return plan, index
        best = max(best, reached)
    if config.kind != "auto":
        raise InvalidValueError("recall", config.recall, f"at most {best:.3f}, which {config.kind} reaches here")
    logger.warning("recall %.3f is not reached by any kind but flat: %.3f at best", config.recall, best)
    return Plan.flat(vectors.shape[1], config.k, config.recall), None


def _candidates(vectors: Stored, config: SearchConfig, carried: faiss.Index | None) -> Iterator[faiss.Index]:
    """Candidates of the kinds that come into question, one after the other, each built when it is asked for."""
    if carried is not None and kind_of(carried) == (config.kind if config.kind != "auto" else "ivf-sq"):
        yield carried
    for kind, reduced in _tried(config, vectors.shape[1]):
        yield built(kind, vectors, replace(config, reduce=reduced))


def built(kind: Kind, vectors: Stored, config: SearchConfig) -> faiss.Index:
    """The candidates of all ``vectors``."""
    index = train_candidates(kind, vectors, _said_dimension(kind, config, vectors.shape[1]), config.seed)
    with tqdm(total=len(vectors), desc=f"{kind}: vectors", unit_scale=True, disable=None) as bar:
        add_candidates(index, vectors, bar)
    return index


def best_plan(
    engine: Reranked, points: Sequence[Point], own: OwnTruth, config: SearchConfig
) -> tuple[Plan | None, float]:
    """The fastest of a curve's points that reaches the recall, and the most that any reaches less its error."""
    for point in sorted((p for p in points if p.least >= config.recall), key=lambda p: p.latency_ms):
        measured = own.estimate(_with(engine, point.effort))
        if measured.least >= config.recall:
            return plan_of(engine, point.effort, measured.recall, own, config), measured.least
    return None, max(p.least for p in points)


def plan_of(engine: Reranked, effort: Effort, found: float, own: OwnTruth, config: SearchConfig) -> Plan:
    """To search with ``effort``, which has ``found`` that share of the truth."""
    kind, reduced = kind_of(engine.candidates), inner_index(engine.candidates).d
    return Plan(kind, reduced, effort, found, own.truth.k, len(own.own), config.recall, own.recalled)


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
        found.append(share_found(candidates[:, : k * depth], own.truth.rows))
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
