"""The box of an object in a capture with camera poses, as the index proposes it: a draft for a person to accept.

Boxes that could stand where the cameras look, or where a person points, are looked at in a few pictures that see them
from different sides (``index.looks``). Where the pictures are most alike to indexed frames, the neighbours say what box
to expect (``index.fit``, for all pictures together). About the best such box others are drawn: pictures say which of
them is framed as the indexed frames are. Where a person drew a rectangle, that says it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from index.confidence import Calibration
from index.fit import Fit
from index.looks import Look, Looks, area
from index.picture import Image
from index.posed import GroundPlane as GroundPlane
from index.posed import PosedPicture as PosedPicture
from index.posed import aim, spread
from index.predict import Predictor
from index.schema import (
    Array,
    Box,
    GeometryError,
    ImageError,
    InvalidValueError,
    Neighbour,
    OutOfViewError,
    Plane,
    RayMissesPlaneError,
    Rect,
    checked_rect,
)

_VIEWS = 6  # pictures looked at
_KEPT = 4  # candidates that are fitted
_SIDES = np.geomspace(0.12, 0.75, 5)  # of the candidates, in units of the cameras' median distance
_HEIGHTS = (0.35, 1.0, 2.2)  # of the candidates, by their sides
_ASIDE = 0.12  # how far beside the place where the cameras look candidates stand, in the same unit
_DRAWN_HEIGHTS = (0.15, 0.35, 0.7, 1.0, 1.5, 2.2, 3.5)  # of the candidates for a rectangle, by their sides
_SIZINGS = 6  # steps to the size at which such a one fills it
_BELOW_CAMERA = 0.9  # of the camera's height: no box's middle is above
_DRAWN_SHARE, _GUESSED_SHARE = 0.03, 0.15  # standard deviations of rectangles that a person drew, and of candidates'

# How far about the last box others are drawn, of its size, and how far off the pictures of the best one are then taken
# to be; where a person drew a rectangle, looking for likeness made boxes worse.
_STEPS, _DRAWN_STEPS = ((0.2, 0.1), (0.12, 0.1)), ((0.0, 0.15), (0.0, 0.15))
_NARROWER = (1.0, 0.7, 0.5)  # of three rounds
_DRAWS = 12  # in a round
_EACH = 0.8  # how much a side varies by itself, against all three together
_ALIKE = 0.012  # a box whose pictures are less alike by this weighs 1/e
# What pictures of a box gain in likeness when it is lower is this times the logarithm of its height: the corners of a
# box are seen above the thing in it.
_TALL = 0.13

# Not the fit's own confidence, which takes rectangles for seen: it is .9 where a sixth of the boxes is good.
_CALIBRATION, _DRAWN_CALIBRATION = Calibration((-9.02, 18.14), 0), Calibration((-6.11, 19.4), 0)


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
        confidence: P(3D IoU with the truth > 0.5), told from ``similarity`` alone, as it was for the shipped encoder on
            the demo's captures (``benchmarks.drafts``); for another encoder it only orders drafts.
        similarity: mean over the pictures of the nearest frame's cosine similarity, of that category.
        frames: the pictures looked at.
        unread: those that would have been, but cannot be read; others were taken in their place, as far as there are.
        neighbours: of the first of ``frames``, most similar first.
    """

    box: Box
    category: str
    confidence: float
    similarity: float
    frames: tuple[int, ...]
    unread: tuple[int, ...]
    neighbours: tuple[Neighbour, ...]


def propose_box(
    predictor: Predictor, pictures: Sequence[PosedPicture], ground: GroundPlane, hint: Hint = None
) -> Draft:
    """The box that the index expects where the hint points.

    Args:
        pictures: of a scene that does not move; at most six of them are read, besides those that cannot be.
        hint: a point of the ground in the world (3,), a rectangle in one picture, or None: what the cameras look at.

    Raises:
        InvalidValueError: no picture was taken from above the ground, or none that is the hint's.
        ImageError: none of the pictures that show the place can be read. The hint's picture raises its own error.
        GeometryError: nothing that the index knows fits there; the message says why.
    """
    numbers = [number for number, picture in enumerate(pictures) if ground.height(picture.position) > 0]
    if not numbers:
        raise InvalidValueError("pictures", len(pictures), "at least one, taken from above the ground")
    usable = [pictures[number] for number in numbers]
    if isinstance(hint, FrameRect):
        first, rects = _position(hint, pictures, numbers), {0: hint.rect}
        candidates = list(_filling(usable[first], ground, hint.rect))
    else:
        first, rects = None, {}
        candidates = list(_around(usable, ground, hint))
    if not candidates:
        raise RayMissesPlaneError("nothing that stands on the ground can be seen in the rectangle")
    place = np.mean([box.center for box in candidates], axis=0)
    images, unread = _read(usable, place, first)
    looks = Looks(predictor, [(usable[k], image) for k, image in images.items()], ground, rects, _DRAWN_SHARE)
    look, fit = _refined(looks, _best(looks, candidates), _DRAWN_STEPS if rects else _STEPS)
    chosen = list(images)
    frames, left_out = tuple(numbers[chosen[view]] for view in look.views), tuple(numbers[k] for k in unread)
    confidence = (_DRAWN_CALIBRATION if rects else _CALIBRATION).probability([look.score])
    return Draft(fit.box, look.category, confidence, look.score, frames, left_out, looks.neighbours(look, 0))


def _position(hint: FrameRect, pictures: Sequence[PosedPicture], numbers: Sequence[int]) -> int:
    """Where the rectangle's picture is among those with ``numbers``. Raises InvalidValueError."""
    if hint.frame not in numbers:
        bound = f"from 0 to {len(pictures) - 1}, of a picture that was taken from above the ground"
        raise InvalidValueError("frame", hint.frame, bound)
    camera = pictures[hint.frame].camera
    checked_rect(hint.rect, camera.width, camera.height)
    return numbers.index(hint.frame)


def _read(pictures: Sequence[PosedPicture], place: Array, first: int | None) -> tuple[dict[int, Image], list[int]]:
    """What a few pictures that see ``place`` show, by number, ``first`` the first; and which of them cannot be read."""
    images: dict[int, Image] = {}
    unread: dict[int, Exception] = {}
    while left := [k for k in spread(pictures, place, _VIEWS, first, unread) if k not in images]:
        try:
            images[left[0]] = pictures[left[0]].read()
        except (ImageError, InvalidValueError) as error:
            if left[0] == first:
                raise
            unread[left[0]] = error
    if unread and not images:
        reason = next(iter(unread.values()))
        raise ImageError(f"none of the {len(unread)} pictures that show the place can be read ({reason})")
    return images, list(unread)


def _best(looks: Looks, candidates: Sequence[Box]) -> Look:
    """Of the candidates whose pictures are most alike to indexed ones, the look at the best that neighbours expect."""
    seen = sorted(looks.at(candidates), key=lambda look: -look.score)
    if not seen:
        raise OutOfViewError("no picture shows the place where the object would be")
    expected = []
    for look in seen[:_KEPT]:
        with contextlib.suppress(GeometryError):
            expected += looks.at([looks.fit(look.box, look.category, _GUESSED_SHARE).box])
    if not expected:
        raise OutOfViewError("nothing like the indexed frames fits there")
    return max(expected, key=lambda look: look.score)


def _refined(looks: Looks, look: Look, steps: Sequence[tuple[float, float]]) -> tuple[Look, Fit]:
    """The fit where the pictures about the look's box are most alike to frames of its category, and a look at it."""
    box, category = look.box, look.category
    for breadth, share in steps:
        fit = looks.fit(_most_alike(looks, box, category, breadth) if breadth else box, category, share)
        box = fit.box
    if not (last := looks.at([box], category)):
        raise OutOfViewError("no picture shows the box that the indexed frames expect")
    return last[0], fit


def _most_alike(looks: Looks, box: Box, category: str, breadth: float) -> Box:
    """The mean of boxes drawn about ``box``, weighed by how alike their pictures are to those of a category."""
    rng = np.random.default_rng(0)
    for narrower in _NARROWER:
        near = [box, *(_near(box, narrower * breadth, rng) for _ in range(_DRAWS))]
        if not (seen := looks.at(near, category)):
            return box
        scores = np.array([look.score + _TALL * np.log(look.box.size[1]) for look in seen]) / _ALIKE
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        size = np.exp(weights @ np.log([look.box.size for look in seen]))
        box = Box(box.rotation, weights @ np.stack([look.box.center for look in seen]), size)
    return box


def _near(box: Box, breadth: float, rng: np.random.Generator) -> Box:
    """A box about as large and about there, that stands as the given one does."""
    size = box.size * np.exp(breadth * (rng.normal() + _EACH * rng.normal(size=3)))
    aside = rng.normal(size=3) * breadth * box.size / 2
    aside[1] = (size[1] - box.size[1]) / 2
    return Box(box.rotation, box.center + box.rotation @ aside, size)


def _around(pictures: Sequence[PosedPicture], ground: GroundPlane, point: Array | None) -> Iterator[Box]:
    """Boxes of many sizes and shapes that could stand at a point of the ground, or about where the cameras look."""
    looked_at = aim(np.stack([picture.world_from_camera for picture in pictures])) if point is None else point
    foot = ground.below(np.asarray(looked_at, np.float64))
    distance = float(np.median([np.linalg.norm(picture.position - foot) for picture in pictures]))
    axes = ground.axes()
    steps = [(0.0, 0.0)]
    if point is None:
        steps += [(_ASIDE, 0.0), (-_ASIDE, 0.0), (0.0, _ASIDE), (0.0, -_ASIDE)]
    for along, across in steps:
        place = foot + distance * (along * axes[:, 0] + across * axes[:, 2])
        for side in distance * _SIDES:
            yield from (_standing(place, axes, side, height) for height in _HEIGHTS)


def _standing(place: Array, axes: Array, side: float, height: float) -> Box:
    """A box on the ground, as wide as deep; ``height`` in units of its side."""
    return Box(axes, place + axes[:, 1] * side * height / 2, np.array([side, side * height, side]))


def _filling(picture: PosedPicture, ground: GroundPlane, rect: Rect) -> Iterator[Box]:
    """Standing boxes whose picture is about as large as ``rect``, and has the same middle."""
    plane, axes = ground.seen_by(picture), ground.axes()
    for height in _DRAWN_HEIGHTS:
        with contextlib.suppress(GeometryError):
            yield _as_large(picture, plane, axes, rect, height)


def _as_large(picture: PosedPicture, plane: Plane, axes: Array, rect: Rect, height: float) -> Box:
    camera = picture.camera
    x0, y0, x1, y1 = rect
    ray = camera.rays(((x0 + x1) / 2, (y0 + y1) / 2))
    side = plane.intersect(ray)[2] * min((x1 - x0) / camera.fx, (y1 - y0) / camera.fy) / 2
    for _ in range(_SIZINGS):
        middle = plane.intersect(ray, min(side * height / 2, _BELOW_CAMERA * plane.offset))
        center = picture.world_from_camera[:3, :3] @ middle + picture.position
        box = Box(axes, center, np.array([side, side * height, side]))
        side *= float(np.sqrt(area(rect) / area(picture.boxed(box).rect(camera))))
    return box
