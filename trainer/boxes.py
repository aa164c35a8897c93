"""From neighbours to boxes, for many queries: block by block, over processes where that pays.

Here and not in ``trainer.evaluate``, so that a process that fits boxes need not import all that an evaluation does.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import numpy as np
import pyarrow as pa
from loky import cpu_count
from numpy.typing import NDArray
from tqdm import tqdm

from index.confidence import SHIPPED, Calibration
from index.fit import fit_box
from index.schema import Box, Frame, GeometryError, View, box_corners
from index.table import frame_from_row
from index.transfer import transfer_box

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

Method = Literal["paper", "nearest", "service"]  # see ``trainer.evaluate.schema.Pose``
METHODS: tuple[Method, ...] = ("paper", "nearest", "service")

_BLOCK = 256  # queries: with ten neighbours each, some 10 MB of frames
_WORTH_PROCESSES = 4000  # queries: starting a process takes as long as some 1,500 queries


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries (a table of ``index.table``'s columns, n rows) and what was found for them.

    rows: (n, k) of the references, -1 where fewer. similarities: (n, k).
    """

    queries: pa.Table
    rows: Rows
    similarities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self) -> Iterator[Asked]:
        """Parts small enough to be held as frames."""
        for start in range(0, len(self), _BLOCK):
            part = slice(start, start + _BLOCK)
            yield Asked(self.queries.slice(start, _BLOCK), self.rows[part], self.similarities[part])


@dataclass(frozen=True, eq=False)
class Boxes:
    """The answers of one method to n queries: rotation (n, 9), centre (n, 3), size (n, 3); NaN where there is none."""

    values: Array  # (n, 15)
    confidence: Array  # (n,)

    @property
    def corners(self) -> Array:
        """(n, 8, 3) in the query's camera frame; NaN where there is no box."""
        return box_corners(self.values[:, :9].reshape(-1, 3, 3), self.values[:, 9:12], self.values[:, 12:])


Answers = Mapping[Method, Boxes]


class Fitter:
    """Fits boxes from the frames in a table of references. A context manager: it may hold processes.

    processes: None: one a core where there are queries enough for it to pay.
    """

    def __init__(
        self,
        references: pa.Table,
        methods: Sequence[Method] = METHODS,
        calibration: Calibration = SHIPPED,
        processes: int | None = None,
    ) -> None:
        self._work = _Work(references, tuple(methods), calibration)
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Fitter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def answer(self, asked: Asked, description: str) -> Answers:
        """The boxes of every method, with a progress bar."""
        parts: list[Answers] = []
        with tqdm(total=len(asked), desc=description, unit="frame") as bar:
            for answers in self._mapped(asked):
                parts.append(answers)
                bar.update(len(answers[self._work.methods[0]].confidence))
        return {
            method: Boxes(
                np.concatenate([np.empty((0, 15)), *(part[method].values for part in parts)]),
                np.concatenate([np.empty(0), *(part[method].confidence for part in parts)]),
            )
            for method in self._work.methods
        }

    def _mapped(self, asked: Asked) -> Iterator[Answers]:
        processes = self._processes or (cpu_count() if len(asked) >= _WORTH_PROCESSES else 1)
        if processes == 1:
            yield from map(self._work.answer, asked.blocks())
            return
        if self._pool is None:
            # Spawned: a forked copy of a process with FAISS's and OpenVINO's threads may wait for them for ever.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, context, _begin, (self._work,))
        waiting = []
        for block in asked.blocks():
            waiting.append(self._pool.submit(_answer, block))
            if len(waiting) > 2 * processes:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


class _Work:
    """What one process does."""

    def __init__(self, references: pa.Table, methods: tuple[Method, ...], calibration: Calibration) -> None:
        columns = ["id", "category", "object_id", "camera", "plane", "rect", "box"]
        self._references, self.methods, self._calibration = references.select(columns), methods, calibration

    def answer(self, asked: Asked) -> Answers:
        views = [frame_from_row(row).view for row in asked.queries.to_pylist()]
        wanted = np.unique(asked.rows[asked.rows >= 0])
        frames = {
            int(row): frame_from_row(content)
            for row, content in zip(wanted, self._references.take(wanted).to_pylist(), strict=True)
        }
        found = {method: (np.full((len(asked), 15), np.nan), np.full(len(asked), np.nan)) for method in self.methods}
        for query, view in enumerate(views):
            there = asked.rows[query] >= 0
            neighbours = [frames[int(row)] for row in asked.rows[query][there]]
            similarities = asked.similarities[query][there].tolist()
            for method, (values, confidence) in found.items():
                box, sure = _answered(method, neighbours, similarities, view, self._calibration)
                confidence[query] = sure
                if box is not None:
                    values[query] = np.concatenate([box.rotation.ravel(), box.center, box.size])
        return {method: Boxes(*arrays) for method, arrays in found.items()}


def _answered(
    method: Method, neighbours: Sequence[Frame], similarities: Sequence[float], view: View, calibration: Calibration
) -> tuple[Box | None, float]:
    """A box, where one can be had, and how sure it is."""
    if not neighbours:
        return None, 0.0
    try:
        if method == "paper":
            return transfer_box(neighbours[0], view), similarities[0]
        if method == "nearest":
            fit = fit_box(neighbours[:1], view, calibration=calibration)
        else:
            fit = fit_box(neighbours, view, similarities, calibration)
    except GeometryError:
        return None, 0.0
    return fit.box, fit.confidence


_work: _Work | None = None  # of a spawned process


def _begin(work: _Work) -> None:
    global _work
    _work = work


def _answer(asked: Asked) -> Answers:
    assert _work is not None
    return _work.answer(asked)
