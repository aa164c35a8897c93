"""Calls that come at the same time, done together: one pass of the encoder for all of them, one over the vectors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from index.encoder import Encoder
from index.joined import Calibrated
from index.predict import Found, Lookup, Predictor, look_up_together

T = TypeVar("T")
R = TypeVar("R")

LARGEST_BATCH = 32  # lookups; beyond it no encoder gets faster, and the last in line waits longer


@dataclass(eq=False)
class _Call(Generic[T, R]):
    item: T
    woken: threading.Event = field(default_factory=threading.Event)
    batch: list[_Call[T, R]] | None = None  # what its thread is to do, itself included
    result: R | None = None
    error: BaseException | None = None


class Batcher(Generic[T, R]):
    """A function of many, called with one by many threads at a time.

    The first caller does its own work at once, alone. Whoever comes while it runs waits, and the first of those then
    does the work of all: so nobody ever waits for a batch to fill, and under load batches are as large as they can be.

    Args:
        work: (items) -> their results, in their order. What it raises, each caller of the batch gets.
        largest: the most items of a batch.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], largest: int = LARGEST_BATCH) -> None:
        self._work, self._largest = work, largest
        self._lock, self._idle = threading.Lock(), True
        self._line: deque[_Call[T, R]] = deque()  # empty while nothing is in work

    def __call__(self, item: T) -> R:
        """``work([item])[0]``, done together with the others that wait."""
        call: _Call[T, R] = _Call(item)
        with self._lock:
            if self._idle:
                self._idle, call.batch = False, [call]
            else:
                self._line.append(call)
        if call.batch is None:
            call.woken.wait()
        if call.batch is not None:
            self._do(call.batch)
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[return-value]  # set, where there is no error

    def _do(self, batch: list[_Call[T, R]]) -> None:
        """Does a batch, gives the line to the first in it, and wakes those whose results are there."""
        try:
            for call, result in zip(batch, self._work([call.item for call in batch]), strict=True):
                call.result = result
        except BaseException as error:
            for call in batch:
                call.error = error
        with self._lock:
            following = [self._line.popleft() for _ in range(min(self._largest, len(self._line)))]
            self._idle = not following
        if following:
            following[0].batch = following
            following[0].woken.set()
        for call in batch:
            call.woken.set()


class BatchedPredictor(Predictor):
    """A predictor whose lookups, from however many threads, are done together.

    Args:
        observe: is told how many crops each batch had.
    """

    def __init__(self, encoder: Encoder, index: Calibrated, observe: Callable[[int], None] = lambda size: None) -> None:
        super().__init__(encoder, index)

        # No method of this object: the two would hold each other, and old indexes stay in memory for long.
        def observed(lookups: Sequence[Lookup]) -> list[Found]:
            observe(sum(len(lookup.crops) for lookup in lookups))
            return look_up_together(encoder, index, lookups)

        self._batcher: Batcher[Lookup, Found] = Batcher(observed)

    def look_up(self, lookup: Lookup) -> Found:
        return self._batcher(lookup)
