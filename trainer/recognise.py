"""From when on an object counts as known in an index (``index.recognition``): told by the index's own frames.

Strangers are frames that are looked up as if their object were not indexed: the threshold is the probability that only
the wanted share of them reaches. What scores mean, the calibration, takes objects that were filmed more than once, a
frame being looked up without its own video; where there are too few of those, it is the one that ships.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.confidence import Calibration, calibrate
from index.identity import Evidence, Recogniser
from index.recognition import SHIPPED, Recognition
from index.search import FrameIndex
from trainer.frames import even_rows

_LEAST_OBJECTS = 20  # with fewer, neither strangers nor objects that were filmed twice tell anything
_DRAWS = 1000  # queries of each number of views

Signs = tuple[float, float]  # score and rival


@dataclass(frozen=True, eq=False)
class Video:
    """The rows of an index that show one object in one video, in order."""

    rows: NDArray[np.intp]
    object_id: str


@dataclass(frozen=True, eq=False)
class Query:
    """Some rows of a video, asked for together."""

    rows: NDArray[np.intp]
    video: Video


def recognitions(index: FrameIndex, sequence: NDArray[np.str_], false_accepts: float) -> tuple[Recognition, ...]:
    """One for each number of views; none where the index has fewer than two objects.

    Args:
        sequence: (n,) the video of each indexed frame.
        false_accepts: how often something that is not in the index may be called known.
    """
    if len(index.objects) < 2:
        return ()
    recogniser, videos = Recogniser(index), videos_of(index, sequence)
    return tuple(_recognition(recogniser, videos, shipped, false_accepts) for shipped in SHIPPED)


def _recognition(
    recogniser: Recogniser, videos: Sequence[Video], shipped: Recognition, false_accepts: float
) -> Recognition:
    asked = list(queries(videos, shipped.views, _DRAWS))
    if len({query.video.object_id for query in asked}) < _LEAST_OBJECTS:
        return shipped
    bar = tqdm(asked, desc=f"strangers, {shipped.views} views", unit="query")
    strangers = [signs for query in bar if (signs := as_stranger(recogniser, query)) is not None]
    calibration = _own_calibration(recogniser, videos, shipped.views, strangers) or shipped.calibration
    probabilities = [calibration.probability(signs) for signs in strangers]
    return Recognition(shipped.views, calibration, float(np.quantile(probabilities, 1 - false_accepts)), len(strangers))


def _own_calibration(
    recogniser: Recogniser, videos: Sequence[Video], views: int, strangers: Sequence[Signs]
) -> Calibration | None:
    """From queries that another video could answer and at most as many strangers; None where there are too few."""
    filmed = Counter(video.object_id for video in videos)
    several = [video for video in videos if filmed[video.object_id] > 1]
    asked = list(queries(several, views, _DRAWS))
    if len({query.video.object_id for query in asked}) < _LEAST_OBJECTS:
        return None
    known = [found for query in asked if (found := as_known(recogniser, query)) is not None]
    unknown = [strangers[k] for k in even_rows(len(strangers), len(known))]
    signs = np.array([*(signs for signs, _ in known), *unknown])
    return calibrate(signs, np.array([*(right for _, right in known), *(False for _ in unknown)]))


def videos_of(index: FrameIndex, sequence: NDArray[np.str_]) -> list[Video]:
    """The videos of an index; ``sequence`` (n,) names that of each row."""
    shown = np.array([index.object_of(row) for row in range(len(index))])
    _, number = np.unique(np.stack([shown, sequence]), axis=1, return_inverse=True)
    order = np.argsort(number.ravel(), kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(number.ravel()))[:-1])
    return [Video(rows, str(shown[rows[0]])) for rows in groups]


def queries(videos: Sequence[Video], views: int, most: int) -> Iterator[Query]:
    """At most ``most`` queries of ``views`` rows, spread over a video, from the videos in turn; of more videos than
    that, from some of them, evenly: they are in order of their objects' names, which often begin with the category."""
    rng = np.random.default_rng(0)
    able = [video for video in videos if len(video.rows) >= views]
    long_enough = [able[k] for k in even_rows(len(able), most)]
    for position in range(min(most, sum(len(video.rows) // views for video in long_enough))):
        video = long_enough[position % len(long_enough)]
        step = len(video.rows) // views
        yield Query(video.rows[rng.integers(step) + step * np.arange(views)], video)


def as_stranger(recogniser: Recogniser, query: Query) -> Signs | None:
    """What is found when the query's object is not indexed; None where fewer than two objects are left."""
    return _signs(recogniser.evidence(recogniser.identities(query.rows), exclude_object=query.video.object_id))


def as_known(recogniser: Recogniser, query: Query) -> tuple[Signs, bool] | None:
    """What is found when the query's own video is not indexed, and whether that is its object; None as above."""
    evidence = recogniser.evidence(recogniser.identities(query.rows), without=query.video.rows)
    signs = _signs(evidence)
    return signs and (signs, evidence.objects[0] == query.video.object_id)


def _signs(evidence: Evidence) -> Signs | None:
    rival = evidence.rival(0) if evidence.objects else None
    return None if rival is None else (float(evidence.scores[0]), rival)
