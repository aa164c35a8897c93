"""Readers: what was filmed, in whatever format, becomes the same ``Shot``s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from index.schema import InvalidValueError
from trainer.captures.folder import folder_sources
from trainer.captures.objectron import objectron_sources
from trainer.captures.shot import CaptureError, Reason, Shot, Source
from trainer.captures.tfrecord import tfrecord_sources
from trainer.captures.ucf101 import ucf101_sources

__all__ = ["FORMATS", "CaptureError", "Reason", "Shot", "Source", "list_sources"]

# What shows each format, as an error says it.
FORMATS = {
    "objectron": "videos/<class>/batch-<i>/<j>/video.MOV with annotations/",
    "ucf101": "ucfTrainTestlist/ with <Class>/v_*.avi",
    "folder": "<sequence>/capture.json",
    "tfrecord": "<class>_train* or <class>_test* record files",
}


def list_sources(path: Path, format: str | None = None, fps: float = 5.0, ucf101_split: int = 1) -> list[Source]:
    """Everything there is to read below ``path``, about ``fps`` pictures per second of it.

    ``format`` is one of FORMATS; without it the captures must show one format, and one alone. Raises CaptureError,
    saying what was looked for, when there is nothing to read.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise InvalidValueError("format", format, f"one of {', '.join(FORMATS)}")
    if not path.is_dir():
        raise CaptureError(path, "not a folder")
    readers: dict[str, Callable[[], Sequence[Source]]] = {
        "objectron": lambda: objectron_sources(path, fps),
        "ucf101": lambda: ucf101_sources(path, fps, ucf101_split),
        "folder": lambda: folder_sources(path, fps),
        "tfrecord": lambda: tfrecord_sources(path, fps),
    }
    names = [format] if format else list(FORMATS)
    found = {name: sources for name in names if (sources := list(readers[name]()))}
    if not found:
        looked_for = "; ".join(f"{name}: {FORMATS[name]}" for name in names)
        raise CaptureError(path, f"no captures found. Looked for {looked_for}")
    if len(found) > 1:
        raise CaptureError(path, f"captures of several formats ({', '.join(found)}): say which to read")
    return next(iter(found.values()))
