"""The OpenAPI document, completed: what FastAPI cannot know of forms, of middlewares and of who may ask.

A client can be generated from it (tests/test_generated_client.py does). What a form's part holds is described as such,
an object and not a text that holds one, and the part's media type says how it travels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.access import PROBES
from service.problems import MEDIA_TYPE, Problem

Json = dict[str, Any]

SERVERS = [{"url": "/", "description": "where this document comes from"}]
_PICTURE = "application/octet-stream"
_PICTURES = "image/jpeg, image/png, image/webp"

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the server asks for one."},
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same in a header of its own.",
    },
}
_HEADERS = {
    "X-Request-Id": "The request's id in the server's log: the client's own where it sent one, else a new one.",
    "Retry-After": "Seconds to wait before the next try.",
    "WWW-Authenticate": "How to say who asks.",
    "RateLimit": "How many requests may follow at once (r), and in how many seconds all may again (t).",
    "RateLimit-Policy": "How many requests (q) in how many seconds (w).",
    "ETag": "Of the picture; send it in If-None-Match.",
    "Cache-Control": "How long the picture may be kept.",
}
_OF_ACCESS = {
    "401": "An API key is needed.",
    "429": "More requests than this client may send.",
}
_EVERYWHERE = {
    "500": "The server failed; its log tells more under the request id.",
    "503": "Not ready, overloaded, not answered in time, or the index does not answer.",
}
_WITH_BODY = {
    "400": "The body is not a well-formed form.",
    "408": "The body did not come in time.",
    "413": "The body is over the limit.",
}


def refusals(**descriptions: str) -> dict[int | str, Json]:
    """What FastAPI is told of the problems that a route answers with: ``_422="..."`` for a status, ``default``."""
    return {status.removeprefix("_"): _refusal(description) for status, description in descriptions.items()}


def operation_id(route: APIRoute) -> str:
    """The function's own name, which generated clients take for theirs."""
    return route.name


def complete(app: FastAPI, *, needs_key: bool) -> None:
    """Makes ``app`` serve the whole document. ``needs_key``: whether it asks for API keys."""
    plain = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            _complete(plain(), needs_key)
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Json, needs_key: bool) -> None:
    components = document["components"]
    components["schemas"].setdefault("Problem", Problem.model_json_schema())
    components["securitySchemes"] = _SCHEMES
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    }
    document["security"] = [{"bearer": []}, {"header": []}] + ([] if needs_key else [{}])
    for path, operation in _operations(document):
        if path in PROBES:
            operation["security"] = []
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
        if form:
            form["encoding"] = _describe_parts(components["schemas"][form["schema"]["$ref"].rpartition("/")[2]])
        refused = _EVERYWHERE | ({} if path in PROBES else _OF_ACCESS) | (_WITH_BODY if form else {})
        for status, description in refused.items():
            operation["responses"].setdefault(status, _refusal(description))
        for status, response in operation["responses"].items():
            _name_media_type(status, response)
            response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in _headers(path, status)}


def _name_media_type(status: str, response: Json) -> None:
    """A refusal is a problem, whatever shape of one it has."""
    content = response.get("content", {})
    if status >= "400" and "application/json" in content:
        content[MEDIA_TYPE] = content.pop("application/json")


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation


def _refusal(description: str) -> Json:
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _headers(path: str, status: str) -> Iterator[str]:
    yield "X-Request-Id"
    if status in ("429", "503"):
        yield "Retry-After"
    if status == "401":
        yield "WWW-Authenticate"
    elif path not in PROBES:
        yield from ("RateLimit", "RateLimit-Policy")
    if path.endswith(".jpg") and status in ("200", "304"):
        yield from ("ETag", "Cache-Control")


def _describe_parts(form: Json) -> Json:
    """Says of each part of ``form`` what it holds; returns how each travels, where that is not as plain text."""
    encoding = {}
    for name, part in form["properties"].items():
        _drop_null(part)
        part.pop("title", None)
        item = part.get("items", part)
        if item.get("contentMediaType") == _PICTURE:
            item["format"] = "binary"  # what OpenAPI 3.0 called it, and tools still look for
            encoding[name] = {"contentType": _PICTURES}
        elif "contentSchema" in part:
            part["examples"] = [json.loads(example) for example in part.get("examples", ())]
            part.update(part.pop("contentSchema"))
            del part["type"], part["contentMediaType"]
            encoding[name] = {"contentType": "application/json"}
    return encoding


def _drop_null(part: Json) -> None:
    """A part is there or not: a form has no null."""
    choices = [choice for choice in part.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        del part["anyOf"]
        part.update(choices[0])
