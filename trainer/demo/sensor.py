"""What a cheap camera makes of a rendered picture: wrong colours, blur, few pixels, noise, sharpening, JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from index.picture import decode_picture, encode_jpeg
from trainer.demo.render import Image
from trainer.demo.textures import chance, log_uniform

_UNTOUCHED = 0.2
_LEVELS = np.arange(256, dtype=np.float32) / 255


def sensed(picture: Image, rng: np.random.Generator) -> Image:
    """The picture (h, w, 3) uint8 RGB as a camera would have delivered it. One in five keeps all but a little."""
    if chance(rng, _UNTOUCHED):
        return _compressed(picture, rng, 88, 95)
    picture = _toned(picture, rng)
    if chance(rng, 0.35):
        picture = _blurred(picture, rng)
    if chance(rng, 0.5):
        picture = _photographed_small(picture, rng)
    if chance(rng, 0.6):
        picture = _noisy(picture, rng)
    if chance(rng, 0.3):
        picture = _sharpened(picture, rng)
    return _compressed(picture, rng, 25, 95) if chance(rng, 0.8) else picture


def _toned(picture: Image, rng: np.random.Generator) -> Image:
    """White balance, exposure and contrast, each with a probability of its own."""
    gains = np.ones(3, np.float32)
    if chance(rng, 0.6):
        warmth, tint = rng.normal(0, 0.07), rng.normal(0, 0.03)
        gains *= np.exp(np.array([warmth, tint, -warmth], np.float32))
    if chance(rng, 0.5):
        gains *= np.float32(log_uniform(rng, 0.75, 1.3))
    gamma = log_uniform(rng, 0.8, 1.25) if chance(rng, 0.4) else 1.0
    table = 255 * np.clip(_LEVELS[:, None] ** np.float32(gamma) * gains, 0, 1)
    return np.asarray(cv2.LUT(picture, np.rint(table).astype(np.uint8)[None]), np.uint8)


def _blurred(picture: Image, rng: np.random.Generator) -> Image:
    """Out of focus, or shaken along a line. Lengths are shares of the picture's."""
    length = max(picture.shape[:2]) * log_uniform(rng, 0.004, 0.03)
    if chance(rng, 0.6):
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), max(0.3, length * 0.5)), np.uint8)
    radius = max(1, round(length))
    size, angle = 2 * radius + 1, rng.uniform(0, np.pi)
    step = radius * np.array([np.cos(angle), np.sin(angle)])
    kernel = np.zeros((size, size), np.float32)
    first, last = np.rint(radius - step).astype(int).tolist(), np.rint(radius + step).astype(int).tolist()
    cv2.line(kernel, first, last, 1.0, 1)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.uint8)


def _photographed_small(picture: Image, rng: np.random.Generator) -> Image:
    """From so far away that the object had only 24 to 100 % of these pixels, then enlarged."""
    height, width = picture.shape[:2]
    share = log_uniform(rng, 0.24, 1.0)
    small = (max(1, round(width * share)), max(1, round(height * share)))
    reduced = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    back = cv2.INTER_CUBIC if chance(rng, 0.5) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=back), np.uint8)


def _noisy(picture: Image, rng: np.random.Generator) -> Image:
    """Shot noise grows with the root of the light, read noise is everywhere; some sensors smear both."""
    read, shot = log_uniform(rng, 0.5, 6.0), log_uniform(rng, 0.2, 8.0)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    if chance(rng, 0.4):
        grain = np.asarray(cv2.GaussianBlur(grain, (3, 3), 0.7), np.float32) * np.float32(1.6)
    deviation = (read + shot * np.sqrt(_LEVELS)).astype(np.float32)
    noisy = picture + deviation[picture] * grain
    return np.asarray(np.rint(np.clip(noisy, 0, 255)), np.uint8)


def _sharpened(picture: Image, rng: np.random.Generator) -> Image:
    """Unsharp masking: a bright and a dark seam along edges."""
    soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 1.6))
    amount = rng.uniform(0.3, 1.3)
    return np.asarray(cv2.addWeighted(picture, 1 + amount, soft, -amount, 0), np.uint8)


def _compressed(picture: Image, rng: np.random.Generator, lowest: int, highest: int) -> Image:
    return decode_picture(encode_jpeg(picture, int(rng.integers(lowest, highest + 1))))
