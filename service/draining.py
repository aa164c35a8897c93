"""A pause between the word to stop and the stop, in which whoever sends requests here has the time to notice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def draining_first(draining: threading.Event, pause_s: float) -> Iterator[None]:
    """While this lasts, SIGTERM sets ``draining``, and ``pause_s`` later does what it did before; a second one at once.

    For the event loop's own thread. Where that is not the main one, signals are another's business: nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

    def begin(number: int, frame: FrameType | None) -> None:
        if not callable(stop) or draining.is_set() or not pause_s:
            draining.set()
            restore()
            signal.raise_signal(number)
            return
        draining.set()
        logger.info("told to stop: draining for %g s", pause_s)
        loop.call_soon_threadsafe(loop.call_later, pause_s, stop, number, None)

    def restore() -> None:
        signal.signal(signal.SIGTERM, stop)

    signal.signal(signal.SIGTERM, begin)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is begin:
            restore()
