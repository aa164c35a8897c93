"""The app that captures are annotated with: its routes, and what they stand on while it runs."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
from fastapi import APIRouter, FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from index.encoder import Encoder, open_encoder
from index.schema import InvalidValueError
from service import pages, problems
from service.annotate import routes
from service.annotate.captures import Captures
from service.annotate.loopback import LOOPBACK, LoopbackNames
from service.annotate.pictures import Pictures
from service.annotate.store import ConflictError
from service.answers import AliveAnswer
from service.draining import draining_first
from service.live import LiveIndex
from service.metrics import Metrics
from service.openapi import SERVERS, complete, operation_id, refusals
from service.settings import AnnotateSettings
from service.stack import add_middlewares

_DESCRIPTION = """
The captures of a folder, and what a person says of the ground and the objects in them.

World frame: the capture's own, metres. Camera frame: OpenCV (x right, y down, z forward), metres, whatever axes the
capture's file has. Pixels: (0, 0) is the top-left corner of the top-left pixel of the full, upright picture.

Whoever saves says which revision was changed (`If-Match`): nothing that someone else saved meanwhile is overwritten.
Every refusal is `application/problem+json` and names the field, the value and the bound.
"""

EncoderOpener = Callable[[Path, str], Encoder]

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def healthz() -> AliveAnswer:
    """That the process answers."""
    return AliveAnswer()


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> PlainTextResponse:
    """What Prometheus reads: requests and their latencies."""
    return PlainTextResponse(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def create_annotate_app(settings: AnnotateSettings, open_encoder: EncoderOpener = open_encoder) -> FastAPI:
    """The annotator as an ASGI app.

    Args:
        settings: see there.
        open_encoder: opens the encoder in a folder, on a device.

    Raises InvalidValueError where there is no such folder of captures, or the file of API keys cannot be read.
    """
    if not settings.captures.is_dir():
        raise InvalidValueError("captures", str(settings.captures), "a folder of captures, or one capture's")
    app = FastAPI(
        title="nearpose: annotating captures",
        version="1",
        description=_DESCRIPTION,
        lifespan=functools.partial(_lifespan, settings, open_encoder),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        servers=SERVERS,
        generate_unique_id_function=operation_id,
    )
    app.state.draining, app.state.metrics = threading.Event(), Metrics()
    refused = refusals(default="Any refusal.")
    app.include_router(routes.router, responses=refused)
    app.include_router(routes.page_router)
    app.include_router(router, responses=refused)
    pages.install_files(app)
    problems.install(app)
    app.add_exception_handler(ConflictError, routes.conflict)
    if settings.api_keys is None and settings.host in LOOPBACK:
        app.add_middleware(LoopbackNames)
    add_middlewares(app, settings)
    complete(app, needs_key=settings.api_keys is not None)
    return app


@asynccontextmanager
async def _lifespan(settings: AnnotateSettings, open_encoder: EncoderOpener, app: FastAPI) -> AsyncIterator[None]:
    cv2.setNumThreads(1)  # requests run side by side
    live, pictures = _live(settings, open_encoder), Pictures(settings.max_pixels)
    app.state.annotator = routes.Annotator(Captures(settings.captures), pictures, live)
    try:
        with draining_first(app.state.draining, 0):
            yield
    finally:
        pictures.close()
        if live:
            live.close()


def _live(settings: AnnotateSettings, open_encoder: EncoderOpener) -> LiveIndex | None:
    if settings.index is None:
        return None
    live = LiveIndex(settings.index, lambda folder: open_encoder(folder, settings.device), settings.poll_s)
    live.start()
    return live
