"""Importers: what phones, apps and other tools write becomes a capture folder with a ``capture.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from index.schema import InvalidValueError
from trainer.captures.shot import CaptureError
from trainer.importers import ar_frames, bop, colmap, middlebury, record3d, sfm, stray_scanner, transforms_json
from trainer.importers.recording import Recording
from trainer.importers.settings import ImportConfig

__all__ = ["FORMATS", "ImportConfig", "Recording", "read_recording", "recognised"]


@dataclass(frozen=True)
class Format:
    """A kind of source: what shows it, as errors say it, and how it is read (source, settings, folder for work)."""

    shown_by: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, ImportConfig, Path], Recording]


# In this order: photos are in the folders of the others, too.
FORMATS = {
    "stray-scanner": Format(
        "rgb.mp4 and odometry.csv", stray_scanner.recognises, lambda s, c, _: stray_scanner.read(s, c.fps)
    ),
    "record3d": Format(
        "an .r3d archive (metadata and rgbd/)", record3d.recognises, lambda s, c, _: record3d.read(s, c.fps)
    ),
    "ar": Format("frames.jsonl", ar_frames.recognises, lambda s, c, _: ar_frames.read(s, c.fps)),
    "transforms": Format("transforms.json", transforms_json.recognises, lambda s, _c, _w: transforms_json.read(s)),
    "bop": Format("scene_camera.json and scene_gt.json", bop.recognises, lambda s, _c, _w: bop.read(s)),
    "middlebury": Format("one *_par.txt", middlebury.recognises, lambda s, _c, _w: middlebury.read(s)),
    "colmap": Format("cameras.bin or .txt, here or in sparse/0", colmap.recognises, lambda s, _c, _w: colmap.read(s)),
    "photos": Format("a video, or a folder of .jpg or .png", sfm.recognises, sfm.read),
}


def recognised(source: Path) -> str:
    """The name of the source's format. CaptureError, saying what was looked for, when it shows none."""
    for name, format in FORMATS.items():
        if format.recognises(source):
            return name
    looked_for = "; ".join(f"{name}: {format.shown_by}" for name, format in FORMATS.items())
    raise CaptureError(source, f"nothing that can be imported. Looked for {looked_for}")


def read_recording(source: Path, config: ImportConfig, work: Path) -> Recording:
    """The recording in ``source``, a folder or a video; ``work`` is an empty folder that must stay until it is used.

    Raises CaptureError or InvalidValueError naming file, field and value for whatever is wrong with it.
    """
    if config.format is not None and config.format not in FORMATS:
        raise InvalidValueError("format", config.format, f"one of {', '.join(FORMATS)}")
    name = config.format or recognised(source)
    if config.focal is not None and name != "photos":
        raise InvalidValueError("import.focal", config.focal, f"left out: {name} says it itself")
    return FORMATS[name].read(source, config, work)
