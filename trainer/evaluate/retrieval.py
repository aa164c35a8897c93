"""Recognition and re-identification: what is found, whatever box comes of it."""

from __future__ import annotations

import dataclasses

import numpy as np

from index.identity_map import to_identities
from trainer.boxes import Asked
from trainer.evaluate.pose import share
from trainer.evaluate.schema import ReId, Retrieval
from trainer.evaluate.subject import Subject
from trainer.metrics import Gallery, Rankings, Sampled, rankings


def retrieval(subject: Subject, asked: Asked, threads: int) -> Retrieval:
    """Figures of all the queries."""
    trial, gallery, identity_map = subject.trial, subject.gallery, subject.index.identity_map
    found = np.array(subject.index.table["category"].to_pylist())[asked.rows[:, 0]]
    right = (found == trial.queries.category).astype(np.float64)
    mapped = None
    if identity_map is not None:
        mapped = dataclasses.replace(gallery, vectors=to_identities(identity_map, gallery.vectors))

    def reid(looked_through: Gallery | None, *, other_video: bool) -> ReId | None:
        if looked_through is None:
            return None
        ranked = rankings(subject.in_gallery, looked_through, other_video=other_video, threads=threads)
        return _reid(ranked, trial.sampled)

    return Retrieval(
        share(right, trial.sampled),
        trial.sampled.means(right).by_category,
        reid(gallery, other_video=False),
        reid(gallery, other_video=True),
        reid(mapped, other_video=False),
        reid(mapped, other_video=True),
    )


def _reid(ranked: Rankings, sampled: Sampled) -> ReId | None:
    counted = ~np.isnan(ranked.average_precision)
    if not counted.any():
        return None
    part = sampled.select(counted)
    average, precision = ranked.average_precision[counted], ranked.precision[counted]
    return ReId(
        queries=int(counted.sum()),
        mean_ap=share(average, part),
        area=share(ranked.area[counted], part),
        recall_at_1=share(ranked.recall_at_1[counted], part),
        recall_at_5=share(ranked.recall_at_5[counted], part),
        by_category=part.means(average).by_category,
        precision={
            str(c): tuple(precision[part.categories == c].mean(axis=0).tolist()) for c in np.unique(part.categories)
        },
    )
