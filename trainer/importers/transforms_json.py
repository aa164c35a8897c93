"""``transforms.json`` as nerfstudio, instant-ngp, Polycam's and others' converters write it.

``transform_matrix`` is world_from_camera with OpenGL's axes. Intrinsics (``fl_x`` or ``camera_angle_x``, ``cx``, ``w``,
distortion) are of the whole file or of a frame. By convention the world's z points up; its unit is not said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from index.schema import Camera, InvalidValueError
from trainer.captures.shot import CaptureError
from trainer.importers.files import inside, natural, picture_size, read_json
from trainer.importers.intrinsics import pinhole
from trainer.importers.lens import Distortion, distortion_of
from trainer.importers.poses import OPENGL_FROM_OPENCV, number, pose_from_matrix
from trainer.importers.recording import RecordedFrame, Recording, timed

_FILE = "transforms.json"
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")
_MOST_PIXELS = 1 << 16
_NOTE = (
    "transforms.json does not say its unit or which way is up: z is taken for up (else: --up), the unit is not known "
    "(metres: --metric)"
)


def recognises(source: Path) -> bool:
    return (source / _FILE).is_file()


def read(source: Path) -> Recording:
    """The recording in the folder ``source``; frames whose picture is missing are skipped and counted."""
    file = source / _FILE
    document = read_json(file)
    given = document.get("frames")
    if not isinstance(given, list) or not given:
        raise InvalidValueError(f"{file}: frames", given, "a list of frames")
    frames, missing = [], 0
    for k, entry in enumerate(given):
        field = f"{file}: frames[{k}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise InvalidValueError(f"{field}.file_path", entry, "a picture's path")
        picture = _picture(source, entry["file_path"], f"{field}.file_path")
        if picture is None:
            missing += 1
        else:
            frames.append(_frame(picture, document | entry, field))
    if not frames:
        raise CaptureError(file, f"none of the pictures of its {missing} frames are there")
    frames.sort(key=lambda frame: natural(str(frame.file)))
    notes = (f"{missing} of {len(given)} frames skipped: their pictures are missing",) if missing else ()
    return Recording(_FILE, timed(frames), np.array([0.0, 0, 1]), metric=False, notes=(*notes, _NOTE))


def _picture(source: Path, name: str, field: str) -> Path | None:
    path = inside(source, name, field)
    found = [path, *(path.with_name(path.name + suffix) for suffix in (".png", ".jpg"))]  # Blender's names have none
    return next((file for file in found if file.is_file()), None)


def _frame(picture: Path, values: dict[str, Any], field: str) -> RecordedFrame:
    pose = pose_from_matrix(f"{field}.transform_matrix", values.get("transform_matrix")) @ OPENGL_FROM_OPENCV
    return RecordedFrame(picture, 0.0, _camera(picture, values, field), pose, None, _distortion(values, field))


def _camera(picture: Path, values: dict[str, Any], field: str) -> Camera:
    width, height = (values.get(name) for name in "wh")
    if width is None or height is None:
        width, height = picture_size(picture)
    width, height = (int(number(f"{field}.{n}", v, 1, _MOST_PIXELS)) for n, v in (("w", width), ("h", height)))
    fx = values.get("fl_x")
    if fx is None:
        angle = number(f"{field}.fl_x or camera_angle_x", values.get("camera_angle_x"), 1e-3, np.pi - 1e-3)
        fx = width / 2 / np.tan(angle / 2)
    fx = number(f"{field}.fl_x", fx, 1, 1e6)
    fy = number(f"{field}.fl_y", values.get("fl_y", fx), 1, 1e6)
    cx, cy = (number(f"{field}.{n}", values.get(n, size / 2)) for n, size in (("cx", width), ("cy", height)))
    return pinhole(field, (fx, fy, cx, cy), (width, height))


def _distortion(values: dict[str, Any], field: str) -> Distortion:
    given = {name: number(f"{field}.{name}", values[name]) for name in _COEFFICIENTS if values.get(name) is not None}
    if values.get("is_fisheye"):
        model = "OPENCV_FISHEYE"
    elif given.get("k3"):
        model = "FULL_OPENCV"
    else:
        model = "OPENCV"
    named = values.get("camera_model")
    if named is not None and named not in ("OPENCV", "PERSPECTIVE"):
        model = named
    return distortion_of(model, given, f"{field}.camera_model")
