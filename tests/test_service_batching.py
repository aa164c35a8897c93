"""Calls done together: every caller gets its own result, nobody waits alone, and what fails, fails for its batch."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from index.predict import Lookup, Predictor
from index.store import open_index
from service.batching import BatchedPredictor, Batcher
from tests.service_fixtures import ColourEncoder, build_index, wait_until


class Work:
    """Squares, held back while ``go`` is not set; remembers its batches."""

    def __init__(self):
        self.batches, self.go, self.entered = [], threading.Event(), threading.Semaphore(0)

    def __call__(self, items):
        self.batches.append(list(items))
        self.entered.release()
        assert self.go.wait(timeout=30)
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [item * item for item in items]


def waiting(batcher: Batcher) -> int:
    return len(batcher._line)


def test_a_lone_call_is_done_at_once():
    work = Work()
    work.go.set()
    assert Batcher(work)(3) == 9
    assert work.batches == [[3]]


def test_calls_that_come_meanwhile_are_done_together():
    work = Work()
    batcher = Batcher(work, largest=3)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(batcher, 1)
        assert work.entered.acquire(timeout=10)
        others = [pool.submit(batcher, item) for item in range(2, 7)]
        wait_until(lambda: waiting(batcher) == 5)
        work.go.set()
        assert [first.result(), *(other.result() for other in others)] == [1, 4, 9, 16, 25, 36]
    assert [len(batch) for batch in work.batches] == [1, 3, 2]


def test_what_fails_fails_for_its_batch_alone():
    work = Work()
    batcher = Batcher(work)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher, 1)
        assert work.entered.acquire(timeout=10)
        bad = [pool.submit(batcher, item) for item in (2, -1)]
        wait_until(lambda: waiting(batcher) == 2)
        work.go.set()
        assert first.result() == 1
        for call in bad:
            with pytest.raises(ValueError, match="negative"):
                call.result()
    assert batcher(5) == 25


def test_many_threads_each_get_their_own():
    work = Work()
    work.go.set()
    batcher = Batcher(work, largest=4)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(batcher, range(3000))) == [item * item for item in range(3000)]
    assert max(map(len, work.batches)) <= 4
    assert waiting(batcher) == 0


def test_lookups_done_together_are_those_done_alone(tmp_path):
    build_index(tmp_path / "index")
    index, encoder = open_index(tmp_path / "index"), ColourEncoder()
    rng = np.random.default_rng(0)
    lookups = [
        Lookup(rng.integers(0, 255, (n, 32, 32, 3), dtype=np.uint8), limits)
        for n, limits in ((1, (3, None, None)), (2, (3, None, None)), (1, (5, "cup", None)), (3, (3, None, "shoe-1")))
    ]
    sizes = []
    together = BatchedPredictor(encoder, index, sizes.append)
    encoder.release.clear()
    with ThreadPoolExecutor(len(lookups) + 1) as pool:
        blocking = pool.submit(together.look_up, lookups[0])
        assert encoder.entered.acquire(timeout=10)
        answers = [pool.submit(together.look_up, lookup) for lookup in lookups]
        wait_until(lambda: waiting(together._batcher) == len(lookups))
        encoder.release.set()
        found = [answer.result() for answer in answers]
        blocking.result()
    assert sizes == [1, sum(len(lookup.crops) for lookup in lookups)]
    alone = Predictor(encoder, index)
    for lookup, answer in zip(lookups, found, strict=True):
        expected = alone.look_up(lookup)
        np.testing.assert_array_equal(answer.rows, expected.rows)
        np.testing.assert_allclose(answer.similarities, expected.similarities, atol=1e-6)
