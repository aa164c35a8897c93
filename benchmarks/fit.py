"""What the step from neighbours to a box is worth: the paper's transfer and ours, on the same neighbours.

    python -m benchmarks.fit --run runs/demo [--run ...]      after make demo, for each run (--film-seed)

``oracle``: the simulated scenes of tests/data, with exact rectangles and planes and with noise. ``second``: scenes of
another kind, made here: sizes that differ unevenly and together, yaws with outliers, frames of one object that repeat
its errors, and rectangles of round things, which do not reach their box's corners. ``demo``: the test frames of the
runs, with intervals over sequences; the same with rectangles off by 5 % a side. Confidence: expected calibration error
in ten bins of equal numbers, and the picture docs/fit.png. ``times``: medians, side by side with the encoder's forward.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.fit import Fit, fit_box, fit_sightings
from index.iou import iou_3d
from index.predict import DEFAULT_K, Predictor, open_predictor
from index.schema import Box, Camera, Frame, GeometryError, Plane, View, clipped_rect
from index.transfer import transfer_box
from index.witnesses import Sighting
from tests.scenes import DATA, oracle_frame, rotation_about
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.metrics import category_mean

Values = NDArray[np.float64]
_BINS = 10
_SECOND = 400  # scenes


@dataclass(frozen=True, eq=False)
class Case:
    """A query whose box is known, and its neighbours."""

    truth: Frame
    references: Sequence[Frame]
    similarities: Sequence[float] | None = None


def overlap(fit: Callable[[Case], Box], case: Case) -> float:
    """3D IoU with the truth; 0 where there is no box."""
    try:
        box = fit(case)
    except GeometryError:
        return 0.0
    assert case.truth.box is not None
    return float(iou_3d(box.corners[None], case.truth.box.corners[None])[0])


def paper(case: Case) -> Box:
    """The paper's answer."""
    return transfer_box(case.references[0], case.truth.view)


def ours(k: int) -> Callable[[Case], Box]:
    """Ours from the k nearest."""

    def fit(case: Case) -> Box:
        similarities = None if case.similarities is None else case.similarities[:k]
        return fit_box(case.references[:k], case.truth.view, similarities).box

    return fit


def shares(fit: Callable[[Case], Box], cases: Sequence[Case]) -> list[float]:
    """Of IoU above 0.5 and above 0.7."""
    values = np.array([overlap(fit, case) for case in cases])
    return [round(float((values > bound).mean()), 3) for bound in (0.5, 0.7)]


def oracle() -> dict[str, Any]:
    """The simulated scenes, [IoU > 0.5, IoU > 0.7]."""
    scenes = dict(np.load(DATA / "fit.npz"))
    number = len(scenes["b_published_iou"])
    queries = [oracle_frame(scenes, "b_query", i) for i in range(number)]
    one = [Case(q, [oracle_frame(scenes, "b_ref", i)]) for i, q in enumerate(queries)]
    five = [Case(queries[i], [oracle_frame(scenes, "b_ref5", i, j) for j in range(5)]) for i in range(200)]
    same = [Case(oracle_frame(scenes, "a_query", i), [oracle_frame(scenes, "a_ref", i)]) for i in range(number)]
    noises: dict[str, Callable[[Case, np.random.Generator], Case]] = {
        "exact": lambda case, _: case,
        "rect 2 %": lambda case, rng: _shaken(case, rng, 0.02),
        "plane 2 deg, 5 mm": _tilted,
    }
    result: dict[str, Any] = {"same box": {"paper": shares(paper, same), "ours": shares(ours(1), same)}}
    for name, noise in noises.items():
        single, several = (
            [noise(case, np.random.default_rng(i)) for i, case in enumerate(cases)] for cases in (one, five)
        )
        result[f"similar boxes, {name}"] = {
            "paper, one reference": shares(paper, single),
            "ours, one": shares(ours(1), single),
            "ours, five": shares(ours(5), several),
        }
    return result


def _shaken(case: Case, rng: np.random.Generator, share: float) -> Case:
    """Each side of the rectangle off by ``share`` of its length (standard deviation)."""
    view = case.truth.view
    x0, y0, x1, y1 = view.rect
    camera = view.camera
    assert camera is not None
    sides = np.array(view.rect) + rng.normal(0, share, 4) * [x1 - x0, y1 - y0, x1 - x0, y1 - y0]
    x0, y0, x1, y1 = (float(side) for side in sides)
    rect = clipped_rect((min(x0, x1 - 2), min(y0, y1 - 2), x1, y1), camera.width, camera.height)
    return replace(case, truth=replace(case.truth, view=replace(view, rect=rect)))


def _tilted(case: Case, rng: np.random.Generator) -> Case:
    """The plane turned by 2 degrees about a point below the object and moved by 5 mm (standard deviations)."""
    view, box = case.truth.view, case.truth.box
    plane = view.plane
    assert plane is not None
    assert box is not None
    axis = np.cross(plane.normal, rng.normal(size=3))
    angle = math.radians(2) * rng.normal()
    normal = plane.normal * math.cos(angle) + axis / np.linalg.norm(axis) * math.sin(angle)
    foot = box.center - plane.height(box.center) * plane.normal
    moved = Plane.from_point(normal, foot + 0.005 * rng.normal() * plane.normal)
    return replace(case, truth=replace(case.truth, view=View(view.camera, moved, view.rect)))


def second(k: int = 8) -> list[Case]:
    """Scenes of another kind (see above): k references, of four objects with two frames each."""
    rng = np.random.default_rng(7)
    return [_scene(rng, k) for _ in range(_SECOND)]


def _scene(rng: np.random.Generator, k: int) -> Case:
    size, azimuth = np.exp(rng.normal(-2, 0.5, 3)), rng.uniform(0, 2 * np.pi)
    elevation = rng.uniform(0.2, 1.2)
    truth = _round_thing(rng, size, azimuth, elevation, "truth")
    references: list[Frame] = []
    for thing in range(k // 2):
        together, apart = rng.normal(0, 0.25), rng.laplace(0, [0.06, 0.14, 0.06])
        turned = np.pi / 2 * rng.integers(4) if rng.random() < 0.15 else rng.normal(0, 0.1)
        for _ in range(2):
            there = azimuth + turned + rng.laplace(0, 0.08)
            other = np.clip(elevation + rng.normal(0, 0.12), 0.15, 1.3)
            references.append(_round_thing(rng, size * np.exp(together + apart), there, other, f"object-{thing}"))
    similarities = np.sort(rng.uniform(0.5, 0.9, len(references)))[::-1]
    return Case(truth, references, similarities.tolist())


def _round_thing(rng: np.random.Generator, size: Values, azimuth: float, elevation: float, name: str) -> Frame:
    """An ellipsoid's waist between two smaller lids: it touches all faces of its box and none of its corners."""
    camera = Camera(500, 500, 240, 320, 480, 640)
    tilt = rotation_about("x", elevation) @ np.diag([1.0, -1.0, -1.0])
    distance = float(np.linalg.norm(size)) * rng.uniform(1.8, 4)
    pixel = camera.rays(rng.uniform([140, 220], [340, 420]))
    center, up = pixel * distance, tilt @ [0, 1.0, 0]
    around = rotation_about("y", azimuth - math.atan2(float(pixel[0]), 1.0))
    box = Box(tilt @ around, center, size)
    turns = np.linspace(0, 2 * np.pi, 60)
    rings = [(0.0, 0.5), (-0.5, 0.35), (0.5, 0.35)]
    points = np.array([[r * math.cos(t), y, r * math.sin(t)] for y, r in rings for t in turns]) * size
    pixels = camera.project(points @ box.rotation.T + center)
    rect = clipped_rect((*pixels.min(axis=0), *pixels.max(axis=0)), camera.width, camera.height)
    plane = Plane.from_point(up, center - up * size[1] / 2)
    return Frame(f"{name}/{rng.integers(1 << 40)}", "thing", name, View(camera, plane, rect), box)


@dataclass(frozen=True, eq=False)
class Demo:
    """Test frames of a run with what its index finds."""

    predictor: Predictor
    queries: Frames
    cases: list[Case]


def demo(run: Path) -> Demo:
    """The test frames of a run and their neighbours."""
    frames, predictor = Frames.open(run / "frames"), open_predictor(run / "index")
    queries = frames.select(frames.split == "test")
    similarities, rows = predictor.index.search(embed_frames(predictor.encoder, queries), DEFAULT_K)
    known = {int(row): predictor.index.frame(int(row)) for row in np.unique(rows)}
    cases = [
        Case(queries.frame(i), [known[int(row)] for row in rows[i]], similarities[i].tolist())
        for i in range(len(queries))
    ]
    return Demo(predictor, queries, cases)


def demo_figures(runs: Sequence[Demo]) -> dict[str, Any]:
    """[share, low, high] of IoU above 0.5 and 0.7, for exact rectangles and for ones off by 5 % a side."""
    category = np.concatenate([run.queries.category for run in runs])
    sequence = np.concatenate([[f"{i}/{name}" for name in run.queries.sequence] for i, run in enumerate(runs)])
    exact = [case for run in runs for case in run.cases]
    shaken = [_shaken(case, np.random.default_rng(i), 0.05) for i, case in enumerate(exact)]
    result: dict[str, Any] = {}
    for rects, cases in (("exact rectangles", exact), ("rectangles off by 5 %", shaken)):
        for name, fit in {"paper": paper, "ours, k = 1": ours(1), f"ours, k = {DEFAULT_K}": ours(DEFAULT_K)}.items():
            values = np.array([overlap(fit, case) for case in tqdm(cases, f"{name}, {rects}", unit="frame")])
            result[f"{rects}, {name}"] = {
                f"IoU > {bound}": [
                    round(v, 3)
                    for v in vars(category_mean((values > bound).astype(np.float64), category, sequence)).values()
                ]
                for bound in (0.5, 0.7)
            }
    return result


def fused(runs: Sequence[Demo]) -> dict[str, list[float]]:
    """[IoU > 0.5, IoU > 0.7, mean confidence] of one box from frames of a test video whose camera poses are known."""
    result = {}
    for number in (1, 2, 4):
        overlaps, told = [], []
        for run in runs:
            for name in np.unique(run.queries.sequence):
                cases = [run.cases[i] for i in np.flatnonzero(run.queries.sequence == name)]
                for start in range(0, len(cases), 4):
                    steps = start + np.arange(number) * len(cases) // number
                    reached, confidence = _fused([cases[i % len(cases)] for i in steps], run.predictor)
                    overlaps.append(reached)
                    told.append(confidence)
        values = np.array(overlaps)
        figures = [(values > 0.5).mean(), (values > 0.7).mean(), np.mean(told)]
        result[f"{number} views"] = [round(float(figure), 3) for figure in figures]
    return result


def _fused(cases: Sequence[Case], predictor: Predictor) -> tuple[float, float]:
    """3D IoU and confidence. The world is the truth's own box, so that its pose in a camera is the camera's."""
    sightings = []
    for case in cases:
        box, pose = case.truth.box, np.eye(4)
        assert box is not None
        pose[:3, :3], pose[:3, 3] = box.rotation, box.center
        sightings.append(Sighting(case.truth.view, case.references, case.similarities, pose))
    try:
        fit = fit_sightings(sightings, predictor.index.calibration)
    except GeometryError:
        return 0.0, 0.0
    assert cases[0].truth.box is not None
    truth = Box(np.eye(3), np.zeros(3), cases[0].truth.box.size)
    return float(iou_3d(fit.box.corners[None], truth.corners[None])[0]), fit.confidence


def confidences(runs: Sequence[Demo]) -> tuple[Values, NDArray[np.bool_], Values]:
    """Of every test frame: what was told, whether the box is good, and how its doubt compares (see ``_coverage``)."""
    told, good, off = [], [], []
    for run in runs:
        for case in run.cases:
            try:
                fit = fit_box(case.references, case.truth.view, case.similarities, run.predictor.index.calibration)
            except GeometryError:
                continue
            assert case.truth.box is not None
            told.append(fit.confidence)
            good.append(float(iou_3d(fit.box.corners[None], case.truth.box.corners[None])[0]) > 0.5)
            off.append(_deviations(fit, case.truth.box))
    return np.array(told), np.array(good), np.array(off)


def _deviations(fit: Fit, truth: Box) -> Values:
    """Errors of depth, yaw (up to a quarter turn) and log size, (5,), in their standard deviations."""
    turn = fit.box.rotation.T @ truth.rotation
    yaw = math.atan2(turn[0, 2], turn[2, 2])
    quarters = round(yaw / (math.pi / 2))
    size = np.log(truth.size[[2, 1, 0]] if quarters % 2 else truth.size) - np.log(fit.box.size)
    ray = fit.box.center / np.linalg.norm(fit.box.center)
    depth = ray @ (truth.center - fit.box.center) / math.sqrt(ray @ fit.covariance[:3, :3] @ ray)
    errors = np.concatenate([[yaw - quarters * math.pi / 2], size])
    return np.concatenate([[depth], errors / np.sqrt(np.diag(fit.covariance)[3:])])


def calibration_error(told: Values, good: NDArray[np.bool_]) -> float:
    """The expected calibration error."""
    parts = np.array_split(np.argsort(told), _BINS)
    return float(sum(len(p) / len(told) * abs(told[p].mean() - good[p].mean()) for p in parts))


def risk(told: Values, good: NDArray[np.bool_]) -> Values:
    """Share of bad boxes among the n most confident, for n = 1 ... all."""
    bad = ~good[np.argsort(-told, kind="stable")]
    return np.cumsum(bad) / np.arange(1, len(bad) + 1)


def times(run: Demo) -> dict[str, float]:
    """Medians in milliseconds, one after the other on the same frames."""
    cases = run.cases[:: max(1, len(run.cases) // 200)]
    image = run.queries.image(0)
    window = run.predictor.encoder.crop(image, (0.0, 0.0, float(image.shape[1]), float(image.shape[0])))[None]
    spent: dict[str, list[float]] = {}
    for case in cases:
        jobs: dict[str, Callable[[], object]] = {
            "fit_box, 5 references": lambda case=case: ours(5)(case),  # type: ignore[misc]
            f"fit_box, {DEFAULT_K} references": lambda case=case: ours(DEFAULT_K)(case),  # type: ignore[misc]
            "paper, 1 reference": lambda case=case: paper(case),  # type: ignore[misc]
            "the encoder's forward": lambda: run.predictor.encoder.embed(window),
        }
        for name, job in jobs.items():
            start = time.perf_counter()
            with contextlib.suppress(GeometryError):
                job()
            spent.setdefault(name, []).append(1000 * (time.perf_counter() - start))
    return {name: round(statistics.median(values), 2) for name, values in spent.items()}


def draw(told: Values, good: NDArray[np.bool_], figures: dict[str, Any], out: Path) -> None:
    """The gain, the reliability and the risk at each coverage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    gain, reliability, coverage = figure.subplots(1, 3)
    names = [name for name in figures if name.startswith("exact")]
    values = np.array([figures[name]["IoU > 0.5"] for name in names]) * 100
    errors = np.abs(values[:, 1:].T - values[:, 0])
    gain.bar([name.split(", ", 1)[1] for name in names], values[:, 0], yerr=errors, color=["0.7", "C0", "C2"])
    gain.set(title="boxes with 3D IoU > 0.5, %", ylim=(0, 100))
    parts = np.array_split(np.argsort(told), _BINS)
    reliability.plot([0, 1], [0, 1], color="0.7")
    reliability.plot([told[p].mean() for p in parts], [good[p].mean() for p in parts], "o-")
    reliability.set(title="confidence told, and share that is right", xlabel="confidence", ylabel="IoU > 0.5")
    coverage.plot(np.arange(1, len(told) + 1) / len(told), risk(told, good))
    coverage.set(title="bad boxes among the most confident", xlabel="share answered", ylim=(0, None))
    for axes in (gain, reliability, coverage):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=100)


def main() -> None:
    """Prints JSON, writes it to ``--out`` and draws ``--picture``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, action="append", default=[], help="a demo's run folder; several are joined")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fit.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/fit.png"))
    options = parser.parse_args()
    others = second()
    result: dict[str, Any] = {"oracle": oracle()}
    result["second"] = {"paper": shares(paper, others), "ours, one": shares(ours(1), others)}
    result["second"]["ours, eight"] = shares(ours(8), others)
    if options.run:
        runs = [demo(run) for run in options.run]
        result["demo"] = demo_figures(runs)
        result["several views of one object"] = fused(runs)
        told, good, off = confidences(runs)
        within = np.abs(off)
        result["confidence"] = {
            "expected calibration error": round(calibration_error(told, good), 3),
            "mean told, share right": [round(float(told.mean()), 3), round(float(good.mean()), 3)],
            "bad boxes among the half most confident": round(float(risk(told, good)[len(told) // 2]), 3),
            "bad boxes among all": round(float(1 - good.mean()), 3),
            "depth, yaw, log sizes within 1 deviation": (within < 1).mean(axis=0).round(2).tolist(),
            "within 2": (within < 2).mean(axis=0).round(2).tolist(),
        }
        result["times_ms"] = times(runs[0])
        draw(told, good, result["demo"], options.picture)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
