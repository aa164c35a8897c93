"""The recording's pictures: read as they are stored, undistorted, turned upright, made smaller and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from index.capture_pose import turned_upright
from index.picture import encode_jpeg
from index.schema import Array, Camera, InvalidValueError
from index.video import video_frames
from trainer.captures.shot import CaptureError, Image, is_jpeg
from trainer.importers.lens import NO_DISTORTION
from trainer.importers.recording import RecordedFrame, Recording

_QUALITY = 95
# A picture is turned by the quarter that brings up nearest to its top edge, and stays so while up is less than this
# from there: a phone that passes over the object would otherwise turn to and fro.
_KEEPS_TURN = np.radians(65)
# Where up is seen almost from its tip, it says nothing about the picture's edge.
_SEEN_UP = 0.25


@dataclass(frozen=True, eq=False)
class _Picture:
    image: Image
    data: bytes | None  # the file's own, where they are this picture as JPEG


def upright_turns(recording: Recording) -> list[int]:
    """How many quarter turns clockwise bring each picture's top up; 0 where nothing says which way that is."""
    if recording.up is None:
        return [0] * len(recording.frames)
    seen = [frame.world_from_camera[:3, :3].T @ recording.up for frame in recording.frames]
    wanted = [_wanted_turn(up) for up in seen if np.hypot(*up[:2]) >= _SEEN_UP]
    turn = max(set(wanted), key=wanted.count) if wanted else 0
    turns = []
    for up in seen:
        if np.hypot(*up[:2]) >= _SEEN_UP and _off_top(up, turn) > _KEEPS_TURN:
            turn = _wanted_turn(up)
        turns.append(turn)
    return turns


def _wanted_turn(up: Array) -> int:
    return min(range(4), key=lambda turn: _off_top(up, turn))


def _off_top(up_in_camera: Array, turn: int) -> float:
    """The angle between up and the picture's top edge's direction after ``turn`` quarter turns clockwise."""
    clockwise_from_top = np.arctan2(up_in_camera[0], -up_in_camera[1]) + turn * np.pi / 2
    return float(abs((clockwise_from_top + np.pi) % (2 * np.pi) - np.pi))


def turned(frame: RecordedFrame, turn: int) -> RecordedFrame:
    """The frame whose picture is this one's, ``turn`` quarters clockwise."""
    camera, pose = frame.camera, frame.world_from_camera
    clockwise = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # camera_from_turned
    for _ in range(turn):
        camera, pose = turned_upright(camera), pose @ clockwise
    return replace(frame, camera=camera, world_from_camera=pose)


def write_pictures(recording: Recording, out: Path, max_side: int) -> Recording:
    """The recording of the pictures in ``out``: undistorted, upright, none longer than ``max_side`` pixels.

    Raises CaptureError for a picture that is missing or cannot be read, InvalidValueError where one is not of its
    camera's size.
    """
    turns = upright_turns(recording)
    frames = []
    for number, (frame, picture) in enumerate(stored_pictures(recording.frames)):
        _check_size(frame, picture.image)
        written = _written(frame, turns[number], max_side)
        written = replace(written, file=out / f"{number:05d}.jpg")
        written.file.write_bytes(_encoded(frame, picture, turns[number], written.camera))
        frames.append(written)
    if len(set(turns)) > 1:
        recording = recording.noted("pictures were turned by different quarter turns: look whether all stand upright")
    elif turns[0]:
        recording = recording.noted(f"pictures turned upright: by {90 * turns[0]} degrees clockwise")
    return replace(recording, frames=tuple(frames))


def _written(frame: RecordedFrame, turn: int, max_side: int) -> RecordedFrame:
    """The frame as it will be in the capture, but for its file."""
    upright = turned(frame, turn)
    camera = upright.camera
    scale = min(1.0, max_side / max(camera.width, camera.height))
    small = camera.resize(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
    return replace(upright, camera=small if scale < 1 else camera, index=None, distortion=NO_DISTORTION)


def _encoded(frame: RecordedFrame, picture: _Picture, turn: int, camera: Camera) -> bytes:
    """JPEG of the picture as ``camera`` sees it; the file's own bytes where they are that already."""
    unchanged = frame.distortion.none and turn == 0 and camera.width == frame.camera.width
    if unchanged and picture.data is not None:
        return picture.data
    image = np.rot90(frame.distortion.undistorted(picture.image, frame.camera), -turn)
    if image.shape[:2] != (camera.height, camera.width):
        size = (camera.width, camera.height)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_jpeg(np.ascontiguousarray(image), _QUALITY)


def _check_size(frame: RecordedFrame, image: Image) -> None:
    height, width = image.shape[:2]
    if (width, height) == (frame.camera.width, frame.camera.height):
        return
    flag = (
        " (portrait and landscape are swapped)" if (height, width) == (frame.camera.width, frame.camera.height) else ""
    )
    raise InvalidValueError(
        f"{frame.file}: size of {frame.name}",
        (width, height),
        f"that of its camera, {frame.camera.width} x {frame.camera.height}{flag}",
    )


def stored_pictures(frames: Sequence[RecordedFrame]) -> Iterator[tuple[RecordedFrame, _Picture]]:
    """Each frame with its picture as it is stored. Frames of a video must be in its order."""
    for file, group in groupby(frames, lambda frame: frame.file):
        members = list(group)
        if members[0].index is None:
            yield from ((member, _picture_file(member.file)) for member in members)
        else:
            yield from _video_pictures(file, members)


def _picture_file(file: Path) -> _Picture:
    if not file.is_file():
        raise CaptureError(file, "missing")
    data = file.read_bytes()
    image = stored_image(data)
    if image is None:
        raise CaptureError(file, "not a readable picture")
    plain = is_jpeg(data) and b"Exif\0" not in data[:65536]
    return _Picture(image, data if plain else None)


def stored_image(data: bytes) -> Image | None:
    """(h, w, 3) uint8 RGB without an EXIF orientation applied: calibrations are of the pixels as they are stored."""
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        bgr = None
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _video_pictures(file: Path, frames: list[RecordedFrame]) -> Iterator[tuple[RecordedFrame, _Picture]]:
    wanted = {frame.index: frame for frame in frames}
    for picture in video_frames(file, as_stored=True):
        frame = wanted.pop(picture.index, None)
        if frame is not None:
            image = picture.decode()
            if image is None:
                raise CaptureError(file, f"picture {picture.index} cannot be decoded")
            yield frame, _Picture(image, None)
        if not wanted:
            return
    raise CaptureError(file, f"ends before picture {min(wanted, key=lambda index: index or 0)}, which has a pose")
