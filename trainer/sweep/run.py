"""Runs the rows of a sweep, some at a time, each in its own process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from index.schema import InvalidValueError, NearposeError
from trainer.sweep.board import DONE, FAILED, Board, Status
from trainer.sweep.job import EVALUATION, JOB, RETRIEVAL, Job
from trainer.sweep.plan import PLAN, SweepConfig, jobs_of

LOG = "log.txt"
PROBLEM = "problem.txt"  # why a row failed, until it is run again
_POLL_S = 0.5
_TAIL = 4096  # bytes of a log that hold its last line
_PATIENCE_S = 20.0  # for a row to end after it was asked to


class RowsFailedError(NearposeError):
    """Some rows of a sweep went wrong; the others are measured. Carries ``reasons`` by row."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"{name} failed: {reason}" for name, reason in reasons.items()))


def sweep(frames: Path, out: Path, config: SweepConfig) -> dict[str, Status]:
    """Trains and evaluates every row that is not finished; rows that fail stop no other. Returns each row's state.

    An interrupted sweep goes on when it is called again; rows that failed are tried again. Raises InvalidValueError
    where ``out`` is a sweep of other frames or of another budget.
    """
    rows = {f"{job.name} {job.seed}": (folder, job) for folder, job in jobs_of(frames, out, config)}
    _claim(out, frames, config)
    status = {name: Status() for name in rows}
    waiting = []
    for name, (folder, job) in rows.items():
        if finished(folder, job):
            status[name].end(DONE, "kept")
        else:
            _forget_stale(folder, job)
            waiting.append(name)
    slots = config.jobs or max(1, torch.cuda.device_count())
    with Board(status) as board, _Processes(slots) as processes:
        while waiting or processes.running:
            while waiting and processes.free():
                name = waiting.pop(0)
                processes.start(name, *rows[name])
                status[name].begin()
            for name, code in processes.ended():
                _conclude(status[name], rows[name][0], code)
            for name in processes.running:
                status[name].now = last_line(rows[name][0] / LOG)
            board.update()
            time.sleep(_POLL_S)
    return status


def failed(status: Mapping[str, Status]) -> dict[str, str]:
    """The rows that went wrong, and why."""
    return {name: row.now for name, row in status.items() if row.state == FAILED}


def finished(folder: Path, job: Job) -> bool:
    """Whether the row was evaluated as ``job`` says."""
    result, asked = folder / EVALUATION, folder / JOB
    if not (result.exists() and asked.exists()) or (folder / PROBLEM).exists():
        return False
    return Job.read(folder) == job and result.stat().st_mtime_ns >= asked.stat().st_mtime_ns


def _forget_stale(folder: Path, job: Job) -> None:
    """Takes away what was measured as another job said: a report would show it beside what this one says."""
    if (folder / JOB).exists() and Job.read(folder) != job:
        for result in (EVALUATION, RETRIEVAL):
            (folder / result).unlink(missing_ok=True)


def last_line(log: Path) -> str:
    """The last line with something on it; progress bars write many over each other."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]", text)]
    return next((line for line in reversed(lines) if line), "")


def _conclude(status: Status, folder: Path, code: int) -> None:
    if code == 0:
        status.end(DONE, "")
        return
    reason = last_line(folder / LOG) or f"ended with status {code}"
    if code < 0:
        reason = f"killed by signal {-code}; last: {reason}"
    (folder / PROBLEM).write_text(reason + "\n")
    status.end(FAILED, reason)


def _claim(out: Path, frames: Path, config: SweepConfig) -> None:
    """Makes ``out`` the folder of this sweep, unless it is another's; rows may come to it later."""
    plan = {"frames": str(frames.resolve()), "budget": asdict(config.base)}
    if config.source:
        plan["source"] = str(config.source.resolve())
    file = out / PLAN
    if file.exists() and (there := json.loads(file.read_text())) != plan:
        differing = [name for name in plan | there if plan.get(name) != there.get(name)]
        raise InvalidValueError("sweep", differing, f"those of the sweep in {out}, or go to another folder")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plan, indent=2) + "\n")


class _Processes:
    """At most ``slots`` rows at a time; each has a GPU to itself where there are as many."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.running: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends those that still run; their training goes on from its last epoch another time."""
        for _slot, process in self.running.values():
            process.terminate()
        for _slot, process in self.running.values():
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def free(self) -> bool:
        """Whether another row can start."""
        return len(self.running) < self._slots

    def start(self, name: str, folder: Path, job: Job) -> None:
        """Starts the row in ``folder``."""
        if not (folder / JOB).exists() or Job.read(folder) != job:
            job.write(folder)
        (folder / PROBLEM).unlink(missing_ok=True)
        slot = min(set(range(self._slots)) - {slot for slot, _ in self.running.values()})
        command = [sys.executable, "-m", "trainer.sweep.job", str(folder), str(os.getpid())]
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=_environment(slot)
            )
        self.running[name] = (slot, process)

    def ended(self) -> list[tuple[str, int]]:
        """Names and exit statuses of rows that have ended since the last call."""
        codes = [(name, process.poll()) for name, (_, process) in self.running.items()]
        over = [(name, code) for name, code in codes if code is not None]
        for name, _ in over:
            del self.running[name]
        return over


def _environment(slot: int) -> Mapping[str, str]:
    gpus = torch.cuda.device_count()
    return {**os.environ, "CUDA_VISIBLE_DEVICES": str(slot % gpus)} if gpus else os.environ
