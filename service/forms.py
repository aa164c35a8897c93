"""What a client sends, as the fields of a multipart form: their types, bounds and examples, and the way to a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from fastapi import Request, UploadFile
from numpy.typing import ArrayLike
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Json
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile as StarletteUploadFile
from starlette.exceptions import HTTPException

from index.predict import DEFAULT_K, MAX_K, Method
from index.schema import Array, InvalidValueError, Plane, direction
from service.engine import Intrinsics, NeighboursQuery, PoseQuery, ViewsQuery

MAX_RECTS = 32
MAX_VIEWS = 16
MAX_VIEWS_K = 20  # neighbors of each
MEDIA_TYPE = "multipart/form-data"
_LONGEST_TEXT = 4096  # of a part, all digits of sixteen numbers are 400: JSON is read by the thread that all wait for

# Far beyond any picture or room, and small enough that no product of them overflows.
_LARGEST = 1e6
_ROTATION_TOLERANCE = 1e-3
_LEAST_HEIGHT = 1e-6  # of the camera above the plane, metres
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-_LARGEST, le=_LARGEST)]
Focal = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1, le=_LARGEST)]
Side = Annotated[int, Field(ge=1, le=_LARGEST)]

K = Annotated[int, Field(ge=1, le=MAX_K, description="How many neighbors.")]
Category = Annotated[
    str | None, Field(description="Only frames of this category; one that the index has not is refused.")
]
Image = Annotated[
    UploadFile,
    Field(
        description="JPEG, PNG or WebP. EXIF orientation is applied first: camera and rect are of the upright picture."
    ),
]


def _text(part: object) -> object:
    """The text of a part: browsers send a part of another type than plain text as if it were a file."""
    text = part.file.read(_LONGEST_TEXT + 1) if isinstance(part, StarletteUploadFile) else part
    if isinstance(text, str | bytes) and len(text) > _LONGEST_TEXT:
        raise PydanticCustomError("text_too_long", "at most {longest} characters", {"longest": _LONGEST_TEXT})
    return text


Text = BeforeValidator(_text)
RectText = Annotated[
    Json[tuple[Number, Number, Number, Number]],
    Text,
    Field(examples=["[215, 442, 289, 550]"]),
]

Row = tuple[Number, Number, Number, Number]
PoseText = Annotated[
    Json[tuple[Row, Row, Row, Row]], Text, Field(examples=["[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]"])
]
UpText = Annotated[Json[tuple[Number, Number, Number]], Text, Field(examples=["[0.0, -0.8, -0.6]"])]


class CameraField(BaseModel):
    """A pinhole camera without distortion. Pixels of the full, upright picture; (0, 0) is its top-left corner."""

    model_config = ConfigDict(extra="forbid")

    fx: Focal = Field(description="Focal length across, pixels.")
    fy: Focal = Field(description="Focal length down, pixels.")
    cx: Number = Field(description="Principal point, pixels from the left edge.")
    cy: Number = Field(description="Principal point, pixels from the top edge.")
    width: Side | None = Field(default=None, description="Width of the full picture, pixels; by default the image's.")
    height: Side | None = Field(default=None, description="Height of the full picture, pixels; by default the image's.")


class PlaneField(BaseModel):
    """The plane that the object stands on, in the camera's frame (OpenCV: x right, y down, z forward), metres."""

    model_config = ConfigDict(extra="forbid")

    normal: tuple[Number, Number, Number] = Field(
        description="Towards the camera's side, of any length. One that points away is turned, with a warning."
    )
    point: tuple[Number, Number, Number] = Field(description="Any point of the plane, metres.")


class PoseForm(BaseModel):
    """`POST /pose`."""

    model_config = ConfigDict(extra="forbid")

    image: Image
    camera: Annotated[
        Json[CameraField],
        Text,
        Field(
            description="JSON: the camera that took the picture. Where width and height are given, they must be the "
            "upright picture's; with `image_is=crop` they must be given.",
            examples=['{"fx": 525.0, "fy": 525.0, "cx": 240.0, "cy": 320.0, "width": 480, "height": 640}'],
        ),
    ]
    plane: Annotated[
        Json[PlaneField] | None,
        Text,
        Field(
            description="JSON: the plane that the object stands on, in the camera's frame (OpenCV: x right, y down, "
            "z forward), metres. Without it the distance is told from how large such objects are, with a warning.",
            examples=['{"normal": [0.0, -0.8, -0.6], "point": [0.0, 0.28, 0.62]}'],
        ),
    ] = None
    up: Annotated[
        list[UpText],
        Field(
            max_length=1,
            description="JSON [x, y, z]: the direction against gravity in the camera's frame, of any length, where no "
            "plane is known. Without both the tilt is that of the neighbors, with a warning.",
        ),
    ] = []
    rect: Annotated[
        list[RectText],
        Field(
            min_length=1,
            max_length=MAX_RECTS,
            description="JSON [x0, y0, x1, y1], pixels of the full, upright picture; one field for each object.",
        ),
    ]
    image_is: Annotated[
        Literal["frame", "crop"],
        Field(description="`frame`: the full picture. `crop`: exactly what the one rect shows of it, at any scale."),
    ] = "frame"
    k: K = DEFAULT_K
    category: Category = None
    fit: Annotated[
        Method,
        Field(
            description="`consensus`: the box that the k neighbors and the picture make most probable. `paper`: the "
            "nearest neighbor's box, carried as the paper does it; it needs a plane and has no confidence."
        ),
    ] = "consensus"

    def query(self, data: bytes) -> PoseQuery:
        """The query, with the image's bytes."""
        if self.up and self.plane is not None:
            raise InvalidValueError("up", self.up[0], "left out where plane is given: its normal says it")
        if self.plane is None and self.fit == "paper":
            raise InvalidValueError("fit", self.fit, "consensus where no plane is given")
        plane, warnings = plane_of(self.plane) if self.plane else (None, _GUESSED[bool(self.up)])
        return PoseQuery(
            data=data,
            intrinsics=Intrinsics(**self.camera.model_dump()),
            plane=plane,
            up=direction("up", self.up[0])[0] if self.up else None,
            method=self.fit,
            rects=tuple(self.rect),
            image_is=self.image_is,
            k=self.k,
            category=self.category,
            warnings=warnings,
        )


class ViewsForm(BaseModel):
    """`POST /pose/views`."""

    model_config = ConfigDict(extra="forbid")

    image: Annotated[list[Image], Field(min_length=2, max_length=MAX_VIEWS)]
    camera: Annotated[
        Json[CameraField],
        Text,
        Field(
            description="JSON: the camera that took all the pictures.",
            examples=['{"fx": 525.0, "fy": 525.0, "cx": 240.0, "cy": 320.0}'],
        ),
    ]
    world_from_camera: Annotated[
        list[PoseText],
        Field(
            min_length=2,
            max_length=MAX_VIEWS,
            description="JSON, 4 rows of 4, one field for each image: where the camera was, as an AR session or "
            "structure from motion gives it, metres. The camera looks along its +z, its y points down (OpenCV).",
        ),
    ]
    rect: Annotated[
        list[RectText],
        Field(
            min_length=2,
            max_length=MAX_VIEWS,
            description="JSON [x0, y0, x1, y1], pixels of the upright picture, one field for each image.",
        ),
    ]
    plane: Annotated[
        Json[PlaneField] | None,
        Text,
        Field(
            description="JSON: the plane that the object stands on, in the *first* image's camera, metres.",
            examples=['{"normal": [0.0, -0.8, -0.6], "point": [0.0, 0.28, 0.62]}'],
        ),
    ] = None
    k: Annotated[int, Field(ge=1, le=MAX_VIEWS_K, description="How many neighbors of each image.")] = DEFAULT_K
    category: Category = None

    def query(self, data: Sequence[bytes]) -> ViewsQuery:
        """The query, with the images' bytes. Raises InvalidValueError where the numbers of fields differ."""
        for name in ("rect", "world_from_camera"):
            if len(getattr(self, name)) != len(data):
                raise InvalidValueError(name, f"{len(getattr(self, name))} fields", f"one for each image, {len(data)}")
        plane, warnings = plane_of(self.plane) if self.plane else (None, (_NO_GROUND,))
        return ViewsQuery(
            data=tuple(data),
            rects=tuple(self.rect),
            worlds_from_camera=tuple(_rigid(pose, i) for i, pose in enumerate(self.world_from_camera)),
            intrinsics=Intrinsics(**self.camera.model_dump()),
            plane=plane,
            k=self.k,
            category=self.category,
            warnings=warnings,
        )


class NeighborsForm(BaseModel):
    """`POST /neighbors`."""

    model_config = ConfigDict(extra="forbid")

    image: Image
    rect: Annotated[
        list[RectText],
        Field(
            max_length=1,
            description="JSON [x0, y0, x1, y1], pixels of the upright picture; by default all of it.",
        ),
    ] = []
    k: K = DEFAULT_K
    category: Category = None

    def query(self, data: bytes) -> NeighboursQuery:
        """The query, with the image's bytes."""
        return NeighboursQuery(data=data, rects=tuple(self.rect), k=self.k, category=self.category)


async def require_multipart(request: Request) -> None:
    """Refuses what would be ignored in silence: a body of another type, and a field given again (the last would win).

    Raises HTTPException 415 and InvalidValueError.
    """
    await _require_multipart(request, {"rect"})


async def require_multipart_given_once(request: Request) -> None:
    """The same where every field is given once."""
    await _require_multipart(request, set())


async def require_multipart_of_views(request: Request) -> None:
    """The same where there is a field for each image."""
    await _require_multipart(request, {"image", "rect", "world_from_camera"})


async def _require_multipart(request: Request, repeated: set[str]) -> None:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise HTTPException(415, f"the body must be {MEDIA_TYPE}, got {content_type or 'no content type'}")
    form = await request.form()
    for name in set(form) - repeated:
        if (times := len(form.getlist(name))) > 1:
            raise InvalidValueError(name, f"{times} fields", "given once")


def _rigid(rows: Sequence[Sequence[float]], position: int) -> Array:
    """``world_from_camera`` (4, 4), checked to turn and move only."""
    pose, field = np.array(rows, np.float64), f"world_from_camera[{position}]"
    if not np.array_equal(pose[3], [0, 0, 0, 1]):
        raise InvalidValueError(field, rows, f"{_ROTATION}, a translation, and 0 0 0 1 as the last row")
    pose[:3, :3] = rotation_of(pose[:3, :3], field)
    return pose


def rotation_of(rows: ArrayLike, field: str) -> Array:
    """Rows (3, 3) as a rotation: text has few digits, so what is nearly one becomes one. Raises InvalidValueError."""
    rotation = np.array(rows, np.float64)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() >= _ROTATION_TOLERANCE or np.linalg.det(rotation) <= 0:
        raise InvalidValueError(field, rows, _ROTATION)
    u, _, vt = np.linalg.svd(rotation)
    straight: Array = u @ vt
    return straight


_ROTATION = "a rotation: orthonormal with determinant +1"
_NO_GROUND = "plane: not given; distance and tilt are told from the neighbors' objects and pictures"
_GUESSED = {
    True: ("plane: not given; the distance is told from the size of the neighbors' objects",),
    False: ("plane, up: not given; distance and tilt are told from the neighbors' objects and pictures",),
}


def plane_of(field: PlaneField) -> tuple[Plane, tuple[str, ...]]:
    """The plane, with its normal on the camera's side, and a warning where it had to be turned."""
    normal = np.array(field.normal)
    if abs(normal @ field.point) < _LEAST_HEIGHT * np.linalg.norm(normal):
        raise InvalidValueError("plane.point", field.point, "such that the plane does not pass through the camera")
    plane, turned = Plane.towards_camera(normal, field.point)
    return plane, ("plane: the normal pointed away from the camera's side and was turned",) if turned else ()
