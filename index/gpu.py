"""Search on GPUs, by FAISS: the same kinds behind the same interface.

flat is float16 on every GPU at once, re-ranked by the originals; ivf-pq and ivf-sq are moved there as they are; instead
of hnsw-sq, which no GPU walks, CAGRA's graph is built when the index is opened, where FAISS's wheel has it (cuVS). A
filtered search stays on the CPU: GPU indexes take no selector.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np

from index.kinds import PQ_BYTES, Engine, Flat, Reranked, inner_index, rerank
from index.nearest import Rows, Vectors, Wanted

logger = logging.getLogger(__name__)

_untyped: Any = faiss  # its stubs do not know all of it

_FLAT_DEPTH = 2  # candidates for each neighbour: float16 seldom changes more of the order
_USUAL_K = 20
_MOST_FOUND = 2048  # neighbours that a GPU index finds at once


@dataclass(frozen=True, eq=False)
class OnGpu:
    """Candidates of a FAISS index on GPUs, re-ranked by the originals of ``cpu``, which answers filtered searches.

    ``depth`` candidates for each neighbour, as far as a GPU finds so many.
    """

    candidates: Any
    cpu: Flat | Reranked
    depth: int
    _lock: threading.Lock = field(default_factory=threading.Lock)  # GPU indexes are for one thread at a time

    def search(self, queries: Vectors, k: int, wanted: Wanted | None = None) -> tuple[Vectors, Rows]:
        """As ``Engine.search``."""
        vectors = self.cpu.vectors
        if wanted is not None or k > _MOST_FOUND:
            return self.cpu.search(queries, k, wanted)
        with self._lock:
            found = self.candidates.search(queries, min(k * self.depth, _MOST_FOUND, len(vectors)))[1]
        similarities, rows = rerank(queries, vectors, np.asarray(found), k)
        if (rows[:, min(k, len(vectors)) - 1] < 0).any():
            return self.cpu.search(queries, k)
        return similarities, rows


def gpu_count() -> int:
    """How many GPUs FAISS sees; none where its build knows none."""
    return int(getattr(faiss, "get_num_gpus", lambda: 0)())


def engine_on(device: str, engine: Flat | Reranked) -> Engine:
    """``engine`` on a device: auto and cuda are the GPUs that FAISS sees, anything else is the CPU.

    An encoder may well run on a GPU that FAISS cannot use: then that is logged, and the search stays on the CPU.
    """
    if device not in ("auto", "cuda"):
        return engine
    if gpu_count() == 0:
        if device == "cuda":
            logger.warning("FAISS sees no GPU: the index is searched on the CPU")
        return engine
    if _is_graph(engine) and not hasattr(faiss, "GpuIndexCagra"):
        logger.warning("FAISS has no CAGRA: hnsw-sq is searched on the CPU")
        return engine
    if (count := _pq_bytes(engine)) is not None and count not in PQ_BYTES:  # built before builds saw to that
        logger.warning("FAISS's GPUs know no ivf-pq of %d bytes a vector: it is searched on the CPU; build anew", count)
        return engine
    moved = OnGpu(*_moved(engine))
    if (deepest := _MOST_FOUND // moved.depth) < _USUAL_K:
        logger.warning(
            "beyond %d neighbours a GPU finds %d candidates, not %d for each: a little less recall than promised",
            *(deepest, _MOST_FOUND, moved.depth),
        )
    return moved


def _is_graph(engine: Flat | Reranked) -> bool:
    return isinstance(engine, Reranked) and not isinstance(inner_index(engine.candidates), faiss.IndexIVF)


def _pq_bytes(engine: Flat | Reranked) -> int | None:
    """Bytes of a vector, where the candidates are product quantised."""
    inner = inner_index(engine.candidates) if isinstance(engine, Reranked) else None
    return int(inner.pq.M) if isinstance(inner, faiss.IndexIVFPQ) else None


def _moved(engine: Flat | Reranked) -> tuple[Any, Flat | Reranked, int]:
    if isinstance(engine, Flat):
        flat = faiss.IndexFlatIP(engine.vectors.shape[1])
        flat.add(engine.vectors.astype(np.float32))
        return faiss.index_cpu_to_all_gpus(flat, _sharded()), engine, _FLAT_DEPTH
    if _is_graph(engine):
        return _cagra(engine), engine, engine.effort.depth
    inner_index(engine.candidates).nprobe = engine.effort.probes
    return faiss.index_cpu_to_all_gpus(engine.candidates, _sharded()), engine, engine.effort.depth


def _sharded() -> Any:
    """The vectors spread over all GPUs, as float16 where they are whole."""
    options = faiss.GpuMultipleClonerOptions()
    options.useFloat16, options.shard = True, True
    return options


def _cagra(engine: Reranked) -> Any:
    index = _untyped.GpuIndexCagra(_untyped.StandardGpuResources(), engine.vectors.shape[1], faiss.METRIC_L2)
    index.train(engine.vectors.astype(np.float32))
    return index
