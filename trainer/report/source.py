"""What a report is made of: the evaluations of a sweep's rows, or of one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from index.encoder import MANIFEST
from index.schema import InvalidValueError
from trainer.evaluate.schema import Data, Evaluation, Row
from trainer.metrics import Estimate
from trainer.sweep.job import EVALUATION, JOB, RETRIEVAL, Job
from trainer.sweep.lines import position
from trainer.sweep.plan import PLAN
from trainer.sweep.run import PROBLEM


@dataclass(frozen=True)
class Entry:
    """A line of the tables: what was measured of one encoder, or of one a seed.

    ``retrievals`` are ``trainer.retrieve``'s results; ``encoder`` the first seed's artefact; ``problem`` says why there
    is nothing.
    """

    name: str
    label: str
    kind: str
    rows: tuple[Row, ...] = ()
    retrievals: tuple[Mapping[str, Any], ...] = ()
    encoder: Path | None = None
    problem: str = ""

    def figure(self, of: Callable[[Row], Estimate | None]) -> Estimate | None:
        """A figure, the mean of the seeds'; its interval is the mean of theirs. None where no seed has it."""
        found = self.figures(of)
        return mean_estimate(found) if found else None

    def figures(self, of: Callable[[Row], Estimate | None]) -> list[Estimate]:
        """A figure of each seed that has it."""
        return [estimate for row in self.rows if (estimate := of(row)) is not None]

    def recall(self, how: str, k: str) -> Estimate | None:
        """Of ``voted`` or ``pooled`` retrieval, at ``R@<k>``."""
        found = [Estimate(**result["recall"][how][k]) for result in self.retrievals if k in result["recall"][how]]
        return mean_estimate(found) if found else None


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of each part."""
    parts = [(e.value, e.low, e.high) for e in estimates]
    value, low, high = (sum(column) / len(parts) for column in zip(*parts, strict=True))
    return Estimate(value, low, high)


@dataclass(frozen=True)
class Source:
    """All that was measured. ``budget``: the training config that learnt rows share; None for a run.

    ``learnt_from``: frames that rows learn from instead of ``frames``; None: there are none.
    """

    path: Path
    frames: Path
    data: Data
    entries: tuple[Entry, ...]
    bounds: tuple[Row, ...]
    budget: Mapping[str, Any] | None = None
    learnt_from: Path | None = None

    def entry(self, name: str) -> Entry | None:
        """The line of that name, where there is one with figures."""
        found = [entry for entry in self.entries if entry.name == name and entry.rows]
        return found[0] if found else None

    @property
    def categories(self) -> list[str]:
        """Of the queries, sorted."""
        return sorted(self.data.queries_by_category)

    @property
    def seeds(self) -> int:
        """The most of any line."""
        return max((len(entry.rows) for entry in self.entries), default=0)


def read_source(path: Path) -> Source:
    """From a sweep's folder, a run's folder or its ``evaluation.json``.

    Raises InvalidValueError where ``path`` is none of them or nothing is evaluated yet.
    """
    if (path / PLAN).is_file():
        return _sweep(path)
    evaluation = path / EVALUATION if path.is_dir() else path
    if not evaluation.is_file():
        raise InvalidValueError("evaluation", str(path), f"a sweep ({PLAN}), or a run or its {EVALUATION}")
    return _run(evaluation)


def _run(path: Path) -> Source:
    """Beside an evaluation its run's frames and encoder are expected."""
    evaluation, run = Evaluation.read(path), path.parent
    entries = []
    for row in evaluation.rows:
        encoder = run / "encoder" if row.kind == "encoder" and (run / "encoder" / MANIFEST).is_file() else None
        name = {"pixels": "raw", "random": "random"}.get(row.kind, row.name)
        entries.append(Entry(name, row.name.capitalize(), row.kind, (row,), encoder=encoder))
    bounds = tuple(row for row in evaluation.rows if row.kind == "bound")
    shown = tuple(entry for entry in entries if entry.kind != "bound")
    return Source(path, run / "frames", evaluation.data, shown, bounds)


def _sweep(path: Path) -> Source:
    plan = json.loads((path / PLAN).read_text())
    entries: dict[str, Entry] = {}
    bounds: tuple[Row, ...] = ()
    data: Data | None = None
    for folder in _row_folders(path):
        job, evaluation = Job.read(folder), _evaluated(folder)
        data = evaluation.data if evaluation else data
        if job.kind == "bounds":
            bounds = evaluation.rows if evaluation else ()
        else:
            entries[job.name] = _with_seed(entries.get(job.name), job, folder)
    if data is None:
        raise InvalidValueError("sweep", str(path), "one of which some row is evaluated")
    frames, source = Path(plan["frames"]), plan.get("source")
    shown = tuple(entries.values())
    return Source(path, frames, data, shown, bounds, plan["budget"], Path(source) if source else None)


def _row_folders(path: Path) -> list[Path]:
    """Those of the rows, as the tables have them, first seeds first."""
    found = [job.parent for job in path.glob(f"rows/*/seed-*/{JOB}")]
    return sorted(found, key=lambda folder: (position(folder.parent.name), int(folder.name.removeprefix("seed-"))))


def _evaluated(folder: Path) -> Evaluation | None:
    file = folder / EVALUATION
    return Evaluation.read(file) if file.exists() and not (folder / PROBLEM).exists() else None


def _with_seed(entry: Entry | None, job: Job, folder: Path) -> Entry:
    """The line of the tables with what one more seed gave."""
    entry = entry or Entry(job.name, job.label, job.kind, encoder=_artefact(folder))
    evaluation, problem, retrieval = _evaluated(folder), folder / PROBLEM, folder / RETRIEVAL
    return replace(
        entry,
        rows=entry.rows + (evaluation.rows if evaluation else ()),
        retrievals=entry.retrievals + ((json.loads(retrieval.read_text()),) if retrieval.exists() else ()),
        problem=problem.read_text().strip() if problem.exists() else entry.problem,
    )


def _artefact(folder: Path) -> Path | None:
    return folder / "encoder" if (folder / "encoder" / MANIFEST).is_file() else None
