"""Keeps pages of other origins from sending anything that changes or costs something."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems import ForeignOriginError, refuse

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class OwnPages:
    """Refuses a POST, PUT or DELETE of a page of another origin than the server's own.

    A browser keeps such a page from reading answers, but sends a form for it without asking first: a page anywhere
    could have its visitors' browsers enrol frames in a server that only they can reach. What is no browser sends
    neither of the two headers, and passes. Browsers send ``Sec-Fetch-Site`` to https and to this machine alone.

    Args:
        origins: those whose pages may; ``*`` for all.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            if not self._may(headers):
                return await refuse(ForeignOriginError(headers.get("origin")), scope, receive, send)
        return await self._app(scope, receive, send)

    def _may(self, headers: Headers) -> bool:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if "*" in self._origins or origin in self._origins:
            return True
        if site is not None:
            return site in ("same-origin", "none")  # none: a person's own doing
        return origin is None or _is_of(origin, headers.get("host"), headers.get("x-forwarded-host"))


def _is_of(origin: str, *hosts: str | None) -> bool:
    try:
        name = urlsplit(origin).netloc
    except ValueError:
        return False
    return name != "" and name in hosts
