"""What is kept of an enrolled picture, so that any later encoder can look at the object again.

Kept is the object's rectangle with a margin, as a JPEG; not the file that was posted. That is all that an encoder looks
at, it bounds what a frame takes (a phone's picture has megabytes), and what else the file tells (where and when it was
taken) is not there to be leaked. Of the whole picture there is a thumbnail. The vector is made from the JPEG, too: made
again by the same encoder, it is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from index.encoder import Encoder
from index.picture import Image, decode_picture, encode_jpeg
from index.schema import Rect
from index.search import Vectors
from service.enrolment.records import Kept

_MARGIN = 0.25  # of the rectangle's longest side, on each side: what an encoder of another crop may want to see
KEPT_SIDE = 512  # of the rectangle in what is kept, pixels: more than twice what encoders look at
_QUALITY = 95
_THUMBNAIL_SIDE, _THUMBNAIL_QUALITY = 320, 85  # as those of an index


def keep(image: Image, rect: Rect) -> Kept:
    """The object in ``rect`` of a picture (h, w, 3) uint8 RGB, with its margin, and the whole picture made small."""
    x0, y0, x1, y1 = rect
    longest = max(x1 - x0, y1 - y0)
    margin = _MARGIN * longest
    left, top = max(0, math.floor(x0 - margin)), max(0, math.floor(y0 - margin))
    window = image[top : math.ceil(y1 + margin), left : math.ceil(x1 + margin)]
    small = _shrunk(window, KEPT_SIDE / longest)
    sx, sy = small.shape[1] / window.shape[1], small.shape[0] / window.shape[0]
    inside = ((x0 - left) * sx, (y0 - top) * sy, (x1 - left) * sx, (y1 - top) * sy)
    thumbnail = _shrunk(image, _THUMBNAIL_SIDE / max(image.shape[:2]))
    return Kept(encode_jpeg(small, _QUALITY), inside, encode_jpeg(thumbnail, _THUMBNAIL_QUALITY))


def embed(encoder: Encoder, kept: Sequence[Kept]) -> Vectors:
    """The vectors (n, d) of what is kept, n >= 1. Raises ImageError where a JPEG is none."""
    return encoder.embed(np.stack([encoder.crop(decode_picture(one.jpeg), one.rect) for one in kept]))


def _shrunk(image: Image, scale: float) -> Image:
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
