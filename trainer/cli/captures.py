"""Commands that make captures and read them: import, fetch, check, ingest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from index.schema import InvalidValueError
from trainer.cli.commands import Commands, given
from trainer.cli.engine import add_engine, ray_of


def add_import(commands: Commands) -> None:
    """What phones and other tools wrote -> captures."""
    text = "what a phone app, another tool or a plain camera wrote -> a capture with a capture.json"
    sub = commands.add("import", _import, text, "source", "captures")
    sub.add_argument("--format", help="stray-scanner, record3d, ar, transforms, bop, middlebury, colmap or photos")
    sub.add_argument("--name", help="of the capture (default: the source's)")
    sub.add_argument("--force", action="store_true", help="replace a capture of that name that nobody has annotated")
    sub.add_argument("--split", choices=("train", "valid", "test"), help="default: train")
    sub.add_argument("--fps", type=float, help="pictures a second to keep of a video (default: 5)")
    sub.add_argument("--up", help="the world's axis that points up (y, -z), where the source does not say it")
    sub.add_argument("--metric", action="store_true", help="the source's unit is the metre, though it does not say so")
    sub.add_argument("--focal", type=float, metavar="PIXELS", help="of photos or a video without poses")
    sub.add_argument("--camera-height", type=float, metavar="METRES", help="the cameras' usual height above the ground")
    sub.add_argument("--camera-distance", nargs=3, metavar=("FRAME", "FRAME", "METRES"), help="between two cameras")
    names = ("FRAME", "X0", "Y0", "X1", "Y1", "METRES")
    sub.add_argument("--scale-points", nargs=6, metavar=names, help="two pixels of the ground, and their distance")
    sub.add_argument("--max-side", type=int, metavar="PIXELS", help="of the pictures written (default: 1920)")
    sub.add_argument("--threads", type=int, help="of structure from motion (default: one a core)")


def _import(options: argparse.Namespace) -> None:
    from trainer.check import check_capture
    from trainer.import_capture import import_capture
    from trainer.importers import ImportConfig

    chosen = given(options, "format", "name", "split", "fps", "up", "focal", "camera_height", "max_side", "threads")
    chosen |= {"force": options.force, "metric": options.metric}
    chosen |= {
        name: _numbers(name, getattr(options, name), whole)
        for name, whole in (("camera_distance", 2), ("scale_points", 1))
        if getattr(options, name) is not None
    }
    imported = import_capture(options.source, options.captures, ImportConfig(**chosen))
    findings = check_capture(imported.folder)
    print(imported.text())
    print(_told(imported.folder, findings))


def _numbers(name: str, values: Sequence[str], whole: int) -> tuple[float, ...]:
    """An option's values, of which the first ``whole`` are frames' numbers."""
    try:
        return (*(int(value) for value in values[:whole]), *(float(value) for value in values[whole:]))
    except ValueError:
        raise InvalidValueError(f"import.{name}", list(values), "numbers, those of frames whole") from None


def add_fetch(commands: Commands) -> None:
    """A public dataset -> captures."""
    text = "a public dataset's videos -> captures, of which only the frames that ingest takes are kept"
    sub = commands.add("fetch", _fetch, text)
    sub.add_argument("dataset", choices=("objectron",))
    sub.add_argument("captures", type=Path)
    sub.add_argument("--categories", nargs="+", help="bike, book, ... (default: all nine)")
    sub.add_argument("--limit", type=int, help="videos (or shards) a category, train and test in proportion")
    sub.add_argument("--jobs", type=int, help="files at a time (default: 4)")
    sub.add_argument("--disk-gb", type=float, help="that the captures may fill (default: 0.9 of what is free)")
    sub.add_argument("--format", help="videos, or tfrecord: the shards of sequences (default: videos)")
    sub.add_argument("--url", help="of a mirror of the bucket")
    sub.add_argument("--plan", action="store_true", help="print the plan, and do no more")


def _fetch(options: argparse.Namespace) -> None:
    from trainer.fetch import FetchConfig, fetch, plan_of, summary

    chosen = given(options, "limit", "jobs", "disk_gb", "format", "url")
    chosen |= {"categories": tuple(options.categories)} if options.categories else {}
    if options.plan:
        print(plan_of(options.captures, FetchConfig(**chosen)).text())
    else:
        print(summary(fetch(options.captures, FetchConfig(**chosen))))


def add_check(commands: Commands) -> None:
    """Captures -> what is wrong with them."""
    text = "find what is wrong with captures, and draw a contact sheet of each"
    commands.add("check", _check, text, "captures")


def _check(options: argparse.Namespace) -> None:
    from trainer.check import check_captures

    for folder, findings in check_captures(options.captures).items():
        print(_told(folder, findings))


def _told(folder: Path, findings: Sequence[Any]) -> str:
    """Findings as lines to print."""
    from index.findings import SHEET

    lines = [f"  {finding}" for finding in findings] or ["  nothing found"]
    return "\n".join([f"checked {folder}, drawn in {folder / SHEET}", *lines])


def add_ingest(commands: Commands) -> None:
    """Captures -> frames."""
    sub = commands.add("ingest", _ingest, "captures -> frames")
    sub.add_argument("captures", help="a folder; with --engine ray also a URL that fsspec reads")
    sub.add_argument("frames", type=Path)
    add_engine(sub)
    sub.add_argument("--format", help="objectron, tfrecord, ucf101 or folder (default: recognised)")
    sub.add_argument("--fps", type=float, help="frames a second to keep")
    sub.add_argument("--workers", type=int)


def _ingest(options: argparse.Namespace) -> None:
    from trainer.ingest import IngestConfig, ingest

    config, reading = IngestConfig(**given(options, "fps", "workers", "format")), None
    if (ray_config := ray_of(options)) is not None:
        from trainer.cluster import ray_reading

        reading = partial(ray_reading, ray_config)
    ingest(options.captures, options.frames, config, reading)
