"""The threads that do the work which must not block the event loop, and the line in front of them.

How long a request may wait depends on what comes. A burst may wait long, since it is over soon. A line that stands is
one of clients that each ask again when they have their answer: some of them may be in it. Where more is asked than
can be answered, whoever waited would only wait in vain: the limit falls to a few milliseconds, and what is over it is
refused at once. So the latency of what is accepted stays bounded. ("Fail at Scale", ACM Queue 13(8),
2015, knows overload by the line that stands alone. That ends when the refusals have emptied the line, and the next
requests wait long again, until the line has stood: what is asked does not waver so.)

What is asked is counted as requests come. Who is refused and asks again on the same connection within a tenth of a
second is no new one: a few such clients would otherwise keep up by themselves an overload that is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from loky import cpu_count

from index.schema import NearposeError
from service.demand import Demand, Mean, Refused

T = TypeVar("T")

_MOST_THREADS = 4  # Python's lock lets hardly more of them work at the same time
_STANDING_S = 0.1  # a line that was not empty for so long is no burst
# Turns of the threads, which may be waited in a line that stands. At four fifths of what can be answered chance alone
# makes ten of them, and clients who each ask again when they have their answer are no overload, either.
_STANDING_TURNS = 25.0
# Of what could be answered, over the last second or so: beyond it is overload. Chance alone makes a tenth.
_TOO_MUCH = 1.15
_OVERLOAD_TURNS = 1.5  # and under overload: one in line for when a thread is free, or it would stand idle
_TOGETHER = 0.1  # of the mean interval: calls that end after less have ended together
_RECENT_S, _RECENT_TURNS = 1.0, 50.0  # whichever is longer: of few calls chance makes any rate


class OverloadedError(NearposeError):
    """More requests than can be answered in time."""


@dataclass
class _Request:
    """What may ask for a thread: whose it is, since when, and whether it is no retry of what has just been refused."""

    client: Hashable
    since: float
    is_new: bool
    is_admitted: bool


_request: ContextVar[_Request | None] = ContextVar("request", default=None)


class Workers:
    """``size`` threads, and a line of calls that wait for one.

    Belongs to one event loop. A call that is cancelled while it waits is never done; one that runs keeps its thread
    until it ends.

    Args:
        size: threads.
        waiting: the most calls in line, whatever their wait: each holds its picture in memory.
        burst_s: the longest wait, unless a turn and a half of the threads take longer; who has a place in line loses it
            to nothing else but overload.
        overload_s: the longest wait where more is asked than can be answered, by a seventh, unless a turn and a half
            take longer; and of who joins a line that has not been empty for a tenth of a second, unless 25 turns do,
            at most ``burst_s``.
        observe_waiting: is told how many are in line, whenever that changes.
    """

    def __init__(
        self,
        size: int,
        waiting: int,
        burst_s: float = 0.5,
        overload_s: float = 0.01,
        observe_waiting: Callable[[int], None] = lambda calls: None,
    ) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._size, self._waiting, self._burst_s, self._overload_s = size, waiting, burst_s, overload_s
        self._observe_waiting = observe_waiting
        self._running = 0
        self._line: deque[_Place] = deque()
        self._last_empty = self._busy_since = self._busy_until = time.monotonic()
        self._interval = Mean()  # seconds from one call's end to the next one's, while all threads are busy
        self._body_s = Mean()  # from a request's admission to its call
        self._demand = Demand()
        self._refused = Refused()
        self._reading: dict[int, float] = {}  # requests whose bodies come, since when

    @property
    def running(self) -> int:
        """Calls that have a thread."""
        return self._running

    @property
    def waiting(self) -> int:
        """Calls in line."""
        return len(self._line)

    @contextlib.contextmanager
    def admitted(self, client: Hashable) -> Iterator[None]:
        """Holds a place for a request of ``client`` from before its body is read until it asks for a thread.

        Raises OverloadedError where its turn would come too late, as far as the time that the others take tells.
        """
        request = self._request_of(client, is_admitted=True)
        try:
            self._check_admits(request.since)
        except OverloadedError:
            self._note_refused(request)
            raise
        self._reading[id(request)] = request.since
        try:
            with _known(request):
                yield
        finally:
            self._reading.pop(id(request), None)

    def unadmitted(self, client: Hashable) -> contextlib.AbstractContextManager[None]:
        """A request of ``client`` that has no body, and asks for a place in line where it needs one."""
        return _known(self._request_of(client, is_admitted=False))

    def _request_of(self, client: Hashable, *, is_admitted: bool) -> _Request:
        now = time.monotonic()
        return _Request(client, now, not self._refused.has(client, now), is_admitted)

    def _note_refused(self, request: _Request) -> None:
        counts = self._running == self._size  # bodies that come slowly would look like work otherwise
        if counts and request.is_new:
            self._demand.ask(request.since, self._recent_s())
        if counts or not request.is_new:
            self._refused.note(request.client, request.since)

    def _check_admits(self, now: float) -> None:
        before = len(self._line) + len(self._reading)
        if before >= self._waiting + self._size - self._running:
            raise OverloadedError(f"{before} requests wait, which is the limit")
        # While its own body comes, others have their turn; but not those whose bodies come far more slowly.
        body_s, longest_s = self._body_s.value, self._longest_wait(now)
        soon = sum(now - since < max(2 * body_s, longest_s) for since in self._reading.values())
        self._check_turn(len(self._line) + soon - (self._size - self._running), longest_s, body_s)

    def _check_turn(self, before: int, longest_s: float, after_s: float = 0.0) -> None:
        """Raises OverloadedError where the turn of who has ``before`` calls before it would come too late."""
        wait_s = (before + 1) * self._interval.value - after_s
        if before >= 0 and wait_s > longest_s:
            raise OverloadedError(f"{before} requests wait, its turn would come after {1000 * wait_s:.0f} ms, too late")

    def _recent_s(self) -> float:
        return max(_RECENT_S, _RECENT_TURNS * self._interval.value)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work()``, done in a thread. Raises OverloadedError when its turn would come too late."""
        request, now = _request.get() or self._request_of(object(), is_admitted=False), time.monotonic()
        if request.is_new:
            self._demand.ask(now, self._recent_s())
        if self._reading.pop(id(request), None) is not None:
            self._body_s.add(min(now - request.since, self._burst_s))
        try:
            await self._turn(is_admitted=request.is_admitted)
        except OverloadedError:
            self._refused.note(request.client, time.monotonic())
            raise
        self._refused.forget(request.client)
        request.is_new = True  # what else it wants done is more work
        loop = asyncio.get_running_loop()
        try:
            call = self._pool.submit(work)
        except BaseException:  # no thread can be started
            self._pass_on()
            raise
        call.add_done_callback(lambda _: _soon(loop, self._ended))
        return await asyncio.wrap_future(call)

    def close(self) -> None:
        """Waits for the calls that run; those in line are dropped."""
        self._pool.shutdown(cancel_futures=True)

    async def _turn(self, *, is_admitted: bool) -> None:
        """Returns when a thread is free, which is then taken."""
        now = time.monotonic()
        if self._running < self._size:
            self._running += 1
            self._busy_since = now  # as far as all are
            return
        if len(self._line) >= self._waiting:
            raise OverloadedError(f"{len(self._line)} requests wait, which is the limit")
        if not is_admitted:
            self._check_turn(len(self._line), self._longest_wait(now))
        if not self._line:
            self._last_empty = now
        place = _Place(now, asyncio.get_running_loop().create_future())
        self._line.append(place)
        self._observe_waiting(len(self._line))
        try:
            await place.turn
        except asyncio.CancelledError:
            if place in self._line:
                self._line.remove(place)
                self._observe_waiting(len(self._line))
            elif place.is_its_turn():
                self._pass_on()
            raise

    def _ended(self) -> None:
        """A call has ended: notes when, and passes its thread on."""
        now = time.monotonic()
        is_full = self._running == self._size
        # Calls whose pictures the encoder took together end together; but for the first, not all threads are busy then.
        if is_full or now - self._busy_until <= _TOGETHER * self._interval.value:
            since = self._busy_since if is_full else self._busy_until
            self._demand.answer(now, self._interval.add(now - since), self._recent_s())
            self._busy_since = self._busy_until = now
        self._pass_on()

    def _pass_on(self) -> None:
        """Gives a free thread to the first in line that has not waited too long, and refuses those that have."""
        now = time.monotonic()
        longest = self._longest_wait(now, is_promised=True)
        while self._line:
            place = self._line.popleft()
            if place.turn.cancelled():  # its task has not run since
                continue
            waited = now - place.since
            if waited <= longest:
                place.turn.set_result(None)
                break
            place.turn.set_exception(OverloadedError(f"its turn came after {1000 * waited:.0f} ms, too late"))
        else:
            self._running -= 1
        self._observe_waiting(len(self._line))
        if not self._line:
            self._last_empty = now

    def _longest_wait(self, now: float, *, is_promised: bool = False) -> float:
        """Of who asks for a place in line; or of who has one, whom a stall of all threads does not cost it."""
        turn_s = self._interval.value
        least = max(self._overload_s, _OVERLOAD_TURNS * turn_s)
        if self._demand.share(now, self._recent_s(), turn_s) > _TOO_MUCH:
            return least
        if not is_promised and turn_s > 0 and now - self._last_empty > _STANDING_S and self._line:
            return max(least, min(_STANDING_TURNS * turn_s, self._burst_s))
        return max(least, self._burst_s)


@dataclass(eq=False)
class _Place:
    """In line."""

    since: float
    turn: asyncio.Future[None]

    def is_its_turn(self) -> bool:
        return self.turn.done() and not self.turn.cancelled() and self.turn.exception() is None


@contextlib.contextmanager
def _known(request: _Request) -> Iterator[None]:
    """For what runs inside, in this task."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def own_threads(processes: int) -> int:
    """Threads of each of so many processes, where nobody says how many: a core each, four at most, one at least.

    Cores are those that this process may use: its affinity and its container's quota count.
    """
    cores: int = cpu_count()
    return max(1, min(_MOST_THREADS, cores // processes))


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():  # a call that ends after its loop has nobody to tell
        loop.call_soon_threadsafe(callback)
