"""The threads that do the work which must not block the event loop, and the line in front of them.

The line is short where it stands. A burst may wait, since it is over soon; where the line has not been empty for a
while, more comes than can be done, and whoever waited would only wait in vain: the limit to the wait then falls to a
few milliseconds, or to somewhat more than a call takes where that is longer, and what is over it is refused at once. So
the latency of what is accepted stays bounded, whatever comes. (The rule is that of "Fail at Scale", ACM Queue 13(8),
2015, after the CoDel algorithm.)
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from index.schema import NearposeError

T = TypeVar("T")

_STANDING_S = 0.1  # a line that was not empty for so long is no burst
_NEWEST = 0.1  # what the newest of the intervals counts in their mean, and the newest call in theirs
# Times that a call takes: what may always be waited. Twice as many clients as threads, each asking when it has its
# answer, wait one such time: they are no overload, however slow the encoder is.
_OWN_TIMES = 1.5


class OverloadedError(NearposeError):
    """More requests than can be answered in time."""


class Workers:
    """``size`` threads, and a line of calls that wait for one.

    Belongs to one event loop. A call that is cancelled while it waits is never done; one that runs keeps its thread
    until it ends.

    Args:
        size: threads.
        waiting: the most calls in line, whatever their wait: each holds its picture in memory.
        burst_s: the longest wait.
        standing_s: the longest wait where the line has not been empty for a tenth of a second, unless calls take
            so long that one and a half times their own time is more.
    """

    def __init__(self, size: int, waiting: int, burst_s: float = 0.5, standing_s: float = 0.02) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._size, self._waiting, self._burst_s, self._standing_s = size, waiting, burst_s, standing_s
        self._running = 0
        self._line: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._last_empty = self._last_release = time.monotonic()
        self._interval = 0.0  # mean seconds from one call's end to the next one's, while there is a line
        self._own_s = 0.0  # mean seconds that a call keeps its thread
        self._admitted = 0

    @property
    def running(self) -> int:
        """Calls that have a thread."""
        return self._running

    @property
    def waiting(self) -> int:
        """Calls in line."""
        return len(self._line)

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Holds a place for a request from before its body is read to its answer.

        Raises OverloadedError where its turn would come too late, as far as the time that the others take tells.
        """
        self._check_admits()
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    def _check_admits(self) -> None:
        before = max(len(self._line), self._admitted - self._running)  # those that still send their bodies included
        if before >= self._waiting + self._size - self._running:
            raise OverloadedError(f"{before} requests wait, which is the limit")
        if self._running < self._size:
            return
        wait_s = before * self._interval
        if wait_s > (self._longest_wait(time.monotonic()) if self._line else self._burst_s):
            raise OverloadedError(f"{before} requests wait, its turn would come after {1000 * wait_s:.0f} ms, too late")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work()``, done in a thread. Raises OverloadedError when its turn would come too late."""
        await self._turn()
        started, loop = time.monotonic(), asyncio.get_running_loop()
        call = self._pool.submit(work)
        call.add_done_callback(lambda _: _soon(loop, lambda: self._done(started)))
        return await asyncio.wrap_future(call)

    def close(self) -> None:
        """Waits for the calls that run; those in line are dropped."""
        self._pool.shutdown(cancel_futures=True)

    async def _turn(self) -> None:
        """Returns when a thread is free, which is then taken."""
        if self._running < self._size:
            self._running += 1
            return
        if len(self._line) >= self._waiting:
            raise OverloadedError(f"{len(self._line)} requests wait, which is the limit")
        if not self._line:
            self._last_empty = time.monotonic()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (time.monotonic(), place)
        self._line.append(entry)
        try:
            await place
        except asyncio.CancelledError:
            if entry in self._line:
                self._line.remove(entry)
            elif place.done() and not place.cancelled() and place.exception() is None:
                self._release()  # the turn had come: it goes to the next
            raise

    def _done(self, started: float) -> None:
        self._own_s += _NEWEST * (time.monotonic() - started - self._own_s)
        self._release()

    def _release(self) -> None:
        """Gives a free thread to the first in line that has not waited too long, and refuses those that have."""
        now = time.monotonic()
        if self._line and self._last_release > self._last_empty:  # what was before the line began is no interval
            self._interval += _NEWEST * (now - self._last_release - self._interval)
        self._last_release = now
        while self._line:
            since, place = self._line.popleft()
            if place.cancelled():  # its task has not run since
                continue
            if now - since <= self._longest_wait(now):
                place.set_result(None)
                break
            place.set_exception(OverloadedError(f"its turn came after {1000 * (now - since):.0f} ms, too late"))
        else:
            self._running -= 1
        if not self._line:
            self._last_empty = now

    def _longest_wait(self, now: float) -> float:
        if now - self._last_empty <= _STANDING_S:
            return self._burst_s
        return max(self._standing_s, min(_OWN_TIMES * self._own_s, self._burst_s))


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():  # a call that ends after its loop has nobody to tell
        loop.call_soon_threadsafe(callback)
