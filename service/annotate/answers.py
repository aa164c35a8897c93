"""What the annotator's page is told, and what it may say: each field with its frame and unit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from index.capture import BoxDocument, CaptureDocument, ObjectDocument, PlaneDocument
from index.draft import Draft
from service.annotate.store import Annotation
from service.problems import Problem

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Text = Annotated[str, Field(min_length=1)]
Vector = tuple[Number, Number, Number]
Row = tuple[Number, Number, Number, Number]

_NAMED = 6  # pictures in a text

_BOX: JsonDict = {"center": [0.0, 0.05, 0.0], "size": [0.08, 0.1, 0.08], "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
_OBJECT: JsonDict = {"id": "mug-17", "category": "cup", "box": _BOX, "accepted": True}
_PLANE: JsonDict = {"normal": [0.0, 1.0, 0.0], "point": [0.0, 0.0, 0.0]}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PlaneShape(_Shape):
    """The ground, in the capture's world frame."""

    normal: Vector = Field(description="Up, of any length but zero.")
    point: Vector = Field(description="Any point of it, metres.")


class BoxShape(_Shape):
    """An oriented box in the capture's world frame, metres."""

    center: Vector = Field(description="Metres.")
    size: tuple[Length, Length, Length] = Field(
        description="Full extent along the box's own x, y (up) and z (front), metres."
    )
    rotation: tuple[Vector, Vector, Vector] = Field(
        description="Rows; point_in_world = rotation @ point_in_box + center."
    )


class ObjectShape(_Shape):
    """An object that the capture shows."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _OBJECT})

    id: Text = Field(description="Which object it is; the same one in another capture has the same id.")
    category: Text
    box: BoxShape | None = Field(description="Null where it is not drawn yet; it must be, once `accepted`.")
    accepted: bool = Field(
        strict=True,
        description="A person has looked at the box on the frames and said yes. Only such objects are trained on.",
    )


class AnnotationBody(_Shape):
    """All that is annotated of a capture; replaces what was."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"plane": _PLANE, "objects": [_OBJECT]}})

    plane: PlaneShape | None = Field(description="Null where it is not known; it must be for an accepted box.")
    objects: list[ObjectShape]

    def annotation(self) -> Annotation:
        plane = PlaneDocument(**self.plane.model_dump()) if self.plane else None
        return Annotation(plane, tuple(_object_document(item) for item in self.objects))


def _object_document(item: ObjectShape) -> ObjectDocument:
    box = BoxDocument(**item.box.model_dump()) if item.box else None
    return ObjectDocument(id=item.id, category=item.category, box=box, accepted=item.accepted)


def object_shape(item: ObjectDocument) -> ObjectShape:
    return ObjectShape.model_validate(item.model_dump())


def plane_shape(plane: PlaneDocument | None) -> PlaneShape | None:
    return PlaneShape(**plane.model_dump()) if plane else None


class CaptureEntry(BaseModel):
    """A capture in the list. Where it cannot be read its counts are 0."""

    name: str
    frames: int
    objects: int
    boxes: int = Field(description="Objects that have a box.")
    accepted: int = Field(description="Objects that are accepted.")
    problem: str | None = Field(description="What is wrong with it: it cannot be read, or not be used as it is.")


class CapturesAnswer(BaseModel):
    """Every capture, and the names in use, to complete new ones from."""

    captures: list[CaptureEntry]
    categories: list[str] = Field(description="Those of the captures and of the index, sorted.")
    objects: list[str] = Field(description="The ids of the captures' objects, sorted.")


class CameraShape(BaseModel):
    """A pinhole camera without distortion; pixels of the upright picture, (0, 0) its top-left corner."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int


class FrameShape(BaseModel):
    """A picture of a capture, and where its camera stood."""

    image: str = Field(description="Where the picture is; `?width=` scales it.")
    width: int | None = Field(description="Of the full, upright picture, pixels; null where it cannot be read.")
    height: int | None
    camera: CameraShape | None = Field(description="Of the full, upright picture.")
    world_from_camera: tuple[Row, Row, Row, Row] | None = Field(
        description="A point in the camera's frame (OpenCV: x right, y down, z forward; metres) to the world's."
    )
    time_s: float | None = Field(description="Seconds; rises from frame to frame.")
    rects: dict[str, Row] = Field(description="Rectangles x0, y0, x1, y1, pixels, by object, where the file has them.")
    problem: str | None = Field(description="What is wrong with the picture, its camera or its pose.")


class FindingShape(BaseModel):
    """What the check of a capture found."""

    frame: int | None = Field(description="The frame's number, null for the capture as a whole.")
    kind: str = Field(description="Such as `pose jump`, `box drift`, `mirrored`, `blurred`.")
    text: str


class CaptureAnswer(BaseModel):
    """All that there is to see of a capture. World frame, metres, unless `scale` is `unknown`."""

    name: str
    revision: str = Field(description="Of the whole file; `PUT` needs it in `If-Match`.")
    axes: Literal["opencv", "arkit"] | None = Field(
        description="What the file has; here all cameras have OpenCV's axes, whatever the file's are."
    )
    scale: Literal["metric", "unknown"] = Field(description="`unknown`: lengths are in a unit of the capture's own.")
    source: str | None = Field(description="What it was filmed with.")
    split: Literal["train", "valid", "test"] = Field(description="`test` captures are measured, not indexed.")
    plane: PlaneShape | None
    plane_from: str | None = Field(description="How the plane was found.")
    objects: list[ObjectShape]
    frames: list[FrameShape]
    points: list[tuple[float, float, float]] = Field(description="Some points of surfaces, 5000 at most.")
    colors: list[tuple[int, int, int]] | None = Field(description="Theirs, red, green, blue, 0 to 255; if known.")
    findings: list[FindingShape] = Field(
        description="Of the last `trainer check`, or import, if there was one: those that still hold."
    )
    problem: str | None = Field(description="What the file cannot be used with as it is.")


class SavedAnswer(BaseModel):
    """What is on the disk now."""

    revision: str
    findings: list[FindingShape] = Field(description="Those of the capture that hold still.")
    problem: str | None = Field(description="What the file cannot be used with as it is.")


class EarlierShape(BaseModel):
    """An annotation that was replaced."""

    revision: str
    saved_at: datetime = Field(description="When it had been saved.")
    plane: PlaneShape | None
    plane_from: str | None = Field(description="How the plane was found; the capture's again once it is saved again.")
    objects: list[ObjectShape]


class DraftAnswer(BaseModel):
    """A box that the index proposes. Nothing is saved."""

    box: BoxShape
    category: str
    confidence: float = Field(description="The probability, 0 to 1, that its 3D IoU with the true box is above 0.5.")
    frames_used: list[int] = Field(description="The numbers of the frames that were looked at.")
    frames_unread: list[int] = Field(description="Those whose picture cannot be read; `problem` says so, too.")
    neighbors: list[str] = Field(description="The objects of the index that it was made of, the most alike first.")
    problem: str | None = Field(description="What to look out for, if there is anything.")


def draft_answer(draft: Draft, document: CaptureDocument) -> DraftAnswer:
    """The frames are numbered as those of the capture that ``document`` describes."""
    box = BoxShape(**{name: getattr(draft.box, name).tolist() for name in ("center", "size", "rotation")})
    return DraftAnswer(
        box=box,
        category=draft.category,
        confidence=draft.confidence,
        frames_used=list(draft.frames),
        frames_unread=list(draft.unread),
        neighbors=list(dict.fromkeys(neighbour.frame.object_id for neighbour in draft.neighbours)),
        problem=_caution(document, draft.unread),
    )


def _caution(document: CaptureDocument, unread: tuple[int, ...]) -> str | None:
    """What a draft stands on that nobody is sure of, and what it had to do without."""
    cautions = {
        f"Left out, as it cannot be read: {_picture_names(document, unread)}.": len(unread) == 1,
        f"Left out, as they cannot be read: {_picture_names(document, unread)}.": len(unread) > 1,
        "Its size may be wrong: the capture's scale is unknown, the index knows metres.": document.scale == "unknown",
        "It stands on a ground that is a guess.": "guess" in (document.plane_from or "").lower(),
    }
    return " ".join(text for text, holds in cautions.items() if holds) or None


def _picture_names(document: CaptureDocument, numbers: tuple[int, ...]) -> str:
    """The first few of them."""
    frames = [document.frames[number] for number in numbers]
    names = [f"picture {frame.index} of {document.video}" if document.video else str(frame.image) for frame in frames]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join(names[:_NAMED] + more)


class ConflictProblem(Problem):
    """Someone else has saved meanwhile: how the capture is now."""

    revision: str
    plane: PlaneShape | None
    objects: list[ObjectShape]
