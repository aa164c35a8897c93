"""One vector for the pose and the identity: what each way to learn it keeps of both, and the Pareto front.

    python -m trainer film runs/large/captures --train-objects 100 --test-objects 10
    python -m trainer ingest runs/large/captures runs/large/frames
    python -m trainer sweep runs/large/frames runs/sweep --epochs 7 --input-size 32 --strategies table5-ntxent shipped
    python -m benchmarks.pareto runs/sweep --work runs/pareto

The paper trades one for the other by its pairs: nearby ones keep the pose, distant ones the identity. Compared under
the sweep's budget, on its frames:

    one projector   the sweep's rows: NT-Xent (temperature 0.1) on the same, nearby or distant frames, by augmentation;
                    and a mixture, half nearby and half distant, which is learnt here
    two projectors  pose and identity each in a head of its own (``trainer.pose_identity``), weighted; learnt here
    joint           two encoders' vectors side by side, so that a similarity is the weighted mean of theirs

and, without training, the encoder that ships joined with its identity map, weighted. Pose: share of boxes with 3D IoU
above 0.5, the nearest frame's by the paper's transfer and the service's fit; identity: mAP in the *other* video of the
query's object; each with its 95 % interval over test videos. A run that is interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.encoder import Encoder, open_encoder
from index.identity_map import read_identity_map, to_identities
from index.schema import InvalidValueError
from trainer.config import TrainConfig
from trainer.evaluate import EvaluateConfig, evaluate_encoder
from trainer.evaluate.schema import Evaluation
from trainer.frames import frames_digest
from trainer.rebuild import Stages
from trainer.strategies import strategy
from trainer.sweep.job import Job, make_encoder
from trainer.sweep.plan import PLAN

RESULT = Path(__file__).parent / "results" / "pareto.json"
PICTURE = Path(__file__).parents[1] / "docs" / "pareto.png"
SHIPPED = "the encoder that ships"
NAME = "encoder"  # the line's, in each evaluation
WEIGHTS = (0.25, 0.5, 0.75)  # of the first of two that are joined
_SWEPT = {  # rows of the sweep, by their labels here
    "same PX": "ntxent-same-px",
    "same LC": "ntxent-same-lc",
    "nearby PX": "ntxent-nearby-px",
    "nearby LC": "ntxent-nearby-lc",
    "distant PX": "ntxent-distant-px",
    "distant LC": "ntxent-distant-lc",
    "distant Full": "ntxent-distant-full",
}

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Joined:
    """Encoders of one input size as one: its similarity is the weighted mean of theirs. Weights sum to 1."""

    parts: tuple[Encoder, ...]
    weights: tuple[float, ...]

    @property
    def input_size(self) -> int:
        return self.parts[0].input_size

    @property
    def dimension(self) -> int:
        return sum(part.dimension for part in self.parts)

    @property
    def digest(self) -> str:
        return "+".join(f"{w:g} {part.digest}" for part, w in zip(self.parts, self.weights, strict=True))

    def crop(self, image: NDArray[np.uint8], rect: Sequence[float]) -> NDArray[np.uint8]:
        return self.parts[0].crop(image, rect)

    def embed(self, crops: NDArray[np.uint8]) -> Vectors:
        rows = [part.embed(crops) * np.float32(w**0.5) for part, w in zip(self.parts, self.weights, strict=True)]
        return np.concatenate(rows, axis=1)


@dataclass(frozen=True)
class WithIdentities:
    """An encoder's vectors joined with those that tell objects apart, by its identity map (e, d), of such a weight."""

    encoder: Encoder
    identity_map: Vectors
    weight: float

    @property
    def input_size(self) -> int:
        return self.encoder.input_size

    @property
    def dimension(self) -> int:
        return len(self.identity_map) + self.encoder.dimension

    @property
    def digest(self) -> str:
        return f"{self.weight:g} identities of {self.encoder.digest}"

    def crop(self, image: NDArray[np.uint8], rect: Sequence[float]) -> NDArray[np.uint8]:
        return self.encoder.crop(image, rect)

    def embed(self, crops: NDArray[np.uint8]) -> Vectors:
        vectors = self.encoder.embed(crops)
        identities = to_identities(self.identity_map, vectors)
        both = np.float32(self.weight**0.5) * identities, np.float32((1 - self.weight) ** 0.5) * vectors
        return np.concatenate(both, axis=1)


@dataclass(frozen=True)
class Point:
    """One way to a vector. ``family``: what is drawn in one colour."""

    family: str
    label: str
    encoder: Encoder


def trained(base: TrainConfig) -> dict[str, TrainConfig]:
    """What is learnt here, by label; the other options are those of the sweep's rows."""
    mixed = replace(strategy("ntxent-nearby-lc").config(base), pairs="mixed", distant=0.5)
    heads = strategy("pose-identity").config(base)
    two = {f"two projectors, identity {weight:g}": replace(heads, identity=weight) for weight in (0.3, 0.6)}
    return {"nearby and distant": mixed} | two


def learn(job: Job, folder: Path) -> Path:
    """Trains and exports one of them, unless that is done."""
    artefact = make_encoder(job, folder, Stages(folder))
    assert artefact is not None
    return artefact


def learn_all(frames: Path, work: Path, base: TrainConfig, jobs: int) -> dict[str, Path]:
    """Encoder artefacts by label; ``jobs`` are trained at a time."""
    data = frames_digest(frames)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        running = {}
        for label, config in trained(base).items():
            job = Job(label, label, "learnt", config.seed, frames, data, config, EvaluateConfig())
            running[label] = pool.submit(learn, job, work / "rows" / _file_name(label))
        return {label: future.result() for label, future in running.items()}


def points(learnt: dict[str, Path], sweep: Path) -> Iterator[Point]:
    """All that is compared."""
    rows = {label: open_encoder(sweep / "rows" / row / "seed-0" / "encoder") for label, row in _SWEPT.items()}
    yield from (Point("one projector", label, encoder) for label, encoder in rows.items())
    for label, artefact in learnt.items():
        family = "two projectors" if label.startswith("two") else "one projector"
        yield Point(family, label, open_encoder(artefact))
    yield from _joint("nearby LC", rows["nearby LC"], rows["distant Full"])
    yield from _joint("same PX", rows["same PX"], rows["distant Full"])
    given = sweep / "rows" / "shipped" / "seed-0" / "encoder"
    shipped, identity_map = open_encoder(given), read_identity_map(given)
    assert identity_map is not None
    yield Point(SHIPPED, "its vector", shipped)
    for weight in WEIGHTS:
        yield Point(SHIPPED, f"{weight:.0%} identities", WithIdentities(shipped, identity_map, weight))
    yield Point(SHIPPED, "its identities", WithIdentities(shipped, identity_map, 1.0))


def _joint(name: str, pose: Encoder, identity: Encoder) -> Iterator[Point]:
    for weight in WEIGHTS:
        joined = Joined((pose, identity), (weight, 1 - weight))
        yield Point(f"joint, {name} and distant Full", f"{weight:.0%} {name}", joined)


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())


def figures(frames: Path, data: str, stages: Stages, out: Path, point: Point, queries: int) -> dict[str, list[float]]:
    """Value and interval of what is compared; measured once of an encoder, its frames and as many queries.

    data: the digest of the frames.
    """
    inputs = {"encoder": point.encoder.digest, "data": data, "queries": queries}
    config = EvaluateConfig(queries=queries)
    stages.run(out.stem, inputs, out, lambda: evaluate_encoder(frames, point.encoder, None, out, NAME, config))
    row = Evaluation.read(out).row(NAME)
    paper, service = row.pose("paper"), row.pose("service")
    assert paper is not None
    assert service is not None
    assert row.retrieval is not None
    assert row.retrieval.other_video is not None
    azimuth = paper.overall.azimuth_deg
    estimates = {
        "iou_50_paper": paper.overall.iou_50,
        "iou_50_service": service.overall.iou_50,
        "category": row.retrieval.category,
        "reid_map": row.retrieval.other_video.mean_ap,
        "reid_r1": row.retrieval.other_video.recall_at_1,
    }
    found = {name: [round(v, 4) for v in (e.value, e.low, e.high)] for name, e in estimates.items()}
    return found | {"azimuth_median_deg": [round(azimuth.median.value, 2)] if azimuth else []}


def on_front(rows: Sequence[dict[str, Any]], pose: str) -> list[bool]:
    """Of each row, whether no other is better at both ``pose`` and identity."""
    places = np.array([[row[pose][0], row["reid_map"][0]] for row in rows])
    beaten = [((places >= place).all(axis=1) & (places > place).any(axis=1)).any() for place in places]
    return [not b for b in beaten]


def mark_front(rows: Sequence[dict[str, Any]]) -> None:
    """Adds ``front`` to each row: whether it is on it, by either box."""
    paper, service = (on_front(rows, pose) for pose in ("iou_50_paper", "iou_50_service"))
    for row, first, second in zip(rows, paper, service, strict=True):
        row["front"] = {"iou_50_paper": first, "iou_50_service": second}


def draw(learnt: Sequence[dict[str, Any]], shipped: Sequence[dict[str, Any]], out: Path) -> None:
    """Pose against identity, a colour a family, the front as a line."""
    from matplotlib.figure import Figure

    panels = (
        ("one budget: the nearest frame's box, the paper's transfer", learnt, "iou_50_paper"),
        ("one budget: twenty frames' box, our fit", learnt, "iou_50_service"),
        (f"{SHIPPED}: our fit", shipped, "iou_50_service"),
    )
    figure = Figure(figsize=(17, 5.5), layout="constrained")
    for axes, (title, shown, pose) in zip(figure.subplots(1, 3), panels, strict=True):
        _draw_panel(axes, shown, pose)
        axes.set(title=title, xlabel="share of boxes with 3D IoU > 0.5", ylabel="re-ID mAP, other video")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(out, dpi=80)


def _draw_panel(axes: Any, rows: Sequence[dict[str, Any]], pose: str) -> None:
    for family in dict.fromkeys(row["family"] for row in rows):
        for row in (row for row in rows if row["family"] == family):
            axes.annotate(
                row["label"], (row[pose][0], row["reid_map"][0]), (3, 3), textcoords="offset points", fontsize=7
            )
        x, y = ([row[name][0] for row in rows if row["family"] == family] for name in (pose, "reid_map"))
        axes.plot(x, y, "o", label=family, markersize=5)
    line = sorted((row[pose][0], row["reid_map"][0]) for row in rows if row["front"][pose])
    axes.plot(*zip(*line, strict=True), "-", color="grey", linewidth=1, zorder=0)


def main() -> None:
    """Trains, measures, writes the figures and the picture, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="a sweep with the rows of table5-ntxent, and shipped")
    parser.add_argument("--work", type=Path, default=Path("runs/pareto"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--queries", type=int, default=2000)
    options = parser.parse_args()
    plan = json.loads((options.sweep / PLAN).read_text())
    if "source" in plan:
        raise InvalidValueError(
            "sweep", plan["source"], "one whose rows learn from the frames that they are measured on"
        )
    frames, base = Path(plan["frames"]), TrainConfig(**plan["budget"])
    data, stages, rows = frames_digest(frames), Stages(options.work), []
    for point in points(learn_all(frames, options.work, base, options.jobs), options.sweep):
        out = options.work / "measured" / f"{_file_name(f'{point.family} {point.label}')}.json"
        found = figures(frames, data, stages, out, point, options.queries)
        rows.append({"family": point.family, "label": point.label} | found)
    learnt, shipped = ([row for row in rows if (row["family"] == SHIPPED) == is_it] for is_it in (False, True))
    mark_front(learnt)
    mark_front(shipped)
    for row in rows:
        shown = "  ".join(f"{k} {row[k][0]:.3f}" for k in ("iou_50_paper", "iou_50_service", "category", "reid_map"))
        print(f"{row['family']:<36}{row['label']:<28}{shown}  {row['front']}")
    content = {"budget": plan["budget"], "queries": options.queries, "rows": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    draw(learnt, shipped, PICTURE)


if __name__ == "__main__":
    main()
