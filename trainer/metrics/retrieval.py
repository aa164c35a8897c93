"""Re-identification: how well the other crops of a query's object are ranked (paper section 3.4).

Of a ranking of m gallery crops only the places of the relevant ones matter. They are counted block by block, so no
(n, m) matrix is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from index.compiled import compiled

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Vectors = NDArray[np.float32]

RECALLS = np.linspace(0, 1, 51)
_BLOCK = 64  # queries at once: 25 MB of similarities to 100,000 crops


@dataclass(frozen=True, eq=False)
class Gallery:
    """The crops that are looked through: unit vectors (m, d), and the numbers (m,) of their objects and sequences."""

    vectors: Vectors
    objects: Numbers
    sequences: Numbers


def relevant_ranks(
    queries: Numbers, gallery: Gallery, *, other_video: bool, threads: int = 1, block: int = _BLOCK
) -> Iterator[Numbers]:
    """Of each query its relevant crops' places in the ranking, rising from 1; empty where there is none.

    Relevant are other crops of its object. Where similarities tie, the crop that comes first in the gallery is first.

    Args:
        queries: (n,) positions in the gallery. A query is not looked for itself.
        other_video: crops of the query's own sequence do not count, neither as right nor as wrong.
    """
    order = np.argsort(gallery.objects, kind="stable")
    starts = np.searchsorted(gallery.objects[order], np.arange(gallery.objects.max(initial=-1) + 2))
    ranks = partial(_ranks, gallery=gallery, members=order, starts=starts, other_video=other_video)
    blocks = [queries[start : start + block] for start in range(0, len(queries), block)]
    with ThreadPoolExecutor(threads) as pool:
        for found in _in_turn(pool, ranks, blocks, 2 * threads):
            yield from found


def _in_turn(
    pool: ThreadPoolExecutor, work: partial[list[Numbers]], blocks: Sequence[Numbers], ahead: int
) -> Iterator[list[Numbers]]:
    """As ``pool.map``, but with no more than ``ahead`` results that nobody has asked for yet."""
    waiting = [pool.submit(work, part) for part in blocks[:ahead]]
    for part in [*blocks[ahead:], *[None] * len(waiting)]:
        yield waiting.pop(0).result()
        if part is not None:
            waiting.append(pool.submit(work, part))


def _ranks(block: Numbers, gallery: Gallery, members: Numbers, starts: Numbers, other_video: bool) -> list[Numbers]:
    similarities = gallery.vectors[block] @ gallery.vectors.T
    found = []
    for row, query in zip(similarities, block, strict=True):
        number = gallery.objects[query]
        relevant = members[starts[number] : starts[number + 1]]
        left_out = (
            np.array([query]) if not other_video else np.flatnonzero(gallery.sequences == gallery.sequences[query])
        )
        row[left_out] = -np.inf
        relevant = relevant[~np.isin(relevant, left_out)]
        found.append(_places(row, relevant[np.lexsort((relevant, -row[relevant]))]))
    return found


@compiled
def _places(similarities: Vectors, relevant: Numbers) -> Numbers:
    """(r,) places, from 1, of the relevant columns, most similar first, in the ranking of (m,) similarities."""
    places = np.zeros(len(relevant), np.int64)
    if len(relevant) == 0:
        return places
    least = similarities[relevant[-1]]
    ahead = np.zeros(len(relevant) + 1, np.int64)  # how many are before the k-th relevant, but not before the (k-1)-th
    for column in range(len(similarities)):
        value = similarities[column]
        if value < least:
            continue
        low, high = 0, len(relevant)
        while low < high:  # the first relevant one that this column comes before, or is
            middle = (low + high) // 2
            other = similarities[relevant[middle]]
            if other < value or (other == value and relevant[middle] >= column):
                high = middle
            else:
                low = middle + 1
        ahead[low] += 1
    total = 0
    for k in range(len(relevant)):
        total += ahead[k]
        places[k] = total
    return places


@dataclass(frozen=True, eq=False)
class Rankings:
    """Figures of n queries, (n,) each, NaN where nothing is relevant: see ``trainer.evaluate.schema.ReId``.

    precision: (n, 51) the best precision at that recall or a higher one.
    """

    average_precision: Array
    area: Array
    recall_at_1: Array
    recall_at_5: Array
    precision: Array


def rankings(queries: Numbers, gallery: Gallery, *, other_video: bool, threads: int = 1) -> Rankings:
    """Figures of the queries (n,), positions in the gallery; the rest as ``relevant_ranks``."""
    n = len(queries)
    singles, precision = np.full((4, n), np.nan), np.full((n, len(RECALLS)), np.nan)
    for query, ranks in enumerate(relevant_ranks(queries, gallery, other_video=other_video, threads=threads)):
        if len(ranks):
            singles[:, query] = average_precision(ranks), polygon_area(ranks), ranks[0] <= 1, ranks[0] <= 5
            precision[query] = precision_at_recalls(ranks)
    return Rankings(singles[0], singles[1], singles[2], singles[3], precision)


def average_precision(ranks: Numbers) -> float:
    """The mean of the precisions at the places (r,) of the relevant crops."""
    return float((np.arange(1, len(ranks) + 1) / ranks).mean())


def polygon_area(ranks: Numbers) -> float:
    """The area under the line through all points of the precision-recall curve: the published code's figure.

    It draws the curve as scikit-learn does, from (recall 0, precision 1), and measures it by trapezoids.
    """
    found = np.arange(1, len(ranks) + 1)
    before = np.where(ranks > 1, (found - 1) / np.maximum(ranks - 1, 1), 1.0)
    return float((before + found / ranks).mean() / 2)


def precision_at_recalls(ranks: Numbers) -> Array:
    """(51,) the best precision at that recall or a higher one."""
    found = np.arange(1, len(ranks) + 1)
    envelope = np.maximum.accumulate((found / ranks)[::-1])[::-1]
    return np.asarray(envelope[np.searchsorted(found / len(ranks), RECALLS - 1e-9)])


def average_precisions(
    similarities: NDArray[np.float32], relevant: NDArray[np.bool_], ignored: NDArray[np.bool_]
) -> Array:
    """Average precision of each query's ranking, for galleries small enough for a matrix.

    Args:
        similarities: (n, m) of n queries to m gallery frames.
        relevant: (n, m) whether a gallery frame shows the query's object.
        ignored: (n, m) gallery frames that do not count for the query, such as itself.

    Returns:
        (n,) float64; NaN where nothing relevant is left to find.
    """
    result = np.full(len(similarities), np.nan)
    for query, (row, wanted, skipped) in enumerate(zip(similarities, relevant, ignored, strict=True)):
        order = np.argsort(-row[~skipped], kind="stable")
        ranks = np.flatnonzero(wanted[~skipped][order]) + 1
        if len(ranks):
            result[query] = average_precision(ranks)
    return result
