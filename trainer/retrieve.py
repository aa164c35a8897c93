"""Action recognition by retrieval: which of the training videos' classes a test video's nearest neighbours show.

For data sets that have classes and no boxes, UCF101 above all: test against train of its split (paper section 6.2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.encoder import Encoder
from index.schema import InvalidValueError
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.metrics import Estimate, category_mean

Vectors = NDArray[np.float32]
Names = NDArray[np.str_]

KS = (1, 5, 10, 20)  # of the paper's tables 3 and 4
_BATCH = 512  # query frames whose similarities to all training frames are held at a time
_CLIP = re.compile(r"_c\d+$")  # UCF101's clips v_<class>_g<group>_c<clip> of one group are cut from one recording


@dataclass(frozen=True, eq=False)
class Clips:
    """Embedded frames of videos: vectors (n, d) float32 unit rows, each one's video and class (n,)."""

    vectors: Vectors
    video: Names
    label: Names

    @classmethod
    def of(cls, encoder: Encoder, frames: Frames, description: str) -> Clips:
        """Every frame of ``frames``, embedded."""
        return cls(embed_frames(encoder, frames, description), frames.sequence, frames.category)

    def pooled(self) -> Clips:
        """One vector a video: the mean of its frames', at unit length."""
        names, first, member = np.unique(self.video, return_index=True, return_inverse=True)
        sums = np.zeros((len(names), self.vectors.shape[1]))
        np.add.at(sums, member.ravel(), self.vectors)
        lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        return Clips(np.asarray(sums / lengths, np.float32), names, self.label[first])


def recording(video: str) -> str:
    """What a clip was cut from: UCF101's of one group are one recording's."""
    return _CLIP.sub("", video)


def voted_hits(queries: Clips, references: Clips, k: int) -> NDArray[np.bool_]:
    """(videos of the queries, sorted by name): whether the class is among the k that are voted for most.

    Every frame of a video votes with the classes of its ``k`` nearest reference frames; relative frequencies of the
    votes rank the classes, equal ones by how similar their voters were (paper section 6.2).
    """
    classes, number = np.unique(references.label, return_inverse=True)
    videos, first, member = np.unique(queries.video, return_index=True, return_inverse=True)
    votes, closeness = np.zeros((2, len(videos), len(classes)))
    similarities, rows = _nearest(queries.vectors, references.vectors, k)
    chosen = number.ravel()[rows]
    voter = np.broadcast_to(member.reshape(-1, 1), chosen.shape)
    np.add.at(votes, (voter, chosen), 1)
    np.add.at(closeness, (voter, chosen), similarities)
    order = np.lexsort((-closeness, -votes), axis=1)[:, :k]
    voted = np.take_along_axis(votes, order, axis=1) > 0  # a class without a vote is not named
    found: NDArray[np.bool_] = ((classes[order] == queries.label[first][:, None]) & voted).any(axis=1)
    return found


def pooled_hits(queries: Clips, references: Clips, k: int) -> NDArray[np.bool_]:
    """(videos of the queries, sorted by name): whether some of the k nearest videos by pooled vectors has the class."""
    asked, indexed = queries.pooled(), references.pooled()
    _, rows = _nearest(asked.vectors, indexed.vectors, k)
    found: NDArray[np.bool_] = (indexed.label[rows] == asked.label[:, None]).any(axis=1)
    return found


def retrieval(queries: Clips, references: Clips, ks: Sequence[int] = KS) -> dict[str, dict[str, Estimate]]:
    """``voted`` and ``pooled``: recall at each k, the mean over query videos.

    95 % intervals by a bootstrap over recordings: clips that are cut from one are not independent.
    """
    videos = np.unique(queries.video)
    recordings = np.array([recording(video) for video in videos])
    everything = np.full(len(videos), "all")
    return {
        name: {
            f"R@{k}": category_mean(hits(queries, references, k).astype(np.float64), everything, recordings) for k in ks
        }
        for name, hits in (("voted", voted_hits), ("pooled", pooled_hits))
    }


def retrieve(frames: Path, encoder: Encoder, ks: Sequence[int] = KS) -> dict[str, Any]:
    """Measures ``encoder`` on the test split of ``frames`` against its training split; the result is JSON.

    Raises InvalidValueError where one of the two splits has no frame, or a k is not at least 1.
    """
    if bad := [k for k in ks if k < 1]:
        raise InvalidValueError("k", bad, "at least 1")
    everything = Frames.open(frames)
    clips = []
    for split in ("test", "train"):
        chosen = everything.select(everything.split == split)
        if not len(chosen):
            raise InvalidValueError("frames", str(frames), f"frames with a {split} split")
        clips.append(Clips.of(encoder, chosen, f"embed {split}"))
    queries, references = clips
    figures = retrieval(queries, references, ks)
    return {
        "query_videos": len(np.unique(queries.video)),
        "reference_videos": len(np.unique(references.video)),
        "classes": sorted(set(references.label.tolist())),
        "recall": {how: {k: vars(estimate) for k, estimate in row.items()} for how, row in figures.items()},
    }


def write_retrieval(frames: Path, encoder: Encoder, out: Path, ks: Sequence[int] = KS) -> Path:
    """``retrieve``'s result as JSON in ``out``, which is returned."""
    content = json.dumps(retrieve(frames, encoder, ks), indent=2) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(content)
    return out


def retrieval_table(result: Path) -> str:
    """The result of ``write_retrieval`` as a table to print: percent with 95 % intervals."""
    content = json.loads(result.read_text())
    lines = [
        f"{content['query_videos']} test videos against {content['reference_videos']} training videos of "
        f"{len(content['classes'])} classes; percent [95 % interval over recordings]"
    ]
    for how, row in content["recall"].items():
        cells = [f"{k} {str(Estimate(**value)).strip()}" for k, value in row.items()]
        lines.append(f"{how:<8}" + "   ".join(cells))
    return "\n".join(lines)


def _nearest(xq: Vectors, xb: Vectors, k: int) -> tuple[Vectors, NDArray[np.intp]]:
    """Similarities and rows, (n, min(k, m)) each and unordered, of the rows of ``xb`` that are nearest to ``xq``."""
    k = min(k, len(xb))
    similarities, rows = [], []
    for start in tqdm(range(0, len(xq), _BATCH), desc=f"{k} neighbours", unit="batch", disable=len(xq) <= _BATCH):
        block = xq[start : start + _BATCH] @ xb.T
        best = np.argpartition(-block, k - 1, axis=1)[:, :k]
        rows.append(best)
        similarities.append(np.take_along_axis(block, best, axis=1))
    return np.concatenate(similarities), np.concatenate(rows)
