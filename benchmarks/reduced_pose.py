"""What a kind of search, and PCA alone, cost in pose accuracy and not only in recall; on a finished run's test split.

    python -m benchmarks.reduced_pose --run runs/demo --out benchmarks/results/reduced_pose.json

Every test frame's neighbours are found exactly, by kinds that re-rank, and by PCA alone without re-ranking; then the
box is fitted as the service does. Intervals are 95 % of the difference to exact search, over test videos (bootstrap).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.encoder import open_encoder
from index.fit import fit_box
from index.iou import iou_3d
from index.kinds import Effort, Kind, Reranked
from index.nearest import Rows, Vectors
from index.predict import DEFAULT_K
from index.recall import SearchConfig, best_plan, built, curve
from index.schema import GeometryError
from index.store import IndexVersion, open_index
from index.truth import OwnTruth, recall
from trainer.frames import Frames, evenly
from trainer.inference import embed_frames

Search = Callable[[Vectors, int], tuple[Vectors, Rows]]


def reranked(index: IndexVersion, kind: Kind, reduced: int, target: float) -> Search:
    """A kind with the fastest setting that reaches ``target`` on the index's own vectors."""
    config = SearchConfig(kind, target, reduce=reduced)
    candidates = built(kind, index.vectors, config)
    stored = np.asarray(index.vectors, np.float16)
    objects = np.unique([index.object_of(row) for row in range(len(index))], return_inverse=True)[1]
    own = OwnTruth.of(index.vectors, config, objects)
    engine = Reranked(candidates, stored, Effort(1, 1))
    plan, reached = best_plan(engine, curve(engine, own, target), own, config)
    if plan is None:
        raise SystemExit(f"{kind} at {reduced} dimensions reaches a recall of {reached:.3f} only")
    return Reranked(candidates, stored, plan.effort).search


def pca_alone(index: IndexVersion, reduced: int) -> Search:
    """Nearest after PCA; the similarity is the cosine that unit vectors of such a distance have."""
    whole = np.asarray(index.vectors, np.float32)
    pca = faiss.PCAMatrix(whole.shape[1], reduced)
    pca.train(whole)
    flat = faiss.IndexFlatL2(reduced)
    flat.add(pca.apply(whole))

    def search(queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        distances, rows = flat.search(pca.apply(queries), k)
        return 1 - distances / 2, rows

    return search


def ious(index: IndexVersion, frames: Frames, similarities: Vectors, rows: Rows, name: str) -> NDArray[np.float64]:
    """(q,) 3D IoU of each query's fitted box with the truth; 0 where there is none."""
    found = np.zeros(len(frames))
    for number in tqdm(range(len(frames)), desc=name, unit="frame"):
        truth = frames.frame(number)
        neighbours = [index.frame(int(row)) for row in rows[number]]
        try:
            fit = fit_box(neighbours, truth.view, similarities[number].tolist(), index.calibration)
        except GeometryError:
            continue
        found[number] = iou_3d(fit.box.corners[None], truth.box.corners[None])[0]  # type: ignore[union-attr]
    return found


def _interval(values: NDArray[np.float64], videos: NDArray[np.str_]) -> list[float]:
    """Of the mean, over videos."""
    names, numbers = np.unique(videos, return_inverse=True)
    sums, counts = np.bincount(numbers, values), np.bincount(numbers)
    drawn = np.random.default_rng(0).integers(len(names), size=(2000, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [round(float(v), 4) for v in np.percentile(means, (2.5, 97.5))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--queries", type=int, default=360, help="test frames, evenly spread (default: %(default)s)")
    options = parser.parse_args()
    index, everything = open_index(options.run / "index"), Frames.open(options.run / "frames")
    frames = evenly(everything.select(everything.split == "test"), options.queries)
    queries = embed_frames(open_encoder(index.encoder_path), frames)
    searches: dict[str, Search] = {"exact": index.search}
    for reduced in (128, 64, 32):
        searches[f"ivf-sq, PCA {reduced}, re-ranked"] = reranked(index, "ivf-sq", reduced, options.recall)
    searches["ivf-pq, PCA 64, re-ranked"] = reranked(index, "ivf-pq", 64, options.recall)
    searches |= {f"PCA {reduced} alone": pca_alone(index, reduced) for reduced in (128, 64, 32, 16)}
    rows = _rows(index, frames, queries, searches)
    report: dict[str, Any] = {"indexed": len(index), "dimension": index.dimension, "queries": len(frames)}
    report |= {"k": DEFAULT_K, "target": options.recall, "rows": rows}
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def _rows(index: IndexVersion, frames: Frames, queries: Vectors, searches: dict[str, Search]) -> list[dict[str, Any]]:
    truth = index.search(queries, DEFAULT_K)[1]
    categories = np.array([frames.frame(number).category for number in range(len(frames))])
    exact: NDArray[np.float64] | None = None
    rows: list[dict[str, Any]] = []
    for name, search in searches.items():
        similarities, found = search(queries, DEFAULT_K)
        values = ious(index, frames, similarities, found, name)
        exact = values if exact is None else exact
        right = np.array([index.frame(int(row)).category for row in found[:, 0]]) == categories
        rows.append(
            {
                "search": name,
                "recall": round(recall(found, truth), 4),
                "mean_iou": round(float(values.mean()), 4),
                "iou_above_50": round(float((values > 0.5).mean()), 4),
                "iou_above_70": round(float((values > 0.7).mean()), 4),
                "category": round(float(right.mean()), 4),
                "mean_iou_less_exact": [
                    round(float((values - exact).mean()), 4),
                    *_interval(values - exact, frames.sequence),
                ],
            }
        )
    return rows


if __name__ == "__main__":
    main()
