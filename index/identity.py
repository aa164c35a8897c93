"""Which known object pictures show, or none of them: matches by object, with a probability and a `known` flag.

An object's score is the cosine of a picture and the object's three nearest frames, each of which counts half as much as
the one before, averaged over all pictures of the query. By itself it tells little: some kinds of things all look alike.
How much it tells, its *rival* says, the best score of any other object: a logistic function of both is the probability
that the pictures show this very object. ``trainer.recognise`` finds from which probability on it counts as known.

Frames are compared by their *identities*: unit vectors (n, e) that tell objects apart, whichever way they are seen
from. They are a linear map of the encoder's vectors, which tell views apart as well; without a map they are those.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.encoder import IDENTITY
from index.recognition import Recognition, of_views
from index.schema import CorruptArtifactError
from index.search import FrameIndex, Vectors

_WEIGHTS = np.array([4.0, 2.0, 1.0])  # of an object's nearest frames: one may be alike by chance, or be all there is
_CANDIDATES = 200  # nearest frames that are looked at; an object's others count as the last of them

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Match:
    """A known object among the frames that are most alike.

    ``score``, from -1 to 1, is its similarity (see above), ``frames`` how many of the k most similar frames of any of
    the pictures are its. ``probability`` is that of the pictures showing this very object, ``known`` whether that
    suffices to say so; both are None where the index has too few objects to tell.
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
        objects: (c,) numbers of objects.
        scores: (c,) falling.
        frames: (c,) how many of the k nearest frames of any of the pictures show it.
        floor: no other object's score is above it.
    """

    objects: Numbers
    scores: NDArray[np.float64]
    frames: Numbers
    floor: float

    def rival(self, position: int) -> float:
        """The best score of another object than the one at ``position``."""
        if position:
            return float(self.scores[0])
        return float(self.scores[1]) if len(self.scores) > 1 else self.floor


class Recogniser:
    """Knows the objects of an index again.

    Args:
        index: what is searched are its ``identities``; where it has none, what its map makes of its vectors.
    """

    def __init__(self, index: FrameIndex) -> None:
        self.index = index
        stored = index.identities
        self.identities = to_identities(index.identity_map, index.vectors) if stored is None else stored
        self._search = index if index.identity_map is None else FrameIndex(self.identities, index.table)
        column = index.table["object_id"].combine_chunks().dictionary_encode()
        self._numbers: Numbers = column.indices.to_numpy().astype(np.int64)
        self._names: list[str] = column.dictionary.to_pylist()
        self._first = np.unique(self._numbers, return_index=True)[1]
        self._sizes = np.bincount(self._numbers)

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
        told = of_views(self.index.recognition, len(vectors)) if len(self._names) > 1 else None
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
        count = min(max(_CANDIDATES, k) + len(dropped), len(self.index))
        similarities, rows = self._search.search(identities, count, category, exclude_object)
        found = (rows >= 0) & ~np.isin(rows, dropped)
        floors = np.where(found, similarities, np.inf).min(axis=1)
        objects = np.unique(self._numbers[rows[found]])
        scores, frames = np.zeros(len(objects)), np.zeros(len(objects), np.int64)
        for similarity, row, there, floor in zip(similarities, rows, found, floors, strict=True):
            numbers = np.searchsorted(objects, self._numbers[row[there]])
            scores += _best(similarity[there], numbers, self._sizes[objects], float(floor)) / len(rows)
            frames += np.bincount(numbers[:k], minlength=len(objects))
        order = np.argsort(-scores, kind="stable")
        return Evidence(objects[order], scores[order], frames[order], float(floors.mean()))

    def name(self, evidence: Evidence, position: int) -> str:
        """The object's id."""
        return self._names[int(evidence.objects[position])]

    def _match(self, evidence: Evidence, position: int, told: Recognition | None) -> Match:
        number, score = int(evidence.objects[position]), float(evidence.scores[position])
        name, category = self.name(evidence, position), self.index.frame(int(self._first[number])).category
        frames = int(evidence.frames[position])
        if told is None:
            return Match(name, category, score, frames, None, None)
        probability = told.calibration.probability((score, evidence.rival(position)))
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


def to_identities(identity_map: Vectors | None, vectors: Vectors) -> Vectors:
    """(n, d) vectors of an encoder -> (n, e) float32 unit rows; the vectors themselves where the map is None."""
    if identity_map is None:
        return vectors
    mapped = vectors @ identity_map.T
    identities: Vectors = mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-9)
    return identities


def read_identity_map(encoder: Path) -> Vectors | None:
    """The map of an encoder's folder, (e, d) float32; None where it has none.

    Raises CorruptArtifactError, naming the file, when it is not one.
    """
    path = encoder / IDENTITY
    if not path.exists():
        return None
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CorruptArtifactError(path, f"is no array ({error})") from error
    if values.dtype != np.float32 or values.ndim != 2 or not np.isfinite(values).all():
        raise CorruptArtifactError(path, f"is {values.shape} {values.dtype}, not (e, d) float32")
    return np.asarray(values)
