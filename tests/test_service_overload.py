"""The line under load, in a time of its own: what is answered, who is refused, and that overload ends."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from concurrent.futures import Future

import numpy as np
import pytest

from service import workers as module
from service.workers import OverloadedError, Workers

CALL_S = 0.02  # so that two threads answer a hundred a second


class JumpingLoop(asyncio.SelectorEventLoop):
    """Does not wait: its time jumps to when something is due."""

    def __init__(self):
        super().__init__()
        self.now, select = 1000.0, self._selector.select

        def jump(timeout):
            self.now += timeout or 0
            return select(0)

        self._selector.select = jump

    def time(self):
        return self.now

    monotonic = time


class Pool:
    """Threads whose work is a time that passes."""

    def __init__(self, loop):
        self.loop = loop

    def submit(self, work):
        done = Future()
        self.loop.call_later(work(), done.set_result, None)
        return done

    def shutdown(self, **options):
        pass


class BatchingPool(Pool):
    """Threads whose pictures are encoded together: all that wait while a pass runs are the next one's."""

    def __init__(self, loop):
        super().__init__(loop)
        self.waiting, self.is_busy = [], False

    def submit(self, work):
        call = Future()
        self.waiting.append(call)
        if not self.is_busy:
            self.begin()
        return call

    def begin(self):
        self.passing, self.waiting, self.is_busy = self.waiting, [], True
        self.loop.call_later(0.02 + 0.002 * len(self.passing), self.end)

    def end(self):
        for call in self.passing:
            call.set_result(None)
        self.is_busy = False
        if self.waiting:
            self.begin()


class Load:
    """Requests to ``workers``: when they began, and what became of each.

    A call takes ``call_s``, or what that says when it begins.
    """

    def __init__(self, workers, loop):
        self.workers, self.loop, self.seen = workers, loop, []
        self.random = random.Random(0)

    async def post(self, client, call_s=CALL_S, body_s=0.001) -> bool:
        return await self._ask("post", client, call_s, body_s)

    async def get(self, client, call_s=CALL_S) -> bool:
        return await self._ask("get", client, call_s, 0)

    async def _ask(self, method, client, call_s, body_s) -> bool:
        start, outcome = self.loop.time(), f"{method} early"
        place = (self.workers.admitted if method == "post" else self.workers.unadmitted)(client)
        try:
            with place:
                outcome = f"{method} late"
                await asyncio.sleep(body_s)
                await self.workers.run(call_s if callable(call_s) else lambda: call_s)
                outcome = f"{method} answered"
        except OverloadedError:
            pass
        self.seen.append((start, outcome, self.loop.time() - start))
        return outcome.endswith("answered")

    async def closed(self, clients, seconds, again_s, ask=None) -> None:
        """Clients that each ask again when they have an answer, or ``again_s`` after they were refused."""
        end = self.loop.time() + seconds

        async def client(number):
            while self.loop.time() < end:
                if not await (ask or self.post)(number):
                    await asyncio.sleep(again_s)

        await asyncio.gather(*map(client, range(clients)))

    async def open(self, per_second, seconds, connections=64, slow_share=0.0, slow_s=0.0, **of_each) -> None:
        """Requests at random moments, the connections by turns; of some the bodies come slowly."""
        end, tasks = self.loop.time() + seconds, []
        for number in itertools.count():
            await asyncio.sleep(self.random.expovariate(per_second))
            if self.loop.time() >= end:
                break
            body = {"body_s": slow_s} if self.random.random() < slow_share else {}
            tasks.append(asyncio.create_task(self.post(f"open {number % connections}", **(of_each | body))))
        await asyncio.gather(*tasks)

    def rates(self, since, until) -> Counter:
        """Outcomes a second, of what began in that time."""
        counts = Counter(outcome for start, outcome, _ in self.seen if since <= start - 1000 < until)
        return Counter({outcome: count / (until - since) for outcome, count in counts.items()})

    def p99_s(self, since, until) -> float:
        """Of those that were answered."""
        answered = [t for start, outcome, t in self.seen if since <= start - 1000 < until and "answered" in outcome]
        return float(np.percentile(answered, 99))


def simulated(monkeypatch, scenario, size=2, pool=Pool) -> None:
    loop = JumpingLoop()
    monkeypatch.setattr(module, "time", loop)

    async def main():
        workers = Workers(size, waiting=64)
        workers.close()
        workers._pool = pool(loop)
        await scenario(Load(workers, loop))

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@pytest.mark.parametrize("again_s", [0.001, 0.02])
@pytest.mark.parametrize("clients", [4, 8, 12])
def test_who_asks_again_at_once_does_not_keep_up_an_overload_that_is_over(monkeypatch, clients, again_s):
    async def scenario(load):
        async def spike():
            await asyncio.sleep(3)
            await load.open(200, 3)

        await asyncio.gather(load.closed(clients, 20, again_s), spike())
        assert load.rates(4, 6)["post early"] > 50
        assert load.rates(12, 19) == {"post answered": pytest.approx(100, rel=0.05)}

    simulated(monkeypatch, scenario)


@pytest.mark.parametrize(("body_s", "least"), [(0.001, 85), (0.05, 75), (0.2, 75)])
def test_twice_of_what_can_be_answered_waits_for_a_short_time_only(monkeypatch, body_s, least):
    async def scenario(load):
        await load.open(200, 30, body_s=body_s)
        rates = load.rates(5, 30)
        assert rates["post answered"] > least
        assert rates["post late"] < 0.25 * rates["post answered"]
        assert load.p99_s(5, 30) < body_s + 3 * CALL_S

    simulated(monkeypatch, scenario)


@pytest.mark.parametrize(("per_second", "share", "slow_s"), [(200, 0.02, 3), (400, 0.05, 10), (200, 0.1, 1)])
def test_some_bodies_that_come_slowly_do_not_keep_threads_idle(monkeypatch, per_second, share, slow_s):
    async def scenario(load):
        await load.open(per_second, 30, slow_share=share, slow_s=slow_s)
        assert load.rates(5, 30)["post answered"] > 80

    simulated(monkeypatch, scenario)


def test_four_fifths_of_what_can_be_answered_are_answered(monkeypatch):
    async def scenario(load):
        await load.open(80, 60)
        assert load.rates(0, 60) == {"post answered": pytest.approx(80, rel=0.1)}

    simulated(monkeypatch, scenario)


def test_who_only_reads_and_waits_as_told_leaves_others_their_share(monkeypatch):
    async def scenario(load):
        async def spike():
            await asyncio.sleep(3)
            await load.open(200, 2)

        readers = load.closed(4, 30, 1.0, load.get)
        await asyncio.gather(readers, load.open(20, 30, connections=20), spike())
        assert load.rates(15, 29)["post answered"] > 10

    simulated(monkeypatch, scenario)


def test_where_few_calls_are_heavy_most_refusals_come_before_the_body(monkeypatch):
    async def scenario(load):
        heavy = itertools.cycle([1.0] + [0.01] * 19)  # 60 ms on average
        end, tasks = load.loop.time() + 120, []
        while load.loop.time() < end:
            await asyncio.sleep(load.random.expovariate(30))
            tasks.append(asyncio.create_task(load.post(len(tasks) % 64, call_s=next(heavy))))
        await asyncio.gather(*tasks)
        rates = load.rates(20, 120)
        assert rates["post early"] > 2 * rates["post late"]

    simulated(monkeypatch, scenario, size=1)


def test_what_needs_no_thread_is_no_load(monkeypatch):
    async def scenario(load):
        async def refused_for_what_it_says():
            for number in range(30_000):
                with load.workers.admitted(number % 8):
                    await asyncio.sleep(0.0005)

        await asyncio.gather(refused_for_what_it_says(), load.closed(8, 15, 0.02))
        assert load.rates(1, 14) == {"post answered": pytest.approx(100, rel=0.05)}

    simulated(monkeypatch, scenario)


def test_bodies_that_come_slowly_are_no_overload(monkeypatch):
    async def scenario(load):
        slow = [asyncio.create_task(load.post(("slow", number), body_s=20)) for number in range(66)]
        await asyncio.sleep(1)
        await load.closed(8, 5, 0.02)
        assert load.rates(1, 6)["post early"] > 100
        assert load.workers._demand._asked == pytest.approx(0, abs=0.5)
        await asyncio.gather(*slow)

    simulated(monkeypatch, scenario)


@pytest.mark.parametrize("clients", [3, 8])
def test_clients_that_each_wait_for_their_answer_are_not_refused_when_calls_become_slower(monkeypatch, clients):
    async def scenario(load):
        def call_s():
            slow = 3 < load.loop.now - 1000 < 5  # as while another core writes an index
            return load.random.uniform(0.5, 1.5) * (0.05 if slow else 0.004)

        await load.closed(clients, 10, 0.02, lambda client: load.post(client, call_s))
        assert set(load.rates(0, 10)) == {"post answered"}

    simulated(monkeypatch, scenario)


@pytest.mark.parametrize("stall_s", [0.1, 0.3])
def test_a_stall_of_all_threads_costs_no_answer_where_little_is_asked(monkeypatch, stall_s):
    async def scenario(load):
        def call_s():
            now = load.loop.now - 1000
            until = next((end for end in (3, 5, 5.5, 9) if end - stall_s < now < end), now)
            return until - now + CALL_S

        await load.closed(3, 12, 0.02, lambda client: load.post(client, call_s))
        assert set(load.rates(0, 12)) == {"post answered"}

    simulated(monkeypatch, scenario)


@pytest.mark.parametrize(("size", "clients"), [(4, 4), (4, 5), (8, 9)])
def test_calls_that_end_together_are_no_overload(monkeypatch, size, clients):
    async def scenario(load):
        async def burst():
            await asyncio.sleep(5)
            await asyncio.gather(*(load.get(f"other {number}") for number in range(8)))

        ask = lambda client: load.post(client, body_s=load.random.uniform(0.001, 0.002))  # noqa: E731
        await asyncio.gather(load.closed(clients, 20, 0.02, ask), burst())
        assert set(load.rates(1, 19)) == {"post answered", "get answered"}

    simulated(monkeypatch, scenario, size, BatchingPool)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_calls_that_become_faster_are_no_overload(monkeypatch, size):
    async def scenario(load):
        def call_s():
            return size * (0.2 if load.loop.now - 1000 < 60 else 0.02)

        await load.open(4, 60, call_s=call_s)
        await load.open(40, 20, call_s=call_s)
        rates = load.rates(60, 80)
        assert sum(rates.values()) - rates["post answered"] < 1

    simulated(monkeypatch, scenario, size)
