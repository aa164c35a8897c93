"""What happens to every request, whatever its route: an id, a line in the log, limits to it, no bare failure."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping
from threading import Event

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.problems import (
    BodyTimeoutError,
    BodyTooLargeError,
    RequestTimeoutError,
    internal_problem,
    mark_refused,
    problem_response,
    refuse,
)

logger = logging.getLogger(__name__)

# What is safe in a header and in either kind of log line, and long enough for every id in use.
_SAFE_ID = re.compile(r"[A-Za-z0-9._:=@+-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WENT_AWAY = 499  # nginx's number for a client that did not wait for its answer

_SECURITY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class RequestLog:
    """Gives each request an id (``X-Request-Id``), logs it, and answers 500 where anything unforeseen is raised.

    A client's own id is kept where it is safe to repeat. While ``draining`` is set, each answer ends its connection, so
    that the client's next request goes elsewhere. Starlette's own last resort sends a 500 and raises on, so that the
    server logs it again, without the id.
    """

    def __init__(self, app: ASGIApp, draining: Event) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = scope["request_id"] = _request_id(scope)
        start, status = time.perf_counter(), 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if self._draining.is_set():
                    headers["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except Exception:
            logger.exception("request %s failed", request_id)
            if status:
                raise
            problem = internal_problem(request_id)
            mark_refused(scope, problem)
            await problem_response(problem)(scope, receive, send_marked)
        finally:
            _log_access(scope, status, 1000 * (time.perf_counter() - start), request_id)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SAFE_ID.fullmatch(given) else uuid.uuid4().hex


def _log_access(scope: Scope, status: int, took_ms: float, request_id: str) -> None:
    request = {
        "client": (scope.get("client") or ("-",))[0],
        "method": scope["method"],
        "path": scope.get("raw_path", b"").decode("ascii", "backslashreplace"),
        "status": status,
        "ms": round(took_ms, 1),
        "request_id": request_id,
    }
    caller = {"key": scope.get("key"), "trace_id": scope.get("trace_id") or _trace_id(scope)}
    extra = request | {name: value for name, value in caller.items() if value}
    logger.info("%(client)s %(method)s %(path)s %(status)d %(ms).1f ms %(request_id)s", request, extra=extra)


def _trace_id(scope: Scope) -> str | None:
    """The id of the caller's trace: https://www.w3.org/TR/trace-context/#traceparent-header."""
    match = _TRACEPARENT.fullmatch(Headers(scope=scope).get("traceparent", ""))
    return match and match[1]


class Measured:
    """Counts and times every request by its route's template."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start, status = time.perf_counter(), _WENT_AWAY

        async def send_seen(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self._metrics.started()
        try:
            await self._app(scope, receive, send_seen)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            seconds = time.perf_counter() - start
            self._metrics.answered(_template(scope), method, status, seconds, scope.get("refusal"))


def _template(scope: Scope) -> str:
    """The route that a request was for: ``/frames/{frame}/image.jpg``; other: the document, a folder of files."""
    route = scope.get("route")
    if route is not None:
        return str(getattr(route, "path_format", route.path))
    return "other" if "endpoint" in scope else "unmatched"


class SecurityHeaders:
    """Puts on every answer what keeps a browser from doing more with it than the page needs.

    Args:
        shared: whether pages of other origins may show what is served here.
    """

    def __init__(self, app: ASGIApp, *, shared: bool) -> None:
        self._app = app
        self._headers: Mapping[str, str] = _SECURITY | (
            {"Cross-Origin-Resource-Policy": "cross-origin"} if shared else {}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_guarded if scope["type"] == "http" else send)


class Deadline:
    """Gives a request up whose answer has not begun within ``limit_s`` seconds: 503. Who reads it slowly may."""

    def __init__(self, app: ASGIApp, limit_s: float) -> None:
        self._app, self._limit_s = app, limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_in_time(message: Message) -> None:
            limit.reschedule(None)
            await send(message)

        limit = asyncio.timeout(self._limit_s)
        try:
            async with limit:
                await self._app(scope, receive, send_in_time)
        except TimeoutError:
            if not limit.expired():
                raise
            await refuse(RequestTimeoutError(self._limit_s), scope, receive, send)


class BodyLimit:
    """Refuses a body over ``limit`` bytes, unread where its length is declared, or that takes over ``limit_s`` seconds.

    FastAPI's ``max_body_size`` limits the bytes, but answers a declared length in plain text.
    """

    def __init__(self, app: ASGIApp, limit: int, limit_s: float) -> None:
        self._app, self._limit, self._limit_s = app, limit, limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        declared, received, complete = int(Headers(scope=scope).get("content-length", 0)), 0, False
        end = asyncio.get_running_loop().time() + self._limit_s

        async def receive_counted() -> Message:
            nonlocal received, complete
            if declared > self._limit:
                raise BodyTooLargeError(f"{declared} bytes", self._limit)
            try:
                async with asyncio.timeout_at(None if complete else end):
                    message = await receive()
            except TimeoutError:
                raise BodyTimeoutError(received, self._limit_s) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._limit:
                raise BodyTooLargeError(f"more than {self._limit} bytes", self._limit)
            return message

        return await self._app(scope, receive_counted, send)
