"""Rows of a file that is mapped into memory, asked for all at once."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray


def gathered(vectors: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.floating]:
    """``vectors[rows]``, rows ascending; the disk is asked for those of a mapped file before any is read.

    Read one by one, each row that is not in memory would wait for the disk by itself, which is most of the time of a
    query in an index that is larger than the memory (docs/LOG.md, "Rows of a mapped file").
    """
    file = getattr(vectors, "_mmap", None)
    if isinstance(file, mmap.mmap) and vectors.flags.c_contiguous:
        begin = vectors.ctypes.data - np.frombuffer(file, np.uint8).ctypes.data
        for start, length in page_ranges(begin, vectors.strides[0], rows):
            file.madvise(mmap.MADV_WILLNEED, start, length)
    return vectors[rows]


def page_ranges(begin: int, row_bytes: int, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(start, length) in bytes of the whole pages that hold the rows (ascending), those that touch as one."""
    if not len(rows):
        return []
    first = (begin + rows * row_bytes) // mmap.PAGESIZE
    end = -(-(begin + (rows + 1) * row_bytes) // mmap.PAGESIZE)
    apart = first[1:] > end[:-1]
    starts, ends = first[np.r_[True, apart]], end[np.r_[apart, True]]
    return list(zip((starts * mmap.PAGESIZE).tolist(), ((ends - starts) * mmap.PAGESIZE).tolist(), strict=True))
