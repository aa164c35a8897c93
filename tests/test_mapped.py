"""Rows of a mapped file: what is read, and what the disk is asked for."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.mapped import gathered, page_ranges

PAGE = mmap.PAGESIZE


@given(
    begin=st.integers(0, 3 * PAGE),
    row_bytes=st.integers(1, 3 * PAGE),
    rows=st.sets(st.integers(0, 400), max_size=40).map(sorted),
)
def test_ranges_are_the_pages_of_the_rows_and_no_others(begin, row_bytes, rows):
    ranges = page_ranges(begin, row_bytes, np.array(rows, np.int64))
    asked = [page for start, length in ranges for page in range(start // PAGE, (start + length) // PAGE)]
    needed = {
        page
        for row in rows
        for page in range((begin + row * row_bytes) // PAGE, (begin + (row + 1) * row_bytes - 1) // PAGE + 1)
    }
    assert sorted(asked) == sorted(needed)
    assert all(start % PAGE == 0 for start, _ in ranges)


def test_pages_that_touch_are_asked_for_as_one():
    assert page_ranges(128, PAGE, np.array([2, 3, 4, 9])) == [(2 * PAGE, 4 * PAGE), (9 * PAGE, 2 * PAGE)]


@pytest.mark.parametrize("rows", [[], [0], [3, 7, 8, 99]])
def test_rows_of_a_file_are_those_in_memory(tmp_path, rows):
    vectors = np.random.default_rng(0).normal(size=(100, 700)).astype(np.float16)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    wanted = np.array(rows, np.int64)
    for stored in (vectors, mapped, mapped[:, ::2], mapped[1:]):
        held = wanted[wanted < len(stored)]
        assert np.array_equal(gathered(stored, held), np.array(stored)[held])


def test_the_disk_is_asked_for_all_of_them_at_once(tmp_path, monkeypatch):
    asked = []

    class Watched(mmap.mmap):
        def madvise(self, option, start=0, length=0):
            asked.append((option, start, length))
            super().madvise(option, start, length)

    monkeypatch.setattr(mmap, "mmap", Watched)
    vectors = np.arange(100 * PAGE // 2, dtype=np.uint16).view(np.float16).reshape(100, -1)  # a page a row
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    gathered(mapped, np.array([2, 3, 9]))
    # After the file's head, rows are on two pages each.
    assert asked == [(mmap.MADV_WILLNEED, 2 * PAGE, 3 * PAGE), (mmap.MADV_WILLNEED, 9 * PAGE, 2 * PAGE)]
