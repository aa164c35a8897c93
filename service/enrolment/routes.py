"""The routes by which users add objects to what is found, and remove them."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Form, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, Json

from index.schema import Box
from service.answers import ImageUrl
from service.engine import Intrinsics
from service.enrolment.catalogue import Known
from service.enrolment.enrol import MAX_CATEGORY, MAX_OBJECT, EnrolQuery
from service.enrolment.records import Receipt
from service.forms import (
    MEDIA_TYPE,
    CameraField,
    Image,
    Number,
    PlaneField,
    RectText,
    Text,
    plane_of,
    require_multipart_given_once,
    rotation_of,
)
from service.openapi import refusals
from service.routing import Link, Running

MAX_LIMIT = 1000
REPLAYED = "Idempotent-Replayed"

Vector = tuple[Number, Number, Number]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1e6)]


class BoxField(BaseModel):
    """An oriented box in the camera's frame (OpenCV: x right, y down, z forward), metres."""

    model_config = ConfigDict(extra="forbid")

    center: Vector = Field(description="Metres.")
    size: tuple[Length, Length, Length] = Field(
        description="Full extent along the box's own x, y (up) and z (front), metres."
    )
    rotation: tuple[Vector, Vector, Vector] = Field(
        description="Rows; point_in_camera = rotation @ point_in_box + center."
    )

    def box(self) -> Box:
        """The box. Raises InvalidValueError where ``rotation`` is none."""
        return Box(rotation_of(self.rotation, "box.rotation"), np.array(self.center), np.array(self.size))


class FrameForm(BaseModel):
    """`POST /objects/{object}/frames`."""

    model_config = ConfigDict(extra="forbid")

    image: Image
    rect: Annotated[
        RectText,
        Field(
            description="JSON [x0, y0, x1, y1], pixels of the full, upright picture: where the object is. Drawn as "
            "queries will draw it.",
            examples=["[215, 442, 289, 550]"],
        ),
    ]
    category: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_CATEGORY,
            description="What kind of thing the object is, printable text. It must be that of the object's other "
            "frames, which is the default; of a new object that of the nearest frame is, with a warning.",
            examples=["cup"],
        ),
    ] = None
    camera: Annotated[
        Json[CameraField] | None,
        Text,
        Field(
            description="JSON: the camera that took the picture, needed where `box` is given.",
            examples=['{"fx": 525.0, "fy": 525.0, "cx": 240.0, "cy": 320.0}'],
        ),
    ] = None
    plane: Annotated[
        Json[PlaneField] | None,
        Text,
        Field(
            description="JSON: the plane that the object stands on, in the camera's frame, metres; needed where `box` "
            "is given.",
            examples=['{"normal": [0.0, -0.8, -0.6], "point": [0.0, 0.28, 0.62]}'],
        ),
    ] = None
    box: Annotated[
        Json[BoxField] | None,
        Text,
        Field(
            description="JSON: the object's box in the camera's frame, metres. With it, the frame takes part in the "
            "fit of `/pose`; without it, the object is only recognised.",
            examples=[
                '{"center": [0.013, 0.211, 0.629], "size": [0.08, 0.1, 0.08], '
                '"rotation": [[1, 0, 0], [0, -0.8, 0.6], [0, -0.6, -0.8]]}'
            ],
        ),
    ] = None

    def query(self, object_id: str, data: bytes, key: str | None) -> EnrolQuery:
        """The query, with the image's bytes."""
        plane, warnings = plane_of(self.plane) if self.plane else (None, ())
        return EnrolQuery(
            object_id=object_id,
            data=data,
            rect=self.rect,
            category=self.category,
            intrinsics=Intrinsics(**self.camera.model_dump()) if self.camera else None,
            plane=plane,
            box=self.box.box() if self.box else None,
            key=key,
            request=self._digest(object_id, data),
            warnings=warnings,
        )

    def _digest(self, object_id: str, data: bytes) -> bytes:
        """Of all that is asked: what has the same digest asks the same."""
        fields = self.model_dump(mode="json", exclude={"image"}) | {"object": object_id}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode() + b"\0" + data).digest()


class KnownObjectAnswer(BaseModel):
    """An object that can be found."""

    object: str = Field(description="The object's id.")
    category: str
    frames: int = Field(description="How many frames there are of it.")
    enrolled: int = Field(description="How many of them were enrolled; the others are the index's.")


class EnrolledFrameAnswer(BaseModel):
    """A frame that was enrolled."""

    frame: str = Field(description="The frame's id.")
    created: str = Field(description="When it was enrolled, ISO 8601, UTC.")
    has_box: bool = Field(description="Whether its box is known, so that it takes part in the fit.")
    image: str = Field(description="Where the frame's picture is.")


_OBJECT: dict[str, Any] = {"object": "mugs/17", "category": "cup", "frames": 3, "enrolled": 3}
_ID = "enrolled-0f8fad5bd9cb469fa16570867728950e"
_FRAME: dict[str, Any] = {
    "frame": _ID,
    "created": "2026-08-02T10:15:00Z",
    "has_box": True,
    "image": f"/frames/{_ID}/image.jpg",
}


class ObjectDetailAnswer(KnownObjectAnswer):
    """An object, with the frames that were enrolled of it."""

    model_config = ConfigDict(json_schema_extra={"example": {**_OBJECT, "latest": [_FRAME]}})

    latest: list[EnrolledFrameAnswer] = Field(description="The latest enrolled frames, at most 100, newest first.")


class ObjectsAnswer(BaseModel):
    """A page of the objects, in the order of their ids."""

    model_config = ConfigDict(json_schema_extra={"example": {"objects": [_OBJECT], "next": "mugs/17", "warnings": []}})

    objects: list[KnownObjectAnswer]
    next: str | None = Field(description="The `cursor` of the next page; null on the last.")
    warnings: list[str] = Field(description="That enrolled objects may be missing, where their file cannot be read.")


class ReceiptAnswer(BaseModel):
    """A frame that is enrolled, durably, and its object as it was then."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"frame": _ID, "image": f"/frames/{_ID}/image.jpg", "object": _OBJECT, "warnings": []}
        }
    )

    frame: str = Field(description="The frame's id.")
    image: str = Field(description="Where the frame's picture is.")
    object: KnownObjectAnswer
    warnings: list[str] = Field(description="What was changed, or taken for want of better.")


ObjectId = Annotated[
    str,
    Path(
        description=f"The object's id, which may have slashes: at most {MAX_OBJECT} printable characters, none of "
        "\\ ? # %, with no part between slashes that is empty, `.`, `..` or `frames`.",
        examples=["mugs/17"],
    ),
]
FrameId = Annotated[str, Path(description="The id of an enrolled frame.", examples=[_ID])]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="Any text of the client's own, new for each frame. A request that is sent again with its key "
        "enrols nothing more, and has the answer of the first one.",
        examples=["5f3c2f0e-8a3c-4a55-9d5e-2f8d0c4c0f6b"],
    ),
]
_REFUSALS = refusals(
    _503="No index is loaded yet, enrolment is off, or too many requests wait already; the problem says which."
)
_UPLOAD_REFUSALS = refusals(
    _413="The body is over the limit.",
    _415="The body is not multipart/form-data.",
    _422="A field is missing, outside its bound, or does not fit the others, or the key came with another request; "
    "the problem names it.",
    _507="The disk is full, or what is enrolled has reached its limit. Nothing was enrolled.",
)
_REPLAYED_HEADER = {
    "headers": {
        REPLAYED: {
            "description": "`true` where the frame had been enrolled before under this key.",
            "schema": {"type": "string", "enum": ["true"]},
        }
    }
}

router = APIRouter(prefix="/objects", tags=["objects"], responses=refusals(default="Any refusal.") | _REFUSALS)


@router.post(
    "/{object:path}/frames",
    status_code=201,
    responses={201: _REPLAYED_HEADER, **_UPLOAD_REFUSALS},
    dependencies=[Depends(require_multipart_given_once)],
)
async def enrol_frame(
    object: ObjectId,
    form: Annotated[FrameForm, Form(media_type=MEDIA_TYPE)],
    service: Running,
    link: Link,
    response: Response,
    key: Key = None,
) -> ReceiptAnswer:
    """Adds a frame to an object, new or known, of the index or enrolled.

    With the answer the frame is on the disk, and every query from now on finds it, in every process of the service.
    It stays through restarts, rebuilds of the index and changes of the encoder, until it is deleted. Of the picture,
    the rect with a margin and a small version of the whole are kept.
    """
    query = form.query(object, await form.image.read(), key)
    receipt = await service.workers.run(lambda: service.enroller.enrol(query))
    if receipt.replayed:
        response.headers[REPLAYED] = "true"
    return _receipt_answer(receipt, link)


@router.get("", responses=refusals(_422="A parameter is outside its bound; the problem names it."))
async def list_objects(
    service: Running,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many objects a page has.")] = 100,
    cursor: Annotated[
        str, Query(description="`next` of the page before; without it, the first page.", examples=["mugs/17"])
    ] = "",
) -> ObjectsAnswer:
    """All objects that can be found, those of the index and those that were enrolled, page by page."""
    known = await service.workers.run(lambda: service.enroller.objects(cursor, limit + 1))
    page = known[:limit]
    return ObjectsAnswer(
        objects=[_object_answer(one) for one in page],
        next=page[-1].object if len(known) > limit else None,
        warnings=list(service.enroller.warnings),
    )


# Before the routes of an object, whose ids may have slashes: a path is taken by the first route that it fits.
@router.delete("/{object:path}/frames/{frame}", status_code=204, responses=refusals(_404="No such enrolled frame."))
async def delete_frame(object: ObjectId, frame: FrameId, service: Running) -> None:
    """Removes an enrolled frame, its pictures and vectors. Frames of the index cannot be removed."""
    await service.workers.run(lambda: service.enroller.remove(object, frame))


@router.get("/{object:path}", responses=refusals(_404="No such object."))
async def show_object(object: ObjectId, service: Running, link: Link) -> ObjectDetailAnswer:
    """An object, and the frames that were enrolled of it."""
    known = await service.workers.run(lambda: service.enroller.object(object))
    latest = [
        EnrolledFrameAnswer(frame=f.id, image=link(f.id), created=f.created, has_box=f.has_box) for f in known.latest
    ]
    return ObjectDetailAnswer(**_object_answer(known).model_dump(), latest=latest)


@router.delete("/{object:path}", status_code=204, responses=refusals(_404="Nothing is enrolled of such an object."))
async def delete_object(object: ObjectId, service: Running) -> None:
    """Removes all that was enrolled of an object: frames, pictures, vectors and idempotency keys.

    Frames that the index has of it stay, and go on being found; only a rebuild of the index removes those.
    """
    await service.workers.run(lambda: service.enroller.remove(object))


def _receipt_answer(receipt: Receipt, link: ImageUrl) -> ReceiptAnswer:
    return ReceiptAnswer(
        frame=receipt.frame,
        image=link(receipt.frame),
        object=KnownObjectAnswer(
            object=receipt.object, category=receipt.category, frames=receipt.frames, enrolled=receipt.enrolled
        ),
        warnings=list(receipt.warnings),
    )


def _object_answer(known: Known) -> KnownObjectAnswer:
    return KnownObjectAnswer(object=known.object, category=known.category, frames=known.frames, enrolled=known.enrolled)
