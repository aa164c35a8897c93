"""How good the boxes are that the index proposes for a capture, by how many captures of its category it holds.

    python -m benchmarks.drafts --run runs/demo --log /tmp/drafts.jsonl --out benchmarks/results/drafts.json

Test captures of the demo, the same number of every category, are asked for with the index of the run, of whose category
all but 0, 1, 3 or 10 captures are left out; without a hint, with a point of the ground below the object (off by a
hundredth of the cameras' distance), and with one rectangle, whose sides are off by 3 % of its own. The captures' worlds
are turned and moved at random. What is in the log is not asked again, so that a run goes on where it stopped.

A crop is embedded once for all four indexes. ``cpu_seconds``, of one core, are those of the first, where it had to be.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from index.confidence import calibrate
from index.draft import Draft, FrameRect, GroundPlane, Hint, PosedPicture, propose_box
from index.encoder import Crops, Encoder, open_encoder
from index.iou import iou_3d
from index.predict import Predictor
from index.schema import Array, Box, Frame, GeometryError
from index.search import FrameIndex, Vectors
from index.store import IndexVersion, open_index
from trainer.frames import Frames

INDEXED = (0, 1, 3, 10)
HINTS = ("none", "point", "rect")
_HAND = 0.03  # of a rectangle's sides: how far a hand misses them
_CLICK = 0.01  # of the cameras' distance


@dataclass(frozen=True, eq=False)
class Filmed:
    """A test capture: its pictures with poses, the ground, and the truth, in a world of its own."""

    sequence: str
    category: str
    pictures: list[PosedPicture]
    frames: list[Frame]
    ground: GroundPlane
    truth: Box


def filmed(frames: Frames, seed: int = 0) -> Iterator[Filmed]:
    """The captures of ``frames``; the world is told by the box, which does not move, and then forgotten."""
    for number, rows in enumerate(frames.tracks()):
        rng = np.random.default_rng([seed, number])
        seen = [frames.frame(int(row)) for row in rows]
        box, plane = seen[0].box, seen[0].view.plane
        assert box is not None
        assert plane is not None
        up_in_box = box.rotation.T @ plane.normal
        turn = Rotation.from_euler("y", rng.uniform(0, 2 * np.pi)).as_matrix() @ _upright(up_in_box)
        origin = rng.uniform(-2, 2, 3)
        below = origin - np.array([0, plane.height(box.center), 0])
        pictures = [
            PosedPicture(frame.view.camera, _world_from_camera(frame, turn, origin), partial(frames.image, int(row)))
            for frame, row in zip(seen, rows, strict=True)
            if frame.view.camera is not None
        ]
        truth = Box(turn, origin, box.size)
        ground = GroundPlane(np.array([0.0, 1, 0]), below)
        yield Filmed(str(frames.sequence[rows[0]]), seen[0].category, pictures, seen, ground, truth)


def _upright(up: Array) -> Array:
    """(3, 3): the smallest turn that brings ``up`` (3,) to y."""
    turn, _ = Rotation.align_vectors([[0.0, 1, 0]], [up])
    return np.asarray(turn.as_matrix())


def _world_from_camera(frame: Frame, world_from_box: Array, origin: Array) -> Array:
    assert frame.box is not None
    pose = np.eye(4)
    pose[:3, :3] = world_from_box @ frame.box.rotation.T
    pose[:3, 3] = origin - pose[:3, :3] @ frame.box.center
    return pose


def holding(index: IndexVersion, sequences: Array, category: str, count: int, seed: int) -> FrameIndex:
    """The index with ``count`` captures of a category, drawn at random, and all of the others."""
    table = index.table
    of_category = np.array(table["category"].to_pylist()) == category
    chosen = np.random.default_rng(seed).permutation(np.unique(sequences[of_category]))[:count]
    rows = np.flatnonzero(~of_category | np.isin(sequences, chosen))
    part = FrameIndex(index.vectors[rows], table.take(rows))
    part.encoder_digest, part.calibration = index.encoder_digest, index.calibration
    return part


def hint_of(kind: str, capture: Filmed, seed: int) -> Hint:
    """What a person would say of a capture."""
    rng = np.random.default_rng(seed)
    if kind == "none":
        return None
    if kind == "point":
        foot = capture.ground.below(capture.truth.center)
        distance = float(np.linalg.norm(capture.pictures[0].position - foot))
        return capture.ground.below(foot + rng.normal(0, _CLICK * distance, 3))
    number = int(rng.integers(len(capture.pictures)))
    x0, y0, x1, y1 = capture.frames[number].view.rect
    width, height = x1 - x0, y1 - y0
    off = rng.normal(0, _HAND, 4) * [width, height, width, height]
    camera = capture.pictures[number].camera
    left, top, right, bottom = np.array([x0, y0, x1, y1]) + off
    rect = (max(0.0, left), max(0.0, top), min(float(camera.width), right), min(float(camera.height), bottom))
    return FrameRect(number, rect)


def ask(predictor: Predictor, capture: Filmed, hint: Hint) -> tuple[Draft | None, float, float]:
    """The draft, its IoU with the truth, and the CPU's seconds that it took."""
    start = time.process_time()
    try:
        draft = propose_box(predictor, capture.pictures, capture.ground, hint)
    except GeometryError:
        return None, 0.0, time.process_time() - start
    seconds = time.process_time() - start
    return draft, float(iou_3d(draft.box.corners[None], capture.truth.corners[None])[0]), seconds


class Remembering:
    """An encoder that remembers the vectors of crops it has seen."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._known = encoder, dict[bytes, Vectors]()
        self.input_size, self.dimension, self.digest = encoder.input_size, encoder.dimension, encoder.digest
        self.crop = encoder.crop

    def embed(self, crops: Crops) -> Vectors:
        """As the encoder does."""
        keys = [hashlib.blake2b(crop.tobytes(), digest_size=16).digest() for crop in crops]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        self._known |= {keys[i]: v for i, v in zip(new, self._encoder.embed(crops[new]), strict=True)}
        return np.stack([self._known[key] for key in keys])


def measure(run: Path, captures: int, log: Path, counts: Sequence[int] = INDEXED) -> list[dict[str, Any]]:
    """A line for each capture, hint and number of indexed captures, in the log and returned."""
    frames, index = Frames.open(run / "frames"), open_index(run / "index")
    video = dict(zip(frames.table["id"].to_pylist(), frames.sequence.tolist(), strict=True))
    sequences = np.array([video[name] for name in index.table["id"].to_pylist()])
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known = {(line["sequence"], line["indexed"], line["hint"]) for line in done}
    encoder = open_encoder(index.encoder_path, many_callers=True)
    for number, capture in enumerate(tqdm(_in_turn(frames, captures), unit="capture")):
        remembering = Remembering(encoder)
        for kind, count in itertools.product(HINTS, counts):
            if (capture.sequence, count, kind) in known:
                continue
            part = holding(index, sequences, capture.category, count, number)
            draft, overlap, seconds = ask(Predictor(remembering, part), capture, hint_of(kind, capture, number))
            done.append(_line(capture, count, kind, draft, overlap, seconds))
            with log.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    return done


def _in_turn(frames: Frames, most: int) -> list[Filmed]:
    """Test captures of one category after the other, the objects of each in turn."""
    tests = list(filmed(frames.select(frames.split == "test")))
    by_category = [[c for c in tests if c.category == name] for name in sorted({c.category for c in tests})]
    return [capture for together in zip(*by_category, strict=False) for capture in together][:most]


def _line(
    capture: Filmed, count: int, kind: str, draft: Draft | None, overlap: float, seconds: float
) -> dict[str, Any]:
    return {
        "sequence": capture.sequence,
        "category": capture.category,
        "indexed": count,
        "hint": kind,
        "iou": round(overlap, 4),
        "right_category": draft is not None and draft.category == capture.category,
        "confidence": round(draft.confidence, 4) if draft else None,
        "similarity": round(draft.similarity, 4) if draft else None,
        "box": [np.round(part, 4).tolist() for part in (draft.box.center, draft.box.size)] if draft else None,
        "truth": [np.round(part, 4).tolist() for part in (capture.truth.center, capture.truth.size)],
        "cpu_seconds": round(seconds, 3),
    }


def summary(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each hint and number of indexed captures: percent with 95 % intervals over captures."""
    rows = []
    for kind, count in itertools.product(HINTS, INDEXED):
        chosen = [line for line in lines if (line["hint"], line["indexed"]) == (kind, count)]
        if chosen:
            overlaps = np.array([line["iou"] for line in chosen])
            right = np.array([line["right_category"] for line in chosen], np.float64)
            rows.append(
                {
                    "hint": kind,
                    "indexed": count,
                    "captures": len(chosen),
                    "above_0.5": _percent(overlaps > 0.5),
                    "above_0.7": _percent(overlaps > 0.7),
                    "mean_iou": round(float(overlaps.mean()), 3),
                    "right_category": _percent(right),
                }
            )
            if count == INDEXED[0]:
                rows[-1]["cpu_seconds"] = round(float(np.median([line["cpu_seconds"] for line in chosen])), 2)
    return rows


def confidences(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What likeness says of a box, as ``index.draft`` has it; the Brier score is of categories left out in turn."""
    result = {}
    for name, kinds in {"found": ("none", "point"), "drawn": ("rect",)}.items():
        chosen = [line for line in lines if line["hint"] in kinds and line["similarity"] is not None]
        signs = np.array([[line["similarity"]] for line in chosen])
        hits = np.array([line["iou"] > 0.5 for line in chosen])
        categories = np.array([line["category"] for line in chosen])
        told = np.zeros(len(chosen))
        for category in np.unique(categories):
            others = categories != category
            if (calibration := calibrate(signs[others], hits[others])) is not None:
                told[~others] = [calibration.probability(sign) for sign in signs[~others]]
        if (calibration := calibrate(signs, hits)) is not None:
            scores = {
                "brier": float(((told - hits) ** 2).mean()),
                "brier_of_the_mean": float(hits.mean() * (~hits).mean()),
            }
            weights = [round(weight, 2) for weight in calibration.weights]
            result[name] = {"weights": weights, "drafts": len(chosen)} | {k: round(v, 3) for k, v in scores.items()}
    return result


def _percent(values: NDArray[Any]) -> str:
    values = values.astype(np.float64)
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{100 * values.mean():.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def main() -> None:
    """Measures, prints the rows and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--captures", type=int, default=45)
    parser.add_argument("--log", type=Path, default=Path("drafts.jsonl"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = measure(options.run, options.captures, options.log)
    result = {"rows": summary(lines), "confidence": confidences(lines)}
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
