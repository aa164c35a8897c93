"""Kinds of search: how the nearest of many vectors are found without looking at all of them.

======== ========================================================= ============================ ==================
kind     candidates                                                memory a vector              added and removed
======== ========================================================= ============================ ==================
flat     none: all vectors, exactly                                4 d bytes (mapped)           yes
ivf-sq   the nearest of about 2 sqrt(n) lists, a byte a dimension  r + 8 bytes                  yes
ivf-pq   the same lists, a byte for four dimensions                r / 4 + 8 bytes              yes
hnsw-sq  a graph, a byte a dimension                               r + 270 bytes                added; else rebuilt
======== ========================================================= ============================ ==================

r is the dimension of the candidates, after PCA. Candidates are re-ranked by exact products with the originals, which
stay on disk, mapped, as float16: a product of unit vectors is off by 2**-11 at the very most (Cauchy-Schwarz over the
rounding of the elements), by about 2**-11 / sqrt(d) as a rule. What FAISS can map (IVF's lists) is mapped too.

Filters are exact with every kind: no row comes back that the filter leaves out. Where a filter leaves few rows, or the
candidates hold fewer than k of those that it leaves, all the rows that it leaves are searched exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

import faiss
import numpy as np

from index.mapped import gathered
from index.nearest import Rows, Stored, Vectors, Wanted, bitmap_of, nearest_stored
from index.schema import InvalidValueError

Kind = Literal["flat", "ivf-sq", "ivf-pq", "hnsw-sq"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_untyped: Any = faiss  # its stubs do not know all of it

_EXACT_ROWS = 4096  # a filter that leaves no more is searched exactly at once: some milliseconds
PQ_DIMENSIONS = 4  # that share one byte
PQ_BYTES = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)  # a vector: those that FAISS's GPUs can search
_LINKS = 32  # of a vector in the graph; twice as many on its lowest level
_BUILD_EFFORT = 80  # of the graph
_TRAINED_A_LIST = 48  # vectors that k-means learns a list from; FAISS warns below 39
_TRAINED_AT_LEAST = 20_000
_TRAINED_AT_MOST = 200_000
_PCA_A_DIMENSION = 20  # vectors that PCA learns from
_LEAST_FOR_PQ = 256  # vectors: as many as a byte has values
_ADDED_AT_ONCE = 16_384


@dataclass(frozen=True)
class Effort:
    """How hard is searched.

    Attributes:
        probes: lists that are looked into (IVF), or how many of the best nodes the walk keeps (HNSW).
        depth: candidates that are re-ranked, for each neighbour that is asked for.
    """

    probes: int
    depth: int

    def __post_init__(self) -> None:
        for name in ("probes", "depth"):
            if getattr(self, name) < 1:
                raise InvalidValueError(name, getattr(self, name), "at least 1")


@dataclass(frozen=True)
class Plan:
    """How an index's vectors are searched, and what that is worth: a part of its manifest.

    Attributes:
        dimension: of the candidates.
        recall: of the ``k`` nearest, the share that was found; measured on ``queries`` of the index's own vectors
            against brute force, each one's own object left out, or its own row where ``recalled`` says so.
        target: what recall was asked for.
    """

    kind: Kind
    dimension: int
    effort: Effort
    recall: float
    k: int
    queries: int
    target: float
    recalled: Literal["other objects", "other rows"] = "other rows"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidValueError("kind", self.kind, f"one of {', '.join(KINDS)}")

    def to_manifest(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_manifest(cls, value: Mapping[str, Any] | None, dimension: int) -> Plan:
        """The plan of a version; versions from before there were kinds are flat."""
        if value is None:
            return cls.flat(dimension)
        return cls(**{**value, "effort": Effort(**value["effort"])})

    def text(self) -> str:
        """In words."""
        if self.kind == "flat":
            return "flat: exact"
        judged = f"recall@{self.k} {self.recall:.4f} of {self.recalled} on {self.queries} of its own vectors"
        return (
            f"{self.kind}, {self.dimension} dimensions, {self.effort.probes} probes, "
            f"{self.effort.depth} candidates a neighbour; {judged}, {self.target} was asked for"
        )

    @classmethod
    def flat(cls, dimension: int, k: int = 10, target: float = 1.0) -> Plan:
        """Exact search."""
        return cls("flat", dimension, Effort(1, 1), 1.0, k, 0, target)


class Engine(Protocol):
    """What finds neighbours."""

    def search(self, queries: Vectors, k: int, wanted: Wanted | None = None) -> tuple[Vectors, Rows]:
        """Cosine similarities (n, k) float32 and rows (n, k) int64 among the ``wanted`` rows, the most similar first.

        -1, and a similarity that means nothing, where fewer than k rows are wanted.
        """
        ...


@dataclass(frozen=True, eq=False)
class Flat:
    """Brute force over (n, d) vectors."""

    vectors: Stored

    def search(self, queries: Vectors, k: int, wanted: Wanted | None = None) -> tuple[Vectors, Rows]:
        """As ``Engine.search``."""
        return nearest_stored(queries, self.vectors, k, wanted)


@dataclass(frozen=True, eq=False)
class Reranked:
    """Candidates of a FAISS index, ranked by exact products with the originals (n, d), float16 or float32."""

    candidates: faiss.Index
    vectors: Stored
    effort: Effort

    def search(self, queries: Vectors, k: int, wanted: Wanted | None = None) -> tuple[Vectors, Rows]:
        """As ``Engine.search``."""
        left = len(self.vectors) if wanted is None else int(np.count_nonzero(wanted))
        if wanted is not None and left <= _EXACT_ROWS:
            return nearest_stored(queries, self.vectors, k, wanted)
        similarities, rows = self.approximate(queries, k, wanted)
        short = (rows >= 0).sum(axis=1) < min(k, left)
        if short.any():
            similarities[short], rows[short] = nearest_stored(queries[short], self.vectors, k, wanted)
        return similarities, rows

    def approximate(self, queries: Vectors, k: int, wanted: Wanted | None = None) -> tuple[Vectors, Rows]:
        """What the candidates hold, however few; as ``Engine.search`` otherwise."""
        found = candidate_rows(self.candidates, queries, self.effort.probes, k * self.effort.depth, wanted)
        return rerank(queries, self.vectors, found, k)


def rerank(queries: Vectors, vectors: Stored, candidates: Rows, k: int) -> tuple[Vectors, Rows]:
    """The k best of each query's candidate rows (n, c), -1 where none, by exact products with ``vectors``."""
    similarities, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    for number, (query, found) in enumerate(zip(queries, candidates, strict=True)):
        ordered = np.sort(found[found >= 0])  # in the file's order: neighbours are often of one video, side by side
        products = gathered(vectors, ordered).astype(np.float32) @ query
        best = np.argsort(-products, kind="stable")[:k]
        similarities[number, : len(best)], rows[number, : len(best)] = products[best], ordered[best]
    return similarities, rows


def candidate_rows(
    candidates: faiss.Index, queries: Vectors, probes: int, count: int, wanted: Wanted | None = None
) -> Rows:
    """(n, count) rows that may be among the nearest, the most promising first; -1 where there are fewer."""
    count = min(count, candidates.ntotal)
    selector = None if wanted is None else bitmap_of(wanted)
    if isinstance(inner_index(candidates), faiss.IndexIVF):
        parameters: Any = _untyped.SearchParametersIVF(sel=selector, nprobe=probes)
    else:
        parameters = _untyped.SearchParametersHNSW(sel=selector, efSearch=max(probes, count))
    if isinstance(candidates, faiss.IndexPreTransform):
        parameters = _untyped.SearchParametersPreTransform(index_params=parameters)
    return np.asarray(candidates.search(queries, count, params=parameters)[1])


def train_candidates(kind: Kind, vectors: Stored, dimension: int, seed: int) -> faiss.Index:
    """A FAISS index of ``kind`` that has learnt from a sample of ``vectors`` and is empty yet.

    Distances are L2: of unit vectors they rank as products do, and unlike products they still do when PCA has taken
    away the mean.
    """
    if kind == "ivf-pq" and len(vectors) < _LEAST_FOR_PQ:
        raise InvalidValueError("kind", kind, f"another one, or at least {_LEAST_FOR_PQ} vectors, not {len(vectors)}")
    lists = list_count(len(vectors))
    index = faiss.index_factory(vectors.shape[1], _factory(kind, vectors.shape[1], dimension, lists))
    inner = inner_index(index)
    if isinstance(inner, faiss.IndexIVF):
        inner.cp.seed = seed
    else:
        inner.hnsw.efConstruction = _BUILD_EFFORT
    sample = _sample(vectors, max(_TRAINED_A_LIST * lists, _TRAINED_AT_LEAST), seed)
    if isinstance(index, faiss.IndexPreTransform):  # PCA needs fewer, and is what takes longest
        _first_transform(index).train(_sample(vectors, _PCA_A_DIMENSION * vectors.shape[1], seed))
    index.train(sample)
    return index


def _first_transform(index: Any) -> Any:
    return faiss.downcast_VectorTransform(index.chain.at(0))


def _sample(vectors: Stored, count: int, seed: int) -> Vectors:
    count = min(len(vectors), count, _TRAINED_AT_MOST)
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), count, replace=False))
    return np.asarray(vectors[rows], np.float32)


def list_count(vectors: int) -> int:
    """How many lists so many vectors are laid into."""
    return max(1, min(round(2 * math.sqrt(vectors)), vectors // _TRAINED_A_LIST))


def add_candidates(index: faiss.Index, vectors: Stored, progress: Any = None) -> None:
    """Adds all vectors in their order. progress: a tqdm bar of vectors."""
    for start in range(0, len(vectors), _ADDED_AT_ONCE):
        block = vectors[start : start + _ADDED_AT_ONCE]
        index.add(block.astype(np.float32))
        if progress is not None:
            progress.update(len(block))


def _factory(kind: Kind, dimension: int, reduced: int, lists: int) -> str:
    if kind == "ivf-pq":
        return f"PCAR{reduced},IVF{lists},PQ{reduced // PQ_DIMENSIONS}np"  # rotated: then its parts weigh alike
    core = {"ivf-sq": f"IVF{lists},SQ8", "hnsw-sq": f"HNSW{_LINKS}_SQ8"}[kind]
    return core if reduced == dimension else f"PCA{reduced},{core}"


def inner_index(index: faiss.Index) -> Any:
    """The index behind its PCA, if it has one."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def kind_of(index: faiss.Index) -> Kind:
    """Which kind's candidates a FAISS index holds."""
    kinds: dict[type, Kind] = {
        faiss.IndexIVFScalarQuantizer: "ivf-sq",
        faiss.IndexIVFPQ: "ivf-pq",
        faiss.IndexHNSWSQ: "hnsw-sq",
    }
    return kinds[type(inner_index(index))]
