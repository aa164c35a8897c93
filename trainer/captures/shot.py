"""What every reader yields: annotated pictures, and the reasons why some could not be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from index.capture import CaptureError as CaptureError
from index.schema import (
    BehindCameraError,
    Box,
    Camera,
    Frame,
    InvalidValueError,
    NearposeError,
    Rect,
    clipped_rect,
)

Image = NDArray[np.uint8]

# Less of an object than this in the picture teaches the encoder the picture's edge rather than the object.
_SHARE_INSIDE = 0.3


class Reason(StrEnum):
    """Why an object of a picture, or a whole picture, was dropped."""

    UNREADABLE = "picture unreadable"
    NO_ANNOTATION = "no annotation"
    HIDDEN = "object hidden"
    NOT_PORTRAIT = "picture not portrait"
    BROKEN_CAMERA = "camera broken"
    BROKEN_PLANE = "plane broken"
    BROKEN_BOX = "box broken"
    DISAGREES = "keypoints in 2D and 3D disagree"
    BEHIND = "behind the camera"
    OUTSIDE = "out of the picture"
    BLURRED = "blurred"
    NOT_ACCEPTED = "not accepted by a person"


class RejectedError(NearposeError):
    """An object of a picture that cannot become a Frame. Carries ``reason``."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.value)


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture of a sequence as its reader found it: nothing is filtered for quality yet.

    ``image`` is (h, w, 3) uint8 RGB, upright, or None where the picture was not usable (``rejected`` says why).
    ``frames`` has one Frame per usable object, its camera and rect in this picture's pixels. ``rejected`` has one
    reason per object that is not. ``jpeg`` holds the picture's own bytes where it was stored as JPEG. ``metric`` is
    False where lengths are in a unit that nobody knows.
    """

    image: Image | None
    frames: tuple[Frame, ...]
    sequence: str
    split: str
    time_s: float
    rejected: tuple[Reason, ...] = ()
    jpeg: bytes | None = None
    metric: bool = True


class Source(Protocol):
    """A unit of work: one video, one record file or one capture folder. Pickles."""

    @property
    def key(self) -> str:
        """A name that is unique among the captures and stays the same from run to run."""

    def files(self) -> tuple[Path, ...]:
        """What is read, so that a change of it is seen."""

    def read(self) -> Iterator[Shot]:
        """The shots, in time order within a sequence, one sequence after the other.

        Raises CaptureError where nothing (more) can be read; what came before stays good.
        """


def decode_image(data: bytes) -> Image | None:
    """The picture in encoded bytes, (h, w, 3) uint8 RGB, turned upright as its EXIF says; None if there is none."""
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        bgr = None
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def is_jpeg(data: bytes) -> bool:
    """Whether the bytes start like a JPEG file."""
    return data.startswith(b"\xff\xd8\xff")


def frame_id(sequence: str, number: int, instance: int) -> str:
    """The name of an object in a picture: safe as one part of a URL when the sequence's own name is."""
    return f"{sequence.replace('/', '_')}_{number:05d}" + (f".{instance}" if instance else "")


def object_name(name: str, instance: int) -> str:
    """The identity of the ``instance``-th object of a video whose only known identity is ``name``."""
    return f"{name}#{instance}" if instance else name


def box_rect(box: Box, camera: Camera) -> Rect:
    """The part of the projected box that is in the picture; RejectedError when it is too little of it."""
    try:
        whole = box.rect(camera)
        inside = clipped_rect(whole, camera.width, camera.height)
    except BehindCameraError:
        raise RejectedError(Reason.BEHIND) from None
    except InvalidValueError:
        raise RejectedError(Reason.OUTSIDE) from None
    if _area(inside) < _SHARE_INSIDE * _area(whole):
        raise RejectedError(Reason.OUTSIDE)
    return inside


def _area(rect: Rect) -> float:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])
