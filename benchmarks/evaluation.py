"""How long an evaluation of many queries takes: boxes and re-identification, beside the published way on some of them.

    python -m benchmarks.evaluation [--queries 10000] [--references 100000]

Frames are synthetic but of the usual kind: objects of nine categories (sizes of the demo's things, with 20 % of spread)
stand on the ground; each is filmed in one orbit of 50 frames from 10 to 60 degrees above, with a phone's camera; the
rectangle is that of the box's picture, off by 2 % as a detector's. A frame's vector (256 numbers) is a unit vector of
its category, object and view (azimuth, in steps that a network has learnt), so that neighbours are mostly of the right
category and nearly the right azimuth. There are no pictures: what an encoder takes is not measured here.

Each stage's seconds are wall time and processor time over all processes; the first are what counts on a quiet machine,
the second tell how far this one was. The published way is measured on a sample and multiplied: the paper's transfer
with 3D IoU by half-space intersection and convex hull in SciPy (the official implementation clips polygons in Python;
0.9 ms a call and 79 ms a symmetric query are what was measured of it elsewhere), and re-identification by a full
argsort of every query's similarities with scikit-learn's precision-recall curve.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from loky import cpu_count
from sklearn.metrics import auc, precision_recall_curve

from benchmarks.iou import scipy_iou
from index.predict import DEFAULT_K
from index.schema import Box, Camera, Frame, GeometryError, Plane, View, clipped_rect
from index.search import FrameIndex
from index.table import frame_from_row, table_from_frames
from index.transfer import transfer_box
from trainer.boxes import Asked, Fitter
from trainer.evaluate.pose import Truths, measured, poses
from trainer.evaluate.subject import nearest_rows
from trainer.frames import Frames
from trainer.metrics import Gallery, rankings

RESULT = Path(__file__).parent / "results" / "evaluation.json"
SIZES = {  # metres: width, height, depth
    "bike": (0.5, 1.0, 1.7), "book": (0.16, 0.03, 0.23), "bottle": (0.07, 0.24, 0.07), "camera": (0.13, 0.09, 0.08),
    "cereal_box": (0.19, 0.28, 0.06), "chair": (0.5, 0.9, 0.5), "cup": (0.11, 0.1, 0.085), "laptop": (0.33, 0.22, 0.28),
    "shoe": (0.1, 0.11, 0.28),
}  # fmt: skip
SYMMETRIC = ("bottle", "cup")
CAMERA = Camera(fx=398, fy=398, cx=180, cy=238, width=360, height=480)
FRAMES, DIMENSION = 50, 256


def rotation(axis: int, angle: float) -> np.ndarray:
    """(3, 3) about one of the axes."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return turn


class Films:
    """Draws videos: frames and their vectors."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        shared = np.random.default_rng(0)  # the same embedding for references and queries
        self._of_category = {name: shared.normal(size=DIMENSION) for name in SIZES}
        self._of_view = {name: shared.normal(size=(6, DIMENSION)) for name in SIZES}

    def film(self, number: int) -> tuple[list[Frame], np.ndarray]:
        """One object's orbit."""
        rng, category = self._rng, list(SIZES)[number % len(SIZES)]
        size = np.array(SIZES[category]) * np.exp(rng.normal(0, 0.2, 3))
        elevation, start = rng.uniform(*np.radians([10, 60])), rng.uniform(0, 2 * np.pi)
        own = self._of_category[category] + 0.7 * rng.normal(size=DIMENSION)
        frames, vectors = [], []
        for k in range(FRAMES):
            azimuth = start + np.radians(6) * k
            frames.append(self._frame(f"{category}/{number}", category, k, size, elevation, azimuth))
            angles = azimuth * np.arange(1, 4)
            view = np.concatenate([np.cos(angles), np.sin(angles)]) @ self._of_view[category]
            vectors.append(own + 0.5 * view + 0.3 * rng.normal(size=DIMENSION))
        rows = np.array(vectors)
        return frames, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _frame(self, name: str, category: str, k: int, size: np.ndarray, elevation: float, azimuth: float) -> Frame:
        distance = 2.4 * float(np.linalg.norm(size)) * self._rng.uniform(0.9, 1.3)
        camera_from_world = rotation(0, elevation) @ np.diag([1.0, -1.0, -1.0])
        up, base = camera_from_world[:, 1], np.array([0, 0.1 * distance, distance])
        box = Box(camera_from_world @ rotation(1, azimuth), base + up * size[1] / 2, size)
        exact = np.array(box.rect(CAMERA))
        sides = np.tile([exact[2] - exact[0], exact[3] - exact[1]], 2)
        rect = clipped_rect(exact + self._rng.normal(0, 0.02, 4) * sides, CAMERA.width, CAMERA.height)
        return Frame(f"{name}/{k}", category, name, View(CAMERA, Plane.from_point(up, base), rect), box)


def filmed(frames: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """A table and vectors (n, 256) of whole videos."""
    films, tables, vectors = Films(seed), [], []
    for number in range(seed * 10**6, seed * 10**6 + frames // FRAMES):
        content, rows = films.film(number)
        tables.append(table_from_frames(content))
        vectors.append(rows)
    return pa.concat_tables(tables), np.concatenate(vectors)


def as_frames(table: pa.Table) -> Frames:
    """Without pictures: each frame is a picture of its own."""
    count = len(table)
    extra = {
        "sequence": table["object_id"],
        "split": pa.array(["test"] * count),
        "time_s": pa.array(np.arange(count) % FRAMES / 5),
        "shard": pa.array(["none"] * count),
        "offset": pa.array(np.arange(count)),
        "length": pa.array(np.zeros(count, np.int64)),
    }
    for name, column in extra.items():
        table = table.append_column(name, column)
    return Frames(Path("none"), table)


def processor_seconds() -> float:
    """Of this process and those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


@contextmanager
def timed(name: str, result: dict) -> Iterator[None]:
    """Adds a stage's seconds to ``result``."""
    wall, processor = time.perf_counter(), processor_seconds()
    yield
    result[name] = {
        "seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(processor_seconds() - processor, 2),
    }
    print(name, result[name], flush=True)


def ours(table: pa.Table, vectors: np.ndarray, index: FrameIndex, processes: int, stages: dict) -> dict:
    """The evaluation's own parts, one after the other."""
    queries = as_frames(table)
    with timed("search", stages):
        rows, similarities = nearest_rows(index, vectors, DEFAULT_K)
    with timed("boxes, three methods", stages), Fitter(index.table, processes=processes) as fitter:
        answers = fitter.answer(Asked(queries.table, rows, similarities), "boxes")
    plain, turned = (Truths.of(queries, names) for names in ((), SYMMETRIC))
    with timed("errors, three methods", stages):
        measured(answers, plain)
    with timed("errors, three methods, symmetric things turned", stages):
        found = measured(answers, turned)
    with timed("figures and intervals, three methods, both ways", stages):
        figures = [poses(one, turned) for one in found]
    objects = np.unique(
        queries.table["object_id"].to_pylist() + index.table["object_id"].to_pylist(), return_inverse=True
    )[1]
    gallery = Gallery(np.concatenate([vectors, index.vectors]), objects, objects)  # one video an object
    with timed("re-identification among queries and references", stages):
        ranked = rankings(np.arange(len(vectors)), gallery, other_video=False, threads=cpu_count())
    return {
        **{pose.method: round(pose.overall.iou_50.value, 4) for pose, _ in figures},
        "re_identification_map": round(float(ranked.average_precision.mean()), 4),
    }


def published(table: pa.Table, vectors: np.ndarray, index: FrameIndex, sample: int) -> dict:
    """Seconds a query of the published way, on some of them."""
    rng, per_query = np.random.default_rng(0), {}
    rows = rng.choice(len(table), sample, replace=False)
    queries = [frame_from_row(row) for row in table.take(rows).to_pylist()]
    wall = time.perf_counter()
    nearest = [int((index.vectors @ vectors[row]).argmax()) for row in rows]
    per_query["search by one matrix product a query"] = (time.perf_counter() - wall) / sample
    wall, pairs = time.perf_counter(), []
    for query, row in zip(queries, nearest, strict=True):
        try:
            pairs.append((transfer_box(index.frame(row), query.view).corners, query.box.corners))
        except GeometryError:
            continue
    per_query["transfer"] = (time.perf_counter() - wall) / sample
    wall = time.perf_counter()
    for pair in pairs:
        scipy_iou(*pair)
    per_query["IoU"] = (time.perf_counter() - wall) / len(pairs)
    objects = np.array(index.table["object_id"].to_pylist() + table["object_id"].to_pylist())
    everything = np.concatenate([index.vectors, vectors])
    wall, few = time.perf_counter(), rows[: max(1, sample // 5)]
    for row in few:
        similarities = everything @ vectors[row]
        precision, recall, _ = precision_recall_curve(objects == table["object_id"][int(row)].as_py(), similarities)
        auc(recall, precision)
    per_query["re-identification"] = (time.perf_counter() - wall) / len(few)
    return {name: round(1000 * seconds, 3) for name, seconds in per_query.items()}


def main() -> None:
    """Writes the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--references", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=cpu_count())
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    stages: dict = {}
    with timed("filming", stages):
        table, vectors = filmed(options.references, 0)
        asked, asked_vectors = filmed(options.queries, 1)
    index = FrameIndex(vectors, table)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = ours(asked, asked_vectors, index, options.processes, stages)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "queries": len(asked),
        "references": len(index),
        "k": DEFAULT_K,
        "processes": options.processes,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "stages": stages,
        "figures": figures,
        "peak_mib": {"before": round(before), "after": round(after)},
        "published_ms_per_query": published(asked, asked_vectors, index, options.sample),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
