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

from index.schema import GeometryError, ImageError, InvalidValueError, NearposeError, NoPoseError, OutOfViewError
from service.engine import UnknownFrameError
from service.live import NotReadyError
from service.workers import OverloadedError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
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
        "`geometry`, `no-pose`, `unreadable-image`, `not-ready`, `overloaded`, `internal`; or "
        "`about:blank`, where the status says it all."
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


class BodyTooLargeError(HTTPException):
    """A request body over the limit. An HTTPException: it is raised while the framework reads the body.

    Its answer closes the connection; else the server would go on to receive the rest, to no end.
    """

    def __init__(self, size: str, limit: int) -> None:
        self.field, self.value, self.bound = "body", size, f"at most {limit} bytes"
        super().__init__(413, f"body: got {size}, must be {self.bound}", {"Connection": "close"})


# By error class: status, type, title, and the field where the error itself names none.
_KINDS: dict[type[Exception], tuple[int, str, str, str | None]] = {
    UnknownFrameError: (404, "unknown-frame", "The index has no such frame", "frame"),
    InvalidValueError: (422, "invalid-value", "A value is outside its bound", None),
    GeometryError: (422, "geometry", "The parts of the query do not fit together", "plane"),
    OutOfViewError: (422, "geometry", "The parts of the query do not fit together", "rect"),
    NoPoseError: (422, "no-pose", "None of the neighbours has a pose", None),
    ImageError: (422, "unreadable-image", "The image cannot be read", "image"),
    NotReadyError: (503, "not-ready", "No index is loaded", None),
    OverloadedError: (503, "overloaded", "Too many requests at once", None),
}
_HEADERS = {503: {"Retry-After": "1"}}


def problem_from_error(error: Exception) -> Problem:
    """What ``error`` is to a client. Raises it again where it is none of theirs (a damaged artefact, a bug)."""
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        return Problem(
            type="about:blank",
            title=HTTPStatus(error.status_code).phrase,
            status=error.status_code,
            detail=error.detail,
            **_named(error),
        )
    for kind in type(error).__mro__:
        if kind in _KINDS:
            status, slug, title, field = _KINDS[kind]
            named = {"field": field, **_named(error)}
            return Problem(type=f"urn:nearpose:problem:{slug}", title=title, status=status, detail=str(error), **named)
    raise error


def internal_problem(request_id: str) -> Problem:
    """What a client hears of an error of ours: where to ask, and nothing else."""
    return Problem(
        type="urn:nearpose:problem:internal",
        title="The server failed",
        status=500,
        detail="An error of the server, not of the request; the server's log tells more under the request id.",
        request_id=request_id,
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """``problem`` as an answer."""
    content = problem.model_dump_json()
    return Response(content, problem.status, {**_HEADERS.get(problem.status, {}), **(headers or {})}, MEDIA_TYPE)


def refusal(description: str) -> dict[str, Any]:
    """A problem, as the ``responses`` of a route document it."""
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def install(app: FastAPI) -> None:
    """Makes ``app`` answer the errors that it raises as problems."""
    for kind in (NearposeError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_from_error(error)
    logger.info("request %s refused: %r", request.scope["request_id"], problem.detail)
    return problem_response(problem, getattr(error, "headers", None))


def _named(error: Exception) -> dict[str, Any]:
    """``field``, ``value`` and ``bound`` of an error that has them."""
    named = {name: getattr(error, name) for name in ("field", "value", "bound") if hasattr(error, name)}
    return {name: _json_value(value) for name, value in named.items()}


def _json_value(value: Any) -> Any:
    """``value`` as it is where JSON can hold it and it is short, else as text."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    try:
        if len(json.dumps(value, allow_nan=False)) <= _LONGEST_VALUE:
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
    first, *rest = location
    return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
