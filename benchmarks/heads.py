"""Which head the network that ships should have: what ``[head]`` of the recipe is chosen by.

    python -m benchmarks.heads --frames runs/pretrain/finish/frames

For each of ``HEADS``: fitted to ``--frames``, and an identity map on top of it. Its row has the figures of
``benchmarks.merit``, on validation objects alone; ``id_...``, re-identification by the identity map on both sets; and
boxes of ``index.fit`` from as many neighbours as the service takes, ``fit_0.5`` and ``fit_0.7``, each with its
difference from the first head's and that difference's standard error over videos. The crops' cameras are widened for
that: a crop's picture ends at its rectangle, and a side on the picture's border says nothing. Last, the milliseconds of
a pass on one core, the least of many, the heads in turn.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.merit import VALIDATION, coil_figures, demo_figures, photographs, reid_across_videos, with_merit
from index.encoder import Encoder, open_encoder
from index.fit import fit_box
from index.identity_map import read_identity_map, to_identities
from index.iou import iou_3d
from index.predict import DEFAULT_K
from index.schema import Camera, Frame, GeometryError, View
from index.search import Vectors
from trainer.demo.crops import draw_demo_crops
from trainer.export import export_refitted
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.pretrain import RECIPE, Recipe
from trainer.pretrained import PRETRAINED
from trainer.whiten import HeadConfig

Values = NDArray[np.float64]


def head_of(
    grids: tuple[int, int, int], weights: tuple[float, float, float], dimension: int = 256, **more: Any
) -> HeadConfig:
    """Stages 2, 3 and 4 in such grids with such weights; ``more``: of ``HeadConfig``."""
    names = ("layer2", "layer3", "layer4")
    told = zip(names, weights, grids, strict=True)
    return HeadConfig({name: {"weight": weight, "grid": grid} for name, weight, grid in told}, dimension, **more)


HEADS = {
    "no grids": head_of((1, 1, 1), (0.5, 0.5, 1.0)),
    "stage 3 in quarters": head_of((1, 2, 1), (0.5, 0.5, 1.0)),
    "stage 3 in quarters, power .5": head_of((1, 2, 1), (0.5, 0.5, 1.0), power=0.5),
    "stage 3 in quarters, power 1": head_of((1, 2, 1), (0.5, 0.5, 1.0), power=1.0),
    "stage 3 in quarters of weight 1": head_of((1, 2, 1), (0.5, 1.0, 1.0)),
    "stage 3 in sixteenths": head_of((1, 4, 1), (0.5, 0.5, 1.0)),
    "stages 3 and 4 in quarters": head_of((1, 2, 2), (0.5, 0.5, 1.0)),
    "stages 2 and 3 in quarters": head_of((2, 2, 1), (0.5, 0.5, 1.0)),
    "stages 2 and 3 in quarters, power .5": head_of((2, 2, 1), (0.5, 0.5, 1.0), power=0.5),
    "stages 2 and 3 in quarters of weight .7": head_of((2, 2, 1), (0.7, 0.7, 1.0)),
    "stages 2 and 3 in quarters of weight 1": head_of((2, 2, 1), (1.0, 1.0, 1.0)),
    "the same, 384 dimensions": head_of((2, 2, 1), (1.0, 1.0, 1.0), dimension=384),
    "the same, 200 steps to pose": head_of((2, 2, 1), (1.0, 1.0, 1.0), pose_steps=200),
    "the same, 400 steps to pose": head_of((2, 2, 1), (1.0, 1.0, 1.0), pose_steps=400),
    "the same, 384 dimensions, 400 steps to pose": head_of((2, 2, 1), (1.0, 1.0, 1.0), dimension=384, pose_steps=400),
    "no grids, 400 steps to pose": head_of((1, 1, 1), (0.5, 0.5, 1.0), components=384, pose_steps=400),
}
_BORDER = 50  # pixels that are put around a crop
_PASSES = 300


def widened(frame: Frame) -> Frame:
    """The frame as if its picture went on beyond its borders."""
    camera, (x0, y0, x1, y1) = frame.view.camera, frame.view.rect
    assert camera is not None
    width, height = camera.width + 2 * _BORDER, camera.height + 2 * _BORDER
    wider = Camera(camera.fx, camera.fy, camera.cx + _BORDER, camera.cy + _BORDER, width, height)
    rect = (x0 + _BORDER, y0 + _BORDER, x1 + _BORDER, y1 + _BORDER)
    return replace(frame, view=View(wider, frame.view.plane, rect))


def fitted(indexed: Vectors, asked: Vectors, references: list[Frame], queries: list[Frame]) -> Values:
    """(m,) 3D IoU of each query's box with the truth; 0 where there is none."""
    result = np.zeros(len(queries))
    for i, (similarities, query) in enumerate(zip(asked @ indexed.T, queries, strict=True)):
        nearest = np.argsort(-similarities, kind="stable")[:DEFAULT_K]
        try:
            box = fit_box([references[row] for row in nearest], query.view, similarities[nearest].tolist()).box
        except GeometryError:
            continue
        assert query.box is not None
        result[i] = iou_3d(box.corners[None], query.box.corners[None])[0]
    return result


def measure(encoder: Path, demo: Frames, real: Frames | None) -> tuple[dict[str, float], Values]:
    """A row without its differences, and the IoU of every second query."""
    runtime, identity_map = open_encoder(encoder), read_identity_map(encoder)
    references, queries = demo.select(demo.split == "train"), demo.select(demo.split == "test")
    indexed, asked = embed_frames(runtime, references), embed_frames(runtime, queries)
    row = demo_figures(indexed, asked, references, queries)
    hits, precisions = reid_across_videos(to_identities(identity_map, asked), queries)
    row |= {"id_r1": float(hits.mean()), "id_map": float(precisions.mean())}
    if real is not None:
        seen = embed_frames(runtime, real)
        found = coil_figures(to_identities(identity_map, seen), real)
        plain = coil_figures(seen, real)
        row |= {"coil": plain["map"], "coil_view_deg": plain["view_error_deg"]}
        row |= {"id_coil_r1": found["r1"], "id_coil": found["map"]}
    known = [widened(references.frame(i)) for i in range(len(references))]
    half = range(0, len(queries), 2)
    return with_merit(row), fitted(indexed, asked[::2], known, [widened(queries.frame(i)) for i in half])


def difference(ours: NDArray[np.bool_], theirs: NDArray[np.bool_], videos: NDArray[np.str_]) -> list[float]:
    """Mean of the paired differences, and its standard error over videos."""
    apart = ours.astype(np.float64) - theirs
    _, member = np.unique(videos, return_inverse=True)
    means = np.bincount(member, apart) / np.bincount(member)
    return [float(apart.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))]


def milliseconds(encoders: dict[str, Encoder]) -> dict[str, float]:
    """The least time of a pass of one crop, all of them in turn: other work on the machine only adds to it."""
    least = dict.fromkeys(encoders, np.inf)
    for _ in range(_PASSES):
        for name, encoder in encoders.items():
            crop = np.zeros((1, encoder.input_size, encoder.input_size, 3), np.uint8)
            start = time.perf_counter()
            encoder.embed(crop)
            least[name] = min(least[name], time.perf_counter() - start)
    return {name: round(1000 * seconds, 3) for name, seconds in least.items()}


def main() -> None:
    """Prints a row as soon as it is measured, and writes all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, required=True, help="crops that all of them are fitted to")
    parser.add_argument("--work", type=Path, default=Path("runs/merit"))
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=list(HEADS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/heads.json"))
    options = parser.parse_args()
    demo = Frames.open(draw_demo_crops(options.work / "demo", VALIDATION))
    real = photographs(options.work / "coil")
    chosen = real and real.select(real.split == "valid")
    planned, rows, first = Recipe.read(RECIPE).finish, dict[str, Any](), None
    assert planned is not None
    videos = demo.sequence[demo.split == "test"][::2]
    folders = {name: options.work / "heads" / name for name in options.heads}
    for name, folder in folders.items():
        encoder = export_refitted(PRETRAINED, folder, options.frames, HEADS[name], planned.identity)
        row, iou = measure(encoder, demo, chosen)
        first = iou if first is None else first
        for bound in (0.5, 0.7):
            row[f"fit_{bound}"] = float((iou > bound).mean())
            row[f"fit_{bound}_more"] = difference(iou > bound, first > bound, videos)
        rows[name] = {key: np.round(value, 4).tolist() for key, value in row.items()}
        print(name, json.dumps(rows[name]), flush=True)
    runtimes = {name: open_encoder(folder, many_callers=True) for name, folder in folders.items()}
    for name, spent in milliseconds(runtimes).items():
        rows[name]["milliseconds"] = spent
    options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
