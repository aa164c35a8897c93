"""Commands that change an index: build, rebuild, add, remove."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from index.schema import InvalidValueError
from trainer.cli.commands import Commands, given
from trainer.cli.encoders import OVERRIDES, add_training_options, start, training_config
from trainer.cli.engine import add_engine, ray_of

if TYPE_CHECKING:
    from trainer.build import BuildConfig
    from trainer.rebuild import RebuildConfig

_INDEX_HELP = "a folder, or milvus:<file.db or URL>[#name]"


def _add_milvus_index(parser: argparse.ArgumentParser) -> None:
    text = "how Milvus indexes vectors: FLAT, HNSW, IVF_FLAT, DISKANN, ... (default: %(default)s, which is exact)"
    parser.add_argument("--milvus-index", default="FLAT", help=text)


def _add_search_options(parser: argparse.ArgumentParser) -> None:
    text = "of search: auto (by size), flat, ivf-sq, ivf-pq or hnsw-sq (default: auto)"
    parser.add_argument("--kind", help=text)
    parser.add_argument("--recall", type=float, help="of the nearest frames, which the kind must reach (default: 0.98)")
    parser.add_argument("--reduce", type=int, metavar="DIMENSIONS", help="of its candidates (default: at most 256)")


def _build_config(options: argparse.Namespace) -> BuildConfig:
    from trainer.build import BuildConfig

    return BuildConfig(**given(options, "kind", "recall", "reduce"))


def add_build(commands: Commands) -> None:
    """Frames and an encoder -> a new version of an index."""
    sub = commands.add("build", _build, "frames + encoder -> a new version of the index", "frames", "encoder")
    sub.add_argument("index", help=_INDEX_HELP)
    _add_milvus_index(sub)
    add_engine(sub)
    sub.add_argument("--splits", nargs="+", default=["train", "valid"])
    _add_search_options(sub)


def _build(options: argparse.Namespace) -> None:
    from trainer.build import build

    config = dataclasses.replace(
        _build_config(options), splits=tuple(options.splits), milvus_index=options.milvus_index
    )
    embed = None
    if (ray_config := ray_of(options)) is not None:
        from trainer.cluster import embed_by_ray

        embed = partial(embed_by_ray, ray_config)
    print(build(options.frames, options.encoder, options.index, config, embed))


def add_rebuild_options(parser: argparse.ArgumentParser) -> None:
    """The options that ``rebuild_config`` reads."""
    add_training_options(parser)
    _add_search_options(parser)
    parser.add_argument("--retrain", action="store_true", help="train although there is an encoder of this preset")


def rebuild_config(options: argparse.Namespace) -> RebuildConfig:
    """What to train, if anything, and how to build.

    Raises InvalidValueError for options of a training where none takes place.
    """
    from trainer.rebuild import RebuildConfig

    if options.preset == "pretrained":
        if ignored := given(options, *OVERRIDES, "init", "strategy") | ({"retrain": True} if options.retrain else {}):
            raise InvalidValueError("preset", "pretrained", f"continue or scratch, for {', '.join(ignored)} to count")
        return RebuildConfig(train=None, build=_build_config(options))
    return RebuildConfig(
        train=training_config(options), build=_build_config(options), init=start(options), retrain=options.retrain
    )


def add_rebuild(commands: Commands) -> None:
    """Captures -> an index, by every stage that is not up to date."""
    text = "every stage that is not up to date: captures -> index"
    sub = commands.add("rebuild", _rebuild, text, "captures", "run")
    add_rebuild_options(sub)
    sub.add_argument("--index", help=f"{_INDEX_HELP} (default: <run>/index)")
    _add_milvus_index(sub)


def _rebuild(options: argparse.Namespace) -> None:
    from trainer.rebuild import Stages, rebuild

    config = rebuild_config(options)
    built = dataclasses.replace(config.build, milvus_index=options.milvus_index)
    rebuild(options.captures, options.run, dataclasses.replace(config, build=built, index=options.index))
    print(Stages(options.run).summary())


def add_add(commands: Commands) -> None:
    """Captures that are new -> more frames in an index."""
    text = "add captures that are new or have changed to an index, in seconds"
    sub = commands.add("add", _add, text, "captures", "index")
    sub.add_argument("--watch", action="store_true", help="go on, adding captures as they are accepted")
    sub.add_argument("--splits", nargs="+", default=["train", "valid"], help="default: train valid")


def _add(options: argparse.Namespace) -> None:
    from trainer.build import BuildConfig
    from trainer.change import add, watch

    config = BuildConfig(splits=tuple(options.splits))
    if not options.watch:
        print(add(options.captures, options.index, config).text())
        return
    print(f"watching {options.captures}; Ctrl-C ends it", file=sys.stderr)
    for change in watch(options.captures, options.index, config):
        print(change.text(), flush=True)


def add_remove(commands: Commands) -> None:
    """The opposite of add."""
    sub = commands.add("remove", _remove, "remove an object's or a capture's frames from an index")
    sub.add_argument("name", help="of the object, or of the capture")
    sub.add_argument("index", type=Path)


def _remove(options: argparse.Namespace) -> None:
    from trainer.change import remove

    version, frames = remove(options.name, options.index)
    print(f"removed {frames} frames of {options.name}\n  version {version}")
    print("a rebuild brings them back for as long as their capture is there")
