"""The routes that captures are annotated by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from index.predict import Predictor
from index.schema import InvalidValueError, Rect, checked_rect
from service import pages
from service.annotate import store
from service.annotate.answers import (
    AnnotationBody,
    CaptureAnswer,
    CapturesAnswer,
    ConflictProblem,
    DraftAnswer,
    EarlierShape,
    SavedAnswer,
    draft_answer,
    object_shape,
    plane_shape,
)
from service.annotate.captures import Captures, capture_answer, saved_answer
from service.annotate.draft import NoDraftError, propose
from service.annotate.pictures import Pictures
from service.live import LiveIndex, NotReadyError
from service.openapi import refusals
from service.problems import RevisionRequiredError, problem_from_error, problem_response

router = APIRouter(tags=["annotating"])
page_router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, eq=False)
class Annotator:
    """What the routes stand on."""

    captures: Captures
    pictures: Pictures
    live: LiveIndex | None

    @property
    def predictor(self) -> Predictor:
        """That of the index as it is now. Raises NoDraftError, or NotReadyError while it is being opened."""
        if self.live is None:
            raise NoDraftError("the server was started without --index: there is nothing to propose a box from")
        return self.live.snapshot.predictor

    def categories(self) -> set[str]:
        """Those of the index."""
        try:
            return set(self.live.snapshot.index.categories) if self.live else set()
        except NotReadyError:
            return set()


async def _annotator(request: Request) -> Annotator:
    annotator: Annotator = request.app.state.annotator
    return annotator


Running = Annotated[Annotator, Depends(_annotator)]
CaptureName = Annotated[str, Path(description="The name of its folder.", examples=["mug-17"])]
_GONE = {"_404": "No such capture.", "_409": "Its capture.json cannot be read; the problem names the field."}
_READ = refusals(**_GONE)
_SAVE = refusals(
    **_GONE,
    _400="The body is not JSON.",
    _403="The capture's folder cannot be written to.",
    _408="The body did not come in time.",
    _413="The body is over the limit.",
    _422="A value is outside its bound; the problem names it.",
    _428="No If-Match.",
    _507="The disk is full.",
)
_CONFLICT = {
    "description": "Someone else has saved meanwhile. Nothing was saved; the problem has the present annotation.",
    "model": ConflictProblem,
}
_JPEG = {"schema": {"type": "string", "format": "binary"}}


@page_router.get("/")
async def root(request: Request) -> Response:
    """To the page."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/annotate")


@page_router.get("/annotate")
async def annotate(request: Request) -> Response:
    """The web page."""
    return await pages.page_file("annotate.html", request)


@router.get("/annotate/captures")
def captures(annotator: Running) -> CapturesAnswer:
    """Every capture in the folder, those included that cannot be read."""
    found = annotator.captures.listed()
    categories = annotator.categories().union(*(capture.categories for capture in found))
    objects = set[str]().union(*(capture.objects for capture in found))
    return CapturesAnswer(
        captures=[capture.entry for capture in found], categories=sorted(categories), objects=sorted(objects)
    )


@router.get("/annotate/captures/{name}", responses=_READ)
def capture(name: CaptureName, annotator: Running, request: Request, response: Response) -> CaptureAnswer:
    """All of a capture: its frames with their cameras, its ground, its objects, some points of surfaces."""
    saved = store.read(annotator.captures.file(name))
    response.headers["ETag"] = f'"{saved.revision}"'
    response.headers["Cache-Control"] = "no-store"
    prefix = f"{request.scope.get('root_path', '')}/annotate/captures/{quote(name, safe='')}/frames"
    return capture_answer(
        name, annotator.captures.folder(name), saved, annotator.pictures, lambda number: f"{prefix}/{number}.jpg"
    )


@router.put("/annotate/captures/{name}", responses={**_SAVE, "412": _CONFLICT})
def save_annotation(
    name: CaptureName,
    body: AnnotationBody,
    annotator: Running,
    response: Response,
    if_match: Annotated[
        str | None, Header(description="The revision that was changed, in quotes.", examples=['"0123456789abcdef"'])
    ] = None,
) -> SavedAnswer:
    """Replaces the plane and the objects of a capture; all else in its file stays. Answered once it is on the disk.

    Where someone else has saved since, nothing is, unless it was the same: a request can be sent again.
    """
    file = annotator.captures.file(name)
    revision = store.save(file, _revision(if_match), body.annotation())
    response.headers["ETag"] = f'"{revision}"'
    return saved_answer(revision, annotator.captures.folder(name), store.read(file).document)


@router.get(
    "/annotate/captures/{name}/frames/{number}.jpg",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": _JPEG}},
        304: {"description": "Not modified"},
        **refusals(
            _404="No such capture, or no such picture.",
            _409="Its capture.json cannot be read.",
            _422="A parameter is outside its bound; the problem names it.",
        ),
    },
)
def frame_picture(
    name: CaptureName,
    number: Annotated[int, Path(ge=0, description="The frame's number.")],
    annotator: Running,
    request: Request,
    width: Annotated[int, Query(ge=16, le=8192, description="Pixels, at most; it is never enlarged.")] = 960,
) -> Response:
    """The picture of a frame, upright."""
    folder, document = annotator.captures.folder(name), store.read(annotator.captures.file(name)).document
    _check_frame(number, len(document.frames))
    tag = f'"{annotator.pictures.tag(folder, document, number, width)}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    jpeg = annotator.pictures.jpeg(folder, document, number, width)
    return Response(jpeg, headers=headers, media_type="image/jpeg")


@router.get("/annotate/captures/{name}/history", responses=_READ)
def history(name: CaptureName, annotator: Running) -> list[EarlierShape]:
    """The annotations that were replaced, the latest first: 200 of them at most."""
    return [
        EarlierShape(
            revision=earlier.revision,
            saved_at=earlier.saved_at,
            plane=plane_shape(earlier.annotation.plane),
            plane_from=earlier.plane_from,
            objects=[object_shape(item) for item in earlier.annotation.objects],
        )
        for earlier in store.history(annotator.captures.file(name))
    ]


@router.get(
    "/annotate/captures/{name}/draft",
    responses=refusals(
        _404="No such capture; or no box can be proposed, the problem says why.",
        _409="Its capture.json cannot be read.",
        _422="A parameter is outside its bound; the problem names it.",
    ),
)
def draft(
    name: CaptureName,
    annotator: Running,
    frame: Annotated[int | None, Query(ge=0, description="The number of the frame that `rect` is in.")] = None,
    rect: Annotated[
        str | None,
        Query(
            description="x0,y0,x1,y1: where the object is in the frame, pixels of the upright picture; by default "
            "it is what the cameras look at.",
            examples=["215,442,289,550"],
        ),
    ] = None,
) -> DraftAnswer:
    """The box that the index proposes for an object of the capture. Nothing is saved."""
    folder, document = annotator.captures.folder(name), store.read(annotator.captures.file(name)).document
    if frame is not None:
        _check_frame(frame, len(document.frames), "frame")
    found = propose(annotator.predictor, annotator.pictures, folder, document, frame, _rect(rect))
    return draft_answer(found, document)


async def conflict(request: Request, error: Exception) -> Response:
    """What a client is told whose revision is not the present one."""
    assert isinstance(error, store.ConflictError)
    present, told = error.saved.annotation, problem_from_error(error).model_dump()
    objects = [object_shape(item) for item in present.objects]
    problem = ConflictProblem(**told, revision=error.saved.revision, plane=plane_shape(present.plane), objects=objects)
    return problem_response(problem, {"ETag": f'"{error.saved.revision}"'})


def _revision(if_match: str | None) -> str:
    revision = (if_match or "").strip().removeprefix('"').removesuffix('"')
    if not revision or revision == "*":
        raise RevisionRequiredError
    return revision


def _rect(text: str | None) -> Rect | None:
    if text is None:
        return None
    try:
        return checked_rect([float(value) for value in text.split(",")])
    except ValueError:
        raise InvalidValueError("rect", text, "x0,y0,x1,y1 with 0 <= x0 < x1 and 0 <= y0 < y1") from None


def _check_frame(number: int, frames: int, field: str = "number") -> None:
    if number >= frames:
        raise InvalidValueError(field, number, f"from 0 to {frames - 1}")
