"""uvicorn, with a word on where it listens and a pause before it stops."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from types import FrameType

import uvicorn

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Serves until it is told to stop, and then for ``drain_s`` seconds more.

    In those, ``draining`` is set, which makes ``/readyz`` answer 503 while everything else goes on as before: whatever
    sends requests here has the time to notice. Then no more connections are accepted, and what was accepted is
    finished. A second signal, or Ctrl-C, ends the pause.

    Args:
        config: see uvicorn.
        draining: the app's own.
        drain_s: seconds between SIGTERM and the end of accepting.
    """

    def __init__(self, config: uvicorn.Config, draining: threading.Event, drain_s: float) -> None:
        super().__init__(config)
        self._draining, self._drain_s = draining, drain_s
        self._stop_at = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Says where it listens, in one line, as soon as it does: with port 0 nobody knows before."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        print(f"nearpose listens on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)  # noqa: T201

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to drain at the first SIGTERM; else as uvicorn does."""
        first = not self._draining.is_set()
        self._draining.set()
        if sig != signal.SIGTERM or not first or not self._drain_s:
            return super().handle_exit(sig, frame)
        self._captured_signals.append(sig)
        self._stop_at = time.monotonic() + self._drain_s
        return None

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop now."""
        if time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)
