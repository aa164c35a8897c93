"""The one road from pictures to answers: embed, search, fit. The service and the evaluation both take it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index.encoder import Encoder, open_encoder
from index.picture import Image
from index.schema import EncoderMismatchError, GeometryError, InvalidValueError, Neighbour, View
from index.search import FrameIndex, Rows, Vectors
from index.store import IndexVersion, open_index
from index.transfer import Fit, fit_box

DEFAULT_K = 10
MAX_K = 100


@dataclass(frozen=True)
class Match:
    """A known object among the neighbours.

    ``score`` is the similarity of its nearest frame, ``frames`` how many of the k neighbours are its; ``known`` is
    whether the score reaches the index's ``known_threshold`` (None where the index has none).
    """

    object_id: str
    category: str
    score: float
    frames: int
    known: bool | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one view. ``fit`` is None where no box could be had; ``problem`` then says why, unless the
    query simply carried no camera and plane."""

    neighbours: tuple[Neighbour, ...]
    matches: tuple[Match, ...]
    category: str
    fit: Fit | None = None
    problem: GeometryError | None = None


@dataclass(frozen=True)
class Timing:
    """Milliseconds spent in each step."""

    embed_ms: float
    search_ms: float
    fit_ms: float


class Predictor:
    """An encoder and the index that it made.

    Raises:
        EncoderMismatchError: the index's vectors come from another encoder.
    """

    def __init__(self, encoder: Encoder, index: FrameIndex) -> None:
        if index.encoder_digest not in (None, encoder.digest):
            path = index.path if isinstance(index, IndexVersion) else "index"
            raise EncoderMismatchError(
                path, f"made by encoder {index.encoder_digest}, cannot be searched with {encoder.digest}"
            )
        self.encoder, self.index = encoder, index

    def predict(
        self,
        image: Image,
        views: Sequence[View],
        k: int = DEFAULT_K,
        category: str | None = None,
        exclude_object: str | None = None,
        *,
        crops: bool = False,
    ) -> tuple[list[Prediction], Timing]:
        """Neighbours, matches and a box for each view of one picture.

        Args:
            image: (h, w, 3) uint8 RGB: the full picture, or with ``crops`` only what ``views[0].rect`` shows of it.
            views: what to look at; a box is fitted where camera and plane are known.
            k: how many neighbours, 1 to 100.
            category, exclude_object: as in ``FrameIndex.search``.
        """
        if not 1 <= k <= MAX_K:
            raise InvalidValueError("k", k, f"from 1 to {MAX_K}")
        start = time.perf_counter()
        whole = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
        windows = [self.encoder.crop(image, whole if crops else view.rect) for view in views]
        vectors = self.encoder.embed(np.stack(windows))
        embedded = time.perf_counter()
        similarities, rows = self.index.search(vectors, k, category, exclude_object)
        found = [self._gather(s, r) for s, r in zip(similarities, rows, strict=True)]
        searched = time.perf_counter()
        predictions = [_with_fit(prediction, view) for prediction, view in zip(found, views, strict=True)]
        fitted = time.perf_counter()
        steps = (embedded - start, searched - embedded, fitted - searched)
        return predictions, Timing(*(1000 * seconds for seconds in steps))

    def neighbours_of(self, row: int, k: int = DEFAULT_K, category: str | None = None) -> Prediction:
        """The neighbours of an indexed frame, itself left out."""
        if not 1 <= k <= MAX_K:
            raise InvalidValueError("k", k, f"from 1 to {MAX_K}")
        similarities, rows = self.index.search(self.index.vectors[row : row + 1], k + 1, category)
        others = rows[0] != row
        return self._gather(similarities[0][others][:k], rows[0][others][:k])

    def _gather(self, similarities: Vectors, rows: Rows) -> Prediction:
        found = rows >= 0
        neighbours = tuple(
            Neighbour(self.index.frame(int(row)), int(row), float(similarity))
            for row, similarity in zip(rows[found], similarities[found], strict=True)
        )
        category = neighbours[0].frame.category if neighbours else ""
        return Prediction(neighbours, _matches(neighbours, self.index.known_threshold), category)


def open_predictor(root: Path, device: str = "auto") -> Predictor:
    """The current version of the index at ``root``, with its own encoder."""
    index = open_index(root)
    return Predictor(open_encoder(index.encoder_path, device), index)


def _with_fit(prediction: Prediction, view: View) -> Prediction:
    if view.camera is None or view.plane is None:
        return prediction
    try:
        frames, similarities = ([getattr(n, name) for n in prediction.neighbours] for name in ("frame", "similarity"))
        fit = fit_box(frames, view, similarities)
    except GeometryError as problem:
        return replace(prediction, problem=problem)
    return replace(prediction, fit=fit)


def _matches(neighbours: Sequence[Neighbour], threshold: float | None) -> tuple[Match, ...]:
    """One match an object, the most similar first; neighbours come sorted, so its first frame is its best."""
    by_object: dict[str, list[Neighbour]] = {}
    for neighbour in neighbours:
        by_object.setdefault(neighbour.frame.object_id, []).append(neighbour)
    return tuple(
        Match(
            object_id,
            frames[0].frame.category,
            frames[0].similarity,
            len(frames),
            None if threshold is None else frames[0].similarity >= threshold,
        )
        for object_id, frames in by_object.items()
    )
