"""How fast and how exact ``iou_3d`` is, beside what one would write with SciPy.

    python -m benchmarks.iou

Prints one JSON object: the median of five runs on one core, and the largest error against rational arithmetic.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

from index.iou import iou_3d

ORACLE = Path(__file__).parent.parent / "tests" / "data" / "iou.npz"


def scipy_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Half-space intersection and convex hull of one pair; the interior point is searched between the centres."""
    hulls = [ConvexHull(corners) for corners in (a, b)]
    halfspaces = np.concatenate([hull.equations for hull in hulls])
    for t in np.linspace(0, 1, 9):
        inside = (1 - t) * a.mean(axis=0) + t * b.mean(axis=0)
        if (halfspaces[:, :3] @ inside + halfspaces[:, 3] < -1e-9).all():
            try:
                shared = ConvexHull(HalfspaceIntersection(halfspaces, inside).intersections).volume
            except QhullError:
                return float("nan")
            return float(shared / (hulls[0].volume + hulls[1].volume - shared))
    return 0.0


def main() -> None:
    """Measures both side by side."""
    oracle = np.load(ORACLE)
    a, b, truth = oracle["corners_a"], oracle["corners_b"], oracle["iou"]
    many_a, many_b = np.tile(a, (10, 1, 1)), np.tile(b, (10, 1, 1))
    ours, theirs = [], []
    for _ in range(5):
        start = time.perf_counter()
        iou_3d(many_a, many_b)
        ours.append(len(many_a) / (time.perf_counter() - start))
        start = time.perf_counter()
        baseline = np.array([scipy_iou(x, y) for x, y in zip(a[::10], b[::10], strict=True)])
        theirs.append(len(baseline) / (time.perf_counter() - start))
    exact = oracle["kind_names"][oracle["kind"]] != "float32_keypoints"
    error = np.abs(iou_3d(a, b) - truth)
    result = {
        "pairs_per_second": round(statistics.median(ours)),
        "scipy_pairs_per_second": round(statistics.median(theirs)),
        "largest_error": float(error[exact].max()),
        "largest_error_float32_keypoints": float(error[~exact].max()),
        "scipy_off_by_more_than_1e-6": float(np.mean(~(np.abs(baseline - truth[::10]) < 1e-6))),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
