"""The same queries under harder conditions: fewer labelled sequences, and errors in what comes with a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.random import Generator
from numpy.typing import NDArray

from index.schema import Box, Frame, GeometryError, InvalidValueError, Plane, View, clipped_rect
from index.search import FrameIndex
from index.table import FRAME_SCHEMA, frame_from_row, row_from_frame
from trainer.boxes import Answers, Asked, Fitter
from trainer.evaluate.config import EvaluateConfig
from trainer.evaluate.pose import Truths, measured, share
from trainer.evaluate.schema import LabelFraction, Robustness
from trainer.evaluate.subject import Subject, nearest_rows
from trainer.frames import Frames
from trainer.inference import embed_frames

Array = NDArray[np.float64]
Kind = Literal["none", "rect", "plane_normal", "plane_offset", "focal"]
Change = Callable[[View, Box, float, Generator], View]

_TRIES = 100  # an error after which nothing is left of a rectangle, or the camera is under the ground, is drawn again


def label_fractions(
    subject: Subject, sequences: NDArray[np.str_], fitter: Fitter, truths: Truths, config: EvaluateConfig
) -> Iterator[LabelFraction]:
    """Only some of the reference sequences (references,) are searched; of all of them there is one draw."""
    names = np.unique(sequences)
    categories = np.array(subject.index.table["category"].to_pylist())
    for fraction in config.fractions:
        count = max(1, round(fraction * len(names)))
        rng = np.random.default_rng((config.seed, count))
        right, hits = [], []
        for draw in range(config.draws if count < len(names) else 1):
            kept = np.isin(sequences, rng.choice(names, count, replace=False))
            asked = _ask_among(subject, np.flatnonzero(kept), config.k)
            description = f"{subject.name}: {fraction:.0%} of the sequences, draw {draw + 1}"
            hits.append(_hits(fitter.answer(asked, description), truths, 0.5))
            right.append(categories[asked.rows[:, 0]] == subject.trial.queries.category)
        yield LabelFraction(
            fraction,
            count,
            tuple(share(hit["service"], truths.sampled).value for hit in hits),
            share(np.mean(right, axis=0), subject.trial.sampled),
            *(share(np.mean([hit[m] for hit in hits], axis=0), truths.sampled) for m in ("paper", "service")),
        )


def _ask_among(subject: Subject, rows: NDArray[np.int64], k: int) -> Asked:
    part = FrameIndex(subject.index.vectors[rows], subject.index.table.take(rows))
    found, similarities = nearest_rows(part, subject.query_vectors, k)
    return Asked(subject.trial.queries.table, np.where(found < 0, -1, rows[found]), similarities)


def _hits(answers: Answers, truths: Truths, level: float) -> dict[str, Array]:
    return {m.method: (m.errors.iou > level).astype(np.float64) for m in measured(answers, truths)}


def robustness(subject: Subject, fitter: Fitter, truths: Truths, config: EvaluateConfig) -> Iterator[Robustness]:
    """Each kind and level of error, and none for comparison."""
    queries, plain = subject.trial.queries, subject.ask(config.k)
    yield _robust("none", 0.0, fitter.answer(plain, f"{subject.name}: as it is"), truths)
    for kind, (change, levels) in _CHANGES.items():
        for level in levels:
            description = f"{subject.name}: {kind} off by {level:g}"
            changed = _changed(queries, change, level, config.seed)
            asked = replace(plain, queries=changed)
            if kind == "rect":  # the picture that is looked up is another one
                rects = np.asarray(changed["rect"].combine_chunks().flatten(), np.float64).reshape(-1, 4)
                vectors = embed_frames(subject.encoder, queries, description, rects)
                asked = Asked(changed, *nearest_rows(subject.index, vectors, config.k))
            yield _robust(kind, level, fitter.answer(asked, description), truths)


def _robust(kind: Kind, level: float, answers: Answers, truths: Truths) -> Robustness:
    half, better = _hits(answers, truths, 0.5), _hits(answers, truths, 0.7)
    return Robustness(
        kind, level, *(share(hits, truths.sampled) for hits in (half["paper"], half["service"], better["service"]))
    )


def _changed(queries: Frames, change: Change, level: float, seed: int) -> pa.Table:
    """The queries' table with every view changed whose box is known; the boxes themselves are left out."""
    rng, rows = np.random.default_rng(seed), []
    for part in queries.table.select(FRAME_SCHEMA.names).to_batches(256):
        frames = [frame_from_row(row) for row in part.to_pylist()]
        rows += [row_from_frame(replace(frame, view=_redrawn(frame, change, level, rng), box=None)) for frame in frames]
    return pa.Table.from_pylist(rows, FRAME_SCHEMA)


def _redrawn(frame: Frame, change: Change, level: float, rng: Generator) -> View:
    if frame.box is None:
        return frame.view
    for _ in range(_TRIES):
        try:
            return change(frame.view, frame.box, level, rng)
        except (InvalidValueError, GeometryError):
            continue
    raise InvalidValueError("level", level, f"such that frame {frame.id} can have an error of that size")


def _rect_moved(view: View, _: Box, level: float, rng: Generator) -> View:
    """Each side by itself, as a detector's would be; what is outside of the picture is cut off."""
    camera, _plane = view.posed()
    x0, y0, x1, y1 = view.rect
    moved = np.array(view.rect) + rng.normal(0, level, 4) * np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    return replace(view, rect=clipped_rect(moved.tolist(), camera.width, camera.height))


def _normal_tilted(view: View, box: Box, degrees: float, rng: Generator) -> View:
    """About a random axis along the ground, through the point below the thing."""
    _camera, plane = view.posed()
    axis = np.cross(plane.normal, rng.normal(size=3))
    axis /= np.linalg.norm(axis)
    angle = np.radians(rng.normal(0, degrees))
    tilted = plane.normal * np.cos(angle) + np.cross(axis, plane.normal) * np.sin(angle)
    below = box.center - plane.height(box.center) * plane.normal
    return replace(view, plane=Plane.from_point(tilted, below))


def _offset_changed(view: View, _: Box, level: float, rng: Generator) -> View:
    _camera, plane = view.posed()
    return replace(view, plane=Plane(plane.normal, plane.offset * np.exp(rng.normal(0, level))))


def _focal_changed(view: View, _: Box, level: float, rng: Generator) -> View:
    camera, _plane = view.posed()
    factor = np.exp(rng.normal(0, level))
    return replace(view, camera=replace(camera, fx=camera.fx * factor, fy=camera.fy * factor))


_CHANGES: dict[Kind, tuple[Change, tuple[float, ...]]] = {
    "rect": (_rect_moved, (0.02, 0.05, 0.1)),
    "plane_normal": (_normal_tilted, (1.0, 3.0, 10.0)),
    "plane_offset": (_offset_changed, (0.02, 0.05, 0.1)),
    "focal": (_focal_changed, (0.02, 0.05, 0.1)),
}
