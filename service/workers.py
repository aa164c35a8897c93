"""A bounded pool of threads for the work that must not block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from index.schema import NearposeError

T = TypeVar("T")


class OverloadedError(NearposeError):
    """As many requests as may wait are waiting already."""


class Workers:
    """``size`` threads, and at most ``waiting`` calls in line for them.

    Without the second bound, a burst would keep every picture of it in memory, and answer long after anyone listens.
    """

    def __init__(self, size: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._limit, self._accepted = size + waiting, 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work()``, done in a thread. Raises OverloadedError when the line is full."""
        if self._accepted >= self._limit:
            raise OverloadedError(f"{self._accepted} requests are in work or waiting, which is the limit")
        self._accepted += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._accepted -= 1

    def close(self) -> None:
        """Waits for the calls that run; those in line are dropped."""
        self._pool.shutdown(cancel_futures=True)
