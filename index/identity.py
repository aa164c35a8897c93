"""Which known object pictures show, or none of them: matches by object, with a probability and a `known` flag.

An object's score is the cosine of a picture and the object's three nearest frames, each of which counts half as much as
the one before, averaged over all pictures of the query. By itself it tells little: some kinds of things all look alike.
How much it tells, its *rival* says, the best score of any other object: a logistic function of both is the probability
that the pictures show this very object. ``trainer.recognise`` finds from which probability on it counts as known.

Frames are compared by their *identities*: unit vectors (n, e) that tell objects apart, whichever way they are seen
from. They are a linear map of the encoder's vectors, which tell views apart as well; without a map they are those.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.identity_map import to_identities
from index.joined import Calibrated
from index.recognition import FRAMES_SEEN, Recognition, of_views
from index.search import Vectors

_WEIGHTS = np.array([4.0, 2.0, 1.0])  # of an object's nearest frames: one may be alike by chance, or be all there is

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Match:
    """A known object among the frames that are most alike.

    ``score``, from -1 to 1, is its similarity (see above), ``frames`` how many of the k most similar frames of any of
    the pictures are its. ``probability`` is that of the pictures showing this very object, ``known`` whether that
    suffices to say so; both are None where there is nothing to compare it with.
    """

    object_id: str
    category: str
    score: float
    frames: int
    probability: float | None
    known: bool | None


@dataclass(frozen=True, eq=False)
class Evidence:
    """What pictures say of the objects among the nearest frames, the best first: c of them.

    Attributes:
        objects: their ids.
        rows: (c,) a frame of each.
        scores: (c,) falling.
        frames: (c,) how many of the k nearest frames of any of the pictures show it.
        floor: no other object's score is above it; None where there is no other.
    """

    objects: tuple[str, ...]
    rows: Numbers
    scores: NDArray[np.float64]
    frames: Numbers
    floor: float | None

    def rival(self, position: int) -> float | None:
        """The best score of another object than the one at ``position``; None where there is no other."""
        if position:
            return float(self.scores[0])
        return float(self.scores[1]) if len(self.scores) > 1 else self.floor


class Recogniser:
    """Knows the objects of an index again."""

    def __init__(self, index: Calibrated) -> None:
        self.index, self._by_identity = index, index.by_identity
        self._several = len(index.objects) > 1

    def identities(self, rows: NDArray[np.integer]) -> Vectors:
        """(m, e) those of indexed frames."""
        return np.stack([self._by_identity.vector(int(row)) for row in rows])

    def matches(
        self,
        vectors: Vectors,
        k: int,
        category: str | None = None,
        exclude_object: str | None = None,
        *,
        without: NDArray[np.integer] | None = None,
    ) -> tuple[Match, ...]:
        """The objects of the frames that are most alike to the pictures of *one* object, the best first.

        Args:
            vectors: (m, d) the encoder's vectors of m >= 1 pictures of the object.
            k: an object is listed when one of the k most similar frames of a picture shows it; the best always is.
            category, exclude_object: as in ``FrameIndex.search``.
            without: rows that do not count.
        """
        identities = to_identities(self.index.identity_map, vectors)
        evidence = self.evidence(identities, k, category, exclude_object, without=without)
        told = of_views(self.index.recognition, len(vectors)) if self._several else None
        listed = evidence.frames > 0
        listed[:1] = True  # its best three frames may be the best without one among the k
        return tuple(self._match(evidence, int(position), told) for position in np.flatnonzero(listed))

    def evidence(
        self,
        identities: Vectors,
        k: int = 1,
        category: str | None = None,
        exclude_object: str | None = None,
        *,
        without: NDArray[np.integer] | None = None,
    ) -> Evidence:
        """What the identities (m, e) of m pictures of one object say of the indexed ones; the rest as ``matches``."""
        dropped = np.empty(0, np.int64) if without is None else without
        count = min(max(FRAMES_SEEN, k) + len(dropped), len(self.index))
        similarities, rows = self._by_identity.search(identities, count, category, exclude_object)
        found = (rows >= 0) & ~np.isin(rows, dropped)
        floors = np.where(found, similarities, np.inf).min(axis=1)
        shown = {int(row): self._by_identity.object_of(int(row)) for row in np.unique(rows[found])}
        numbers = {name: number for number, name in enumerate(sorted(set(shown.values())))}
        gone = Counter(self._by_identity.object_of(int(row)) for row in dropped)
        sizes = np.array([self._by_identity.frames_of(name) - gone[name] for name in numbers], np.int64)
        scores, frames = np.zeros(len(numbers)), np.zeros(len(numbers), np.int64)
        for similarity, row, there, floor in zip(similarities, rows, found, floors, strict=True):
            of_rows = np.array([numbers[shown[r]] for r in row[there].tolist()], np.int64)
            scores += _best(similarity[there], of_rows, sizes, float(floor)) / len(rows)
            frames += np.bincount(of_rows[:k], minlength=len(numbers))
        everything = count == len(self.index) or not (rows >= 0).all()
        order, names = np.argsort(-scores, kind="stable"), list(numbers)
        rows_of = {name: row for row, name in reversed(shown.items())}
        objects = tuple(names[number] for number in order.tolist())
        return Evidence(
            objects,
            np.array([rows_of[name] for name in objects], np.int64),
            scores[order],
            frames[order],
            None if everything else float(floors.mean()),
        )

    def _match(self, evidence: Evidence, position: int, told: Recognition | None) -> Match:
        name, score, frames = (
            evidence.objects[position],
            float(evidence.scores[position]),
            int(evidence.frames[position]),
        )
        category = self.index.frame(int(evidence.rows[position])).category
        rival = evidence.rival(position)
        if told is None or rival is None:  # by itself a score tells nothing
            return Match(name, category, score, frames, None, None)
        probability = told.calibration.probability((score, rival))
        # Never two at once: pictures of one thing show one object at most.
        return Match(name, category, score, frames, probability, position == 0 and probability >= told.threshold)


def _best(similarities: Vectors, numbers: Numbers, sizes: Numbers, floor: float) -> NDArray[np.float64]:
    """(c,) weighted mean of each object's best frames in one picture, of ``similarities`` (n,) that fall.

    numbers: (n,) whose frame it is, below c. sizes: (c,) how many frames each object has; those that are not among the
    n count as ``floor``.
    """
    order = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers, minlength=len(sizes))
    rank = np.empty(len(numbers), np.int64)
    rank[order] = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
    weights = np.append(_WEIGHTS, 0.0)[np.minimum(rank, len(_WEIGHTS))]
    totals = np.bincount(numbers, weights * similarities, minlength=len(sizes))
    upto = np.concatenate([[0.0], np.cumsum(_WEIGHTS)])  # of the first frames, by how many
    there, wanted = (upto[np.minimum(count, len(_WEIGHTS))] for count in (counts, sizes))
    best: NDArray[np.float64] = (totals + (wanted - there) * floor) / wanted
    return best
