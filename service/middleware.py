"""What happens to every request, whatever its route: an id, a line in the log, a limit to its body, no bare failure."""

from __future__ import annotations

import logging
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import BodyTooLargeError, internal_problem, problem_response

logger = logging.getLogger(__name__)


class RequestLog:
    """Gives each request an id (``X-Request-Id``), logs it, and answers 500 where anything unforeseen is raised.

    Starlette's own last resort sends a 500 and raises on, so that the server logs it again, without the id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = scope["request_id"] = uuid.uuid4().hex
        start, status = time.perf_counter(), 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except Exception:
            logger.exception("request %s failed", request_id)
            if status:
                raise
            await problem_response(internal_problem(request_id))(scope, receive, send_marked)
        finally:
            _log_access(scope, status, 1000 * (time.perf_counter() - start), request_id)


def _log_access(scope: Scope, status: int, took_ms: float, request_id: str) -> None:
    request = {
        "client": (scope.get("client") or ("-",))[0],
        "method": scope["method"],
        "path": scope.get("raw_path", b"").decode("ascii", "backslashreplace"),
        "status": status,
        "ms": round(took_ms, 1),
        "request_id": request_id,
    }
    logger.info("%(client)s %(method)s %(path)s %(status)d %(ms).1f ms %(request_id)s", request, extra=request)


class BodyLimit:
    """Refuses a body over ``limit`` bytes: unread where its length is declared, else as soon as it passes the limit.

    FastAPI's ``max_body_size`` does the same, but answers a declared length in plain text.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        declared, received = int(Headers(scope=scope).get("content-length", 0)), 0

        async def receive_counted() -> Message:
            nonlocal received
            if declared > self._limit:
                raise BodyTooLargeError(f"{declared} bytes", self._limit)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise BodyTooLargeError(f"more than {self._limit} bytes", self._limit)
            return message

        return await self._app(scope, receive_counted, send)
