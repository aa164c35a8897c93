"""All stages in a row: captures in, a new index version out. What the trainer container runs.

    captures -> ingest [-> train] -> export -> build -> evaluate

Without a training config, the encoder is the one that ships, as it is.

A stage whose inputs have not changed since it last finished is skipped, so a rebuild after one new capture ingests that
capture and builds the index again. The encoder is trained once and then kept: new kinds of objects need no training.
Train again by asking for it, or by asking for another training config.
"""

from __future__ import annotations

import hashlib
import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from index.encoder import Spec, file_digest
from index.schema import CorruptArtifactError
from index.stores import Location, is_milvus, store_at
from trainer.build import BuildConfig, build
from trainer.config import TrainConfig, read_config
from trainer.evaluate import EvaluateConfig, evaluate
from trainer.export import export, export_pretrained
from trainer.frames import Frames, frames_digest
from trainer.identity import IdentityConfig
from trainer.ingest import IngestConfig, ingest
from trainer.listing import listing_digest
from trainer.pretrained import PRETRAINED
from trainer.train import train
from trainer.whiten import HeadConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RebuildConfig:
    """One config a stage."""

    ingest: IngestConfig = field(default_factory=IngestConfig)
    train: TrainConfig | None = None  # None: the encoder that ships, without training
    head: HeadConfig = field(default_factory=HeadConfig)
    identity: IdentityConfig | None = field(default_factory=IdentityConfig)  # None: no identity map
    build: BuildConfig = field(default_factory=BuildConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    init: Path | None = PRETRAINED  # the encoder to continue from; None: random weights
    index: Location | None = None  # where the index is; None: ``<run>/index``
    retrain: bool = False  # train although there is an encoder of this config


class Stages:
    """Runs stages under one run folder, skips those that are up to date, and keeps their times.

    ``<run>/stages.json`` maps each stage to the digest of the inputs that it finished with, its seconds and the peak
    memory of its processes; or, while it runs and where it was interrupted, to the digest that it has begun with alone:
    what lies there is then neither what it was before nor what it is to be.
    """

    def __init__(self, run: Path) -> None:
        self._file = run / "stages.json"
        run.mkdir(parents=True, exist_ok=True)
        told: dict[str, dict[str, Any]] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.done = {name: stage for name, stage in told.items() if "inputs" in stage}
        self._begun = {name: stage["begun"] for name, stage in told.items() if "begun" in stage}

    def run(self, name: str, inputs: Mapping[str, Any], output: Path | bool, action: Callable[[], object]) -> bool:
        """Runs ``action`` unless ``output`` is there, made from the same ``inputs``; says whether it ran."""
        digest = _digest(inputs)
        exists = output if isinstance(output, bool) else output.exists()
        if exists and self.done.get(name, {}).get("inputs") == digest:
            logger.info("%s: up to date", name)
            return False
        logger.info("%s: running", name)
        start = time.monotonic()
        self.done.pop(name, None)
        self._begun[name] = digest
        self._write()
        action()
        del self._begun[name]
        self.done[name] = {
            "inputs": digest,
            "seconds": round(time.monotonic() - start, 1),
            "peak_mib": _peak_memory_mib(),
        }
        self._write()
        return True

    def outdated(self, name: str, inputs: Mapping[str, Any]) -> bool:
        """Whether the stage has finished, or was begun, but with other ``inputs``."""
        finished = self.done.get(name, {}).get("inputs")
        return self._begun.get(name, finished) not in (None, _digest(inputs))

    def _write(self) -> None:
        draft = self._file.with_suffix(".draft")
        told = self.done | {name: {"begun": digest} for name, digest in self._begun.items()}
        draft.write_text(json.dumps(told, indent=2) + "\n")
        draft.replace(self._file)

    def summary(self) -> str:
        """The stages' times and peak memory, one a line."""
        lines = [f"{name:10} {s['seconds']:7.1f} s  peak {s['peak_mib']:6.0f} MiB" for name, s in self.done.items()]
        return "\n".join(lines)


def rebuild(captures: Path, run: Path, config: RebuildConfig) -> Location:
    """Runs every stage that is not up to date.

    Args:
        captures: a folder of captures, in any format that ``trainer.captures`` reads.
        run: the run folder; gets ``frames/``, ``training/``, ``encoder/``, ``index/``, ``stages.json`` and, where the
            captures have a test split, ``evaluation.json``.

    Returns:
        Where the index is.
    """
    stages = Stages(run)
    frames, encoder, index = run / "frames", run / "encoder", config.index or run / "index"
    evaluation = run / "evaluation.json"
    # What of a changed folder is already there, ingest itself knows.
    found = {"captures": listing_digest(captures), "config": config.ingest.outcome()}
    stages.run("ingest", found, frames / "frames.parquet", lambda: ingest(captures, frames, config.ingest))
    data = frames_digest(frames)
    if config.train is None:
        shipped = {"pretrained": Spec.read(PRETRAINED).digest}
        stages.run("export", shipped, encoder, lambda: export_pretrained(encoder, PRETRAINED))
    else:
        _train_and_export(stages, run, config, config.train)
    indexed = {
        "frames": data,
        "encoder": file_digest(encoder / "encoder.json"),
        "config": asdict(config.build),
        **({} if config.index is None else {"index": config.index}),
    }
    stages.run("build", indexed, _is_built(index), lambda: build(frames, encoder, index, config.build))
    if not (Frames.open(frames).split == "test").any():
        return index
    if is_milvus(index):
        logger.warning("evaluate: not done, it measures an index in a folder")
    else:
        measured = {"index": store_at(index).current(), "frames": data, "config": asdict(config.evaluate)}
        action = lambda: evaluate(frames, encoder, Path(index), evaluation, config.evaluate)  # noqa: E731
        stages.run("evaluate", measured, evaluation, action)
    return index


def _is_built(index: Location) -> bool:
    try:
        store_at(index).current()
    except CorruptArtifactError:
        return False
    return True


def _train_and_export(stages: Stages, run: Path, config: RebuildConfig, wanted: TrainConfig) -> None:
    """The encoder of the run's own captures. They are learnt from once: new ones need no training."""
    frames, training, encoder = (run / name for name in ("frames", "training", "encoder"))
    start = Spec.read(config.init).digest if config.init else None
    inputs = {"config": asdict(wanted), "init": start}
    again = config.retrain and "train" in stages.done  # a training that was interrupted goes on instead
    if training.exists() and (again or read_config(training) != wanted or stages.outdated("train", inputs)):
        training.rename(run / f"training-until-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    stages.run("train", inputs, training, lambda: train(frames, training, wanted, config.init))
    trained = {
        "train": stages.done["train"]["inputs"],
        "when": (training / "config.json").stat().st_mtime_ns,
        "head": asdict(config.head),
        "identity": config.identity and asdict(config.identity),
    }
    write = lambda: export(training, encoder, frames, config.head, config.identity)  # noqa: E731
    stages.run("export", trained, encoder, write)


def _digest(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def _peak_memory_mib() -> float:
    """The largest resident size so far of this process or of one of its finished children, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(peak * unit / 2**20, 1)
