"""Record3D (iOS): an ``.r3d`` archive of ``metadata`` (JSON) and ``rgbd/<number>.jpg``, or its folder unpacked.

``poses`` are (qx, qy, qz, qw, x, y, z) of the pictures' camera with OpenGL's axes in ARKit's world: metres, y up. ``K``
is written column by column; ``perFrameIntrinsicCoeffs`` (fx, fy, cx, cy) go before it. Depth maps are not read: their
compression is Apple's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from index.schema import Array, Camera, InvalidValueError
from trainer.captures.shot import CaptureError
from trainer.captures.video import Sampler
from trainer.importers.files import read_json
from trainer.importers.intrinsics import four, pinhole_from_centre
from trainer.importers.poses import OPENGL_FROM_OPENCV, finite, number, pose_from_quaternion
from trainer.importers.recording import RecordedFrame, Recording

_MISSING_SHARE = 0.02
_MOST_PIXELS = 1 << 16


def recognises(source: Path) -> bool:
    return (source / "metadata").is_file() and (source / "rgbd").is_dir()


def read(source: Path, fps: float) -> Recording:
    """The recording in the unpacked folder ``source``, about ``fps`` pictures a second of it."""
    file = source / "metadata"
    document = read_json(file)
    poses = finite(f"{file}: poses", document.get("poses"), -1, 7)
    times = _times(file, document, len(poses))
    cameras = _cameras(file, document, len(poses))
    pictures = {int(path.stem): path for path in (source / "rgbd").glob("*.jpg") if path.stem.isdigit()}
    numbers = [k for k in range(len(poses)) if k in pictures]
    missing = len(poses) - len(numbers)
    if missing > 1 + _MISSING_SHARE * len(poses) or len(pictures) > len(numbers) + 1 + _MISSING_SHARE * len(poses):
        raise InvalidValueError(f"{file}: poses", len(poses), f"as many as rgbd/ has pictures, {len(pictures)}")
    sampler = Sampler(fps)
    kept = [k for k in numbers if sampler.keeps(times[k] - times[0])]
    frames = tuple(
        RecordedFrame(pictures[k], float(times[k] - times[0]), cameras[k], _pose(file, k, poses[k])) for k in kept
    )
    notes = (f"{missing} poses skipped: their pictures are missing",) if missing else ()
    return Recording("Record3D", frames, np.array([0.0, 1, 0]), notes=notes)


def _pose(file: Path, k: int, values: Array) -> Array:
    return pose_from_quaternion(f"{file}: poses[{k}]", values[:4], values[4:]) @ OPENGL_FROM_OPENCV


def _times(file: Path, document: dict[str, Any], count: int) -> Array:
    given = document.get("frameTimestamps")
    if given:
        times = finite(f"{file}: frameTimestamps", given, -1)
        if len(times) != count:
            raise InvalidValueError(f"{file}: frameTimestamps", len(times), f"as many as poses, {count}")
        if (np.diff(times) <= 0).any():
            k = int(np.argmax(np.diff(times) <= 0)) + 1
            raise InvalidValueError(f"{file}: frameTimestamps[{k}]", times[k], f"more than {times[k - 1]}")
        return times
    return np.arange(count) / number(f"{file}: fps", document.get("fps"), 0.1, 1000)


def _cameras(file: Path, document: dict[str, Any], count: int) -> list[Camera]:
    """A camera for every pose."""
    width, height = (int(number(f"{file}: {name}", document.get(name), 1, _MOST_PIXELS)) for name in "wh")
    if given := document.get("perFrameIntrinsicCoeffs"):
        values = finite(f"{file}: perFrameIntrinsicCoeffs", given, -1, 4)
        if len(values) != count:
            raise InvalidValueError(f"{file}: perFrameIntrinsicCoeffs", len(values), f"as many as poses, {count}")
    else:
        matrix = finite(f"{file}: K", document.get("K"), 9).reshape(3, 3).T
        values = np.tile(four(matrix), (count, 1))
    if count == 0:
        raise CaptureError(file, "no poses in it")
    return [pinhole_from_centre(f"{file}: intrinsics[{k}]", row, (width, height)) for k, row in enumerate(values)]
