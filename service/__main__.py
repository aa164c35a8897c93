"""``python -m service --index <run>/index``: serves an index until it is told to stop."""

from __future__ import annotations

import contextlib
import socket
import sys

import uvicorn
from pydantic import ValidationError

from service.app import create_app
from service.logs import log_config
from service.settings import Settings


class _Server(uvicorn.Server):
    """Says where it listens, in one line, as soon as it does: with port 0 nobody knows before."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        print(f"nearpose listens on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)


def main() -> None:
    """Reads the settings and serves."""
    try:
        settings = Settings(_cli_parse_args=True, _cli_prog_name="python -m service")  # type: ignore[call-arg]
    except ValidationError as error:
        sys.exit("\n".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=log_config(settings.log_format),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_s,
    )
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config).run()


if __name__ == "__main__":
    main()
