"""Encoded pictures to pixels and back, for pictures that we wrote ourselves or that a command line names."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from index.schema import ImageError

Image = NDArray[np.uint8]


def decode_picture(data: bytes) -> Image:
    """The bytes of a JPEG or PNG file -> (h, w, 3) uint8 RGB, upright. Raises ImageError when they are no picture."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if pixels is None:
        raise ImageError(f"{len(data)} bytes that are not a picture")
    return pixels.astype(np.uint8, copy=False)


def encode_jpeg(image: Image, quality: int) -> bytes:
    """(h, w, 3) uint8 RGB -> a JPEG file's bytes; ``quality`` from 1 to 100."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    return data.tobytes()
