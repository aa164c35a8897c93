"""What a sweep consists of: rows, a budget that all of them share, and the folders that they lie in.

::

    <sweep>/
        sweep.json                       the plan
        rows/<strategy>/seed-<n>/        a row: job.json, log.txt, training/, encoder/, evaluation.json, stages.json
        report/                          trainer.report
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from index.schema import InvalidValueError
from trainer.config import PRESETS, TrainConfig
from trainer.evaluate import EvaluateConfig
from trainer.frames import frames_digest
from trainer.sweep.job import Job
from trainer.sweep.lines import Line

PLAN = "sweep.json"
_FROM_NOTHING = ("scratch", "paper")  # the presets whose networks start from random weights, as all rows do


@dataclass(frozen=True)
class SweepConfig:
    """Which rows, and what each may cost."""

    strategies: tuple[Line, ...]
    base: TrainConfig  # the network and the budget of every row that is learnt
    seeds: int = 1
    jobs: int | None = None  # rows at a time; None: one, or one a GPU
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    source: Path | None = None  # frames to learn from, of which no label is used; None: those that are measured on

    def __post_init__(self) -> None:
        if not self.strategies:
            raise InvalidValueError("strategies", [], "at least one")
        for name in ("seeds", "jobs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidValueError(name, value, "at least 1")


def budget(preset: str, minutes: float | None = None, epochs: int | None = None, **overrides: Any) -> TrainConfig:
    """A preset with another length, its warm-up the same share of it, and fields that are overridden."""
    if preset not in _FROM_NOTHING:
        raise InvalidValueError("preset", preset, f"one of {', '.join(_FROM_NOTHING)}")
    if minutes is not None and epochs is not None:
        raise InvalidValueError("epochs", epochs, "left out where minutes are given")
    # What a row is worth is told by its evaluation, not on the way.
    base = replace(PRESETS[preset], processes=1, monitor_every=sys.maxsize, **overrides)
    if epochs is not None:
        warmup = base.warmup_epochs / base.epochs * epochs
        return replace(base, epochs=epochs, warmup_epochs=warmup, max_minutes=None)
    return base if minutes is None else replace(base, max_minutes=minutes)


def jobs_of(frames: Path, out: Path, config: SweepConfig) -> Iterator[tuple[Path, Job]]:
    """Every row's folder and what is to be done there; all rows with the first seed come first."""
    data = frames_digest(frames)
    source_data = frames_digest(config.source) if config.source else None
    for seed in range(config.seeds):
        for strategy in config.strategies:
            if seed and not strategy.seeded:
                continue
            folder = out / "rows" / strategy.name / f"seed-{seed}"
            yield (
                folder,
                Job(
                    strategy.name,
                    strategy.label,
                    strategy.kind,
                    seed,
                    frames.resolve(),
                    data,
                    strategy.config(config.base, seed),
                    config.evaluate,
                    strategy.encoder,
                    config.source and config.source.resolve(),
                    source_data,
                ),
            )
