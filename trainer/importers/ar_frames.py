"""``frames.jsonl``: what a few lines of an app's own ARKit or ARCore code can write beside the pictures.

One JSON object a line. A frame: ``image``, ``timestamp`` (seconds), ``transform`` (``ARCamera.transform`` or ARCore's
``Pose.toMatrix``: 16 numbers, column by column, metres, y up), ``intrinsics`` (fx, fy, cx, cy of the picture), and,
from ARKit, ``tracking`` (only ``normal`` counts). A plane: ``plane`` with its anchor's ``transform``. Points:
``points``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from index.schema import Array, InvalidValueError, direction
from trainer.captures.shot import CaptureError
from trainer.captures.video import Sampler
from trainer.importers.files import inside, picture_size, read_text
from trainer.importers.intrinsics import pinhole_from_centre
from trainer.importers.poses import OPENGL_FROM_OPENCV, finite, number, pose_from_matrix
from trainer.importers.recording import Ground, RecordedFrame, Recording

_FILE = "frames.jsonl"
_UP = np.array([0.0, 1, 0])


def recognises(source: Path) -> bool:
    return (source / _FILE).is_file()


def read(source: Path, fps: float) -> Recording:
    """The recording in the folder ``source``, about ``fps`` pictures a second of it."""
    file = source / _FILE
    frames: list[RecordedFrame] = []
    untracked, grounds, points = 0, [], [np.empty((0, 3))]
    sampler = Sampler(fps)
    for field, entry in _entries(file):
        if "plane" in entry:
            grounds.append(_ground(entry["plane"], f"{field}: plane"))
        elif "points" in entry:
            points.append(finite(f"{field}: points", entry["points"], -1, 3))
        elif entry.get("tracking", "normal") != "normal":
            untracked += 1
        else:
            frame = _frame(source, entry, field)
            if frames and frame.time_s <= frames[-1].time_s:
                raise InvalidValueError(f"{field}: timestamp", frame.time_s, f"more than {frames[-1].time_s}")
            frames += [frame] if sampler.keeps(frame.time_s) else []
    if not frames:
        raise CaptureError(file, "no frame whose tracking is normal")
    notes = (f"{untracked} frames skipped: the phone had lost its position",) if untracked else ()
    ground = _nearest(grounds, frames)
    return Recording("AR session", _from_zero(frames), _UP, ground=ground, points=np.concatenate(points), notes=notes)


def _entries(file: Path) -> list[tuple[str, dict[str, Any]]]:
    entries = []
    for line, text in enumerate(read_text(file).splitlines(), start=1):
        if text.strip():
            try:
                entry = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise CaptureError(file, f"line {line} is not JSON ({error})") from None
            if not isinstance(entry, dict):
                raise InvalidValueError(f"{file}, line {line}", entry, "a JSON object")
            entries.append((f"{file}, line {line}", entry))
    return entries


def _matrix(field: str, value: Any) -> Array:
    """(4, 4) from 16 numbers, column by column."""
    columns = finite(field, value, 16).reshape(4, 4)
    if np.abs(columns[3, :3]).max() == 0 and np.abs(columns[:3, 3]).max() > 0:
        raise InvalidValueError(field, value, "column by column; this one looks written row by row")
    return pose_from_matrix(field, columns.T)


def _frame(source: Path, entry: dict[str, Any], field: str) -> RecordedFrame:
    if not isinstance(entry.get("image"), str):
        raise InvalidValueError(f"{field}: image", entry.get("image"), "a picture's path")
    picture = inside(source, entry["image"], f"{field}: image")
    if not picture.is_file():
        raise CaptureError(picture, f"missing; {field} names it")
    values = finite(f"{field}: intrinsics", entry.get("intrinsics"), 4)
    camera = pinhole_from_centre(f"{field}: intrinsics", values, picture_size(picture))
    pose = _matrix(f"{field}: transform", entry.get("transform")) @ OPENGL_FROM_OPENCV
    return RecordedFrame(picture, number(f"{field}: timestamp", entry.get("timestamp")), camera, pose)


def _from_zero(frames: list[RecordedFrame]) -> tuple[RecordedFrame, ...]:
    start = frames[0].time_s
    return tuple(replace(frame, time_s=frame.time_s - start) for frame in frames)


def _ground(value: Any, field: str) -> Ground:
    anchor = _matrix(f"{field}.transform", value.get("transform") if isinstance(value, dict) else value)
    return Ground(direction(field, anchor[:3, 1])[0], anchor[:3, 3], "the phone's plane anchor")


def _nearest(grounds: list[Ground], frames: list[RecordedFrame]) -> Ground | None:
    """Of several planes, the highest horizontal one that is below what the cameras look at."""
    if not grounds:
        return None
    aim = Recording("", tuple(frames)).aim()
    level = [ground for ground in grounds if ground.normal @ _UP > 0.9 and ground.height(aim) > 0] or grounds
    return min(level, key=lambda ground: abs(float(ground.height(aim))))
