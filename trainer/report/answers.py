"""What the paper's method answers for every query, by one encoder: the material of the report's pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.encoder import Encoder
from index.iou import iou_3d
from index.schema import Box, Frame, GeometryError, InvalidValueError
from index.transfer import transfer_box
from trainer.frames import Frames, evenly
from trainer.inference import embed_frames

HIT = 0.5  # the benchmark's IoU threshold; a hit is strictly above it

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answers:
    """Queries, what they were looked up in, and the box that the nearest frame gives.

    reference_vectors (n, d) and query_vectors (m, d) have unit rows; nearest (m,) are rows of the references. Boxes are
    in the queries' camera frames, None where none could be had. iou (m,) is 0 there, and NaN where no truth is known.
    """

    references: Frames
    queries: Frames
    reference_vectors: Vectors
    query_vectors: Vectors
    nearest: NDArray[np.intp]
    boxes: tuple[Box | None, ...]
    iou: NDArray[np.float64]

    @cached_property
    def among_queries(self) -> Vectors:
        """(m, m) cosine similarities of the queries to each other, -inf of each to itself."""
        similarities: Vectors = self.query_vectors @ self.query_vectors.T
        np.fill_diagonal(similarities, -np.inf)
        return similarities

    @property
    def posed(self) -> int:
        """How many queries' poses are known."""
        return int((~np.isnan(self.iou)).sum())

    def has_boxes(self) -> bool:
        """Whether any query's pose is known."""
        return self.posed > 0


def answer(frames: Path, encoder: Encoder, most: int) -> Answers:
    """Looks the test frames, ``most`` at most, up among all others by their nearest frame (paper section 3.4)."""
    everything = Frames.open(frames)
    references, tests = everything.select(everything.split != "test"), everything.select(everything.split == "test")
    if not len(references) or not len(tests):
        raise InvalidValueError("frames", str(frames), "frames with a test split, and others to look them up in")
    queries = evenly(tests, most)
    indexed = embed_frames(encoder, references, "embed references")
    asked = embed_frames(encoder, queries, "embed queries")
    nearest = np.concatenate(
        [(part @ indexed.T).argmax(axis=1) for part in np.array_split(asked, -(-len(asked) // 512))]
    )
    boxes, overlaps = [], np.full(len(queries), np.nan)
    for row in tqdm(range(len(queries)), desc="boxes", unit="frame"):
        truth = queries.frame(row)
        boxes.append(carried(references.frame(int(nearest[row])), truth))
        if truth.box is not None:
            overlaps[row] = overlap(boxes[-1], truth.box)
    return Answers(references, queries, indexed, asked, nearest, tuple(boxes), overlaps)


def carried(reference: Frame, query: Frame) -> Box | None:
    """The reference's box in the query's camera, by the paper's transfer; None where there is none."""
    try:
        return transfer_box(reference, query.view)
    except GeometryError:
        return None


def overlap(box: Box | None, truth: Box) -> float:
    """Their 3D IoU; no box overlaps nothing."""
    return 0.0 if box is None else float(iou_3d(box.corners[None], truth.corners[None])[0])
