"""The HTTP side: routes, and what they stand on while the app runs."""

from __future__ import annotations

import functools
import hashlib
import logging.config
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import cv2
from fastapi import APIRouter, Depends, FastAPI, Form, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse

from index.encoder import Encoder, open_encoder
from index.predict import DEFAULT_K
from service import objects, overview, pages, problems
from service.answers import (
    AliveAnswer,
    NeighborsAnswer,
    PoseAnswer,
    ReadyAnswer,
    neighbors_answer,
    pose_answer,
    ready_answer,
)
from service.draining import draining_first
from service.engine import Engine
from service.enrol import Enroller
from service.followed import Enrolment
from service.forms import (
    MEDIA_TYPE,
    Category,
    K,
    NeighborsForm,
    PoseForm,
    ViewsForm,
    require_multipart,
    require_multipart_of_views,
)
from service.live import DrainingError, LiveIndex
from service.logs import log_config
from service.metrics import Metrics
from service.openapi import SERVERS, complete, operation_id, refusals
from service.routing import Link, Running, Service
from service.settings import Settings
from service.stack import add_middlewares
from service.tracing import trace
from service.workers import Workers

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
_THUMBNAIL_AGE_S = 300
SETTINGS = "NEARPOSE_SETTINGS_OF_PROCESSES"  # environment variable: all settings, as JSON

EncoderOpener = Callable[[Path, str], Encoder]


_UPLOAD_REFUSALS = refusals(
    _413="The body is over the limit.",
    _415="The body is not multipart/form-data.",
    _422="A field is missing, outside its bound, or does not fit the others; the problem names it.",
    _503="No index is loaded yet, too many requests wait already, or it took too long.",
)
_MULTIPART = [Depends(require_multipart)]
router = APIRouter(responses=refusals(default="Any refusal."))


@router.post("/pose", tags=["queries"], responses=_UPLOAD_REFUSALS, dependencies=_MULTIPART)
async def pose(form: Annotated[PoseForm, Form(media_type=MEDIA_TYPE)], service: Running, link: Link) -> PoseAnswer:
    """Where and how the object in each rect stands.

    Where one rect of several has no box, its `box` is null and its `problem` says why. Where there is only one rect,
    and nothing that stands on the plane could be seen there, the request is refused with a problem of `plane`.
    Neighbors without a pose are no reason to refuse: `box` is null, `neighbors` and `matches` are there.
    """
    query = form.query(await form.image.read())
    return await service.answer(lambda: pose_answer(service.engine.pose(query), link))


@router.post(
    "/pose/views", tags=["queries"], responses=_UPLOAD_REFUSALS, dependencies=[Depends(require_multipart_of_views)]
)
async def pose_of_views(
    form: Annotated[ViewsForm, Form(media_type=MEDIA_TYPE)], service: Running, link: Link
) -> PoseAnswer:
    """Where and how one object stands that several pictures show: one box that fits them all.

    The object has not moved between the pictures, and the camera's poses are known. `objects` has one entry for each
    image: its neighbors, and the same box in that image's camera. The confidence is calibrated on single pictures;
    several are surer than it says.
    """
    query = form.query([await image.read() for image in form.image])
    return await service.answer(lambda: pose_answer(service.engine.pose_of_views(query), link))


@router.post("/neighbors", tags=["queries"], responses=_UPLOAD_REFUSALS, dependencies=_MULTIPART)
async def neighbors(
    form: Annotated[NeighborsForm, Form(media_type=MEDIA_TYPE)], service: Running, link: Link
) -> NeighborsAnswer:
    """Which indexed frames and known objects a picture is most like."""
    query = form.query(await form.image.read())
    return await service.answer(lambda: neighbors_answer(service.engine.neighbours(query), link))


@router.get(
    "/neighbors",
    tags=["queries"],
    responses=refusals(
        _404="No such frame.", _422="A parameter is missing or outside its bound; the problem names it."
    ),
)
async def neighbors_of_frame(
    frame: Annotated[str, Query(description="The frame's id.")],
    service: Running,
    link: Link,
    k: K = DEFAULT_K,
    category: Category = None,
) -> NeighborsAnswer:
    """Which other indexed frames and known objects an indexed frame is most like."""
    engine = service.engine
    return await service.answer(lambda: neighbors_answer(engine.neighbours_of(frame, k, category), link))


@router.get(
    "/frames/{frame:path}/image.jpg",
    tags=["queries"],
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "Not modified"},
        **refusals(_404="No such frame."),
    },
)
def frame_image(frame: str, request: Request, service: Running) -> Response:
    """The picture of an indexed frame, as a small JPEG."""
    jpeg = service.engine.thumbnail(frame)
    tag = f'"{hashlib.sha256(jpeg).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": f"public, max-age={_THUMBNAIL_AGE_S}"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(jpeg, headers=headers, media_type="image/jpeg")


@router.get("/healthz", tags=["operation"])
async def healthz() -> AliveAnswer:
    """That the process answers, whatever the state of the index."""
    return AliveAnswer()


@router.get("/readyz", tags=["operation"], responses=refusals(_503="No index is loaded yet, or the server stops."))
def readyz(request: Request, service: Running) -> ReadyAnswer:
    """Whether an index is loaded, and which; 503 too while the server is about to stop."""
    if request.app.state.draining.is_set():
        raise DrainingError("the server is about to stop")
    return ready_answer(service.live.snapshot, service.live.failure, service.enrolment)


@router.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
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
    app.include_router(router)
    app.include_router(objects.router)
    app.include_router(overview.router, responses=refusals(default="Any refusal."))
    pages.install(app, settings.samples, responses=refusals(default="Any refusal."))
    problems.install(app)
    add_middlewares(app, settings)
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
    enrolment = Enrolment(settings.enrolment or settings.index / "enrolled.sqlite", settings.enrolment_max_bytes)
    live = LiveIndex(
        settings.index,
        lambda folder: open_encoder(folder, settings.device),
        settings.poll_s,
        metrics.observe_batch,
        enrolment,
    )
    workers = Workers(settings.threads, settings.waiting, settings.burst_ms / 1000, settings.standing_ms / 1000)
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
