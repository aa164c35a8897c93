"""Commands that learn encoders and write them: train, export; and the options of every training."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from index.schema import InvalidValueError
from trainer.cli.commands import Commands, given

if TYPE_CHECKING:
    from trainer.config import TrainConfig

OVERRIDES = ("pairs", "augmentation", "loss", "epochs", "max_minutes", "seed")
_PRESET_HELP = (
    "pretrained: the encoder that ships, as it is; continue: from there, some minutes on these captures; scratch: some "
    "minutes on these captures alone; paper: its ResNet-50 and schedule, for a GPU (default: %(default)s)"
)


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """The options that ``training_config`` and ``start`` read."""
    parser.add_argument("--preset", default="pretrained", help=_PRESET_HELP)
    parser.add_argument("--init", type=Path, help="another exported encoder to continue from")
    parser.add_argument("--strategy", help="a row of the paper's tables: nearby-lc, distant-full, nt-xent, tcn, ...")
    for name, kind in (("pairs", str), ("augmentation", str), ("loss", str), ("epochs", int), ("max-minutes", float)):
        parser.add_argument(f"--{name}", type=kind, help="override the preset's")
    parser.add_argument("--seed", type=int, help="override the preset's")


def training_config(options: argparse.Namespace) -> TrainConfig:
    """The preset, or the strategy's change to it, with what the user overrides."""
    from trainer.config import PRESETS
    from trainer.strategies import strategy

    if options.preset not in PRESETS:
        raise InvalidValueError("preset", options.preset, f"one of {', '.join(PRESETS)} to train by")
    base = PRESETS[options.preset]
    if options.strategy is not None:
        base = strategy(options.strategy).config(base)
    return dataclasses.replace(base, **given(options, *OVERRIDES))


def start(options: argparse.Namespace) -> Path | None:
    """The encoder that a training continues from."""
    from trainer.pretrained import PRETRAINED

    if options.init is not None:
        return Path(options.init)
    return PRETRAINED if options.preset == "continue" else None


def add_train(commands: Commands) -> None:
    """Frames -> a trained encoder's checkpoint."""
    sub = commands.add("train", _train, "frames -> a trained encoder's checkpoint", "frames", "training")
    add_training_options(sub)
    sub.set_defaults(preset="continue")


def _train(options: argparse.Namespace) -> None:
    from trainer.train import train

    train(options.frames, options.training, training_config(options), start(options))


def add_export(commands: Commands) -> None:
    """A checkpoint, or another's encoder -> an encoder artefact."""
    text = "checkpoint, an encoder's weights alone or a public encoder -> encoder artefact"
    sub = commands.add("export", _export, text, "training", "encoder")
    text = "frames to fit whitening and identity map to (default: none, plain features)"
    sub.add_argument("--frames", type=Path, help=text)
    text = "of a public encoder, of which TRAINING is timm's name or torchvision:NAME: a file, or hub"
    sub.add_argument("--weights", help=text)
    sub.add_argument("--input-size", type=int, help="pixels of a public encoder's input (default: its own)")


def _export(options: argparse.Namespace) -> None:
    from index.encoder import MANIFEST
    from trainer.export import export, export_pretrained, export_public
    from trainer.identity import IdentityConfig

    if options.weights is not None:
        if options.frames:
            raise InvalidValueError("frames", options.frames, "left out: a public encoder is not fitted again")
        export_public(str(options.training), options.weights, options.encoder, options.input_size)
    elif (options.training / MANIFEST).exists():
        if options.frames:
            bound = f"left out: {options.training} is an encoder, which is not fitted again"
            raise InvalidValueError("frames", options.frames, bound)
        export_pretrained(options.encoder, options.training)
    else:
        export(options.training, options.encoder, options.frames, identity=IdentityConfig())
