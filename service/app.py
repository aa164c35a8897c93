"""The HTTP side: routes, and what they stand on while the app runs."""

from __future__ import annotations

import functools
import hashlib
import logging.config
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import cv2
from fastapi import APIRouter, Depends, FastAPI, Form, Query, Request, Response

from index.encoder import Encoder, open_encoder
from index.predict import DEFAULT_K
from service import overview, pages, problems
from service.admission import Admission, CancelOnDisconnect
from service.answers import (
    AliveAnswer,
    ImageUrl,
    NeighborsAnswer,
    PoseAnswer,
    ReadyAnswer,
    neighbors_answer,
    pose_answer,
    ready_answer,
)
from service.engine import Engine
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
from service.live import LiveIndex
from service.logs import log_config
from service.middleware import BodyLimit, RequestLog
from service.settings import Settings
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


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes stand on."""

    live: LiveIndex
    engine: Engine
    workers: Workers


# Coroutines, although they wait for nothing: FastAPI hands plain functions to a thread, which takes longer than they.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _image_url(request: Request) -> ImageUrl:
    root = request.scope.get("root_path", "")
    return lambda frame: f"{root}/frames/{quote(frame)}/image.jpg"


Running = Annotated[Service, Depends(_service)]
Link = Annotated[ImageUrl, Depends(_image_url)]


def _refusals(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the problems that a route answers with: ``_422="..."`` for a status, ``default`` for all."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status.removeprefix("_"): {"description": description, "content": content}
        for status, description in descriptions.items()
    }


_UPLOAD_REFUSALS = _refusals(
    _413="The body is over the limit.",
    _415="The body is not multipart/form-data.",
    _422="A field is missing, outside its bound, or does not fit the others; the problem names it.",
    _503="No index is loaded yet, or too many requests wait already.",
)
_MULTIPART = [Depends(require_multipart)]
router = APIRouter(responses=_refusals(default="Any refusal."))


@router.post("/pose", tags=["queries"], responses=_UPLOAD_REFUSALS, dependencies=_MULTIPART)
async def pose(form: Annotated[PoseForm, Form(media_type=MEDIA_TYPE)], service: Running, link: Link) -> PoseAnswer:
    """Where and how the object in each rect stands.

    Where one rect of several has no box, its `box` is null and its `problem` says why. Where there is only one rect,
    and nothing that stands on the plane could be seen there, the request is refused with a problem of `plane`.
    Neighbors without a pose are no reason to refuse: `box` is null, `neighbors` and `matches` are there.
    """
    query = form.query(await form.image.read())
    return await service.workers.run(lambda: pose_answer(service.engine.pose(query), link))


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
    return await service.workers.run(lambda: pose_answer(service.engine.pose_of_views(query), link))


@router.post("/neighbors", tags=["queries"], responses=_UPLOAD_REFUSALS, dependencies=_MULTIPART)
async def neighbors(
    form: Annotated[NeighborsForm, Form(media_type=MEDIA_TYPE)], service: Running, link: Link
) -> NeighborsAnswer:
    """Which indexed frames and known objects a picture is most like."""
    query = form.query(await form.image.read())
    return await service.workers.run(lambda: neighbors_answer(service.engine.neighbours(query), link))


@router.get("/neighbors", tags=["queries"], responses=_refusals(_404="No such frame."))
async def neighbors_of_frame(
    frame: Annotated[str, Query(description="The frame's id.")],
    service: Running,
    link: Link,
    k: K = DEFAULT_K,
    category: Category = None,
) -> NeighborsAnswer:
    """Which other indexed frames and known objects an indexed frame is most like."""
    engine = service.engine
    return await service.workers.run(lambda: neighbors_answer(engine.neighbours_of(frame, k, category), link))


@router.get(
    "/frames/{frame:path}/image.jpg",
    tags=["queries"],
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}},
        304: {"description": "Not modified"},
        **_refusals(_404="No such frame."),
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


@router.get("/readyz", tags=["operation"], responses=_refusals(_503="No index is loaded yet."))
async def readyz(service: Running) -> ReadyAnswer:
    """Whether an index is loaded, and which."""
    return ready_answer(service.live.snapshot, service.live.failure)


def create_app(settings: Settings, open_encoder: EncoderOpener | None = None) -> FastAPI:
    """The service as an ASGI app. It may be started before there is an index: it answers 503 until one appears.

    Args:
        settings: see there.
        open_encoder: opens the encoder in a folder, on a device; by default ``index.encoder``'s.
    """
    app = FastAPI(
        title="nearpose",
        version="1",
        description=_DESCRIPTION,
        lifespan=functools.partial(_lifespan, settings, open_encoder or _open_encoder),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(router)
    app.include_router(overview.router, responses=_refusals(default="Any refusal."))
    pages.install(app, settings.samples, responses=_refusals(default="Any refusal."))
    problems.install(app)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(Admission)
    app.add_middleware(CancelOnDisconnect)
    app.add_middleware(RequestLog)
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
    live = LiveIndex(settings.index, lambda folder: open_encoder(folder, settings.device), settings.poll_s)
    workers = Workers(settings.threads, settings.waiting, settings.burst_ms / 1000, settings.standing_ms / 1000)
    app.state.service = Service(live, Engine(live, settings.max_pixels), workers)
    live.start()
    try:
        yield
    finally:
        workers.close()
        live.close()
