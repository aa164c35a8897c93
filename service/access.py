"""Who may ask, and how often."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.keys import Key, KeyFile
from service.problems import RateLimitedError, UnauthorizedError, refuse
from service.rates import Rates

PROBES = ("/healthz", "/readyz")
_IPV6_NETWORK = 64  # what one customer is given: each has more addresses of it than there are buckets


class Access:
    """Asks for an API key where there are keys, and limits how often each key, or else each address, may ask.

    Probes are always let through. ``scope["key"]`` is the key's name from here on.

    Args:
        keys: None: nobody needs one.
        per_minute: requests of a client that has no limit of its own; 0: as many as it likes.
        public: paths that need no key; one that ends in ``/*`` stands for all below it.
    """

    def __init__(self, app: ASGIApp, keys: KeyFile | None, per_minute: int, public: Sequence[str]) -> None:
        self._app, self._keys, self._per_minute, self._public = app, keys, per_minute, tuple(public)
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            return await self._app(scope, receive, send)
        secret = _presented(Headers(scope=scope)) if self._keys else None
        key = self._keys.find(secret) if self._keys and secret else None
        if key:
            scope["key"] = key.name
        elif self._keys and not self._is_public(scope["path"]):
            return await refuse(UnauthorizedError(presented=secret is not None), scope, receive, send)
        headers = {"Vary": "Authorization, X-API-Key"} if key else {}
        per_minute = self._per_minute if key is None or key.per_minute is None else key.per_minute
        if per_minute:
            verdict = self._rates.take(_client(scope, key), per_minute)
            if not verdict.allowed:
                return await refuse(RateLimitedError(per_minute, verdict.headers()), scope, receive, send)
            headers |= verdict.headers()
        return await self._app(scope, receive, _sending(send, headers, private=key is not None))

    def _is_public(self, path: str) -> bool:
        return any(path == open_ or (open_.endswith("/*") and path.startswith(open_[:-1])) for open_ in self._public)


def _presented(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")


def _client(scope: Scope, key: Key | None) -> tuple[str, str]:
    if key:
        return "key", key.name
    host = (scope.get("client") or ("-",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a socket of the file system, a test's client
        return "address", host
    if address.version == 6 and not address.ipv4_mapped:
        return "address", str(ipaddress.ip_network((address, _IPV6_NETWORK), strict=False))
    return "address", str(address)


def _sending(send: Send, extra: dict[str, str], *, private: bool) -> Send:
    """``send`` with ``extra`` headers; with ``private``, what a shared cache may keep becomes the client's alone."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update({name: value for name, value in extra.items() if name not in headers})
            if private and "cache-control" in headers:
                headers["Cache-Control"] = headers["Cache-Control"].replace("public", "private")
        await send(message)

    return send_marked if extra else send
