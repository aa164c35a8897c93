"""The document ``capture.json`` of one video or walk around objects: its fields, and what must hold between them.

The trainer reads it (``trainer.captures.folder`` says what each field means), the service annotates it.
``index.capture_pose`` makes cameras in our conventions of what it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index.schema import Array, Camera, InvalidValueError, NearposeError, checked_rect

CAPTURE_FILE = "capture.json"
ANNOTATIONS = ".annotations"  # the folder beside it with what a person replaced, and the lock of those who save
# Matrices in text are rounded: this far from a rotation they are taken for the nearest one.
_ROUNDING = 1e-3

Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Pixels = Annotated[int, Field(gt=0, strict=False)]  # 1440.0 is a whole number too
Name = Annotated[str, Field(min_length=1)]
Vector = tuple[Number, Number, Number]
Row = tuple[Number, Number, Number, Number]


class CaptureError(NearposeError):
    """A capture that cannot be read, or not to its end. Carries ``path`` and ``reason``."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = Path(path), reason
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[type[CaptureError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CameraDocument(_Document):
    """Pixels of the full picture."""

    fx: Positive
    fy: Positive
    cx: Number
    cy: Number
    width: Pixels
    height: Pixels

    def camera(self) -> Camera:
        return Camera(self.fx, self.fy, self.cx, self.cy, self.width, self.height)


class PlaneDocument(_Document):
    """World frame, metres."""

    normal: Vector
    point: Vector


class BoxDocument(_Document):
    """World frame, metres; ``rotation`` is world_from_box."""

    center: Vector
    size: tuple[Positive, Positive, Positive]
    rotation: tuple[Vector, Vector, Vector]


class ObjectDocument(_Document):
    """``accepted``: a person has looked at the object on the pictures, or has written the document by hand."""

    id: Name
    category: Name
    box: BoxDocument | None = None
    accepted: bool = True


class FrameDocument(_Document):
    image: Name | None = None
    index: Annotated[int, Field(ge=0)] | None = None
    time_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    camera: CameraDocument | None = None
    world_from_camera: tuple[Row, Row, Row, Row] | None = None
    rects: dict[str, Row] = {}


class CaptureDocument(_Document):
    """The whole file."""

    objects: list[ObjectDocument]
    frames: Annotated[list[FrameDocument], Field(min_length=1)]
    axes: Literal["opencv", "arkit"] | None = None
    fps: Positive | None = None
    video: Name | None = None
    camera: CameraDocument | None = None
    plane: PlaneDocument | None = None
    plane_from: str | None = None
    scale: Literal["metric", "unknown"] = "metric"
    source: str | None = None
    split: Literal["train", "valid", "test"] = "train"


ANNOTATED = ("plane", "plane_from", "objects")  # what a person says of a capture; all else is how it was filmed


def capture_folders(path: Path) -> list[Path]:
    """``path`` itself when it is a capture, or those in it; not what an import has not finished (``.<name>.part``)."""
    if (path / CAPTURE_FILE).is_file():
        return [path]
    return sorted(file.parent for file in path.glob(f"*/{CAPTURE_FILE}") if not file.parent.name.startswith("."))


def load_capture(file: Path) -> CaptureDocument:
    """The document in ``file``, checked.

    Raises CaptureError when the file is missing, InvalidValueError naming file, field, value and bound for the first
    fault in it.
    """
    document = parse_capture(file)
    for fault in faults(document):
        raise InvalidValueError(f"{file}: {fault.field}", fault.value, fault.bound)
    if not document.objects:
        raise InvalidValueError(f"{file}: objects", [], "at least one, with its box: nothing here is annotated yet")
    return document


def parse_capture(file: Path) -> CaptureDocument:
    """The document in ``file``, of which no more is checked than that every field is of its kind.

    Raises CaptureError when the file is missing, InvalidValueError for the first field that is not.
    """
    try:
        return parse_document(file.read_bytes())
    except FileNotFoundError:
        raise CaptureError(file, "missing") from None
    except InvalidValueError as error:
        raise InvalidValueError(f"{file}: {error.field}", error.value, error.bound) from None


def parse_document(data: bytes) -> CaptureDocument:
    """The document in the bytes of a file. Raises InvalidValueError as ``parse_capture`` does, but without its name."""
    try:
        return CaptureDocument.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        bound = first["msg"].removeprefix("Input should be ")
        raise InvalidValueError(_field(first["loc"]), first["input"], bound) from None


def _field(location: tuple[int | str, ...]) -> str:
    """``("objects", 0, "box")`` as ``objects[0].box``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def nearest_rotation(field: str, matrix: object) -> Array:
    """The rotation (3, 3) that ``matrix`` is, but for rounding; InvalidValueError when it is none."""
    values = np.asarray(matrix, np.float64)
    u, _, vt = np.linalg.svd(values)
    rotation: Array = u @ vt
    if np.abs(rotation - values).max() > _ROUNDING or np.linalg.det(rotation) < 0:
        raise InvalidValueError(field, matrix, "a rotation: orthonormal with determinant +1")
    return rotation


def faults(document: CaptureDocument) -> Iterator[InvalidValueError]:
    """Everything in it that cannot be, by field."""
    yield from _object_faults(document)
    if document.plane and not any(document.plane.normal):
        yield InvalidValueError("plane.normal", document.plane.normal, "longer than zero")
    ids = {item.id for item in document.objects}
    for k, frame in enumerate(document.frames):
        yield from _picture_faults(document, frame, f"frames[{k}]")
        yield from _rect_faults(frame, f"frames[{k}]", ids)
        yield from _pose_faults(document, frame, f"frames[{k}]")
    yield from _order_faults(document)


def _object_faults(document: CaptureDocument) -> Iterator[InvalidValueError]:
    with_rects = {name for frame in document.frames for name in frame.rects}
    before: set[str] = set()
    for k, item in enumerate(document.objects):
        if item.id in before:
            yield InvalidValueError(f"objects[{k}].id", item.id, "given to one object alone")
        before.add(item.id)
        if item.box:
            yield from _rotation_faults(f"objects[{k}].box.rotation", item.box.rotation)
        if item.id in with_rects or not item.accepted:
            continue
        if item.box is None:
            yield InvalidValueError(f"objects[{k}].box", None, f"given, or frames have rects for {item.id!r}")
        if document.plane is None:
            yield InvalidValueError("plane", None, f"given, or frames have rects for {item.id!r}")


def _picture_faults(document: CaptureDocument, frame: FrameDocument, field: str) -> Iterator[InvalidValueError]:
    wanted, other = ("index", "image") if document.video else ("image", "index")
    if getattr(frame, wanted) is None:
        yield InvalidValueError(
            f"{field}.{wanted}", None, f"given: the capture has {'a' if document.video else 'no'} video"
        )
    if getattr(frame, other) is not None:
        yield InvalidValueError(f"{field}.{other}", getattr(frame, other), f"left out, for the frame has its {wanted}")
    if document.video and frame.time_s is not None:
        yield InvalidValueError(f"{field}.time_s", frame.time_s, "left out, for the video has its own times")
    if not document.video and frame.time_s is None and document.fps is None:
        yield InvalidValueError(f"{field}.time_s", None, "given, or the capture has fps")


def _rect_faults(frame: FrameDocument, field: str, ids: set[str]) -> Iterator[InvalidValueError]:
    for name, rect in frame.rects.items():
        if name not in ids:
            yield InvalidValueError(f"{field}.rects.{name}", rect, "of one of the objects")
        try:
            checked_rect(rect, field=f"{field}.rects.{name}")
        except InvalidValueError as fault:
            yield fault


def _pose_faults(document: CaptureDocument, frame: FrameDocument, field: str) -> Iterator[InvalidValueError]:
    if frame.world_from_camera is None:
        if not frame.rects:
            yield InvalidValueError(f"{field}.world_from_camera", None, "given, or the frame has rects")
        return
    if document.axes is None:
        yield InvalidValueError("axes", None, "'opencv' or 'arkit', for frames have world_from_camera")
    if (frame.camera or document.camera) is None:
        yield InvalidValueError(f"{field}.camera", None, "given here or for the whole capture")
    pose = np.array(frame.world_from_camera)
    yield from _rotation_faults(f"{field}.world_from_camera", pose[:3, :3])
    if not np.array_equal(pose[3], (0, 0, 0, 1)):
        yield InvalidValueError(f"{field}.world_from_camera[3]", frame.world_from_camera[3], "(0, 0, 0, 1)")


def _rotation_faults(field: str, matrix: object) -> Iterator[InvalidValueError]:
    try:
        nearest_rotation(field, matrix)
    except InvalidValueError as fault:
        yield fault


def _order_faults(document: CaptureDocument) -> Iterator[InvalidValueError]:
    for name in ("index", "time_s"):
        last = -1.0
        for k, frame in enumerate(document.frames):
            value = getattr(frame, name)
            if value is not None and value <= last:
                yield InvalidValueError(f"frames[{k}].{name}", value, f"more than {last:g}, that of a frame before it")
            last = last if value is None else value
