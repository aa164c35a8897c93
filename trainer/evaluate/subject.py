"""What is evaluated, and on what."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from loky import cpu_count
from numpy.typing import NDArray

from index.encoder import Encoder
from index.schema import InvalidValueError
from index.search import FrameIndex
from trainer.boxes import Asked
from trainer.evaluate.schema import Data
from trainer.frames import Frames, even_rows
from trainer.inference import embed_frames
from trainer.metrics import Gallery, Sampled

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


_BLOCK = 1024  # queries of one search: fewer at once take FAISS longer (256: four times as long)


def nearest_rows(index: FrameIndex, vectors: Vectors, k: int) -> tuple[Rows, Vectors]:
    """Of n queries (n, d) the rows (n, k) and similarities (n, k) of ``FrameIndex.search``, blocks side by side."""
    blocks = [vectors[start : start + _BLOCK] for start in range(0, len(vectors), _BLOCK)]
    with ThreadPoolExecutor(cpu_count()) as pool:
        found = list(pool.map(lambda block: index.search(block, k), blocks))
    return np.concatenate([rows for _, rows in found]), np.concatenate([similarities for similarities, _ in found])


@dataclass(frozen=True, eq=False)
class Trial:
    """The frames of an evaluation.

    references: of the other splits, of which the baselines' index is. tests: all of the test split. queries: those of
    them that are asked, evenly spread. valid: the validation split, which re-identification looks through as well.
    """

    references: Frames
    valid: Frames
    tests: Frames
    asked: Rows  # (n,) rows of tests

    @classmethod
    def of(cls, frames: Frames, most: int) -> Trial:
        """Raises InvalidValueError when there is no test split, or nothing else."""
        tests = frames.select(frames.split == "test")
        if not 0 < len(tests) < len(frames):
            raise InvalidValueError("frames", "no frame of the test split", "captures with a test split to evaluate on")
        others, valid = frames.select(frames.split != "test"), frames.select(frames.split == "valid")
        return cls(others, valid, tests, even_rows(len(tests), most))

    @cached_property
    def queries(self) -> Frames:
        """The n that are asked."""
        return self.tests.select(self.asked)

    @cached_property
    def sampled(self) -> Sampled:
        """Whose figures they are."""
        return Sampled(self.queries.category, self.queries.sequence)

    def sequences_of(self, index: FrameIndex) -> NDArray[np.str_]:
        """(references,) the video of each of an index's frames; its object, where it is none of these frames."""
        known = dict(zip(self.references.table["id"].to_pylist(), self.references.sequence.tolist(), strict=True))
        ids, objects = (index.table[name].to_pylist() for name in ("id", "object_id"))
        return np.array([known.get(frame, thing) for frame, thing in zip(ids, objects, strict=True)])

    def check_unseen(self, index: FrameIndex) -> None:
        """Raises InvalidValueError where frames that are asked are in the index: each would be its own neighbour."""
        same = set(self.queries.table["id"].to_pylist()) & set(index.table["id"].to_pylist())
        if same:
            raise InvalidValueError("index", f"{len(same)} of {len(self.queries)} queries", "built of other frames")

    def data(self, references: FrameIndex) -> Data:
        """How many there are, ``references`` being those of the measured index."""
        names, counts = np.unique(self.queries.category, return_counts=True)
        return Data(
            len(self.queries),
            len(set(self.queries.sequence.tolist())),
            len(references),
            len(set(self.sequences_of(references).tolist())),
            len(self.valid) + len(self.tests),
            dict(zip(names.tolist(), counts.tolist(), strict=True)),
            int(np.isin(self.queries.object_id, references.table["object_id"].to_pylist()).sum()),
        )


@dataclass(frozen=True, eq=False)
class Subject:
    """An embedding, the references in it, and the test frames' vectors (t, d)."""

    name: str
    kind: Literal["pixels", "random", "encoder"]
    encoder: Encoder
    index: FrameIndex
    trial: Trial
    vectors: Vectors

    @classmethod
    def embedding(
        cls,
        name: str,
        kind: Literal["pixels", "random", "encoder"],
        encoder: Encoder,
        trial: Trial,
        index: FrameIndex | None = None,
    ) -> Subject:
        """index: None: of the trial's references, embedded for it."""
        if index is None:
            vectors = embed_frames(encoder, trial.references, f"{name}: references")
            index = FrameIndex(vectors, trial.references.table)
        return cls(name, kind, encoder, index, trial, embed_frames(encoder, trial.tests, f"{name}: tests"))

    @property
    def query_vectors(self) -> Vectors:
        """(n, d)."""
        asked: Vectors = self.vectors[self.trial.asked]
        return asked

    def ask(self, k: int) -> Asked:
        """The k nearest references of every query."""
        return Asked(self.trial.queries.table, *nearest_rows(self.index, self.query_vectors, k))

    @cached_property
    def gallery(self) -> Gallery:
        """Crops of the validation split, then those of the test split."""
        frames = [self.trial.valid, self.trial.tests]
        objects, sequences = (
            np.unique(np.concatenate([getattr(part, name) for part in frames]), return_inverse=True)[1]
            for name in ("object_id", "sequence")
        )
        return Gallery(np.concatenate([self._valid_vectors(), self.vectors]), objects, sequences)

    @property
    def in_gallery(self) -> Rows:
        """(n,) where the queries are in it."""
        return self.trial.asked + len(self.trial.valid)

    def _valid_vectors(self) -> Vectors:
        """From the index where it holds them, as it does unless it was built of other splits."""
        try:
            rows = [self.index.row_of(frame) for frame in self.trial.valid.table["id"].to_pylist()]
        except KeyError:
            return embed_frames(self.encoder, self.trial.valid, f"{self.name}: validation")
        return self.index.vectors[np.array(rows, np.int64)].astype(np.float32)
