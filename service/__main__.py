"""``python -m service --index <run>/index``: serves an index until it is told to stop."""

from __future__ import annotations

import contextlib
import os
import socket
import sys

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from uvicorn.supervisors import Multiprocess

from service.app import SETTINGS, create_app
from service.logs import log_config
from service.settings import Settings


class _Server(uvicorn.Server):
    """Says where it listens as soon as it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _say_where(self.servers[0].sockets[0])


def main() -> None:
    """Reads the settings and serves."""
    try:
        settings = Settings(_cli_parse_args=True, _cli_prog_name="python -m service")  # type: ignore[call-arg]
    except ValidationError as error:
        sys.exit("\n".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()))
    with contextlib.suppress(KeyboardInterrupt):
        if settings.workers == 1:
            _Server(_config(settings, create_app(settings))).run()
        else:
            _serve_by_processes(settings)


def _config(settings: Settings, app: FastAPI | str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        log_config=log_config(settings.log_format),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_s,
    )


def _serve_by_processes(settings: Settings) -> None:
    """Processes that accept from one socket; one that dies is replaced."""
    os.environ[SETTINGS] = settings.model_dump_json()
    config = _config(settings, "service.app:create_app_from_environment")
    bound = config.bind_socket()
    _say_where(bound)
    Multiprocess(config, sockets=[bound]).run()


def _say_where(bound: socket.socket) -> None:
    """In one line: with port 0 nobody knows before."""
    host, port = bound.getsockname()[:2]
    print(f"nearpose listens on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)


if __name__ == "__main__":
    main()
