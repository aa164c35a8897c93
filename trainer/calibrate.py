"""What an index's answers are worth, told from its own frames: each is looked up as if its object were not indexed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.confidence import Calibration, calibrate
from index.fit import fit_box
from index.iou import iou_3d
from index.predict import DEFAULT_K
from index.schema import GeometryError
from index.search import FrameIndex

_HIT = 0.5  # the IoU above which a box is good


def box_calibration(index: FrameIndex, samples: int = 1000) -> Calibration | None:
    """What the signs of ``index.confidence`` mean in this index; None where it holds too little to tell."""
    if len(index.objects) < 2:
        return None
    signs, hits = [], []
    posed = np.flatnonzero(np.asarray(index.table["box"].is_valid()))
    for row in tqdm(_sampled(posed, samples), desc="calibrate", unit="frame"):
        asked = index.frame(int(row))
        found, rows = index.search(index.vector(row)[None], DEFAULT_K, exclude_object=asked.object_id)
        there = rows[0] >= 0
        neighbours = [index.frame(int(other)) for other in rows[0][there]]
        try:
            fit = fit_box(neighbours, asked.view, found[0][there].tolist())
        except GeometryError:
            continue
        truth = asked.box
        assert truth is not None
        signs.append(fit.signs)
        hits.append(bool(iou_3d(fit.box.corners[None], truth.corners[None])[0] > _HIT))
    return calibrate(np.array(signs), np.array(hits, dtype=bool))


def _sampled(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])
