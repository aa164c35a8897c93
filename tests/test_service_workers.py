"""The line in front of the threads: who is admitted, who is refused and when, and who leaves."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from service import workers as module
from service.demand import Mean
from service.workers import OverloadedError, Workers


class Clock:
    """A time that only moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Held:
    """Work that lasts until it is let go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self):
        assert self.go.wait(timeout=30)
        return "done"


async def settled() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition) -> None:
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen in time")


def run(scenario, **options) -> None:
    async def main():
        workers = Workers(**({"size": 1, "waiting": 10, "burst_s": 0.5, "overload_s": 0.02} | options))
        try:
            await scenario(workers)
        finally:
            workers.close()

    asyncio.run(main())


def test_the_result_and_the_error_of_the_work_come_back():
    async def scenario(workers):
        assert await workers.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 / 0)
        await until(lambda: workers.running == 0)

    run(scenario)


def test_calls_wait_their_turn_and_are_all_done():
    async def scenario(workers):
        results = await asyncio.gather(*(workers.run(lambda i=i: i) for i in range(9)))
        assert results == list(range(9))
        await until(lambda: workers.running == workers.waiting == 0)

    seen = []
    run(scenario, size=2, observe_waiting=seen.append)
    assert (max(seen), seen[-1]) == (7, 0)


def admit(workers, client="a client") -> None:
    with workers.admitted(client):
        pass


def test_a_full_line_takes_no_more():
    async def scenario(workers):
        held = Held()
        calls = [asyncio.create_task(workers.run(held)) for _ in range(3)]
        await settled()
        assert (workers.running, workers.waiting) == (1, 2)
        with pytest.raises(OverloadedError, match="2 requests wait, which is the limit"):
            admit(workers)
        with pytest.raises(OverloadedError, match="2 requests wait, which is the limit"):
            await workers.run(held)
        held.go.set()
        assert await asyncio.gather(*calls) == ["done"] * 3
        admit(workers)

    run(scenario, waiting=2)


def test_those_that_still_send_their_bodies_count():
    async def scenario(workers):
        held = Held()
        with workers.admitted(None), workers.admitted(None), workers.admitted(None):
            call = asyncio.create_task(workers.run(held))
            await settled()
            with pytest.raises(OverloadedError, match="2 requests wait"):
                admit(workers)
            held.go.set()
            await call
        await until(lambda: workers.running == 0)
        admit(workers)

    run(scenario, waiting=2)


def test_a_burst_may_wait_longer_than_a_standing_line(clock):
    async def scenario(workers):
        await calls_of(0.001, workers, clock)
        first, second = Held(), Held()
        running = asyncio.create_task(workers.run(first))
        await settled()
        patient = asyncio.create_task(workers.run(second))
        await settled()
        clock.now += 0.09  # the line was empty 90 ms ago: a burst
        admit(workers)
        first.go.set()
        await running
        await until(lambda: workers.waiting == 0)
        late = asyncio.create_task(workers.run(lambda: "late"))
        await settled()
        clock.now += 0.4  # the line has stood for more than 100 ms
        with contextlib.ExitStack() as stack:
            for _ in range(24):
                stack.enter_context(workers.admitted(None))
            with pytest.raises(OverloadedError, match="25 requests wait, its turn would come after 33 ms"):
                admit(workers)
        second.go.set()  # who was given a place keeps it
        assert await patient == "done"
        assert await late == "late"
        await until(lambda: workers.running == 0)
        assert await workers.run(lambda: "as before") == "as before"

    run(scenario, overload_s=0.005, waiting=100)


def test_a_stall_costs_nobody_its_place_unless_it_is_longer_than_a_burst_may_wait(clock):
    async def scenario(workers):
        await calls_of(0.2, workers, clock)
        held = [Held() for _ in range(3)]
        first, in_time, late = (asyncio.create_task(workers.run(one)) for one in held)
        await settled()
        clock.now += 20  # 25 times 200 ms are long over
        held[0].go.set()
        assert await first == "done"
        await until(lambda: workers.waiting == 1)
        clock.now += 41
        held[1].go.set()
        assert await in_time == "done"
        with pytest.raises(OverloadedError, match="its turn came after 61000 ms, too late"):
            await late

    run(scenario, overload_s=0.005, burst_s=60)


def test_a_standing_line_may_wait_as_long_as_slow_calls_take(clock):
    async def scenario(workers):
        await calls_of(0.2, workers, clock)
        held = Held()
        calls = [asyncio.create_task(workers.run(held)) for _ in range(2)]
        await settled()
        clock.now += 0.09
        assert workers._longest_wait(clock.now) == 60
        clock.now += 0.02  # the line stands
        assert workers._longest_wait(clock.now) == pytest.approx(25 * 0.2)
        held.go.set()
        await asyncio.gather(*calls)

    run(scenario, overload_s=0.005, burst_s=60, waiting=100)


async def calls_of(seconds, workers, clock, count=60) -> None:
    """``count`` calls one after the other, while the next is in line."""
    held = [Held() for _ in range(count)]
    calls = [asyncio.create_task(workers.run(held[0]))]
    for i in range(count):
        calls += [asyncio.create_task(workers.run(one)) for one in held[i + 1 : i + 2]]
        await settled()
        clock.now += seconds
        held[i].go.set()
        await calls[i]
        left = min(1, count - i - 1)
        await until(lambda left=left: workers.waiting + workers.running == left)


def asked(workers, clock, per_second, seconds=5) -> None:
    """Requests at regular moments, as far as the limits know of them."""
    for _ in range(int(per_second * seconds)):
        clock.now += 1 / per_second
        workers._demand.ask(clock.now, workers._recent_s())


@pytest.mark.parametrize(("per_second", "longest"), [(50, 0.5), (100, 0.5), (110, 0.5), (125, 0.03), (200, 0.03)])
def test_the_limit_falls_where_more_is_asked_than_can_be_answered(clock, per_second, longest):
    async def scenario(workers):
        await calls_of(0.01, workers, clock)  # a hundred a second
        asked(workers, clock, per_second)
        assert workers._longest_wait(clock.now) == longest

    run(scenario, overload_s=0.03, waiting=100)


@pytest.mark.parametrize(("per_second", "overloaded"), [(50, False), (90, False), (125, True), (200, True)])
def test_more_than_can_be_answered_waits_for_a_short_time_only(clock, per_second, overloaded):
    async def scenario(workers):
        await calls_of(0.01, workers, clock)  # a hundred a second
        asked(workers, clock, per_second)
        first, second = Held(), Held()
        running, waiting = (asyncio.create_task(workers.run(one)) for one in (first, second))
        await settled()
        clock.now += 0.05
        first.go.set()
        await running
        second.go.set()
        if overloaded:
            with pytest.raises(OverloadedError, match="its turn came after 50 ms, too late"):
                await waiting
        else:
            assert await waiting == "done"

    run(scenario, overload_s=0.03, waiting=100)


def test_overload_lasts_as_long_as_too_much_is_asked_though_refusals_empty_the_line(clock):
    async def scenario(workers):
        await calls_of(0.01, workers, clock)
        asked(workers, clock, 200)
        with contextlib.ExitStack() as stack:
            held = Held()
            call = asyncio.create_task(workers.run(held))
            await settled()
            for _ in range(3):  # 4 turns are 40 ms
                stack.enter_context(workers.admitted(None))
            assert workers.waiting == 0
            with pytest.raises(OverloadedError, match="3 requests wait, its turn would come after 40 ms"):
                admit(workers)
            clock.now += 5  # a pause
            admit(workers)
            held.go.set()
            await call

    run(scenario, overload_s=0.03, waiting=100)


def test_one_stall_is_no_news_of_what_calls_take_and_many_long_calls_are():
    interval = Mean()
    for _ in range(60):
        interval.add(0.01)
    interval.add(5)
    assert interval.value == pytest.approx(0.0127)
    for _ in range(200):
        interval.add(0.5)
    assert interval.value == pytest.approx(0.5, rel=0.01)


def test_few_calls_are_looked_at_for_longer(clock):
    """Four in a second of two calls a second would be overload, if the last second were all that counts."""

    async def scenario(workers):
        await calls_of(0.5, workers, clock)
        asked(workers, clock, 1.6, seconds=200)
        asked(workers, clock, 1000, seconds=0.004)
        assert workers._longest_wait(clock.now) == 60

    run(scenario, burst_s=60)


def test_slow_calls_have_a_successor_in_line_though_too_much_is_asked(clock):
    async def scenario(workers):
        await calls_of(0.2, workers, clock)
        asked(workers, clock, 20, seconds=20)
        first, second = Held(), Held()
        running, waiting = (asyncio.create_task(workers.run(one)) for one in (first, second))
        await settled()
        clock.now += 0.29  # one and a half times 200 ms
        first.go.set()
        second.go.set()
        assert await asyncio.gather(running, waiting) == ["done", "done"]
        assert workers._longest_wait(clock.now) < 1

    run(scenario, overload_s=0.005, burst_s=60, waiting=100)


def test_whose_turn_would_come_too_late_is_refused_at_once(clock):
    async def scenario(workers):
        held = [Held() for _ in range(4)]
        calls = [asyncio.create_task(workers.run(one)) for one in held]
        await settled()
        for done in (0, 1):
            clock.now += 0.1
            held[done].go.set()
            await calls[done]
            await until(lambda expected=2 - done: workers.waiting == expected)
        with contextlib.ExitStack() as stack:  # one interval of 100 ms
            stack.enter_context(workers.admitted(None))
            with pytest.raises(OverloadedError, match="2 requests wait, its turn would come after 300 ms"):
                stack.enter_context(workers.admitted(None))
        for one in held:
            one.go.set()
        await asyncio.gather(*calls[2:])

    run(scenario, burst_s=0.255, waiting=100)


def test_idle_time_is_no_interval(clock):
    async def scenario(workers):
        assert await workers.run(lambda: "before") == "before"
        await until(lambda: workers.running == 0)
        clock.now += 3600
        held = Held()
        calls = [asyncio.create_task(workers.run(held)) for _ in range(3)]
        await settled()
        held.go.set()
        await asyncio.gather(*calls)
        assert workers._interval.value == 0

    run(scenario)


@pytest.mark.parametrize(
    ("cores", "processes", "threads"), [(1, 1, 1), (3, 1, 3), (64, 1, 4), (4, 2, 2), (2, 8, 1), (64, 8, 4)]
)
def test_by_itself_a_process_takes_its_share_of_the_cores_four_at_most(monkeypatch, cores, processes, threads):
    monkeypatch.setattr(module, "cpu_count", lambda: cores)
    assert module.own_threads(processes) == threads


def test_a_thread_that_cannot_be_started_leaves_its_place_to_others(monkeypatch):
    async def scenario(workers):
        def cannot(work):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(workers._pool, "submit", cannot)
            with pytest.raises(RuntimeError, match="can't start"):
                await workers.run(lambda: 7)
        assert workers.running == 0
        assert await workers.run(lambda: 7) == 7

    run(scenario)


def test_uploads_are_bounded_while_threads_are_free():
    async def scenario(workers):
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(workers.admitted(None))
            with pytest.raises(OverloadedError, match="3 requests wait, which is the limit"):
                admit(workers)
        admit(workers)

    run(scenario, waiting=2)


def test_who_gives_up_waiting_leaves_the_line_and_is_never_done():
    async def scenario(workers):
        held, done = Held(), []
        running = asyncio.create_task(workers.run(held))
        await settled()
        impatient = asyncio.create_task(workers.run(lambda: done.append("impatient")))
        patient = asyncio.create_task(workers.run(lambda: done.append("patient")))
        await settled()
        impatient.cancel()
        held.go.set()
        await asyncio.gather(running, patient)
        assert impatient.cancelled()
        assert done == ["patient"]
        await until(lambda: workers.running == workers.waiting == 0)

    run(scenario)


def test_a_thread_stays_taken_until_its_work_ends_whoever_has_left():
    async def scenario(workers):
        held = Held()
        call = asyncio.create_task(workers.run(held))
        await settled()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert workers.running == 1
        held.go.set()
        await until(lambda: workers.running == 0)

    run(scenario)
