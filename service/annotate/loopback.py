"""Keeps pages of other sites from a server that asks nobody who they are because it listens on loopback alone."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems import MisdirectedError, refuse

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class LoopbackNames:
    """Refuses requests to another name than this machine's own.

    A browser lets a page ask a server by the page's own name alone; so a site that has its name lead to 127.0.0.1 could
    read and change what is here (DNS rebinding), but for the name that its requests then carry.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else LOOPBACK[0]
        if _name(host) not in LOOPBACK:
            return await refuse(MisdirectedError(host), scope, receive, send)
        return await self._app(scope, receive, send)


def _name(host: str) -> str:
    """Without the port and the brackets of an address."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()
