"""The recipe of the encoder that ships: made-up objects are drawn, an encoder learns from pairs of their views.

    python -m trainer pretrain --run runs/pretrain --recipe trainer/pretrain.toml

Hours on two cores, minutes on a GPU; a run that was stopped goes on where it was. It learns in rounds: each draws
objects of its own and trains on from the weights of the one before, so new objects keep coming. ::

    <run>/round-1/frames/       the first round's set (trainer.demo.crops)
    <run>/round-1/training/     its checkpoint and TensorBoard log (trainer.train)
    <run>/round-1/encoder/      what it learnt, as an encoder artefact (index.encoder); then round-2, and so on
    <run>/finish/frames/        further objects, which the network has not seen
    <run>/encoder/              the last round's network with a head and an identity map that are fitted to those
    <run>/release/              the part of it that ships: what lies in trainer/pretrained
    <run>/curves.csv            what was logged, a row an epoch
    <run>/curves.png            the same as a picture
"""

from __future__ import annotations

import csv
import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from loky import cpu_count

from index.encoder import Spec
from index.schema import CorruptArtifactError, InvalidValueError
from trainer.config import TrainConfig
from trainer.demo.crops import CropsConfig, draw_crops
from trainer.export import export, export_refitted
from trainer.identity import IdentityConfig
from trainer.pretrained import release
from trainer.rebuild import Stages
from trainer.train import CHECKPOINT, train
from trainer.whiten import HeadConfig

RECIPE = Path(__file__).with_name("pretrain.toml")
Config = TypeVar("Config", CropsConfig, TrainConfig, HeadConfig, IdentityConfig)
Log = dict[str, dict[int, float]]  # figures by name, each by epoch


@dataclass(frozen=True)
class Round:
    """What is drawn, and how it is learnt from."""

    crops: CropsConfig = field(default_factory=CropsConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class Finish:
    """Objects that the network has not learnt from: the head is fitted to them, and the identity map."""

    crops: CropsConfig = field(default_factory=CropsConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)


@dataclass(frozen=True)
class Recipe:
    """What decides a pre-training."""

    rounds: tuple[Round, ...] = (Round(),)
    head: HeadConfig = field(default_factory=HeadConfig)
    finish: Finish | None = None  # None: the head is fitted to each round's crops, and there is no identity map

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """A TOML file with the tables ``[crops]``, ``[train]`` and ``[head]``, whose keys are the configs' fields.

        Without ``[[rounds]]`` there is one round; with them, each has tables ``crops`` and ``train`` of its own for
        what it does differently; so has ``[finish]`` a table ``crops`` and one ``identity``. What the file leaves out
        has the config's default. Raises CorruptArtifactError for a file that is not TOML, InvalidValueError, naming
        table and key, for a key or a value that cannot be.
        """
        try:
            tables = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CorruptArtifactError(path, f"is no recipe ({error})") from error
        rounds = tables.pop("rounds", [{}])
        if not isinstance(rounds, list) or not rounds:
            raise InvalidValueError("recipe.rounds", rounds, "one [[rounds]] at least")
        _known("recipe", tables, ("crops", "train", "head", "finish"))
        for number, own in enumerate(rounds, 1):
            _known(f"recipe.rounds.{number}", own, ("crops", "train"))
        shared = _round(Round(), "", tables)  # checked by itself, so that a mistake is named where it was made
        parts = tuple(_round(shared, f"rounds.{number}.", own) for number, own in enumerate(rounds, 1))
        head = _config(HeadConfig(), "head", tables.get("head", {}))
        return cls(parts, head, _finish(shared.crops, tables["finish"]) if "finish" in tables else None)


def _round(defaults: Round, prefix: str, tables: Mapping[str, Any]) -> Round:
    """``defaults`` but for the values in ``tables``, which errors name with ``prefix``."""
    crops = _config(defaults.crops, f"{prefix}crops", tables.get("crops", {}))
    return Round(crops, _config(defaults.train, f"{prefix}train", tables.get("train", {})))


def _finish(crops: CropsConfig, tables: Any) -> Finish:
    """What the table ``finish`` says; ``crops`` are the recipe's."""
    _known("recipe.finish", tables, ("crops", "identity"))
    identity = _config(IdentityConfig(), "finish.identity", tables.get("identity", {}))
    return Finish(_config(crops, "finish.crops", tables.get("crops", {})), identity)


def _known(name: str, values: Any, names: Sequence[str]) -> None:
    """Raises InvalidValueError unless ``values`` is a table with keys out of ``names``."""
    if not isinstance(values, Mapping):
        raise InvalidValueError(name, values, "a table")
    if unknown := sorted(set(values) - set(names)):
        raise InvalidValueError(name, unknown, f"keys out of {', '.join(names)}")


def _config(defaults: Config, table: str, values: Any) -> Config:
    """``defaults`` but for the table's ``values``."""
    _known(f"recipe.{table}", values, [entry.name for entry in dataclasses.fields(defaults)])
    try:
        return dataclasses.replace(defaults, **values)
    except (TypeError, AttributeError) as error:  # a text where a number should be
        raise InvalidValueError(f"recipe.{table}", values, f"values of the right types ({error})") from error


def pretrain(run: Path, recipe: Recipe) -> Path:
    """Runs every stage that is not up to date, and returns the encoder."""
    stages, folders = Stages(run), [run / f"round-{number}" for number in range(1, len(recipe.rounds) + 1)]
    head = HeadConfig(layers={}) if recipe.finish else recipe.head
    for number, planned in enumerate(recipe.rounds):
        _follow(stages, folders[number], planned, head, folders[number - 1] if number else None)
        write_curves([folder / "training" for folder in folders[: number + 1]], run)
    encoder = folders[-1] / "encoder"
    if recipe.finish:
        encoder = _finished(stages, run, recipe.finish, recipe.head, encoder)
    release(encoder, run / "release")
    return encoder


def _finished(stages: Stages, run: Path, planned: Finish, head: HeadConfig, learnt: Path) -> Path:
    """The network of the encoder ``learnt``, with a head and an identity map."""
    frames, encoder, crops = run / "finish" / "frames", run / "encoder", dataclasses.asdict(planned.crops)
    stages.run("finish draw", crops, frames / "frames.parquet", lambda: draw_crops(frames, planned.crops))
    fits = {"head": dataclasses.asdict(head), "identity": dataclasses.asdict(planned.identity)}
    fit = lambda: export_refitted(learnt, encoder, frames, head, planned.identity)  # noqa: E731
    stages.run("finish fit", {"crops": crops, **fits, "encoder": Spec.read(learnt).digest}, encoder, fit)
    return encoder


def _follow(stages: Stages, folder: Path, planned: Round, head: HeadConfig, before: Path | None) -> None:
    """One round, from the weights of the one in the folder ``before`` or from noise."""
    frames, training, encoder = (folder / name for name in ("frames", "training", "encoder"))
    draw, learn, write = (f"{folder.name} {name}" for name in ("draw", "train", "export"))
    crops = dataclasses.asdict(planned.crops)
    stages.run(draw, crops, frames / "frames.parquet", lambda: draw_crops(frames, planned.crops))
    config = for_this_machine(planned.train)
    init = before and before / "encoder"
    wanted = {"crops": crops, "train": dataclasses.asdict(config)}
    if before:  # by what it was trained, not by its encoder: another head leaves the weights as they are
        wanted["before"] = stages.done[f"{before.name} train"]["inputs"]
    stages.run(learn, wanted, training / CHECKPOINT, lambda: train(frames, training, config, init))
    trained = {"train": stages.done[learn]["inputs"], "head": dataclasses.asdict(head)}
    stages.run(write, trained, encoder, lambda: export(training, encoder, frames, head))


def for_this_machine(config: TrainConfig) -> TrainConfig:
    """On a GPU, views are prepared in worker processes, one for each core; on a CPU, in the training ones."""
    import torch

    if not torch.cuda.is_available():
        return config
    return dataclasses.replace(config, processes=1, workers=cpu_count())


def write_curves(trainings: Sequence[Path], out: Path) -> None:
    """``curves.csv`` and ``curves.png`` in ``out`` of the logs that ``train`` kept, one after the other."""
    columns: Log = {name: {} for name in _CURVES}
    first = 0
    for training in trainings:
        logged = _logged(training / "tensorboard")
        for name, values in logged.items():
            columns[name] |= {first + epoch: value for epoch, value in values.items()}
        first = 1 + max(epoch for values in columns.values() for epoch in values)
    columns = {name: values for name, values in columns.items() if values}
    with (out / "curves.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["epoch", *columns])
        for epoch in range(first):
            rows.writerow([epoch, *(f"{c[epoch]:.4g}" if epoch in c else "" for c in columns.values())])
    _draw_curves(columns, out / "curves.png")


def _logged(folder: Path) -> Log:
    """What one training logged."""
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
