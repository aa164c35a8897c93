"""Errors to ``application/problem+json`` (RFC 9457). The one place that knows which error is which answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from index.schema import (
    GeometryError,
    ImageError,
    InvalidValueError,
    NearposeError,
    NoPoseError,
    OutOfViewError,
    UnavailableError,
)
from service.annotate.draft import NoDraftError
from service.annotate.pictures import MissingPictureError
from service.annotate.store import ConflictError, ReadOnlyError, UnknownCaptureError, UnreadableCaptureError
from service.engine import UnknownFrameError
from service.enrolment.file import EnrolmentUnavailableError, StorageFullError
from service.enrolment.store import KeyReusedError, UnknownObjectError
from service.live import DrainingError, NotReadyError
from service.workers import OverloadedError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_NAMESPACE = "urn:nearpose:problem:"
_LONGEST_VALUE = 200
_MOST_ERRORS = 5


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:nearpose:problem:invalid-value",
                "title": "A value is outside its bound",
                "status": 422,
                "detail": "camera.fx: got -525.0, must be greater than or equal to 1",
                "field": "camera.fx",
                "value": -525.0,
                "bound": "greater than or equal to 1",
            }
        }
    )

    type: str = Field(
        description="Which kind, stable: `urn:nearpose:problem:` and one of `invalid-value`, `unknown-frame`, "
        "`unknown-object`, `unknown-capture`, `unreadable-capture`, `missing-picture`, `conflict`, `read-only`, "
        "`revision-required`, `misdirected`, `no-draft`, `geometry`, `no-pose`, `unreadable-image`, `key-reused`, "
        "`body-too-large`, `body-timeout`, `unauthorized`, `foreign-origin`, `rate-limited`, `not-ready`, "
        "`index-unavailable`, `draining`, `overloaded`, `timeout`, `enrolment-unavailable`, "
        "`storage-full`, `internal`; or `about:blank`, where the status says it all."
    )
    title: str = Field(description="The kind, in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request.")
    field: str | None = Field(default=None, description="What it is about: a form field, or a part of one (`rect[0]`).")
    value: Any = Field(default=None, description="What was given there; shortened text where it is long or not JSON.")
    bound: str | None = Field(default=None, description="What it must be.")
    request_id: str | None = Field(
        default=None, description="Of an internal error: what to look for in the server's log."
    )


class RefusedError(HTTPException):
    """A request that is refused whatever its route. An HTTPException, as some are raised while its body is read.

    ``slug`` and ``title`` are the problem's; ``field``, ``value`` and ``bound`` may be set.
    """

    slug: str
    title: str


class BodyTooLargeError(RefusedError):
    """A request body over the limit.

    Its answer closes the connection; else the server would go on to receive the rest, to no end.
    """

    slug, title = "body-too-large", "The body is over the limit"

    def __init__(self, size: str, limit: int) -> None:
        self.field, self.value, self.bound = "body", size, f"at most {limit} bytes"
        super().__init__(413, f"body: got {size}, must be {self.bound}", {"Connection": "close"})


class BodyTimeoutError(RefusedError):
    """A request body that did not come in time. Its answer closes the connection, too."""

    slug, title = "body-timeout", "The body did not come in time"

    def __init__(self, received: int, limit_s: float) -> None:
        self.field, self.value, self.bound = "body", f"{received} bytes", f"complete within {limit_s:g} s"
        super().__init__(408, f"body: got {self.value}, must be {self.bound}", {"Connection": "close"})


class RequestTimeoutError(RefusedError):
    """A request that was not answered in time."""

    slug, title = "timeout", "The request took too long"

    def __init__(self, limit_s: float) -> None:
        super().__init__(503, f"not answered within {limit_s:g} s")


class UnauthorizedError(RefusedError):
    """No API key, or none that is known here."""

    slug, title = "unauthorized", "An API key is needed"

    def __init__(self, *, presented: bool) -> None:
        detail = "the API key is not known" if presented else "no API key: send Authorization: Bearer, or X-API-Key"
        challenge = 'Bearer realm="nearpose"' + (', error="invalid_token"' if presented else "")
        super().__init__(401, detail, {"WWW-Authenticate": challenge})


class MisdirectedError(RefusedError):
    """A request to a name that this server does not go by."""

    slug, title = "misdirected", "This server does not go by that name"

    def __init__(self, host: str) -> None:
        self.field, self.value, self.bound = "Host", host, "localhost, 127.0.0.1 or [::1]"
        super().__init__(
            421, f"Host: got {host!r}, must be {self.bound}: without API keys the server is for this machine"
        )


class ForeignOriginError(RefusedError):
    """A page of another origin that sends what changes or costs something."""

    slug, title = "foreign-origin", "Pages of that origin may not ask"

    def __init__(self, origin: str | None) -> None:
        self.field, self.value, self.bound = "Origin", origin, "the server's own, or one that --cors-origins names"
        super().__init__(403, f"Origin: got {origin!r}, must be {self.bound}")


class RevisionRequiredError(RefusedError):
    """A change that does not say which revision it was made of."""

    slug, title = "revision-required", "Say which revision was changed"

    def __init__(self) -> None:
        self.field, self.value, self.bound = "If-Match", None, 'the revision that was changed, in quotes: "<revision>"'
        super().__init__(428, f"If-Match: must be {self.bound}")


class RateLimitedError(RefusedError):
    """More requests than a client may send. ``headers`` say when the next one may come."""

    slug, title = "rate-limited", "Too many requests from this client"

    def __init__(self, per_minute: int, headers: Mapping[str, str]) -> None:
        super().__init__(429, f"at most {per_minute} requests a minute", dict(headers))


# By error class: status, type, title, and the field where the error itself names none.
_KINDS: dict[type[Exception], tuple[int, str, str, str | None]] = {
    UnknownFrameError: (404, "unknown-frame", "The index has no such frame", "frame"),
    UnknownObjectError: (404, "unknown-object", "There is no such object", "object"),
    KeyReusedError: (422, "key-reused", "The idempotency key came with another request", None),
    InvalidValueError: (422, "invalid-value", "A value is outside its bound", None),
    GeometryError: (422, "geometry", "The parts of the query do not fit together", "plane"),
    OutOfViewError: (422, "geometry", "The parts of the query do not fit together", "rect"),
    NoPoseError: (422, "no-pose", "None of the neighbours has a pose", None),
    ImageError: (422, "unreadable-image", "The image cannot be read", "image"),
    UnavailableError: (503, "index-unavailable", "The index does not answer", None),
    NotReadyError: (503, "not-ready", "No index is loaded", None),
    DrainingError: (503, "draining", "The server is about to stop", None),
    OverloadedError: (503, "overloaded", "Too many requests at once", None),
    EnrolmentUnavailableError: (503, "enrolment-unavailable", "Nothing can be enrolled here", None),
    UnknownCaptureError: (404, "unknown-capture", "There is no such capture", "name"),
    UnreadableCaptureError: (409, "unreadable-capture", "The capture's file cannot be read", None),
    MissingPictureError: (404, "missing-picture", "There is no such picture", None),
    ConflictError: (412, "conflict", "The capture has changed meanwhile", None),
    ReadOnlyError: (403, "read-only", "The capture cannot be written to", None),
    NoDraftError: (404, "no-draft", "There is no box to propose", None),
    StorageFullError: (507, "storage-full", "There is no room for more", None),
}
_HEADERS = {503: {"Retry-After": "1"}}


def problem_from_error(error: Exception) -> Problem:
    """What ``error`` is to a client. Raises it again where it is none of theirs (a damaged artefact, a bug)."""
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        kind = _kind(error.slug) if isinstance(error, RefusedError) else "about:blank"
        title = error.title if isinstance(error, RefusedError) else HTTPStatus(error.status_code).phrase
        return Problem(type=kind, title=title, status=error.status_code, detail=error.detail, **_named(error))
    for cls in type(error).__mro__:
        if cls in _KINDS:
            status, slug, title, field = _KINDS[cls]
            named = {"field": field, **_named(error)}
            return Problem(type=_kind(slug), title=title, status=status, detail=_detail(error), **named)
    raise error


def _detail(error: Exception) -> str:
    """What is wrong; where an index lies is nothing to clients."""
    return "what keeps the index does not answer now" if isinstance(error, UnavailableError) else str(error)


def internal_problem(request_id: str) -> Problem:
    """What a client hears of an error of ours: where to ask, and nothing else."""
    return Problem(
        type=_kind("internal"),
        title="The server failed",
        status=500,
        detail="An error of the server, not of the request; the server's log tells more under the request id.",
        request_id=request_id,
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """``problem`` as an answer."""
    content = problem.model_dump_json()
    return Response(content, problem.status, {**_HEADERS.get(problem.status, {}), **(headers or {})}, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes ``app`` answer the errors that it raises as problems."""
    for kind in (NearposeError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)


async def refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request with what ``error`` is to its client. For middlewares; ``install`` is for what routes raise."""
    await _refusal(scope, error)(scope, receive, send)


async def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        error.headers = {**(error.headers or {}), **_allowed(request)}
    return _refusal(request.scope, error)


def _allowed(request: Request) -> dict[str, str]:
    """The methods of a path. Starlette names those of the first route alone, where several have one path."""
    path = getattr(request.scope.get("route"), "path_format", None)
    operations = request.app.openapi()["paths"].get(path)
    return {"Allow": ", ".join(sorted(method.upper() for method in operations))} if operations else {}


def _refusal(scope: Scope, error: Exception) -> Response:
    problem = problem_from_error(error)
    logger.info("request %s refused: %r", scope["request_id"], problem.detail)
    if isinstance(error, UnavailableError):
        logger.warning("request %s: %s", scope["request_id"], error)
    mark_refused(scope, problem)
    return problem_response(problem, getattr(error, "headers", None))


def mark_refused(scope: Scope, problem: Problem) -> None:
    """Notes in ``scope["refusal"]`` which kind of problem a request is answered with, for those who count."""
    _, is_ours, slug = problem.type.rpartition(_NAMESPACE)
    scope["refusal"] = slug if is_ours else f"http-{problem.status}"


def _kind(slug: str) -> str:
    return f"{_NAMESPACE}{slug}"


def _named(error: Exception) -> dict[str, Any]:
    """``field``, ``value`` and ``bound`` of an error that has them."""
    named = {name: getattr(error, name) for name in ("field", "value", "bound") if hasattr(error, name)}
    return {name: _json_value(value) for name, value in named.items()}


def _json_value(value: Any) -> Any:
    """``value`` as it is where JSON can hold it and it is short, else as text."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    try:
        if len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) <= _LONGEST_VALUE:
            return value
    except (TypeError, ValueError):
        pass
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _from_validation(error: RequestValidationError) -> Problem:
    """The first of the errors, as ``InvalidValueError`` would put it; ``detail`` tells of the next ones, too."""
    found = [_invalid_value(e) for e in error.errors()[:_MOST_ERRORS]]
    return problem_from_error(found[0]).model_copy(update={"detail": "; ".join(str(e) for e in found)})


def _invalid_value(error: Mapping[str, Any]) -> InvalidValueError:
    kind, field = error["type"], _field_name(error["loc"][1:])
    if kind == "missing":
        return InvalidValueError(field, None, "given")
    if field == "image":
        return InvalidValueError(field, "text", "a file")
    if kind == "extra_forbidden":
        return InvalidValueError(field, error["input"], "left out: there is no such field")
    if kind == "json_invalid":
        return InvalidValueError(field, error["input"], f"JSON ({error['ctx']['error']})")
    return InvalidValueError(field, error["input"], error["msg"].removeprefix("Input should be "))


def _field_name(location: Sequence[str | int]) -> str:
    """("rect", 0, 2) -> "rect[0][2]"; ("camera", "fx") -> "camera.fx"."""
    first, *rest = location or ("body",)
    name = str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    return name.encode(errors="backslashreplace").decode()  # a client may name a field what is no text
