"""Queries to results, in plain Python: decode, look up, fit. Knows nothing of HTTP.

Each call takes one snapshot of the live index and stays with it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from index.predict import DEFAULT_K, Method, Prediction, Timing
from index.schema import Array, Camera, Frame, InvalidValueError, NoPoseError, Plane, Rect, View, checked_rect
from service.decode import Picture, decode
from service.live import LiveIndex, Snapshot

_SHAPE_TOLERANCE = 0.05  # crops are cut at whole pixels and scaled; a rectangle that is not the crop's is further off


class UnknownFrameError(InvalidValueError):
    """A frame that is not in the index."""


@dataclass(frozen=True)
class Intrinsics:
    """A camera as a client gives it, pixels of the upright picture. ``width`` and ``height`` may be left out."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int | None = None
    height: int | None = None

    def of_picture(self, picture: Picture) -> Camera:
        """The camera that took ``picture``. Raises InvalidValueError when it is of another size."""
        size = (self.width or picture.width, self.height or picture.height)
        if size != (picture.width, picture.height):
            bound = f"{picture.width} x {picture.height}, the size of the upright picture"
            raise InvalidValueError("camera", f"{size[0]} x {size[1]}", bound)
        return Camera(self.fx, self.fy, self.cx, self.cy, *size)

    def of_full_picture(self) -> Camera:
        """The camera of a picture that only a crop is there of. Raises InvalidValueError when its size is not known."""
        if self.width is None or self.height is None:
            missing = "width" if self.width is None else "height"
            raise InvalidValueError(f"camera.{missing}", None, "given where image_is is crop: the crop does not tell")
        return Camera(self.fx, self.fy, self.cx, self.cy, self.width, self.height)


@dataclass(frozen=True, kw_only=True, eq=False)
class NeighboursQuery:
    """What is like this picture? ``rects`` in pixels of the upright picture; empty for the whole of it."""

    data: bytes
    rects: tuple[Rect, ...] = ()
    k: int = DEFAULT_K
    category: str | None = None
    received: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseQuery(NeighboursQuery):
    """Where and how do the things in ``rects`` stand? ``data`` shows the full picture, or one rect's crop of it."""

    intrinsics: Intrinsics
    plane: Plane | None
    up: Array | None = None
    method: Method = "consensus"
    image_is: Literal["frame", "crop"] = "frame"
    warnings: tuple[str, ...] = ()

    def camera(self, picture: Picture) -> Camera:
        """The camera of the full picture."""
        return self.intrinsics.of_picture(picture) if self.image_is == "frame" else self.intrinsics.of_full_picture()


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewsQuery:
    """Where and how does the one thing stand that several pictures of one camera show?

    Attributes:
        data: a full picture each.
        rects: where each shows it.
        worlds_from_camera: (4, 4) each, where the camera was.
        plane: in the first picture's camera.
    """

    data: tuple[bytes, ...]
    rects: tuple[Rect, ...]
    worlds_from_camera: tuple[Array, ...]
    intrinsics: Intrinsics
    plane: Plane | None
    k: int = DEFAULT_K
    category: str | None = None
    warnings: tuple[str, ...] = ()
    received: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Spent:
    """Milliseconds. ``total`` runs from the complete request to the finished result, waiting for a worker included."""

    decode: float
    embed: float
    search: float
    fit: float
    total: float


@dataclass(frozen=True, eq=False)
class Result:
    """One prediction a view, and the version of the index that they come from."""

    views: Sequence[View]
    predictions: Sequence[Prediction]
    version: str
    warnings: Sequence[str]
    spent: Spent


class Engine:
    """Answers queries from the live index.

    Args:
        live: the index.
        max_pixels: the largest picture that is decoded.
    """

    def __init__(self, live: LiveIndex, max_pixels: int) -> None:
        self._live, self._max_pixels = live, max_pixels

    def pose(self, query: PoseQuery) -> Result:
        """A box for each rectangle, with the neighbours that it comes from.

        Where one rectangle of several has no box, its prediction says why. A single one raises, so that a query that
        has no answer fails as a whole; except where only the neighbours lack boxes, which no query can mend.

        Raises:
            NotReadyError, ImageError, InvalidValueError: see there.
            GeometryError: the only rectangle's viewing ray misses the plane, or its box is behind the camera.
        """
        snapshot, start = self._live.snapshot, time.perf_counter()
        crops = query.image_is == "crop"
        side = snapshot.predictor.encoder.input_size
        picture = decode(query.data, self._max_pixels, None if crops else query.rects, side)
        decoded = time.perf_counter() - start
        camera = query.camera(picture)
        rects = _checked(query.rects, camera.width, camera.height)
        views = [View(camera, query.plane, rect, query.up) for rect in rects]
        if crops:
            _check_is_crop(picture, views)
        windows = [picture.window(picture.rect if crops else view.rect) for view in views]
        predictions, timing = snapshot.predictor.predict(
            picture.pixels, views, query.k, query.category, windows=windows, method=query.method
        )
        _raise_if_alone(predictions)
        warnings = (*snapshot.warnings, *picture.warnings, *query.warnings, *_doubts(camera))
        return Result(views, predictions, snapshot.index.version, warnings, _spent(query, decoded, timing))

    def pose_of_views(self, query: ViewsQuery) -> Result:
        """One box for all pictures, in each picture's camera. Raises as ``pose`` does for a single rectangle."""
        snapshot, start = self._live.snapshot, time.perf_counter()
        # Together they may be as large as a single picture may be: all are in memory at once.
        most, side = self._max_pixels // len(query.data), snapshot.predictor.encoder.input_size
        pictures = [decode(data, most, [rect], side) for data, rect in zip(query.data, query.rects, strict=True)]
        decoded = time.perf_counter() - start
        cameras = [query.intrinsics.of_picture(picture) for picture in pictures]
        # Up is the same direction for all of them; the plane is in the first one's frame.
        up = None if query.plane is None else query.worlds_from_camera[0][:3, :3] @ query.plane.normal
        views = []
        for i, (camera, rect, world) in enumerate(zip(cameras, query.rects, query.worlds_from_camera, strict=True)):
            checked = _checked_one(rect, camera.width, camera.height, i)
            plane = query.plane if i == 0 else None
            views.append(View(camera, plane, checked, None if up is None else world[:3, :3].T @ up))
        predictions, timing = snapshot.predictor.predict_views(
            [picture.pixels for picture in pictures],
            views,
            [np.asarray(np.linalg.inv(world), np.float64) for world in query.worlds_from_camera],
            query.k,
            query.category,
            windows=[picture.window(view.rect) for picture, view in zip(pictures, views, strict=True)],
        )
        changed = (warning for picture in pictures for warning in picture.warnings)
        warnings = (*snapshot.warnings, *changed, *query.warnings, *_doubts(cameras[0]))
        return Result(views, predictions, snapshot.index.version, warnings, _spent(query, decoded, timing))

    def neighbours(self, query: NeighboursQuery) -> Result:
        """The frames and objects that each rectangle is most like. Raises as ``pose`` does, without the geometry."""
        snapshot, start = self._live.snapshot, time.perf_counter()
        picture = decode(query.data, self._max_pixels, query.rects or None, snapshot.predictor.encoder.input_size)
        decoded = time.perf_counter() - start
        rects = _checked(query.rects or (picture.rect,), picture.width, picture.height)
        views, windows = [View(None, None, rect) for rect in rects], [picture.window(rect) for rect in rects]
        predictions, timing = snapshot.predictor.predict(
            picture.pixels, views, query.k, query.category, windows=windows
        )
        warnings = (*snapshot.warnings, *picture.warnings)
        return Result(views, predictions, snapshot.index.version, warnings, _spent(query, decoded, timing))

    def neighbours_of(self, frame: str, k: int, category: str | None) -> Result:
        """The frames and objects that an indexed frame is most like, itself left out. Raises UnknownFrameError."""
        snapshot, start = self._live.snapshot, time.perf_counter()
        row = _row_of(snapshot, frame)
        prediction = snapshot.predictor.neighbours_of(row, k, category)
        searched = 1000 * (time.perf_counter() - start)
        spent = Spent(decode=0, embed=0, search=searched, fit=0, total=searched)
        return Result([snapshot.index.frame(row).view], [prediction], snapshot.index.version, snapshot.warnings, spent)

    def thumbnail(self, frame: str) -> bytes:
        """The JPEG of an indexed frame. Raises UnknownFrameError."""
        snapshot = self._live.snapshot
        row = _row_of(snapshot, frame)
        try:
            return snapshot.index.thumbnail(row)
        except KeyError:
            raise _unknown(snapshot, frame) from None

    def frame(self, frame: str) -> Frame:
        """What an indexed frame shows. Raises UnknownFrameError."""
        snapshot = self._live.snapshot
        return snapshot.index.frame(_row_of(snapshot, frame))


def _row_of(snapshot: Snapshot, frame: str) -> int:
    try:
        return snapshot.index.row_of(frame)
    except KeyError:
        raise _unknown(snapshot, frame) from None


def _unknown(snapshot: Snapshot, frame: str) -> UnknownFrameError:
    return UnknownFrameError("frame", frame, f"a frame of index version {snapshot.index.version}, or an enrolled one")


def _checked(rects: Sequence[Rect], width: int, height: int) -> list[Rect]:
    """``rects``, each checked to be in the picture and a pixel wide and high; errors name its position."""
    return [_checked_one(rect, width, height, i) for i, rect in enumerate(rects)]


def _checked_one(rect: Rect, width: int, height: int, position: int) -> Rect:
    x0, y0, x1, y1 = checked_rect(rect, width, height, f"rect[{position}]")
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise InvalidValueError(f"rect[{position}]", (x0, y0, x1, y1), "at least one pixel wide and high")
    return (x0, y0, x1, y1)


def _check_is_crop(picture: Picture, views: Sequence[View]) -> None:
    """That ``picture`` can be what the only view's rectangle shows: it may be scaled, but has the same shape."""
    if len(views) != 1:
        raise InvalidValueError("rect", f"{len(views)} rectangles", "exactly one where image_is is crop")
    x0, y0, x1, y1 = views[0].rect
    expected_height = picture.width * (y1 - y0) / (x1 - x0)
    rounding = 1 + (y1 - y0) / (x1 - x0)  # each side of the crop is off by up to a pixel
    if abs(picture.height - expected_height) > rounding + _SHAPE_TOLERANCE * expected_height:
        bound = f"of the crop's shape, {picture.width} x {picture.height}"
        raise InvalidValueError("rect[0]", f"{x1 - x0:g} x {y1 - y0:g} pixels", bound)


def _raise_if_alone(predictions: Sequence[Prediction]) -> None:
    problem = predictions[0].problem
    if len(predictions) == 1 and problem is not None and not isinstance(problem, NoPoseError):
        raise problem


def _doubts(camera: Camera) -> list[str]:
    """What a camera may be but seldom is: the intrinsics of a picture of another size are the usual mistake."""
    if 0 <= camera.cx <= camera.width and 0 <= camera.cy <= camera.height:
        return []
    return [
        f"camera: the principal point ({camera.cx:g}, {camera.cy:g}) is outside the {camera.width} x {camera.height} "
        "picture; are the intrinsics those of this picture?"
    ]


def _spent(query: NeighboursQuery | ViewsQuery, decoded_s: float, timing: Timing) -> Spent:
    total = 1000 * (time.perf_counter() - query.received)
    return Spent(1000 * decoded_s, timing.embed_ms, timing.search_ms, timing.fit_ms, total)
