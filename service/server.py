"""uvicorn, in one process or several, with a word on where it listens and bounds to a request's head."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from service.admission import CONNECTION
from service.app import SETTINGS, create_app
from service.logs import log_config
from service.metrics import shared_metrics
from service.settings import ServerSettings, Settings

_LARGEST_HEAD = 64 * 2**10
_NONE_SEEN = object()


def serve(settings: Settings) -> None:
    """Serves until it is told to stop."""
    app = create_app(settings)  # in the parent of several processes, too: what is wrong with the settings shows here
    if settings.workers == 1:
        server_of(app, settings).run()
        return
    with shared_metrics():
        _serve_by_processes(settings)


def server_of(app: FastAPI, settings: ServerSettings) -> uvicorn.Server:
    """The server of ``app`` in this process."""
    return _Server(_Config(app, settings, 1))


def _serve_by_processes(settings: Settings) -> None:
    """Processes that listen at one address; one that dies is replaced."""
    os.environ[SETTINGS] = settings.model_dump_json()
    config = _Config("service.app:create_app_from_environment", settings, settings.workers)
    bound = config.bind_socket()
    if sys.platform == "linux":  # others do not deal connections out
        address = bound.getsockname()
        try:
            bound = _ShareOfPort.of(bound)
        except OSError as error:
            sys.exit(f"{address}: {error}")
    _say_where(bound)
    Multiprocess(config, sockets=[bound]).run()


class _ShareOfPort(socket.socket):
    """Bound. Each process that it is pickled for gets another at the same address, and its share of the connections.

    Of one socket that all accept from, whichever wakes first takes all that wait, be it busy or idle.
    """

    _mark: socket.socket | None = None

    @classmethod
    def of(cls, bound: socket.socket) -> _ShareOfPort:
        """In place of ``bound``, which made sure that nobody else listens there.

        Until the first process listens, the system would let another service with processes join at the same address:
        a name that only one socket of a network can have, gone with its process, tells that one. Raises OSError.
        """
        family, address = bound.family, bound.getsockname()
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mark.bind(f"\0nearpose {address[0]} {address[1]}")
            bound.close()
            share = cls.at(family, address)
        except OSError:
            mark.close()
            raise
        share._mark = mark
        return share

    def close(self) -> None:
        if self._mark is not None:
            self._mark.close()
        super().close()

    @classmethod
    def at(cls, family: socket.AddressFamily, address: Any) -> _ShareOfPort:
        """Does not listen yet, so that nothing is dealt out to it."""
        share = cls(family, socket.SOCK_STREAM)
        share.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        share.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        share.bind(address)
        return share

    def __reduce__(self) -> tuple[Any, ...]:
        return _ShareOfPort.at, (self.family, self.getsockname())


class _Config(uvicorn.Config):
    """As ``settings`` want it. Pickles."""

    def __init__(self, app: FastAPI | str, settings: ServerSettings, workers: int) -> None:
        self.head_s = settings.body_s
        super().__init__(
            app,
            factory=isinstance(app, str),
            workers=workers,
            host=settings.host,
            port=settings.port,
            http=_Impatient,
            ws="none",
            log_config=log_config(settings.log_format),
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_s,
        )


class _Server(uvicorn.Server):
    """Says where it listens as soon as it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _say_where(self.servers[0].sockets[0])


def _say_where(bound: socket.socket) -> None:
    """In one line: with port 0 nobody knows before."""
    host, port = bound.getsockname()[:2]
    print(f"nearpose listens on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)  # noqa: T201


class _Impatient(HttpToolsProtocol):
    """uvicorn's, but it closes a connection whose next head is too long, or takes ``head_s`` seconds to twice that.

    uvicorn would wait for ever, and keep any number of headers. What comes of a body after its request was refused is
    no head, but has no more time than one. The trailers of a body are a head, too.
    """

    config: _Config

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._seen, self._head_bytes = _NONE_SEEN, 0
        self._in_body = self._body_came = False
        self._timer = self.loop.call_later(self.config.head_s, self._look)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(error)

    def on_headers_complete(self) -> None:
        self._in_body = True
        self.scope[CONNECTION] = self.client  # type: ignore[literal-required]  # a key of ours
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._body_came = True
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        self._body_came = False
        super().data_received(data)
        is_head = not self._body_came and (self._in_body or self._is_answered())
        self._head_bytes = self._head_bytes + len(data) if is_head else 0
        if self._head_bytes > _LARGEST_HEAD:
            self.transport.close()

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _look(self) -> None:
        if self._is_answered() and self._seen is self.cycle:
            self.transport.close()
            return
        self._seen = self.cycle if self._is_answered() else _NONE_SEEN
        self._timer = self.loop.call_later(self.config.head_s, self._look)
