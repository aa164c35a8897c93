"""The contract: what trainer and service both mean by a camera, a plane, a box and a frame.

Conventions (stated here, and nowhere else)
-------------------------------------------
- Camera frame: OpenCV. x right, y down, z forward (into the picture), metres. Visible points have z > 0.
- Pixels: (0, 0) is the top-left *corner* of the top-left pixel; the picture spans [0, width] x [0, height].
- Intrinsics are of the full, upright picture. A crop is a rectangle in it: a crop alone has no principal point.
- Plane: unit normal ``n`` and offset ``d`` with ``n . x + d = 0``, in the camera's frame. The normal points to the
  camera's side, so ``d`` is the camera's height above the plane and always positive.
- Box: ``x_in_camera = rotation @ x_in_box + center``; box axes: y up, z front. ``size`` is the full extent along each
  box axis. Corner index = 4*[x>0] + 2*[y>0] + [z>0].
- Rect: ``(x0, y0, x1, y1)`` in pixels of the full picture.
- Transforms are named ``dst_from_src``. Radians inside; degrees only where a name says so. float64 unless stated.

Readers (``trainer.captures``) and the HTTP layer (``service``) convert to this; nothing else does.

Errors
------
::

    NearposeError
    ├── InvalidValueError      a value that cannot be: message names the field, the value and the bound
    ├── GeometryError          valid parts that do not fit together
    │   ├── NoPoseError            the camera, plane or box that the computation needs is not known
    │   ├── RayMissesPlaneError    the viewing ray meets no point of the plane in front of the camera
    │   ├── BehindCameraError      a point or box that is behind the camera
    │   └── OutOfViewError         a box that no pixel of the picture shows
    ├── ImageError             bytes that are not a picture we can read
    └── ArtifactError          a file or folder of ours that is not what it should be: message names the path
        ├── CorruptArtifactError   missing, truncated or altered
        ├── ForeignArtifactError   not made by nearpose, or by an incompatible version
        └── EncoderMismatchError   vectors of one encoder opened with another
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Rect = tuple[float, float, float, float]

_ROTATION_TOLERANCE = 1e-5
_BOX_TOLERANCE = 0.05


class NearposeError(Exception):
    """Base of every error that nearpose raises on purpose."""


class InvalidValueError(NearposeError, ValueError):
    """A value outside its bound. Carries ``field``, ``value`` and ``bound`` for machine-readable answers."""

    def __init__(self, field: str, value: Any, bound: str) -> None:
        self.field, self.value, self.bound = field, value, bound
        super().__init__(f"{field}: got {_shorten(value)}, must be {bound}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.value, self.bound)


class GeometryError(NearposeError):
    """Valid parts that do not fit together."""


class NoPoseError(GeometryError):
    """The camera, plane or box that the computation needs is not known."""


class RayMissesPlaneError(GeometryError):
    """The viewing ray meets no point of the plane in front of the camera."""


class BehindCameraError(GeometryError):
    """A point or box that is behind the camera."""


class OutOfViewError(GeometryError):
    """A box that no pixel of the picture shows."""


class ImageError(NearposeError):
    """Bytes that are not a picture we can read."""


class ArtifactError(NearposeError):
    """A file or folder of ours that is not what it should be. Carries ``path`` and ``reason``."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = Path(path), reason
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason)


class CorruptArtifactError(ArtifactError):
    """Missing, truncated or altered."""


class ForeignArtifactError(ArtifactError):
    """Not made by nearpose, or by an incompatible version."""


class UnavailableError(ArtifactError):
    """What keeps it does not answer, or refuses, now."""


class EncoderMismatchError(ArtifactError):
    """Vectors of one encoder opened with another."""


def _shorten(value: Any, limit: int = 120) -> str:
    text = str(value.tolist()) if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _number(field: str, value: Any, bound: str = "a finite number") -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidValueError(field, value, bound) from None
    if not math.isfinite(number):
        raise InvalidValueError(field, value, bound)
    return number


def _array(field: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """A read-only float64 copy of ``value``, checked to be finite and of ``shape``."""
    bound = f"{shape} finite numbers"
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidValueError(field, value, bound) from None
    if array.shape != shape or not np.isfinite(array).all():
        raise InvalidValueError(field, value, bound)
    array.flags.writeable = False
    return array


def direction(field: str, value: ArrayLike) -> tuple[Array, float]:
    """``value`` (3,) as a read-only unit vector, and how long it was."""
    vector = _array(field, value, (3,))
    length = float(np.linalg.norm(vector))
    if length < 1e-9:
        raise InvalidValueError(field, vector, "longer than zero")
    if abs(length - 1.0) < 1e-12:  # a unit vector stays as it is, to the bit
        return vector, 1.0
    unit: Array = vector / length
    unit.flags.writeable = False
    return unit, length


def checked_rect(
    value: Sequence[float], width: float = math.inf, height: float = math.inf, field: str = "rect"
) -> Rect:
    """``value`` as a Rect, or InvalidValueError when it is not finite, inverted, empty or outside the picture."""
    try:
        x0, y0, x1, y1 = (_number(field, v) for v in value)
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidValueError):
            raise InvalidValueError(field, value, "four finite numbers x0, y0, x1, y1") from None
        raise InvalidValueError(field, value, "four numbers x0, y0, x1, y1") from None
    if not (x0 < x1 and y0 < y1):
        raise InvalidValueError(field, value, "x0 < x1 and y0 < y1")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise InvalidValueError(field, value, f"within the picture, 0 <= x <= {width:g} and 0 <= y <= {height:g}")
    return (x0, y0, x1, y1)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion: focal lengths, principal point and picture size in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        for name in ("fx", "fy"):
            value = _number(name, getattr(self, name), "a positive, finite number of pixels")
            if value <= 0:
                raise InvalidValueError(name, value, "a positive, finite number of pixels")
            object.__setattr__(self, name, value)
        for name in ("cx", "cy"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        for name in ("width", "height"):
            value = _number(name, getattr(self, name), "a positive whole number of pixels")
            if value < 1 or value != int(value):
                raise InvalidValueError(name, value, "a positive whole number of pixels")
            object.__setattr__(self, name, int(value))

    @property
    def matrix(self) -> Array:
        """The intrinsic matrix K, (3, 3): pixel ~ K @ point_in_camera."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def rect(self) -> Rect:
        """The whole picture."""
        return (0.0, 0.0, float(self.width), float(self.height))

    def project(self, points_in_camera: ArrayLike) -> Array:
        """(..., 3) metres -> (..., 2) pixels, not clipped to the picture.

        Raises BehindCameraError when a point has no picture (z <= 0).
        """
        points = np.asarray(points_in_camera, dtype=np.float64)
        depth = points[..., 2:]
        if not (depth > 0).all():
            raise BehindCameraError(f"a point at z = {depth.min():.4g} m is behind the camera (z must be > 0)")
        pixels: Array = points[..., :2] / depth * (self.fx, self.fy) + (self.cx, self.cy)
        return pixels

    def rays(self, pixels: ArrayLike) -> Array:
        """(..., 2) pixels -> (..., 3) directions in the camera's frame, with z = 1."""
        pixels = np.asarray(pixels, dtype=np.float64)
        xy = (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        rays: Array = np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)
        return rays

    def crop(self, rect: Sequence[float]) -> Camera:
        """The camera whose picture is the whole-pixel ``rect`` of this one's."""
        x0, y0, x1, y1 = checked_rect(rect, self.width, self.height)
        return Camera(self.fx, self.fy, self.cx - x0, self.cy - y0, int(x1 - x0), int(y1 - y0))

    def resize(self, width: int, height: int) -> Camera:
        """The camera whose picture is this one's, scaled to ``width`` x ``height``."""
        sx, sy = width / self.width, height / self.height
        return Camera(self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy, width, height)


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the camera's frame: ``normal . x + offset = 0``; unit normal towards the camera, offset > 0 metres."""

    normal: Array
    offset: float

    def __post_init__(self) -> None:
        normal, length = direction("plane.normal", self.normal)
        offset = _number("plane.offset", self.offset) / length
        if offset <= 0:
            raise InvalidValueError(
                "plane.offset", offset, "positive: the normal must point to the side on which the camera is"
            )
        object.__setattr__(self, "normal", normal)
        object.__setattr__(self, "offset", offset)

    @classmethod
    def from_point(cls, normal: ArrayLike, point: ArrayLike) -> Plane:
        """The plane through ``point`` (3,) with ``normal`` (3,), which must point to the camera's side."""
        n, p = _array("plane.normal", normal, (3,)), _array("plane.point", point, (3,))
        return cls(n, -float(n @ p))

    @classmethod
    def towards_camera(cls, normal: ArrayLike, point: ArrayLike) -> tuple[Plane, bool]:
        """Like ``from_point``, but turns a normal that points away from the camera. Also says whether it did."""
        n, p = _array("plane.normal", normal, (3,)), _array("plane.point", point, (3,))
        flipped = bool(n @ p > 0)
        return cls.from_point(-n if flipped else n, p), flipped

    def height(self, points_in_camera: ArrayLike) -> Array:
        """(..., 3) -> (...,) signed distances in metres, positive on the camera's side."""
        heights: Array = np.asarray(points_in_camera, dtype=np.float64) @ self.normal + self.offset
        return heights

    def intersect(self, ray_in_camera: ArrayLike, height: float = 0.0) -> Array:
        """Where the ray from the camera's centre meets the parallel plane ``height`` metres above this one, (3,).

        Raises RayMissesPlaneError when that is nowhere in front of the camera.
        """
        ray = np.asarray(ray_in_camera, dtype=np.float64)
        towards = float(ray @ self.normal)
        distance = (height - self.offset) / towards if towards else math.inf
        if not (0 < distance < math.inf) or ray[2] * distance <= 0:
            raise RayMissesPlaneError(
                f"the ray {np.round(ray, 4).tolist()} meets the plane (normal {np.round(self.normal, 4).tolist()}, "
                f"offset {self.offset:.4g} m) nowhere in front of the camera"
            )
        return ray * distance


_SIGNS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


def box_corners(rotations: Array, centers: Array, sizes: Array) -> Array:
    """(..., 3, 3), (..., 3) and (..., 3) -> (..., 8, 3): the corners of boxes, in the order of the conventions."""
    corners: Array = (_SIGNS * sizes[..., None, :]) @ np.swapaxes(rotations, -1, -2) + centers[..., None, :]
    return corners


@dataclass(frozen=True, eq=False)
class Box:
    """An oriented box in the camera's frame: rotation (3, 3), centre (3,) and full size (3,), metres. y is up."""

    rotation: Array
    center: Array
    size: Array

    def __post_init__(self) -> None:
        rotation = _array("box.rotation", self.rotation, (3, 3))
        error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if error > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
            raise InvalidValueError("box.rotation", rotation, "a rotation: orthonormal with determinant +1")
        size = _array("box.size", self.size, (3,))
        if (size <= 0).any():
            raise InvalidValueError("box.size", size, "three positive lengths in metres")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "center", _array("box.center", self.center, (3,)))
        object.__setattr__(self, "size", size)

    @cached_property
    def corners(self) -> Array:
        """(8, 3) in the camera's frame; corner index = 4*[x>0] + 2*[y>0] + [z>0]."""
        return box_corners(self.rotation, self.center, self.size)

    @classmethod
    def from_corners(cls, corners: ArrayLike) -> Box:
        """The box nearest (least squares) to eight corners (8, 3) in our order.

        Raises InvalidValueError when they are not those of a box: a residual of more than 5 % of its diagonal.
        """
        points = _array("box.corners", corners, (8, 3))
        center = points.mean(axis=0)
        axes = _SIGNS.T @ (points - center) / 2  # row k: the box's edge vector along axis k, the mean of its four edges
        size = np.linalg.norm(axes, axis=1)
        if (size <= 0).any():
            raise InvalidValueError("box.corners", points, "the corners of a box with three positive lengths")
        u, _, vt = np.linalg.svd((axes / size[:, None]).T)
        box = cls(u @ vt, center, size)
        residual = float(np.abs(box.corners - points).max() / np.linalg.norm(size))
        if residual > _BOX_TOLERANCE:
            raise InvalidValueError("box.corners", points, f"the corners of a box (they are off by {residual:.0%})")
        return box

    @classmethod
    def from_keypoints(cls, keypoints: ArrayLike) -> Box:
        """From Objectron's nine keypoints (9, 3), centre first, already in our camera frame.

        The centre keypoint is not used: in published annotations it is sometimes wrong, and would bend the box.
        """
        return cls.from_corners(_array("box.keypoints", keypoints, (9, 3))[1:])

    def in_front(self) -> bool:
        """Whether every corner is in front of the camera."""
        return bool((self.corners[:, 2] > 0).all())

    def rect(self, camera: Camera) -> Rect:
        """The bounding rectangle of the projected corners, not clipped to the picture (so it may lie outside).

        Raises BehindCameraError when a corner is behind the camera.
        """
        pixels = camera.project(self.corners)
        (x0, y0), (x1, y1) = pixels.min(axis=0), pixels.max(axis=0)
        return (float(x0), float(y0), float(x1), float(y1))


def clipped_rect(rect: Sequence[float], width: float, height: float) -> Rect:
    """The part of ``rect`` that is in the picture, or InvalidValueError when less than one pixel of it is."""
    x0, y0 = max(0.0, rect[0]), max(0.0, rect[1])
    x1, y1 = min(float(width), rect[2]), min(float(height), rect[3])
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise InvalidValueError("rect", tuple(rect), f"at least one pixel inside the {width:g} x {height:g} picture")
    return (x0, y0, x1, y1)


@dataclass(frozen=True, eq=False)
class View:
    """An object as one picture shows it: its rectangle, and the camera and ground plane where they are known.

    ``up`` (3,) is the plane's normal, or, where no plane is known, the direction against gravity if that is.
    """

    camera: Camera | None
    plane: Plane | None
    rect: Rect
    up: Array | None = None

    def __post_init__(self) -> None:
        if self.plane is not None:
            object.__setattr__(self, "up", self.plane.normal)
        elif self.up is not None:
            object.__setattr__(self, "up", direction("up", self.up)[0])
        size = (self.camera.width, self.camera.height) if self.camera else (math.inf, math.inf)
        object.__setattr__(self, "rect", checked_rect(self.rect, *size))

    def posed(self) -> tuple[Camera, Plane]:
        """Camera and plane, or NoPoseError naming which of them is not known."""
        if self.camera is None or self.plane is None:
            missing = [name for name in ("camera", "plane") if getattr(self, name) is None]
            raise NoPoseError(f"a pose needs the view's {' and '.join(missing)}")
        return self.camera, self.plane


@dataclass(frozen=True, eq=False)
class Frame:
    """A view of a known object: what the index stores beside a vector. ``box`` is None where no pose is known."""

    id: str
    category: str
    object_id: str
    view: View
    box: Box | None = None

    def __post_init__(self) -> None:
        for name in ("id", "category", "object_id"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise InvalidValueError(f"frame.{name}", value, "a non-empty string")
        if self.box is not None:
            self.view.posed()


@dataclass(frozen=True, eq=False)
class Neighbour:
    """One search result: an indexed frame, its row in the index, and its cosine similarity to the query."""

    frame: Frame
    row: int
    similarity: float
