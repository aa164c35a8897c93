"""The box of an object in a capture with camera poses, as the index proposes it: a draft for a person to accept.

Boxes that could stand where the cameras look, or where a person points, are projected into a few pictures that see them
from different sides. Those whose crops look most like indexed frames go on: their neighbours say what box to expect
(``index.fit``, for all pictures together), the new box is projected again, until it stands still. The one whose
pictures are most alike to frames of one category is the draft.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.fit import Fit, fit_sightings
from index.picture import Image
from index.predict import DEFAULT_K, Lookup, Predictor
from index.schema import (
    Array,
    BehindCameraError,
    Box,
    Camera,
    GeometryError,
    InvalidValueError,
    Neighbour,
    OutOfViewError,
    Plane,
    Rect,
    View,
    clipped_rect,
)
from index.search import Rows, Vectors
from index.witnesses import Sighting

_VIEWS = 5  # pictures looked at
_KEPT = 3  # candidates that are fitted
_ROUNDS = 4  # fits of one candidate, at most
_STILL = 0.02  # of the box's diagonal: a box whose corners move by less stands still
_SHARE_INSIDE = 0.5  # of a candidate's picture; with less, the picture says nothing
_LEAST_PIXELS = 8.0  # of a rectangle's sides
_SIDES = np.geomspace(0.12, 0.75, 5)  # of the candidates, in units of the cameras' median distance
_HEIGHTS = (0.35, 1.0, 2.2)  # of the candidates, by their sides
_ASIDE = 0.12  # how far beside the place where the cameras look candidates stand, in the same unit
_DRAWN_SHARE, _GUESSED_SHARE = 0.03, 0.15  # standard deviations of rectangles that a person drew, and of candidates'
_FLOOR = -1.0  # the least similarity there is


@dataclass(frozen=True, eq=False)
class PosedPicture:
    """A picture, read when it is needed (RGB uint8, of the camera's size or scaled), and where it was taken from."""

    camera: Camera
    world_from_camera: Array  # (4, 4)
    read: Callable[[], Image]

    @property
    def position(self) -> Array:
        """(3,) of the camera in the world."""
        return np.asarray(self.world_from_camera[:3, 3], np.float64)

    @property
    def camera_from_world(self) -> Array:
        """(4, 4)."""
        return np.linalg.inv(np.asarray(self.world_from_camera, np.float64))


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """What the object stands on, in the world: ``normal`` (3,) points up, ``point`` (3,) is any on it; metres."""

    normal: Array
    point: Array

    def __post_init__(self) -> None:
        normal = np.asarray(self.normal, np.float64)
        length = float(np.linalg.norm(normal))
        if normal.shape != (3,) or not 0 < length < np.inf:
            raise InvalidValueError("plane.normal", self.normal, "three numbers, longer than zero")
        object.__setattr__(self, "normal", normal / length)
        object.__setattr__(self, "point", np.asarray(self.point, np.float64))

    def below(self, points: Array) -> Array:
        """(..., 3) -> (..., 3): the points of the ground straight below."""
        return np.asarray(points - ((points - self.point) @ self.normal)[..., None] * self.normal)

    def seen_by(self, picture: PosedPicture) -> Plane:
        """In the camera's frame. Raises InvalidValueError where the camera is below the ground."""
        rotation, translation = picture.camera_from_world[:3, :3], picture.camera_from_world[:3, 3]
        return Plane.from_point(rotation @ self.normal, rotation @ self.point + translation)

    def axes(self) -> Array:
        """(3, 3) world_from_box of a box that stands on it; its y is up."""
        x = np.linalg.svd(self.normal[None])[2][1]
        return np.stack([x, self.normal, np.cross(x, self.normal)], axis=1)


@dataclass(frozen=True)
class FrameRect:
    """Where a person sees the object: pixels of the ``frame``-th picture's camera."""

    frame: int
    rect: Rect


Hint = Array | FrameRect | None  # a point of the ground (3,); a rectangle; the cameras look at the object


@dataclass(frozen=True, eq=False)
class Draft:
    """A proposed box, in the world.

    Attributes:
        confidence: P(3D IoU with the truth > 0.5).
        similarity: mean over the pictures of the nearest frame's cosine similarity, of that category.
        frames: the pictures looked at.
        neighbours: of the first of ``frames``, most similar first.
    """

    box: Box
    category: str
    confidence: float
    similarity: float
    frames: tuple[int, ...]
    neighbours: tuple[Neighbour, ...]


def propose_box(
    predictor: Predictor, pictures: Sequence[PosedPicture], ground: GroundPlane, hint: Hint = None
) -> Draft:
    """The box that the index expects where the hint points.

    Args:
        pictures: of a scene that does not move; a few of them are read.
        hint: a point of the ground in the world (3,), a rectangle in one picture, or None: what the cameras look at.

    Raises:
        InvalidValueError: no pictures, a hint that is none of theirs, a camera below the ground.
        GeometryError: nothing that the index knows fits there; the message says why.
    """
    if not pictures:
        raise InvalidValueError("pictures", 0, "at least one with a pose")
    if isinstance(hint, FrameRect) and not 0 <= hint.frame < len(pictures):
        raise InvalidValueError("frame", hint.frame, f"from 0 to {len(pictures) - 1}")
    looks = _Looks(predictor, pictures, ground, hint)
    seen = looks.at(list(_candidates(pictures, ground, hint)))
    if not seen:
        raise OutOfViewError("no picture shows the place where the object would be")
    best = sorted(seen, key=lambda look: -look.score)[:_KEPT]
    drafts = [draft for look in best if (draft := looks.settle(look)) is not None]
    if not drafts:
        raise OutOfViewError("nothing like the indexed frames fits there")
    return max(drafts, key=lambda draft: draft.similarity)


def aim(pictures: Sequence[PosedPicture]) -> Array:
    """(3,) what the cameras look at: the point nearest to all optical axes, by least squares."""
    positions = np.stack([picture.position for picture in pictures])
    forward = np.stack([picture.world_from_camera[:3, 2] for picture in pictures])
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    # A trace of regularisation: axes that are all parallel meet nowhere, and then any point on them will do.
    left = across.sum(axis=0) + 1e-9 * len(forward) * np.eye(3)
    right = np.einsum("nij,nj->i", across, positions) + 1e-9 * (positions + forward).sum(axis=0)
    return np.asarray(np.linalg.solve(left, right))


def _candidates(pictures: Sequence[PosedPicture], ground: GroundPlane, hint: Hint) -> Iterator[Box]:
    """Boxes that could be there, of many sizes and shapes."""
    if isinstance(hint, FrameRect):
        yield from _within(pictures[hint.frame], ground, hint.rect)
        return
    foot = ground.below(aim(pictures) if hint is None else np.asarray(hint, np.float64))
    distance = float(np.median([np.linalg.norm(picture.position - foot) for picture in pictures]))
    axes = ground.axes()
    steps = [(0.0, 0.0)]
    if hint is None:
        steps += [(_ASIDE, 0.0), (-_ASIDE, 0.0), (0.0, _ASIDE), (0.0, -_ASIDE)]
    for along, across in steps:
        place = foot + distance * (along * axes[:, 0] + across * axes[:, 2])
        for side in distance * _SIDES:
            yield from (_standing(place, axes, side, height) for height in _HEIGHTS)


def _standing(place: Array, axes: Array, side: float, height: float) -> Box:
    """A box on the ground, as wide as deep; ``height`` in units of its side."""
    return Box(axes, place + axes[:, 1] * side * height / 2, np.array([side, side * height, side]))


def _within(picture: PosedPicture, ground: GroundPlane, rect: Rect) -> Iterator[Box]:
    """Standing boxes whose picture is about as large as ``rect``, and has the same middle."""
    plane, axes = ground.seen_by(picture), ground.axes()
    x0, y0, x1, y1 = rect
    ray = picture.camera.rays(((x0 + x1) / 2, (y0 + y1) / 2))
    for height in (0.15, 0.35, 0.7, 1.0, 1.5, 2.2, 3.5):
        with contextlib.suppress(GeometryError):
            yield _filling(picture, plane, axes, ray, rect, height)


def _filling(picture: PosedPicture, plane: Plane, axes: Array, ray: Array, rect: Rect, height: float) -> Box:
    x0, y0, x1, y1 = rect
    camera_from_world = picture.camera_from_world
    depth = plane.intersect(ray)[2]
    side = depth * min((x1 - x0) / picture.camera.fx, (y1 - y0) / picture.camera.fy) / 2
    for _ in range(6):
        in_camera = plane.intersect(ray, min(side * height / 2, 0.9 * plane.offset))
        center = picture.world_from_camera[:3, :3] @ in_camera + picture.position
        box = Box(axes, center, np.array([side, side * height, side]))
        left, top, right, bottom = _moved(box, camera_from_world).rect(picture.camera)
        side *= float(np.sqrt((x1 - x0) * (y1 - y0) / ((right - left) * (bottom - top))))
    return box


@dataclass(frozen=True, eq=False)
class _Look:
    """What the pictures show where a box would be: rows and similarities (v, k) of the nearest frames in the views."""

    box: Box
    views: tuple[int, ...]  # positions among those looked at
    rects: tuple[Rect, ...]
    similarities: Vectors
    rows: Rows
    category: str
    score: float


class _Looks:
    """A few pictures of a capture, and what the index says of places in them."""

    def __init__(self, predictor: Predictor, pictures: Sequence[PosedPicture], ground: GroundPlane, hint: Hint) -> None:
        self._predictor, self._hint = predictor, hint
        given = hint.frame if isinstance(hint, FrameRect) else None
        self._numbers = _spread(pictures, ground.below(aim(pictures)), given)
        self._pictures = [pictures[number] for number in self._numbers]
        self._images = [picture.read() for picture in self._pictures]
        self._planes = [ground.seen_by(picture) for picture in self._pictures]
        self._transforms = [picture.camera_from_world for picture in self._pictures]

    def at(self, boxes: Sequence[Box], category: str | None = None) -> list[_Look]:
        """What the pictures show at each box that enough of it is seen of; all of them are embedded together."""
        seen = [(box, views) for box in boxes if (views := self._views_of(box))]
        if not seen:
            return []
        crops = [self._crop(view, rect) for _, views in seen for view, rect in views]
        found = self._predictor.look_up(Lookup(np.stack(crops), (DEFAULT_K, category, None)))
        ends = np.cumsum([len(views) for _, views in seen])
        looks = []
        for (box, views), end in zip(seen, ends, strict=True):
            part = slice(end - len(views), end)
            named, score = self._alike(found.similarities[part], found.rows[part])
            numbers, rects = zip(*views, strict=True)
            looks.append(_Look(box, numbers, rects, found.similarities[part], found.rows[part], named, score))
        return looks

    def settle(self, look: _Look) -> Draft | None:
        """The box that the look's neighbours expect, and theirs, until it stands still; None where none fits."""
        best: tuple[_Look, Fit] | None = None
        for _ in range(_ROUNDS):
            named = self.at([look.box], look.category)
            try:
                fit = fit_sightings([self._sighting(named[0], k) for k in range(len(named[0].views))])
            except GeometryError:
                break
            moved = float(np.abs(fit.box.corners - look.box.corners).max())
            after = self.at([fit.box])
            if not after or (best is not None and after[0].score <= best[0].score):
                break
            look = after[0]
            best = look, fit
            if moved < _STILL * float(np.linalg.norm(fit.box.size)):
                break
        return best and self._draft(*best)

    def _draft(self, look: _Look, fit: Fit) -> Draft:
        index = self._predictor.index
        neighbours = tuple(
            Neighbour(index.frame(int(row)), int(row), float(similarity))
            for row, similarity in zip(look.rows[0], look.similarities[0], strict=True)
            if row >= 0
        )
        numbers = tuple(self._numbers[view] for view in look.views)
        return Draft(fit.box, look.category, fit.confidence, look.score, numbers, neighbours)

    def _views_of(self, box: Box) -> list[tuple[int, Rect]]:
        """The pictures that show enough of a box, and where."""
        views = []
        for view, picture in enumerate(self._pictures):
            with contextlib.suppress(BehindCameraError, InvalidValueError):
                whole = self._drawn(view) or _moved(box, self._transforms[view]).rect(picture.camera)
                inside = clipped_rect(whole, picture.camera.width, picture.camera.height)
                if _area(inside) >= _SHARE_INSIDE * _area(whole) and _shortest(inside) >= _LEAST_PIXELS:
                    views.append((view, inside))
        return views

    def _drawn(self, view: int) -> Rect | None:
        """What a person drew in the picture."""
        hint = self._hint
        return hint.rect if isinstance(hint, FrameRect) and self._numbers[view] == hint.frame else None

    def _crop(self, view: int, rect: Rect) -> NDArray[np.uint8]:
        image, camera = self._images[view], self._pictures[view].camera
        scale = np.tile([image.shape[1] / camera.width, image.shape[0] / camera.height], 2)
        return self._predictor.encoder.crop(image, np.asarray(rect) * scale)

    def _alike(self, similarities: Vectors, rows: Rows) -> tuple[str, float]:
        """The category that the views (v, k) are most alike to, and how much: the mean of each view's nearest."""
        index = self._predictor.index
        nearest: dict[str, Array] = {}
        for view, (values, found) in enumerate(zip(similarities, rows, strict=True)):
            least = float(values[found >= 0].min(initial=1.0))
            for value, row in zip(values[found >= 0], found[found >= 0], strict=True):
                name = index.frame(int(row)).category
                best = nearest.setdefault(name, np.full(len(rows), np.nan))
                best[view] = np.fmax(best[view], value)
            for best in nearest.values():
                best[view] = best[view] if np.isfinite(best[view]) else least
        means = {name: float(np.nanmean(best)) for name, best in nearest.items()}
        if not means:
            return "", _FLOOR
        name = max(means, key=lambda key: means[key])
        return name, means[name]

    def _sighting(self, look: _Look, k: int) -> Sighting:
        view, index = look.views[k], self._predictor.index
        found = look.rows[k] >= 0
        return Sighting(
            View(self._pictures[view].camera, self._planes[view], look.rects[k]),
            [index.frame(int(row)) for row in look.rows[k][found]],
            look.similarities[k][found].tolist(),
            self._transforms[view],
            _DRAWN_SHARE if self._drawn(view) else _GUESSED_SHARE,
        )


def _spread(pictures: Sequence[PosedPicture], foot: Array, first: int | None) -> list[int]:
    """Pictures that see ``foot`` from directions as different as can be, the one that must be among them first."""
    rays = np.stack([picture.position for picture in pictures]) - foot
    rays = rays / np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-9)
    chosen = [0 if first is None else first]
    while len(chosen) < min(_VIEWS, len(pictures)):
        alike = (rays @ rays[chosen].T).max(axis=1)
        alike[chosen] = np.inf
        chosen.append(int(alike.argmin()))
    return chosen


def _moved(box: Box, transform: Array) -> Box:
    """A box in the frame that ``transform`` (4, 4) leads to."""
    rotation, translation = transform[:3, :3], transform[:3, 3]
    return Box(rotation @ box.rotation, rotation @ box.center + translation, box.size)


def _area(rect: Rect) -> float:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _shortest(rect: Rect) -> float:
    return min(rect[2] - rect[0], rect[3] - rect[1])
