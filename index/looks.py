"""Looks at boxes in a few posed pictures: what the index says of the places where they would be seen."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.fit import Fit, fit_sightings
from index.picture import Image
from index.posed import GroundPlane, PosedPicture
from index.predict import Lookup, Predictor
from index.schema import (
    BehindCameraError,
    Box,
    InvalidValueError,
    Neighbour,
    OutOfViewError,
    Rect,
    View,
    clipped_rect,
)
from index.search import Rows, Vectors
from index.witnesses import Sighting

_NEIGHBOURS = 10  # of a picture
_SHARE_INSIDE = 0.5  # of a box's picture; with less, the picture says nothing of it
_LEAST_PIXELS = 8.0  # of a rectangle's sides
_NOTHING = -1.0  # the least similarity there is


@dataclass(frozen=True, eq=False)
class Look:
    """What the pictures show where a box would be.

    Attributes:
        views: v positions among the pictures, of those that show enough of the box.
        rects: where, in pixels of their cameras.
        similarities, rows: (v, k) of the nearest frames.
        category: the one that the pictures are most alike to.
        score: how much: the mean over the pictures of the similarity of the nearest frame of that category.
    """

    box: Box
    views: tuple[int, ...]
    rects: tuple[Rect, ...]
    similarities: Vectors
    rows: Rows
    category: str
    score: float


class Looks:
    """A few pictures, and an index that knows what they might show.

    Args:
        pictures: and what was read of each.
        drawn: rectangles that a person drew, by the picture's position: they are where the box is seen there, to
            ``drawn_share`` of their length.
    """

    def __init__(
        self,
        predictor: Predictor,
        pictures: Sequence[tuple[PosedPicture, Image]],
        ground: GroundPlane,
        drawn: dict[int, Rect],
        drawn_share: float,
    ) -> None:
        self._predictor, self._drawn, self._drawn_share = predictor, drawn, drawn_share
        self._pictures, self._images = [picture for picture, _ in pictures], [image for _, image in pictures]
        self._planes = [ground.seen_by(picture) for picture in self._pictures]

    def at(self, boxes: Sequence[Box], category: str | None = None) -> list[Look]:
        """A look at each box of which enough is seen; all of them are embedded together.

        Args:
            category: only frames of it are compared with.
        """
        seen = [(box, views) for box in boxes if (views := self._views_of(box))]
        if not seen:
            return []
        crops = [self._crop(view, rect) for _, views in seen for view, rect in views]
        found = self._predictor.look_up(Lookup(np.stack(crops), (_NEIGHBOURS, category, None)))
        ends = np.cumsum([len(views) for _, views in seen])[:-1]
        nearest = zip(np.split(found.similarities, ends), np.split(found.rows, ends), strict=True)
        return [self._look(box, views, *part) for (box, views), part in zip(seen, nearest, strict=True)]

    def fit(self, box: Box, category: str, share: float) -> Fit:
        """The box that neighbours of a category expect where ``box`` is seen, whose pictures are ``share`` off.

        Raises OutOfViewError where none of the pictures shows enough of it, else as ``fit_sightings`` does.
        """
        looks = self.at([box], category)
        if not looks:
            raise OutOfViewError("no picture shows the place where the object would be")
        return fit_sightings([self._sighting(looks[0], k, share) for k in range(len(looks[0].views))])

    def neighbours(self, look: Look, k: int) -> tuple[Neighbour, ...]:
        """The nearest frames of the ``k``-th picture of a look."""
        index, found = self._predictor.index, look.rows[k] >= 0
        pairs = zip(look.rows[k][found].tolist(), look.similarities[k][found].tolist(), strict=True)
        return tuple(Neighbour(index.frame(row), row, similarity) for row, similarity in pairs)

    def _views_of(self, box: Box) -> list[tuple[int, Rect]]:
        views = []
        for view, picture in enumerate(self._pictures):
            with contextlib.suppress(BehindCameraError, InvalidValueError):
                whole = self._drawn.get(view) or picture.boxed(box).rect(picture.camera)
                inside = clipped_rect(whole, picture.camera.width, picture.camera.height)
                if area(inside) >= _SHARE_INSIDE * area(whole) and _shortest(inside) >= _LEAST_PIXELS:
                    views.append((view, inside))
        return views

    def _crop(self, view: int, rect: Rect) -> NDArray[np.uint8]:
        image, camera = self._images[view], self._pictures[view].camera
        scale = np.tile([image.shape[1] / camera.width, image.shape[0] / camera.height], 2)
        return self._predictor.encoder.crop(image, np.asarray(rect) * scale)

    def _look(self, box: Box, views: Sequence[tuple[int, Rect]], similarities: Vectors, rows: Rows) -> Look:
        numbers, rects = zip(*views, strict=True)
        return Look(box, numbers, rects, similarities, rows, *self._most_alike(similarities, rows))

    def _most_alike(self, similarities: Vectors, rows: Rows) -> tuple[str, float]:
        """The category that views (v, k) are most alike to, and how much. What a view's neighbours are not, it is less
        alike to than to the last of them: that counts instead."""
        best: dict[str, Vectors] = {}
        least = np.where(rows >= 0, similarities, np.inf).min(axis=1)
        for view, k in zip(*np.nonzero(rows >= 0), strict=True):
            name = self._predictor.index.frame(int(rows[view, k])).category
            of_name = best.setdefault(name, least.copy())
            of_name[view] = max(of_name[view], similarities[view, k])
        means = {name: float(values.mean()) for name, values in best.items()}
        name = max(means, key=lambda key: means[key], default="")
        return name, means.get(name, _NOTHING)

    def _sighting(self, look: Look, k: int, share: float) -> Sighting:
        view, neighbours = look.views[k], self.neighbours(look, k)
        picture = self._pictures[view]
        return Sighting(
            View(picture.camera, self._planes[view], look.rects[k]),
            [neighbour.frame for neighbour in neighbours],
            [neighbour.similarity for neighbour in neighbours],
            picture.camera_from_world,
            self._drawn_share if view in self._drawn else share,
        )


def area(rect: Rect) -> float:
    """Of a rectangle, square pixels."""
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _shortest(rect: Rect) -> float:
    return min(rect[2] - rect[0], rect[3] - rect[1])
