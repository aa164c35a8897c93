"""Frames, crops and boxes as pictures inside the page: JPEG in data URIs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from index.encoder import letterbox
from index.picture import Image, encode_jpeg
from index.schema import BehindCameraError, Box, Camera
from trainer.frames import Frames
from trainer.picture import Colour, draw_box

CROP = 112  # pixels, the side of a crop: some 4 kB
HEIGHT = 300  # pixels of a whole picture: some 15 kB
_QUALITY = 80

TRUE: Colour = (255, 255, 255)
GOOD: Colour = (60, 210, 110)
BAD: Colour = (255, 82, 82)


@dataclass(frozen=True)
class Tile:
    """A picture with its text. ``edge`` is a CSS colour that tells the video, where several are beside each other."""

    source: str
    text: str
    edge: str = ""
    note: str = ""


def data_uri(content: bytes, kind: str) -> str:
    """``content`` as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def jpeg_uri(image: Image, quality: int = _QUALITY) -> str:
    """(h, w, 3) RGB as JPEG."""
    return data_uri(encode_jpeg(image, quality), "image/jpeg")


def crop_uri(frames: Frames, row: int) -> str:
    """The rectangle of a frame as an encoder sees it."""
    return jpeg_uri(letterbox(frames.image(row), frames.rect[row], CROP))


def boxed(frames: Frames, row: int, boxes: Sequence[tuple[Box | None, Colour]], height: int = HEIGHT) -> Image:
    """The frame's picture, ``height`` pixels high, with boxes in its camera frame drawn on it."""
    image, camera = frames.image(row), frames.frame(row).view.camera
    thickness = max(2, round(2 * image.shape[0] / height))
    for box, colour in boxes:
        if box is not None and camera is not None:
            image = _drawn(image, box, camera, colour, thickness)
    width = max(2, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _drawn(image: Image, box: Box, camera: Camera, colour: Colour, thickness: int) -> Image:
    try:
        return draw_box(image, box, camera, colour, thickness)
    except BehindCameraError:
        return image
