"""Calls that come at the same time, done together: one pass of the encoder for all of them, one over the vectors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from index.encoder import Encoder
from index.predict import Found, Lookup, Predictor
from index.search import FrameIndex

T = TypeVar("T")
R = TypeVar("R")

LARGEST_BATCH = 32  # lookups; beyond it no encoder gets faster, and the last in line waits longer


@dataclass(eq=False)
class _Call(Generic[T, R]):
    item: T
    woken: threading.Event = field(default_factory=threading.Event)
    result: R | None = None
    error: BaseException | None = None
    done: bool = False


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
        self._lock, self._line, self._busy = threading.Lock(), deque[_Call[T, R]](), False

    def __call__(self, item: T) -> R:
        """``work([item])[0]``, done together with the others that wait."""
        call: _Call[T, R] = _Call(item)
        with self._lock:
            self._line.append(call)
            leads, self._busy = not self._busy, True
        if not leads:
            call.woken.wait()
        if not call.done:
            self._lead()
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[return-value]  # set, since done

    def _lead(self) -> None:
        """Does what is in line, the caller's own item first, and wakes the next to lead."""
        with self._lock:
            batch = [self._line.popleft() for _ in range(min(self._largest, len(self._line)))]
        try:
            for call, result in zip(batch, self._work([call.item for call in batch]), strict=True):
                call.result = result
        except BaseException as error:
            for call in batch:
                call.error = error
        for call in batch:
            call.done = True
        with self._lock:
            next_leader = self._line[0] if self._line else None
            self._busy = next_leader is not None
        for call in (*([next_leader] if next_leader else []), *batch):
            call.woken.set()


class BatchedPredictor(Predictor):
    """A predictor whose lookups, from however many threads, are done together.

    Args:
        observe: is told how many lookups each batch had.
    """

    def __init__(self, encoder: Encoder, index: FrameIndex, observe: Callable[[int], None] = lambda size: None) -> None:
        super().__init__(encoder, index)
        self._observe = observe
        self._batcher: Batcher[Lookup, Found] = Batcher(self._observed)

    def look_up(self, lookup: Lookup) -> Found:
        return self._batcher(lookup)

    def _observed(self, lookups: Sequence[Lookup]) -> list[Found]:
        self._observe(len(lookups))
        return self.look_up_together(lookups)
