"""How well an index knows its objects again, and how often it takes a stranger for one of them: the open-set trial.

Of the objects of the test split that were filmed more than once, half are indexed by one of their videos, beside all
that the index holds. Then the other videos are asked for, and those of the other half, the strangers. Four times:
either half, by its first and by its last video.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.growing import GrowingIndex
from index.identity import Recogniser
from index.joined import Calibrated, JoinedIndex
from index.search import FrameIndex, Vectors
from trainer.frames import Frames
from trainer.recognise import queries, videos_of

_ALL = 10**9


@dataclass(frozen=True, eq=False)
class Answers:
    """What was said of n queries.

    Attributes:
        indexed: (n,) whether the query's object is in the index; the others are strangers.
        right: (n,) whether the best match is the query's object.
        known: (n,) whether the best match was called known.
        probability: (n,) of the best match.
        shown: (n,) the query's object, by number.
    """

    indexed: NDArray[np.bool_]
    right: NDArray[np.bool_]
    known: NDArray[np.bool_]
    probability: NDArray[np.float64]
    shown: NDArray[np.int64]

    def hits(self) -> float:
        """The share of known objects' queries whose best match is right."""
        return float(self.right[self.indexed].mean())

    def false_accepts(self) -> float:
        """The share of strangers that were called known."""
        return float(self.known[~self.indexed].mean())

    def accepts(self) -> float:
        """The share of known objects' queries that were called known, and by the right name."""
        return float((self.known & self.right)[self.indexed].mean())

    def accepts_at(self, false_accepts: float) -> float:
        """The same at the threshold that lets this share of strangers pass."""
        threshold = np.quantile(self.probability[~self.indexed], 1 - false_accepts)
        return float((self.right & (self.probability > threshold))[self.indexed].mean())


def open_set(index: Calibrated, vectors: Vectors, tested: Frames, views: int, most: int = _ALL) -> Answers | None:
    """All trials with queries of ``views`` frames; None where fewer than two of the tested objects were
    filmed more than once, or not long enough.

    Args:
        index: without the test objects; its ``recognition`` is what is tried.
        vectors: (m, d) of ``tested``, all frames of the test split: of an object's indexed video, each is.
        most: queries of a trial, evenly over its videos.
    """
    trials = [_trial(index, vectors, tested, indexed, views, most) for indexed in enrolments(tested)]
    rows = [row for trial in trials for row in trial]
    if not rows:
        return None
    indexed, right, known, probability, shown = (np.array(column) for column in zip(*rows, strict=True))
    both = indexed.any() and not indexed.all()
    return Answers(indexed, right, known, probability, shown) if both else None


def enrolments(tested: Frames) -> Iterator[NDArray[np.bool_]]:
    """(m,) masks of the frames that are indexed in each trial."""
    videos = {
        name: list(dict.fromkeys(tested.sequence[tested.object_id == name]))
        for name in sorted(set(tested.object_id.tolist()))
    }
    twice = [name for name, filmed in videos.items() if len(filmed) > 1]
    for half in (twice[::2], twice[1::2]) if len(twice) > 1 else ():
        for which in (0, -1):
            chosen = {(name, videos[name][which]) for name in half}
            shown = zip(tested.object_id.tolist(), tested.sequence.tolist(), strict=True)
            yield np.array([one in chosen for one in shown])


Row = tuple[bool, bool, bool, float, int]


def _trial(
    index: Calibrated, vectors: Vectors, tested: Frames, indexed: NDArray[np.bool_], views: int, most: int
) -> list[Row]:
    recogniser = Recogniser(_with(index, vectors, tested, indexed))
    names = sorted(set(tested.object_id.tolist()))
    there = set(tested.object_id[indexed].tolist())
    asked = np.flatnonzero(~indexed)
    rest = FrameIndex(vectors[asked], tested.table.take(asked))
    rows = []
    for query in queries(videos_of(rest, tested.sequence[asked]), views, most):
        name, best = query.video.object_id, recogniser.matches(np.asarray(rest.vectors[query.rows], np.float32), 1)[0]
        answer = (name in there, best.object_id == name, bool(best.known), best.probability or 0.0)
        rows.append((*answer, names.index(name)))
    return rows


def _with(index: Calibrated, vectors: Vectors, tested: Frames, rows: NDArray[np.bool_]) -> Calibrated:
    """The index with the ``rows`` (m,) of the tested frames."""
    added = GrowingIndex(index.dimension, index.identity_map)
    added.append([tested.frame(int(row)) for row in np.flatnonzero(rows)], vectors[rows])
    return JoinedIndex(index, added.view())
