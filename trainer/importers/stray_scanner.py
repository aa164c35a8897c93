"""Stray Scanner (iOS): ``rgb.mp4``, ``odometry.csv``, ``camera_matrix.csv``, and depth maps of the LiDAR.

The video is the sensor's landscape picture; its camera has OpenCV's axes, its world is ARKit's: metres, y up. The
camera matrix counts pixels from the centre of the first one, as ARKit does.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from index.schema import Array, InvalidValueError
from index.video import VideoFacts, video_facts
from trainer.captures.shot import CaptureError
from trainer.captures.video import Sampler
from trainer.importers.files import read_text
from trainer.importers.intrinsics import four, pinhole_from_centre
from trainer.importers.poses import finite, number, pose_from_quaternion
from trainer.importers.recording import RecordedFrame, Recording

_COLUMNS = ("timestamp", "frame", "x", "y", "z", "qx", "qy", "qz", "qw")
_INTRINSICS = ("fx", "fy", "cx", "cy")  # newer versions add them to every row
# A recording that is stopped may lose the last pictures of its video.
_MISSING_SHARE = 0.02
_DEPTH_MAPS = 16
_DEPTH_STEP = 4
_FARTHEST_MM = 4000  # the LiDAR's maps are smooth guesses beyond
_SURE = 2


def recognises(source: Path) -> bool:
    return (source / "odometry.csv").is_file() and (source / "rgb.mp4").is_file()


def read(source: Path, fps: float) -> Recording:
    """The recording in the folder ``source``, about ``fps`` pictures a second of it."""
    video = source / "rgb.mp4"
    facts = video_facts(video, as_stored=True)
    matrix = _matrix(source / "camera_matrix.csv", facts)
    rows = list(_rows(source / "odometry.csv"))
    kept = [row for row in rows if row["frame"] < facts.pictures]
    if len(rows) - len(kept) > 1 + _MISSING_SHARE * len(rows):
        last = int(rows[-1]["frame"])
        raise InvalidValueError(
            f"{source / 'odometry.csv'}: frame", last, f"below {facts.pictures}, as in {video.name}"
        )
    sampler = Sampler(fps)
    start = kept[0]["timestamp"] if kept else 0.0
    sampled = [row for row in kept if sampler.keeps(row["timestamp"] - start)]
    frames = tuple(_frame(source, row, matrix, facts, start) for row in sampled)
    notes = (
        [f"{len(rows) - len(kept)} poses skipped: the video has no picture for them"] if len(kept) < len(rows) else []
    )
    return Recording(
        "Stray Scanner", frames, np.array([0.0, 1, 0]), points=_depth_points(source, frames), notes=(*notes,)
    )


def _matrix(file: Path, facts: VideoFacts) -> Array:
    try:
        values = [[float(cell) for cell in line.split(",")] for line in read_text(file).split("\n") if line.strip()]
    except ValueError as error:
        raise CaptureError(file, f"not numbers ({error})") from None
    matrix = finite(f"{file}: camera matrix", values, 3, 3)
    for name, value, size in (("cx", matrix[0, 2], facts.width), ("cy", matrix[1, 2], facts.height)):
        if abs(value / size - 0.5) > 0.15:
            bound = f"about half of {size}: the video's pictures are {facts.width} x {facts.height}"
            raise InvalidValueError(f"{file}: {name}", value, bound)
    return matrix


def _rows(file: Path) -> Iterator[dict[str, float]]:
    """The file's lines as numbers by column, times and frame numbers rising."""
    lines = csv.reader(read_text(file).splitlines(), skipinitialspace=True)
    header = [name.strip() for name in next(lines, [])]
    if missing := [name for name in _COLUMNS if name not in header]:
        raise InvalidValueError(f"{file}: header", header, f"with the columns {', '.join(missing)}")
    last = -np.inf, -1.0
    for line, cells in enumerate(lines, start=2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise InvalidValueError(f"{file}, line {line}", cells, f"{len(header)} values, as the header has")
        row = {name: number(f"{file}, line {line}: {name}", cell) for name, cell in zip(header, cells, strict=True)}
        if row["timestamp"] <= last[0] or row["frame"] <= last[1] or row["frame"] % 1:
            raise InvalidValueError(f"{file}, line {line}: timestamp, frame", cells[:2], f"rising: after {last}")
        last = row["timestamp"], row["frame"]
        yield row
    if last[1] < 0:
        raise CaptureError(file, "no poses in it")


def _frame(source: Path, row: dict[str, float], matrix: Array, facts: VideoFacts, start_s: float) -> RecordedFrame:
    field = f"{source / 'odometry.csv'}: frame {int(row['frame'])}"
    pose = pose_from_quaternion(field, [row[c] for c in ("qx", "qy", "qz", "qw")], [row[c] for c in "xyz"])
    own = all(name in row for name in _INTRINSICS)
    told_by = field if own else str(source / "camera_matrix.csv")
    values = [row[name] for name in _INTRINSICS] if own else four(matrix)
    camera = pinhole_from_centre(told_by, values, (facts.width, facts.height))
    return RecordedFrame(source / "rgb.mp4", row["timestamp"] - start_s, camera, pose, int(row["frame"]))


def _depth_points(source: Path, frames: tuple[RecordedFrame, ...]) -> Array:
    """(n, 3) in the world: what the LiDAR is sure of, in some of the frames."""
    picked = frames[:: max(1, len(frames) // _DEPTH_MAPS)]
    clouds = [_cloud(source, frame) for frame in picked]
    return np.concatenate([cloud for cloud in clouds if cloud is not None] or [np.empty((0, 3))])


def _cloud(source: Path, frame: RecordedFrame) -> Array | None:
    name = f"{frame.index:06d}.png"
    if not (source / "depth" / name).is_file():
        return None
    depth = cv2.imread(str(source / "depth" / name), cv2.IMREAD_UNCHANGED)
    if depth is None or depth.ndim != 2:
        raise CaptureError(source / "depth" / name, "not a depth map: one channel of 16 bit, millimetres")
    sure = (depth > 0) & (depth < _FARTHEST_MM)
    confidence = cv2.imread(str(source / "confidence" / name), cv2.IMREAD_UNCHANGED)
    if confidence is not None and confidence.shape == depth.shape:
        sure &= confidence >= _SURE
    v, u = (axis[::_DEPTH_STEP] for axis in np.nonzero(sure))
    camera = frame.camera.resize(depth.shape[1], depth.shape[0])
    in_camera = camera.rays(np.stack([u + 0.5, v + 0.5], axis=1)) * (depth[v, u, None] / 1000)
    return np.asarray(in_camera @ frame.world_from_camera[:3, :3].T + frame.world_from_camera[:3, 3])
