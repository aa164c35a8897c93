"""What a request passes on its way to a route, and its answer on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from service.access import Access
from service.admission import CancelOnDisconnect
from service.keys import KeyFile
from service.middleware import BodyLimit, Deadline, Measured, RequestLog, SecurityHeaders
from service.origins import OwnPages
from service.settings import ServerSettings

_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "PUT", "DELETE"],
    "allow_headers": ["Authorization", "X-API-Key", "X-Request-Id", "Idempotency-Key", "If-Match", "traceparent"],
    "expose_headers": ["X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy", "ETag"],
}


def add_middlewares(app: FastAPI, settings: ServerSettings, *admission: Callable[[ASGIApp], ASGIApp]) -> None:
    """From the innermost to the outermost; those in ``admission`` say whose body is read at all.

    Raises InvalidValueError where the file of API keys cannot be read.
    """
    keys = KeyFile(settings.api_keys) if settings.api_keys else None
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, limit_s=settings.body_s)
    app.add_middleware(Deadline, limit_s=settings.timeout_s)
    for middleware in admission:
        app.add_middleware(middleware)
    app.add_middleware(CancelOnDisconnect)
    app.add_middleware(Access, keys=keys, per_minute=settings.requests_per_minute, public=settings.public_paths)
    app.add_middleware(OwnPages, origins=settings.cors_origins)
    app.add_middleware(RequestLog, draining=app.state.draining)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, **_CORS)
    app.add_middleware(Measured, metrics=app.state.metrics)
    app.add_middleware(SecurityHeaders, shared=bool(settings.cors_origins))
