"""Why a box is wrong: the one correction that would have made it right (paper section 6.3, figures 8 to 10)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from index.iou import iou_3d
from index.schema import Box, Frame, InvalidValueError, Plane
from trainer.metrics import turned_to_best
from trainer.report.answers import HIT, Answers, carried, overlap

CATEGORY, SYMMETRY, GROUND_PLANE, THICKNESS, OTHER = "category", "symmetry", "ground plane", "thickness", "other"
KINDS = {
    THICKNESS: "orientation is right, the thinnest side is not: with the true one the box would be good",
    GROUND_PLANE: "the annotated plane is not the one that the object stands on: on the true one the box would be good",
    SYMMETRY: "the object looks alike from another side: turned about the vertical the box would be good",
    CATEGORY: "the nearest frame shows another kind of object",
    OTHER: "no single one of these corrections makes the box good",
}


@dataclass(frozen=True)
class Failure:
    """A query, by its row, whose box is wrong. ``mended`` is the IoU that each correction alone would give."""

    row: int
    kind: str
    iou: float
    mended: dict[str, float]


def failures(answers: Answers) -> list[Failure]:
    """Every query whose box does not overlap its true one by more than half, the worst first."""
    wrong = np.flatnonzero(answers.iou <= HIT)  # not where the truth is unknown: NaN
    return sorted((_failure(answers, int(row)) for row in wrong), key=lambda failure: (failure.iou, failure.row))


def _failure(answers: Answers, row: int) -> Failure:
    query, found = answers.queries.frame(row), answers.references.frame(int(answers.nearest[row]))
    mended = corrections(found, query, answers.boxes[row])
    if query.category != found.category:
        kind = CATEGORY
    else:
        kind = max(mended, key=mended.__getitem__, default=OTHER)
        if mended.get(kind, 0.0) <= HIT:
            kind = OTHER
    return Failure(row, kind, float(answers.iou[row]), mended)


def corrections(found: Frame, query: Frame, box: Box | None) -> dict[str, float]:
    """IoU with the truth after each correction of the box that ``found`` gave; empty where it gave none."""
    truth = query.box
    if box is None or truth is None:
        return {}
    return {
        THICKNESS: overlap(with_true_thickness(box, truth), truth),
        GROUND_PLANE: _on_the_true_plane(found, query, truth),
        SYMMETRY: best_turned(box, truth),
    }


def with_true_thickness(box: Box, truth: Box) -> Box:
    """``box`` with the true size along the truth's thinnest side; its lower face stays where it is."""
    thinnest = int(truth.size.argmin())
    size = box.size.copy()
    size[thinnest] = truth.size[thinnest]
    rise = (size[1] - box.size[1]) / 2
    return Box(box.rotation, box.center + rise * box.rotation[:, 1], size)


def best_turned(box: Box, truth: Box) -> float:
    """The best IoU of ``box`` turned about its own vertical axis."""
    true = truth.corners[None]
    return float(iou_3d(turned_to_best(box.corners[None], true), true)[0])


def _on_the_true_plane(found: Frame, query: Frame, truth: Box) -> float:
    """IoU of the box that ``found`` gives when the query's plane is that of the true box's lower face."""
    up = truth.rotation[:, 1]
    try:
        plane = Plane.from_point(up, truth.center - up * truth.size[1] / 2)
    except InvalidValueError:  # seen from below
        return 0.0
    return overlap(carried(found, replace(query, view=replace(query.view, plane=plane, up=None))), truth)
