"""Procedural pictures, painted with colours that every category, floor and wall shares.

A floor or a body in a colour of its own would tell the objects apart without a look at their shape; shared palettes
do not. Every painter takes a ``numpy.random.Generator`` first and returns an (h, w, 3) uint8 RGB picture.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Texture = NDArray[np.uint8]
Mask = NDArray[np.float32]
Color = NDArray[np.float32]


def _colors(hexadecimal: str) -> Color:
    """(n, 3) float32 RGB from n colours as web pages write them."""
    return np.array([list(bytes.fromhex(color)) for color in hexadecimal.split()], np.float32)


_PALETTE = _colors(
    "1e1e20 3c3c40 78787a bebebc eceae4 f0eeeb 192346 284682 962828 "
    "be3c32 3c5a3c 6e4b2d aa8255 d7be96 c8963c 5a3c5a 46828c e1783c"
)
_WOODS = _colors("96704e 6e5037 bea07d 553a2a")
_STONES = _colors("969694 cdcbc6 646467 aca296")
_LETTERS = "ABCDEFGHKLMNOPRSTUVXYZ"
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True in ``probability`` of the cases."""
    return bool(rng.random() < probability)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform: as likely to be doubled as halved, which is how sizes vary."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def palette_color(rng: np.random.Generator) -> Color:
    """One of the shared colours, slightly varied: (3,) float32 RGB in 5..250."""
    return _color(rng.choice(_PALETTE) * (1 + 0.12 * rng.standard_normal()) + 6 * rng.standard_normal(3))


def wood_color(rng: np.random.Generator) -> Color:
    """One of a few woods, slightly varied: (3,) float32 RGB."""
    return _color(rng.choice(_WOODS) * rng.uniform(0.9, 1.12))


def contrasting_color(rng: np.random.Generator, background: ArrayLike) -> Color:
    """A light ink for dark backgrounds, a dark one for light: (3,) float32 RGB."""
    dark = float(np.mean(np.asarray(background))) < 125
    tint = palette_color(rng) * 0.35
    return _color(tint + (160 if dark else 0))


def _color(values: ArrayLike) -> Color:
    return np.clip(np.asarray(values, np.float32), 5, 250)


def noise(rng: np.random.Generator, size: int = 128, cells: tuple[int, int] = (4, 4), octaves: int = 4) -> Mask:
    """Tileable value noise, (size, size) in 0..1. ``size`` and ``cells`` (rows, columns) are powers of two."""
    total, weight, weights = np.zeros((size, size), np.float32), 1.0, 0.0
    for octave in range(octaves):
        rows, columns = (min(c << octave, size) for c in cells)
        grid = np.pad(rng.random((rows, columns), dtype=np.float32), 2, mode="wrap")
        step_y, step_x = size // rows, size // columns
        large = cv2.resize(grid, (grid.shape[1] * step_x, grid.shape[0] * step_y), interpolation=cv2.INTER_CUBIC)
        total += weight * large[2 * step_y : 2 * step_y + size, 2 * step_x : 2 * step_x + size]
        weights += weight
        weight *= 0.55
    return _cut(total / weights)


def blend(first: ArrayLike, second: ArrayLike, mask: Mask) -> Texture:
    """``first`` where ``mask`` is 0, ``second`` where it is 1: colours (3,) or pictures (h, w, 3)."""
    m = mask[..., None]
    return _eight_bit(np.asarray(first) * (1 - m) + np.asarray(second) * m)


def _eight_bit(values: ArrayLike) -> Texture:
    return np.clip(np.asarray(values, np.float32), 0, 255).astype(np.uint8)


def plain(rng: np.random.Generator, color: ArrayLike, grain: float = 0.1, size: int = 64) -> Texture:
    """One colour with a little unevenness: ``grain`` is its relative amplitude."""
    return _uneven(np.broadcast_to(np.asarray(color, np.float32), (size, size, 3)), noise(rng, size), grain)


def _uneven(picture: ArrayLike, field: Mask, amplitude: float) -> Texture:
    factor = 1 + amplitude * (2 * field[..., None] - 1)
    return _eight_bit(np.asarray(picture, np.float32) * factor)


def wood(rng: np.random.Generator, color: ArrayLike, size: int = 128) -> Texture:
    """Grain that runs along x."""
    rings = noise(rng, size, (8, 1), 3)
    growth = 0.5 + 0.5 * np.sin(rings * rng.uniform(25, 50))
    base = blend(np.asarray(color) * 0.88, np.asarray(color) * 1.05, growth.astype(np.float32))
    return _uneven(base, noise(rng, size, (64, 2), 2), 0.1)


def _blotches(rng: np.random.Generator, size: int) -> Mask:
    return _cut((noise(rng, size, (4, 4), 5) - 0.5) * 7 + 0.5)


def _cut(values: ArrayLike) -> Mask:
    return np.clip(np.asarray(values, np.float32), 0, 1)


def _haze(rng: np.random.Generator, size: int) -> Mask:
    return noise(rng, size, (2, 2), 3)


def _stripes(rng: np.random.Generator, size: int) -> Mask:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle, bands = rng.choice([0, np.pi / 4, np.pi / 2]), int(rng.integers(3, 9))
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi * bands)
    return _cut(wave * size / bands / 4 + 0.5)


def _checks(rng: np.random.Generator, size: int) -> Mask:
    y, x = np.mgrid[0:size, 0:size] * int(rng.choice([2, 4, 6, 8])) // size
    return _cut((x + y) % 2)


def _gradient(rng: np.random.Generator, size: int) -> Mask:
    mask: Mask = np.repeat(np.linspace(0, 1, size, dtype=np.float32)[:, None], size, axis=1)
    return mask


def _dots(rng: np.random.Generator, size: int) -> Mask:
    mask = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(4, 14)):
        x, y, radius = rng.integers(size), rng.integers(size), rng.integers(size // 24, size // 6)
        cv2.circle(mask, (int(x), int(y)), int(radius), 1.0, -1, cv2.LINE_AA)
    return mask


_Painter = Callable[[np.random.Generator, int], Mask]
_PATTERNS: tuple[_Painter, ...] = (_blotches, _haze, _stripes, _checks, _gradient, _dots)


def pattern(rng: np.random.Generator, first: ArrayLike, second: ArrayLike, size: int = 128) -> Texture:
    """Two colours in one of several patterns, slightly uneven."""
    mask = _PATTERNS[rng.integers(len(_PATTERNS))](rng, size)
    return _uneven(blend(first, second, mask), noise(rng, size, (4, 4), 3), 0.08)


def cloth(rng: np.random.Generator, color: ArrayLike, size: int = 128) -> Texture:
    """A weave."""
    y, x = np.mgrid[0:size, 0:size] * np.pi / 2
    weave = (np.sin(x) * np.sin(y)).astype(np.float32) * 0.5 + 0.5
    return _uneven(_uneven(np.broadcast_to(np.asarray(color), (size, size, 3)), weave, 0.14), noise(rng, size), 0.12)


def ink(color: ArrayLike) -> tuple[int, int, int]:
    """A colour as OpenCV's drawing functions take it."""
    red, green, blue = np.clip(np.asarray(color), 0, 255).astype(int).tolist()
    return red, green, blue


def word(rng: np.random.Generator, shortest: int = 3, longest: int = 8) -> str:
    """A made-up word in capitals."""
    return "".join(rng.choice(list(_LETTERS), rng.integers(shortest, longest + 1)))


def write(picture: Texture, rng: np.random.Generator, text: str, rect: tuple[float, ...], color: ArrayLike) -> None:
    """Draw ``text`` into ``rect`` (x0, y0, x1, y1), each a share of the picture's width or height."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = rect[0] * width, rect[1] * height, rect[2] * width, rect[3] * height
    font = _FONTS[rng.integers(len(_FONTS))]
    (text_width, text_height), _ = cv2.getTextSize(text, font, 1, 2)
    scale = min((x1 - x0) / text_width, (y1 - y0) / text_height)
    origin = (int(x0), int((y0 + y1 + text_height * scale) / 2))
    cv2.putText(picture, text, origin, font, scale, ink(color), max(1, round(scale * 3)), cv2.LINE_AA)


def write_lines(
    picture: Texture, rng: np.random.Generator, rect: tuple[float, ...], color: ArrayLike, count: int
) -> None:
    """Draw ``count`` lines of text too small to read into ``rect``, in shares of the picture as in ``write``."""
    height, width = picture.shape[:2]
    left, right = rect[0] * width, rect[2] * width
    for y in np.linspace(rect[1], rect[3], count) * height:
        end = left + (right - left) * rng.uniform(0.6, 1.0)
        cv2.line(picture, (int(left), int(y)), (int(end), int(y)), ink(color), max(1, height // 80), cv2.LINE_AA)


def fill(picture: Texture, rect: tuple[float, ...], color: ArrayLike) -> None:
    """Fill ``rect``, in shares of the picture as in ``write``."""
    height, width = picture.shape[:2]
    corners = (int(rect[0] * width), int(rect[1] * height)), (int(rect[2] * width) - 1, int(rect[3] * height) - 1)
    cv2.rectangle(picture, *corners, ink(color), -1)


def _emblem(picture: Texture, rng: np.random.Generator, color: ArrayLike) -> None:
    height, width = picture.shape[:2]
    center = np.array([rng.uniform(0.35, 0.65) * width, rng.uniform(0.45, 0.65) * height])
    radius = rng.uniform(0.16, 0.3) * min(width, height)
    corners = int(rng.choice([4, 6, 10, 40]))
    angles = np.arange(corners) * 2 * np.pi / corners + 0.3
    radii = radius * np.where((np.arange(corners) % 2 == 1) & (corners == 10), 0.5, 1.0)
    outline = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(picture, [outline.astype(np.int32)], ink(color), cv2.LINE_AA)


def cover(rng: np.random.Generator, aspect: float = 0.75) -> Texture:
    """The front of a book, a box or a label; ``aspect`` is its width over its height. 256 pixels high."""
    background = palette_color(rng)
    picture = pattern(rng, background, palette_color(rng))
    picture = cv2.resize(picture, (max(32, round(256 * aspect)), 256), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    color = contrasting_color(rng, background)
    if chance(rng, 0.8):
        _emblem(picture, rng, palette_color(rng))
    if chance(rng, 0.4):
        fill(picture, (0.0, 0.03, 1.0, 0.32), background)
    top = rng.uniform(0.06, 0.12)
    write(picture, rng, word(rng), (0.08, top, 0.92, top + 0.18), color)
    if chance(rng, 0.7):
        write(picture, rng, word(rng), (0.1, 0.86, 0.7, 0.94), color)
    return picture


def back_cover(rng: np.random.Generator, color: ArrayLike, aspect: float = 0.75) -> Texture:
    """The back of a book or a box: text and a bar code."""
    picture = plain(rng, color, 0.06, 256)
    picture = cv2.resize(picture, (max(32, round(256 * aspect)), 256)).astype(np.uint8)
    write_lines(picture, rng, (0.1, 0.12, 0.9, 0.6), contrasting_color(rng, color), int(rng.integers(5, 11)))
    bar_code(picture, rng, (0.55, 0.72, 0.92, 0.92))
    return picture


def bar_code(picture: Texture, rng: np.random.Generator, rect: tuple[float, ...]) -> None:
    """Draw a bar code into ``rect``, in shares of the picture as in ``write``."""
    fill(picture, rect, (245, 245, 245))
    x0, y0, x1, y1 = rect
    for x in np.linspace(x0 + 0.02, x1 - 0.04, 12):
        if chance(rng, 0.7):
            fill(picture, (x, y0 + 0.015, x + (x1 - x0) * rng.uniform(0.03, 0.07), y1 - 0.015), (25, 25, 25))


def planks(rng: np.random.Generator, size: int = 512) -> Texture:
    """A wooden floor: boards of slightly different tones."""
    color, rows = wood_color(rng), int(rng.choice([4, 8]))
    board = size // rows
    grain = np.concatenate([wood(rng, color, 256) for _ in range(2)], axis=1)
    picture = np.zeros((size, size, 3), np.uint8)
    for row in range(rows):
        shift, tone = int(rng.integers(256)), rng.uniform(0.86, 1.1, 2)
        strip = np.roll(cv2.resize(grain, (size, 256)), shift, axis=(0, 1))[:board].astype(np.float32)
        joint = int(rng.integers(size))
        strip[:, :joint] *= tone[0]
        strip[:, joint:] *= tone[1]
        strip[:2], strip[:, joint : joint + 2] = strip[:2] * 0.5, strip[:, joint : joint + 2] * 0.5
        picture[row * board : (row + 1) * board] = np.clip(strip, 0, 255)
    return picture


def tiles(rng: np.random.Generator, size: int = 512) -> Texture:
    """Stone tiles with joints."""
    color, count = rng.choice(_STONES), int(rng.choice([2, 4]))
    tone = cv2.resize(rng.uniform(0.9, 1.06, (count, count)), (size, size), interpolation=cv2.INTER_NEAREST)
    picture = _uneven(color * tone[..., None], noise(rng, size, (8, 8), 4), 0.1)
    step = size // count
    for line in range(0, size, step):
        picture[line : line + 4] = picture[:, line : line + 4] = ink(color * rng.uniform(0.62, 0.75))
    return picture


def concrete(rng: np.random.Generator, size: int = 512) -> Texture:
    """A grey or beige floor with large stains and fine pores."""
    base = plain(rng, rng.choice(_STONES) * rng.uniform(0.85, 1.1), 0.16, size)
    return _uneven(base, noise(rng, size, (64, 64), 2), 0.1)


def carpet(rng: np.random.Generator, size: int = 512) -> Texture:
    """Speckled pile in a muted palette colour."""
    color = palette_color(rng) * 0.5 + 70
    return _uneven(plain(rng, color, 0.08, size), noise(rng, size, (128, 128), 2), 0.28)


def table_top(rng: np.random.Generator, size: int = 512) -> Texture:
    """One wide board."""
    return cv2.resize(wood(rng, wood_color(rng), 256), (size, size)).astype(np.uint8)


def tablecloth(rng: np.random.Generator, size: int = 512) -> Texture:
    """Woven cloth with muted crossing bands."""
    color = palette_color(rng) * 0.3 + 150
    y, x = np.mgrid[0:size, 0:size] * 8 // size % 2
    bands = blend(color, color * rng.uniform(0.72, 0.92), ((x + y) / 2).astype(np.float32))
    return _uneven(bands, noise(rng, size, (64, 64), 2), 0.08)


_FLOORS = (planks, planks, tiles, concrete, carpet, table_top, tablecloth)


def floor(rng: np.random.Generator) -> Texture:
    """A tileable floor or table top of one of the shared materials, (512, 512, 3)."""
    return _FLOORS[rng.integers(len(_FLOORS))](rng)
