"""The recipe of the encoder that ships: made-up objects are drawn, an encoder learns from pairs of their views.

    python -m trainer pretrain --run runs/pretrain --recipe trainer/pretrain.toml

Hours on two cores, minutes on a GPU; a run that was stopped goes on where it was. ::

    <run>/frames/       the pre-training set (trainer.demo.crops)
    <run>/training/     checkpoint and TensorBoard log (trainer.train)
    <run>/encoder/      the encoder artefact (index.encoder)
    <run>/release/      the part of it that ships: what lies in trainer/pretrained
    <run>/curves.csv    what was logged, a row an epoch
    <run>/curves.png    the same as a picture
"""

from __future__ import annotations

import csv
import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from index.schema import CorruptArtifactError, InvalidValueError
from trainer.config import TrainConfig
from trainer.demo.crops import CropsConfig, draw_crops
from trainer.export import export
from trainer.pretrained import release
from trainer.rebuild import Stages
from trainer.train import CHECKPOINT, train
from trainer.whiten import HeadConfig

RECIPE = Path(__file__).with_name("pretrain.toml")
Config = TypeVar("Config", CropsConfig, TrainConfig, HeadConfig)


@dataclass(frozen=True)
class Recipe:
    """What decides a pre-training, a config a stage."""

    crops: CropsConfig = field(default_factory=CropsConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    head: HeadConfig = field(default_factory=HeadConfig)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """A TOML file with the tables ``[crops]``, ``[train]`` and ``[head]``, whose keys are the configs' fields.

        What the file leaves out has the config's default. Raises CorruptArtifactError for a file that is not TOML,
        InvalidValueError, naming table and key, for a key that there is not or a value that cannot be.
        """
        try:
            tables = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CorruptArtifactError(path, f"is no recipe ({error})") from error
        kinds = {"crops": CropsConfig, "train": TrainConfig, "head": HeadConfig}
        if unknown := sorted(set(tables) - set(kinds)):
            raise InvalidValueError("recipe", unknown, f"tables out of {', '.join(kinds)}")
        values: dict[str, Any] = {name: _config(kind, name, tables.get(name, {})) for name, kind in kinds.items()}
        return cls(**values)


def _config(kind: type[Config], table: str, values: Any) -> Config:
    if not isinstance(values, Mapping):
        raise InvalidValueError(f"recipe.{table}", values, "a table")
    known = [entry.name for entry in dataclasses.fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise InvalidValueError(f"recipe.{table}", unknown, f"keys out of {', '.join(known)}")
    try:
        return kind(**values)
    except (TypeError, AttributeError) as error:  # a text where a number should be
        raise InvalidValueError(f"recipe.{table}", values, f"values of the right types ({error})") from error


def pretrain(run: Path, recipe: Recipe) -> Path:
    """Runs every stage that is not up to date, and returns ``<run>/encoder``."""
    stages = Stages(run)
    frames, training, encoder = (run / name for name in ("frames", "training", "encoder"))
    crops = dataclasses.asdict(recipe.crops)
    stages.run("draw", crops, frames / "frames.parquet", lambda: draw_crops(frames, recipe.crops))
    config = for_this_machine(recipe.train)
    wanted = {"crops": crops, "train": dataclasses.asdict(config)}
    stages.run("train", wanted, training / CHECKPOINT, lambda: train(frames, training, config))
    trained = {"train": stages.done["train"]["inputs"], "head": dataclasses.asdict(recipe.head)}
    stages.run("export", trained, encoder, lambda: export(training, encoder, frames, recipe.head))
    release(encoder, run / "release")
    write_curves(training, run)
    return encoder


def for_this_machine(config: TrainConfig) -> TrainConfig:
    """On a GPU, views are prepared in worker processes, one for each core; on a CPU, in the training ones."""
    import torch

    if not torch.cuda.is_available():
        return config
    return dataclasses.replace(config, processes=1, workers=os.cpu_count() or 1)


def write_curves(training: Path, out: Path) -> None:
    """``curves.csv`` and ``curves.png`` in ``out`` of the log that ``train`` keeps in ``training``."""
    columns = _logged(training / "tensorboard")
    with (out / "curves.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["epoch", *columns])
        for epoch in sorted(set().union(*columns.values())):
            rows.writerow([epoch, *(f"{c[epoch]:.4g}" if epoch in c else "" for c in columns.values())])
    _draw_curves(columns, out / "curves.png")


def _logged(folder: Path) -> dict[str, dict[int, float]]:
    """The log's figures by name, each by epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    log.Reload()
    epoch_of = {event.step: int(event.value) for event in log.Scalars("epoch")}
    names = [name for name in _CURVES if name in log.Tags()["scalars"]]
    return {name: {epoch_of[e.step]: e.value for e in log.Scalars(name) if e.step in epoch_of} for name in names}


_CURVES = {
    "loss_epoch": "loss",
    "spread": "spread of the projections (1: even)",
    "rank": "effective rank of the projections",
    "category_accuracy": "k-NN category accuracy, held-out objects",
}


def _draw_curves(columns: Mapping[str, Mapping[int, float]], out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(columns), 3), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns.items(), strict=True):
        axes.plot(list(values), list(values.values()))
        axes.set(title=_CURVES[name], xlabel="epoch")
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=100)
