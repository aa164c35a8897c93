"""uvicorn, with a word on where it listens, a pause before it stops, and bounds to a request's head."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from service.logs import log_config
from service.settings import Settings

_LARGEST_HEAD = 64 * 2**10
_NONE_SEEN = object()


def server_of(app: FastAPI, settings: Settings) -> Server:
    """The server of ``app``, which ``create_app`` made, as ``settings`` want it."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=_protocol(settings.body_s),
        ws="none",
        log_config=log_config(settings.log_format),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_s,
    )
    return Server(config, app.state.draining, settings.drain_s)


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


def _protocol(limit_s: float) -> type[asyncio.Protocol]:
    """uvicorn's, but it closes a connection whose next head is too long, or takes ``limit_s`` seconds to twice that.

    uvicorn would wait for ever, and its faster parser keeps any number of headers.
    """

    class Impatient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._seen, self._head_bytes = _NONE_SEEN, 0
            self._timer = self.loop.call_later(limit_s, self._look)

        def connection_lost(self, error: Exception | None) -> None:
            self._timer.cancel()
            super().connection_lost(error)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._head_bytes = self._head_bytes + len(data) if self._waits() else 0
            if self._head_bytes > _LARGEST_HEAD:
                self.transport.close()

        def _waits(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _look(self) -> None:
            if self._waits() and self._seen is self.cycle:
                self.transport.close()
                return
            self._seen = self.cycle if self._waits() else _NONE_SEEN
            self._timer = self.loop.call_later(limit_s, self._look)

    return Impatient
