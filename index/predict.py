"""The one road from pictures to answers: embed, search, fit. The service and the evaluation both take it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from index.confidence import Calibration
from index.encoder import Crops, Encoder, open_encoder
from index.fit import Fit, fit_box, fit_sightings
from index.identity import Match, Recogniser
from index.joined import Calibrated
from index.picture import Image
from index.schema import (
    Array,
    Box,
    EncoderMismatchError,
    GeometryError,
    InvalidValueError,
    Neighbour,
    NoPoseError,
    Rect,
    View,
)
from index.search import Rows, Vectors
from index.stores import Location, store_at
from index.transfer import transfer_box
from index.witnesses import Sighting

DEFAULT_K = 20
MAX_K = 100
_LOOKED_AT = 1000  # rows, to find one with a box
Method = Literal["consensus", "paper"]


@dataclass(frozen=True, eq=False)
class Answer:
    """A box in the query's camera frame.

    ``confidence`` and ``covariance`` are those of ``index.fit``; None for the paper's transfer, which has neither.
    """

    box: Box
    confidence: float | None = None
    covariance: Array | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one view, whose embedding is ``vector`` (d,). ``fit`` is None where no box could be had;
    ``problem`` then says why, unless the query simply carried no camera."""

    vector: Vectors
    neighbours: tuple[Neighbour, ...]
    matches: tuple[Match, ...]
    category: str
    fit: Answer | None = None
    problem: GeometryError | None = None


@dataclass(frozen=True)
class Timing:
    """Milliseconds spent in each step."""

    embed_ms: float
    search_ms: float
    fit_ms: float


Limits = tuple[int, str | None, str | None]  # k, category, exclude_object: as in FrameIndex.search


@dataclass(frozen=True, eq=False)
class Lookup:
    """Crops (n, s, s, 3) uint8 RGB whose nearest frames are wanted."""

    crops: Crops
    limits: Limits


@dataclass(frozen=True, eq=False)
class Found:
    """A lookup's crops as vectors (n, d), what ``FrameIndex.search`` says of them, and how long that took."""

    vectors: Vectors
    similarities: Vectors
    rows: Rows
    search_s: float


def look_up_together(encoder: Encoder, index: Calibrated, lookups: Sequence[Lookup]) -> list[Found]:
    """The nearest frames of each one's crops: one call of the encoder, one search for all that have the same limits."""
    vectors = encoder.embed(np.concatenate([lookup.crops for lookup in lookups]))
    embedded = time.perf_counter()
    parts = np.split(vectors, np.cumsum([len(lookup.crops) for lookup in lookups])[:-1])
    alike: dict[Limits, list[int]] = {}
    for position, lookup in enumerate(lookups):
        alike.setdefault(lookup.limits, []).append(position)
    nearest: dict[int, tuple[Vectors, Rows]] = {}
    for limits, positions in alike.items():
        similarities, rows = index.search(np.concatenate([parts[p] for p in positions]), *limits)
        ends = np.cumsum([len(parts[p]) for p in positions])[:-1]
        nearest |= zip(positions, zip(np.split(similarities, ends), np.split(rows, ends), strict=True), strict=True)
    seconds = time.perf_counter() - embedded
    return [Found(part, *nearest[position], seconds) for position, part in enumerate(parts)]


class Predictor:
    """An encoder and the index that it made.

    Raises:
        EncoderMismatchError: the index's vectors come from another encoder.
    """

    def __init__(self, encoder: Encoder, index: Calibrated) -> None:
        if index.encoder_digest not in (None, encoder.digest):
            raise EncoderMismatchError(
                getattr(index, "version", "index"),
                f"made by encoder {index.encoder_digest}, cannot be searched with {encoder.digest}",
            )
        self.encoder, self.index, self._recogniser = encoder, index, Recogniser(index)

    def warm_up(self) -> None:
        """Fits one box, so that no query waits for the compiler (seconds, in a process's life or in its cache's)."""
        for row in range(min(len(self.index), _LOOKED_AT)):
            frame = self.index.frame(row)
            if frame.box is not None:
                with contextlib.suppress(GeometryError):
                    fit_box([frame], frame.view)
                    return

    def predict(
        self,
        image: Image,
        views: Sequence[View],
        k: int = DEFAULT_K,
        category: str | None = None,
        exclude_object: str | None = None,
        *,
        windows: Sequence[Rect] | None = None,
        method: Method = "consensus",
    ) -> tuple[list[Prediction], Timing]:
        """Neighbours, matches and a box for each view of one picture.

        Args:
            image: (h, w, 3) uint8 RGB: the full picture, or a part or a smaller version of it.
            views: what to look at; a box is fitted where the camera is known.
            k: how many neighbours, 1 to 100.
            category, exclude_object: as in ``FrameIndex.search``.
            windows: where in ``image`` each view's rectangle is, where ``image`` is not the full picture.
            method: ``consensus`` is ``index.fit`` of all neighbours, ``paper`` ``index.transfer`` of the nearest.
        """
        if not 1 <= k <= MAX_K:
            raise InvalidValueError("k", k, f"from 1 to {MAX_K}")
        self.index.check_category(category)  # here: what is looked up together must not fail for one of them
        start = time.perf_counter()
        rects = [view.rect for view in views] if windows is None else windows
        crops = np.stack([self.encoder.crop(image, rect) for rect in rects])
        nearest = self.look_up(Lookup(crops, (k, category, exclude_object)))
        looked_up = time.perf_counter()
        found = [
            self._gather(*one, self._recogniser.matches(one[0][None], k, category, exclude_object))
            for one in zip(nearest.vectors, nearest.similarities, nearest.rows, strict=True)
        ]
        gathered = time.perf_counter()
        calibration = self.index.calibration
        predictions = [_with_fit(p, view, method, calibration) for p, view in zip(found, views, strict=True)]
        fitted = time.perf_counter()
        embed_s, search_s = looked_up - start - nearest.search_s, nearest.search_s + gathered - looked_up
        return predictions, Timing(1000 * embed_s, 1000 * search_s, 1000 * (fitted - gathered))

    def look_up(self, lookup: Lookup) -> Found:
        """The nearest frames of each crop."""
        return look_up_together(self.encoder, self.index, [lookup])[0]

    def predict_views(
        self,
        images: Sequence[Image],
        views: Sequence[View],
        cameras_from_world: Sequence[Array],
        k: int = DEFAULT_K,
        category: str | None = None,
        *,
        windows: Sequence[Rect] | None = None,
    ) -> tuple[list[Prediction], Timing]:
        """One object that has not moved, in several pictures: neighbours for each, and one box for all.

        Args:
            images: (h, w, 3) uint8 RGB each.
            views: what of each to look at; the first plane that is known counts.
            cameras_from_world: (4, 4) each.
            windows: as in ``predict``, one an image.

        Returns:
            A prediction a picture, with the same matches, and the same box in each camera's frame. No box, and
            why, where no neighbour has one; what else ``fit_sightings`` refuses it raises.
        """
        parts = [
            self.predict(image, [View(None, None, view.rect)], k, category, windows=[window])
            for image, view, window in zip(images, views, windows or [view.rect for view in views], strict=True)
        ]
        embedded, searched = (sum(getattr(t, name) for _, t in parts) for name in ("embed_ms", "search_ms"))
        start = time.perf_counter()
        vectors = np.stack([predictions[0].vector for predictions, _ in parts])
        matches = self._recogniser.matches(vectors, k, category)
        found = [replace(predictions[0], matches=matches) for predictions, _ in parts]
        recognised = time.perf_counter()
        searched += 1000 * (recognised - start)
        sightings = [
            Sighting(view, [n.frame for n in p.neighbours], [n.similarity for n in p.neighbours], camera_from_world)
            for view, p, camera_from_world in zip(views, found, cameras_from_world, strict=True)
        ]
        try:
            fit = fit_sightings(sightings, self.index.calibration)
        except NoPoseError as problem:
            return [replace(prediction, problem=problem) for prediction in found], Timing(embedded, searched, 0.0)
        predictions = [
            replace(prediction, fit=_seen_from(fit, camera_from_world))
            for prediction, camera_from_world in zip(found, cameras_from_world, strict=True)
        ]
        fitted = 1000 * (time.perf_counter() - recognised)
        return predictions, Timing(embedded, searched, fitted)

    def neighbours_of(self, row: int, k: int = DEFAULT_K, category: str | None = None) -> Prediction:
        """The neighbours of an indexed frame, itself left out."""
        if not 1 <= k <= MAX_K:
            raise InvalidValueError("k", k, f"from 1 to {MAX_K}")
        vector = self.index.vector(row)
        similarities, rows = self.index.search(vector[None], k + 1, category)
        others = rows[0] != row
        matches = self._recogniser.matches(vector[None], k, category, without=np.array([row]))
        return self._gather(vector, similarities[0][others][:k], rows[0][others][:k], matches)

    def _gather(self, vector: Vectors, similarities: Vectors, rows: Rows, matches: tuple[Match, ...]) -> Prediction:
        found = rows >= 0
        neighbours = tuple(
            Neighbour(self.index.frame(int(row)), int(row), float(similarity))
            for row, similarity in zip(rows[found], similarities[found], strict=True)
        )
        category = neighbours[0].frame.category if neighbours else ""
        return Prediction(vector, neighbours, matches, category)


def open_predictor(location: Location, device: str = "auto") -> Predictor:
    """The current version of an index, with its own encoder."""
    index = store_at(location).open(device=device)
    return Predictor(open_encoder(index.encoder_path, device), index)


def _with_fit(prediction: Prediction, view: View, method: Method, calibration: Calibration) -> Prediction:
    if view.camera is None:
        return prediction
    try:
        if method == "paper":
            return replace(prediction, fit=Answer(_nearest_box(prediction.neighbours, view)))
        frames, similarities = ([getattr(n, name) for n in prediction.neighbours] for name in ("frame", "similarity"))
        fit = fit_box(frames, view, similarities, calibration)
    except GeometryError as problem:
        return replace(prediction, problem=problem)
    return replace(prediction, fit=Answer(fit.box, fit.confidence, fit.covariance))


def _seen_from(fit: Fit, camera_from_world: Array) -> Answer:
    """A fit in the world, in a camera's frame."""
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    box = Box(rotation @ fit.box.rotation, rotation @ fit.box.center + translation, fit.box.size)
    turn = np.eye(7)
    turn[:3, :3] = rotation
    return Answer(box, fit.confidence, turn @ fit.covariance @ turn.T)


def _nearest_box(neighbours: Sequence[Neighbour], view: View) -> Box:
    """The paper's answer: the box of the nearest frame that has one."""
    for neighbour in neighbours:
        if neighbour.frame.box is not None:
            return transfer_box(neighbour.frame, view)
    raise NoPoseError("none of the neighbours has a box")
