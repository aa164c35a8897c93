"""What encoders are worth, with intervals: the demo's unseen objects, and real photographs.

    python -m benchmarks.pretrained --seeds 0 1 2 --encoder shipped=runs/pretrain/encoder

``demo``: test objects of several generator seeds, each filmed twice, against the training captures of their seed:
the nearest frame's category, azimuth, and box by the paper's transfer; re-identification across the two videos, by the
vectors and, ``id_...``, by the identities that an encoder's map makes of them. The frames are drawn as crops, without
the video in between. ``coil``: COIL-100, views at least 30 degrees apart. 95 % intervals by drawing objects with
replacement. Rows: raw pixels, the untrained network with several seeds, and the encoders given.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.merit import (
    VALIDATION,
    azimuth_errors,
    coil_figures,
    overlaps,
    per_query,
    photographs,
    reid_across_videos,
)
from index.encoder import Encoder, Spec, open_encoder
from index.identity_map import read_identity_map, to_identities
from index.search import Vectors
from trainer.baselines import RawPixels
from trainer.config import TrainConfig
from trainer.demo.crops import draw_demo_crops
from trainer.demo.film import DemoConfig
from trainer.export import export_random
from trainer.frames import Frames
from trainer.inference import embed_frames

_DRAWS = 1000
_RANDOM_NETWORKS = 3
_LEVEL = 0.95


def measure(encoder: Encoder, identity_map: Vectors | None, demos: list[Frames], real: Frames | None) -> dict[str, Any]:
    """One row of the table: every figure as [value, low, high]."""
    parts = [_per_query(encoder, identity_map, demo) for demo in demos]
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "object"}
    objects = np.concatenate([[f"{i}/{name}" for name in part["object"]] for i, part in enumerate(parts)])
    row: dict[str, Any] = {
        name: _interval(v, objects, _median if "median" in name else np.nanmean) for name, v in values.items()
    }
    if real is not None:
        for name, chosen in {"coil 1-70": real, "coil 41-70": real.select(real.split == "test")}.items():
            vectors = embed_frames(encoder, chosen)
            found = coil_figures(vectors, chosen)
            if identity_map is not None:
                known = coil_figures(to_identities(identity_map, vectors), chosen)
                found |= {"id_map": known["map"], "id_r1": known["r1"]}
            row[name] = {k: round(v, 3) for k, v in found.items()}
    return row


def _per_query(encoder: Encoder, identity_map: Vectors | None, demo: Frames) -> dict[str, Any]:
    """Every figure of each query of one seed's captures, (n,) each, and the queries' objects."""
    references, queries = (demo.select(demo.split == split) for split in ("train", "test"))
    asked = embed_frames(encoder, queries)
    figures = per_query(embed_frames(encoder, references), asked, references, queries)
    if identity_map is not None:
        figures["id_r1"], figures["id_map"] = reid_across_videos(to_identities(identity_map, asked), queries)
    return {"object": queries.object_id, **figures}


def _median(values: NDArray[np.float64]) -> float:
    return float(np.nanmedian(values))


def _interval(values: NDArray[np.float64], objects: NDArray[np.str_], figure: Any) -> list[float]:
    """The figure of all queries, and its 95 % interval over draws of objects."""
    _, member = np.unique(objects, return_inverse=True)
    rows = [np.flatnonzero(member == i) for i in range(member.max() + 1)]
    rng = np.random.default_rng(0)
    draws = [
        figure(values[np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])]) for _ in range(_DRAWS)
    ]
    low, high = np.nanquantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return [round(float(v), 4) for v in (figure(values), low, high)]


def bounds(demos: list[Frames]) -> dict[str, float]:
    """Shares of boxes that a frame of the right category gives: a random one, and one with the nearest azimuth."""
    rng, totals = np.random.default_rng(0), {}
    for how in ("random in category", "nearest azimuth in category"):
        overlap = []
        for demo in demos:
            references, queries = (demo.select(demo.split == split) for split in ("train", "test"))
            items = [references.frame(i) for i in range(len(references))]
            truths = [queries.frame(i) for i in range(len(queries))]
            found = []
            for truth in truths:
                there = [items[i] for i in np.flatnonzero(references.category == truth.category)]
                if how.startswith("random"):
                    found.append(there[rng.integers(len(there))])
                else:
                    found.append(there[int(azimuth_errors(there, [truth] * len(there)).argmin())])
            overlap.append(overlaps(found, truths))
        joined = np.concatenate(overlap)
        totals |= {f"iou, {how}": round(float((joined > 0.5).mean()), 4)}
        totals |= {f"iou_0.7, {how}": round(float((joined > 0.7).mean()), 4)}
    return totals


def main() -> None:
    """Prints a row as soon as it is measured, and writes all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", action="append", default=[], help="name=folder, any number of times")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the demo's captures")
    parser.add_argument("--work", type=Path, default=Path("runs/merit"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pretrained.json"))
    options = parser.parse_args()
    demos = [_demo(options.work, seed) for seed in options.seeds]
    real = photographs(options.work / "coil")
    result: dict[str, Any] = {"seeds": options.seeds, "bounds": bounds(demos), "rows": {}}
    print(json.dumps(result["bounds"]), flush=True)
    with TemporaryDirectory() as folder:
        for name, encoder, identity_map in _encoders(options.encoder, Path(folder)):
            result["rows"][name] = measure(encoder, identity_map, demos, real)
            print(name, json.dumps(result["rows"][name]), flush=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def _demo(work: Path, seed: int) -> Frames:
    if seed == VALIDATION.seed:
        raise SystemExit(f"seed {seed} is the validation set, by which the recipe was chosen")
    return Frames.open(draw_demo_crops(work / f"demo-{seed}", DemoConfig(seed=seed)))


def _encoders(given: list[str], folder: Path) -> list[tuple[str, Encoder, Vectors | None]]:
    paths = {name: Path(path) for name, _, path in (entry.partition("=") for entry in given)}
    spec = Spec.read(next(iter(paths.values()))) if paths else None
    config = TrainConfig(architecture="resnet18_half", input_size=64)
    if spec:
        config = dataclasses.replace(config, architecture=spec.architecture, input_size=spec.input_size)
    rows: list[tuple[str, Encoder, Vectors | None]] = [("raw 16x16 pixels", RawPixels(), None)]
    for seed in range(_RANDOM_NETWORKS):
        encoder = open_encoder(export_random(config, folder / str(seed), seed))
        rows.append((f"random network, seed {seed}", encoder, None))
    return rows + [(name, open_encoder(path), read_identity_map(path)) for name, path in paths.items()]


if __name__ == "__main__":
    main()
