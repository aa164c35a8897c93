"""The HTTP side: routes, and what they stand on while the app runs."""

from __future__ import annotations

import functools
import logging.config
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse

from index.encoder import Encoder, open_encoder
from service import overview, pages, problems, queries
from service.admission import Admission
from service.answers import (
    AliveAnswer,
    ReadyAnswer,
    ready_answer,
)
from service.draining import draining_first
from service.engine import Engine
from service.enrolment import routes as objects
from service.enrolment.enrol import Enroller
from service.enrolment.followed import Enrolment
from service.live import DrainingError, LiveIndex
from service.logs import log_config
from service.metrics import Metrics
from service.openapi import SERVERS, complete, operation_id, refusals
from service.routing import Running, Service
from service.settings import Settings
from service.stack import add_middlewares
from service.tracing import trace
from service.workers import Workers, own_threads

_DESCRIPTION = """
One picture of an object in; out come the nearest known views, which known object it is, and where and how it stands:
an oriented 3D box in metres.

Camera frame: OpenCV (x right, y down, z forward), metres. Pixels: (0, 0) is the top-left corner of the top-left pixel
of the full, upright picture.

Every refusal is `application/problem+json` and names the field, the value and the bound.

```sh
curl -F image=@cup.jpg -F 'camera={"fx": 525, "fy": 525, "cx": 240, "cy": 320}' \\
     -F 'plane={"normal": [0, -0.8, -0.6], "point": [0, 0.28, 0.62]}' -F 'rect=[215, 442, 289, 550]' \\
     http://localhost:8000/pose
```
"""
SETTINGS = "NEARPOSE_SETTINGS_OF_PROCESSES"  # environment variable: all settings, as JSON

EncoderOpener = Callable[[Path, str], Encoder]


router = APIRouter(tags=["operation"], responses=refusals(default="Any refusal."))


@router.get("/healthz")
async def healthz() -> AliveAnswer:
    """That the process answers, whatever the state of the index."""
    return AliveAnswer()


@router.get("/readyz", responses=refusals(_503="No index is loaded yet, or the server stops."))
def readyz(request: Request, service: Running) -> ReadyAnswer:
    """Whether an index is loaded, and which; 503 too while the server is about to stop."""
    if request.app.state.draining.is_set():
        raise DrainingError("the server is about to stop")
    return ready_answer(service.live.snapshot, service.live.failure, service.enrolment)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: Running) -> PlainTextResponse:
    """What Prometheus reads: requests, latencies, batches, the queue, the index."""
    return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def create_app(settings: Settings, open_encoder: EncoderOpener | None = None) -> FastAPI:
    """The service as an ASGI app. It may be started before there is an index: it answers 503 until one appears.

    ``app.state.draining`` is an event: once set, ``/readyz`` says 503.

    Args:
        settings: see there.
        open_encoder: opens the encoder in a folder, on a device; by default ``index.encoder``'s.

    Raises:
        InvalidValueError: the file of API keys cannot be read.
        TracingError: traces are asked for, and OpenTelemetry is not installed.
    """
    app = FastAPI(
        title="nearpose",
        version="1",
        description=_DESCRIPTION,
        lifespan=functools.partial(_lifespan, settings, open_encoder or _open_encoder),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        servers=SERVERS,
        generate_unique_id_function=operation_id,
    )
    app.state.draining = threading.Event()
    app.state.metrics = Metrics()
    app.state.tracing = trace(app)
    app.include_router(queries.router)
    app.include_router(objects.router)
    app.include_router(router)
    app.include_router(overview.router, responses=refusals(default="Any refusal."))
    pages.install(app, settings.samples, responses=refusals(default="Any refusal."))
    problems.install(app)
    add_middlewares(app, settings, Admission)
    complete(app, needs_key=settings.api_keys is not None)
    return app


def create_app_from_environment() -> FastAPI:
    """The app as each of several processes makes it for itself, from the settings that the first one has read."""
    settings = Settings.model_validate_json(os.environ[SETTINGS])
    logging.config.dictConfig(log_config(settings.log_format))
    return create_app(settings)


_open_encoder = functools.partial(open_encoder, many_callers=True)


@asynccontextmanager
async def _lifespan(settings: Settings, open_encoder: EncoderOpener, app: FastAPI) -> AsyncIterator[None]:
    cv2.setNumThreads(1)  # requests run side by side: threads inside each would only wait for a core
    metrics, tracing = app.state.metrics, app.state.tracing
    enrolment = Enrolment(settings.enrolment_file, settings.enrolment_max_bytes)
    live = LiveIndex(
        settings.index,
        lambda folder: open_encoder(folder, settings.device),
        settings.poll_s,
        metrics.observe_batch,
        enrolment,
        settings.device,
    )
    waits_s = settings.burst_ms / 1000, settings.overload_ms / 1000
    workers = Workers(
        settings.threads or own_threads(settings.workers), settings.waiting, *waits_s, metrics.set_waiting
    )
    enroller = Enroller(live, enrolment, settings.max_pixels)
    engine = Engine(live, settings.max_pixels)
    app.state.service = Service(live, engine, workers, enrolment, enroller, metrics, tracing)
    metrics.follow(live)
    live.start()
    try:
        with draining_first(app.state.draining, settings.drain_s):
            yield
    finally:
        workers.close()
        live.close()
        enrolment.close()
        tracing.close()
