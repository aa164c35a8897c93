"""The routes that are asked: where an object stands, what a picture is like, a frame's picture."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response

from index.predict import DEFAULT_K
from service.answers import NeighborsAnswer, PoseAnswer, neighbors_answer, pose_answer
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
from service.openapi import refusals
from service.routing import Link, Running

_THUMBNAIL_AGE_S = 300
_UPLOAD_REFUSALS = refusals(
    _413="The body is over the limit.",
    _415="The body is not multipart/form-data.",
    _422="A field is missing, outside its bound, or does not fit the others; the problem names it.",
    _503="No index is loaded yet, too many requests wait already, or it took too long.",
)
_MULTIPART = [Depends(require_multipart)]
router = APIRouter(tags=["queries"], responses=refusals(default="Any refusal."))


@router.post("/pose", responses=_UPLOAD_REFUSALS, dependencies=_MULTIPART)
async def pose(form: Annotated[PoseForm, Form(media_type=MEDIA_TYPE)], service: Running, link: Link) -> PoseAnswer:
    """Where and how the object in each rect stands.

    Where one rect of several has no box, its `box` is null and its `problem` says why. Where there is only one rect,
    and nothing that stands on the plane could be seen there, the request is refused with a problem of `plane`.
    Neighbors without a pose are no reason to refuse: `box` is null, `neighbors` and `matches` are there.
    """
    query = form.query(await form.image.read())
    return await service.answer(lambda: pose_answer(service.engine.pose(query), link))


@router.post("/pose/views", responses=_UPLOAD_REFUSALS, dependencies=[Depends(require_multipart_of_views)])
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


@router.post("/neighbors", responses=_UPLOAD_REFUSALS, dependencies=_MULTIPART)
async def neighbors(
    form: Annotated[NeighborsForm, Form(media_type=MEDIA_TYPE)], service: Running, link: Link
) -> NeighborsAnswer:
    """Which indexed frames and known objects a picture is most like."""
    query = form.query(await form.image.read())
    return await service.answer(lambda: neighbors_answer(service.engine.neighbours(query), link))


@router.get(
    "/neighbors",
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
