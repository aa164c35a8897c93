"""The capture folder of a recording, ``capture.json`` and ``points.ply``: written beside its place, then renamed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from index.capture import ANNOTATIONS, CAPTURE_FILE, parse_capture
from index.points import POINTS, ply
from index.schema import Camera, InvalidValueError
from trainer.captures.shot import CaptureError
from trainer.importers.recording import RecordedObject, Recording


@contextmanager
def unfinished(folder: Path, force: bool) -> Iterator[Path]:
    """An empty folder beside ``folder`` that becomes it at the end, or is removed where that is not reached.

    Raises CaptureError when there is a ``folder`` and ``force`` is not given, or it is annotated: boxes that a person
    drew are nowhere else, and fit no other world. It stays until the new one is whole.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        old.rename(folder)  # an earlier run died between its two renames
    if folder.exists() and not force:
        raise CaptureError(folder, "there is a capture of this name: give --force to replace it, or --name")
    _check_not_annotated(folder)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        _check_not_annotated(folder)  # still: an import may take minutes
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_not_annotated(folder: Path) -> None:
    if any((folder / ANNOTATIONS).glob("*.json")) or _has_objects(folder / CAPTURE_FILE):
        raise CaptureError(
            folder, "it has objects, or earlier annotations, which --force never discards: remove it, or give --name"
        )


def _has_objects(file: Path) -> bool:
    """Not where it cannot be read: that is what it is imported again for."""
    try:
        return bool(parse_capture(file).objects)
    except (CaptureError, InvalidValueError):
        return False


def write_capture(recording: Recording, out: Path, split: str) -> None:
    """``capture.json`` and ``points.ply`` beside the recording's pictures, which lie in ``out`` already."""
    (out / CAPTURE_FILE).write_text(json.dumps(document(recording, split), indent=1) + "\n")
    if len(recording.points):
        (out / POINTS).write_bytes(ply(recording.points))


def document(recording: Recording, split: str) -> dict[str, Any]:
    """The contents of ``capture.json``."""
    cameras = [_camera(frame.camera) for frame in recording.frames]
    shared = cameras[0]
    frames = [
        {"image": frame.file.name, "time_s": frame.time_s, "world_from_camera": frame.world_from_camera.tolist()}
        | ({} if camera == shared else {"camera": camera})
        for frame, camera in zip(recording.frames, cameras, strict=True)
    ]
    ground = recording.ground
    plane = {"normal": ground.normal.tolist(), "point": ground.point.tolist()} if ground else None
    return {
        "source": recording.source,
        "scale": "metric" if recording.metric else "unknown",
        "split": split,
        "axes": "opencv",
        "camera": shared,
        **({"plane": plane, "plane_from": ground.found_by} if ground else {}),
        "objects": [_object(item) for item in recording.objects],
        "frames": frames,
    }


def _camera(camera: Camera) -> dict[str, float]:
    return {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")}


def _object(item: RecordedObject) -> dict[str, Any]:
    box = {"center": item.center.tolist(), "size": item.size.tolist(), "rotation": item.rotation.tolist()}
    return {"id": item.id, "category": item.category, "box": box}
