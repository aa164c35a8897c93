"""An index version's vectors on disk, and what searches them.

``<name>.npy`` are the vectors: float32 where they are searched exactly, float16 where candidates are re-ranked by them.
``<name>.faiss`` are the candidates, where the kind of search has some.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index.kinds import Flat, Plan, Reranked, inner_index, list_count
from index.nearest import Rows, Stored
from index.recall import SearchConfig, choose
from index.schema import CorruptArtifactError, InvalidValueError

_COPIED_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class Previous:
    """An older version's vectors, of which a new one keeps what it has learnt.

    Attributes:
        folder: the older version's.
        source: (n,) for each row of the new version, its row in the older one; -1 where it is new.
    """

    folder: Path
    source: Rows

    def __post_init__(self) -> None:
        kept = self.source[self.source >= 0]
        if len(np.unique(kept)) != len(kept):
            raise InvalidValueError("source", f"{len(kept)} rows", "rows that differ")


def write_vectors(
    folder: Path,
    name: str,
    vectors: Stored,
    config: SearchConfig,
    previous: Previous | None = None,
    objects: Rows | None = None,
) -> Plan:
    """Writes ``<name>.npy`` and, unless they are searched exactly, ``<name>.faiss``; returns how they are searched.

    Args:
        vectors: (n, d) float32 or float16, unit rows; they may be mapped: they are read in blocks.
        previous: the version before, whose ``<name>.faiss`` is taken over and changed instead of built again, where its
            kind can and the recall stays.
        objects: (n,) numbers; where they are given, recall is that of finding other objects' vectors than a query's.

    Raises InvalidValueError where the kind that is asked for does not reach the recall.
    """
    file = folder / f"{name}.npy"
    if config.is_flat(len(vectors)):
        return _write_flat(file, vectors, config)
    stored = _saved(file, vectors, np.dtype(np.float16))
    carried = None if previous is None else _carried(previous, name, vectors)
    plan, candidates = choose(stored, config, carried, objects)
    if candidates is None:
        return _write_flat(file, vectors, config)
    _write(candidates, folder / f"{name}.faiss")
    return plan


def open_vectors(folder: Path, name: str, plan: Plan) -> tuple[Stored, Flat | Reranked]:
    """The vectors (n, d), mapped, and what searches them.

    Raises CorruptArtifactError where a file is not what it says.
    """
    vectors = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    if plan.kind == "flat":
        return vectors, Flat(np.ascontiguousarray(vectors, np.float32))
    vectors._mmap.madvise(mmap.MADV_RANDOM)  # candidates lie apart: nothing is gained by reading what is around them
    file = folder / f"{name}.faiss"
    candidates = _read(file)
    if (candidates.ntotal, candidates.d) != vectors.shape:
        raise CorruptArtifactError(file, f"has {candidates.ntotal} of {candidates.d} dimensions, not {vectors.shape}")
    return vectors, Reranked(candidates, vectors, plan.effort)


def _read(file: Path) -> Any:
    try:
        return faiss.read_index(str(file), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
    except RuntimeError as error:
        raise CorruptArtifactError(file, f"FAISS cannot read it ({error})") from None


def _write(candidates: faiss.Index, file: Path) -> None:
    try:
        faiss.write_index(candidates, str(file))
    except RuntimeError as error:  # as of a full disk
        raise OSError(str(error)) from error


def _write_flat(file: Path, vectors: Stored, config: SearchConfig) -> Plan:
    _saved(file, vectors, np.dtype(np.float32))
    return Plan.flat(vectors.shape[1], config.k, config.recall)


def _saved(file: Path, vectors: Stored, dtype: np.dtype[Any]) -> Stored:
    """``vectors`` written as ``dtype``, and mapped."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": vectors.shape}
    with file.open("wb") as out:  # not into a mapping: a full disk would kill the process (SIGBUS), not raise
        np.lib.format.write_array_header_1_0(out, header)
        for start in range(0, len(vectors), _COPIED_AT_ONCE):
            out.write(np.ascontiguousarray(vectors[start : start + _COPIED_AT_ONCE], dtype).data)
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def _carried(previous: Previous, name: str, vectors: Stored) -> Any:
    """The older version's candidates with the new version's rows; None where they must be built again."""
    file = previous.folder / f"{name}.faiss"
    if not file.is_file() or len(previous.source) != len(vectors):
        return None
    index = faiss.read_index(str(file))
    added = np.flatnonzero(previous.source < 0)
    if isinstance(inner_index(index), faiss.IndexIVF):
        if not 0.5 <= inner_index(index).nlist / list_count(len(vectors)) <= 2:
            return None  # right still, but lists that are too long or too many are slow
        _renumber(index, previous.source)
    elif not np.array_equal(previous.source[: index.ntotal], np.arange(index.ntotal)):
        return None  # a graph only grows
    for start in range(0, len(added), _COPIED_AT_ONCE):
        rows = added[start : start + _COPIED_AT_ONCE]
        block = vectors[rows].astype(np.float32)
        if isinstance(inner_index(index), faiss.IndexIVF):
            index.add_with_ids(block, rows)
        else:
            index.add(block)
    return index


def _renumber(index: Any, source: Rows) -> None:
    """Keeps of an IVF index's entries those of ``source``, by the rows that they have there."""
    inner = inner_index(index)
    row_of_old = np.full(max(index.ntotal, int(source.max(initial=-1)) + 1), -1, np.int64)
    row_of_old[source[source >= 0]] = np.flatnonzero(source >= 0)
    old, size = inner.invlists, inner.code_size
    new: Any = faiss.ArrayInvertedLists(inner.nlist, size)
    for number in range(inner.nlist):
        count = old.list_size(number)
        if count == 0:
            continue
        rows = row_of_old[faiss.rev_swig_ptr(old.get_ids(number), count)]
        codes = faiss.rev_swig_ptr(old.get_codes(number), count * size).reshape(count, size)
        kept, codes = np.ascontiguousarray(rows[rows >= 0]), np.ascontiguousarray(codes[rows >= 0])
        if len(kept):
            new.add_entries(number, len(kept), faiss.swig_ptr(kept), faiss.swig_ptr(codes))
    inner.replace_invlists(new, True)
    new.this.disown()  # the index owns them now
    inner.ntotal = index.ntotal = int((source >= 0).sum())
