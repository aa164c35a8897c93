"""A laptop: wide or nearly square, thin or thick, closed, ajar, open or folded far back."""

from __future__ import annotations

import cv2
import numpy as np

from trainer.demo.meshes import Material, Part, block, moved, rod, rounded_rectangle, slab, turned
from trainer.demo.textures import (
    Color,
    Texture,
    chance,
    fill,
    ink,
    log_uniform,
    palette_color,
    pattern,
    plain,
    write_lines,
)


def build(rng: np.random.Generator) -> list[Part]:
    """The keyboard's near edge is at the front (+z), the hinge at the back."""
    width = log_uniform(rng, 0.21, 0.42)
    depth = width * log_uniform(rng, 0.5, 0.95)
    thickness = log_uniform(rng, 0.009, 0.034)
    tone = rng.uniform(45, 215)
    color = np.full(3, tone, np.float32) if chance(rng, 0.55) else palette_color(rng)
    body = Material(plain(rng, color, 0.05), 0.35)
    outline = rounded_rectangle(width, depth, 0.012)
    base = slab(outline, 0, thickness, body, Material(_keyboard(rng, color), 0.4), bevel=thickness * 0.25)
    hinge = rod((-width * 0.4, thickness, -depth / 2), (width * 0.4, thickness, -depth / 2), 0.005, body)
    return base + hinge + _lid(rng, width, depth, thickness, color)


def _opening(rng: np.random.Generator) -> float:
    """The angle between keyboard and screen, in radians."""
    if chance(rng, 0.1):
        return 0.02
    return float(np.radians(rng.uniform(20, 165) if chance(rng, 0.5) else rng.uniform(85, 130)))


def _lid(rng: np.random.Generator, width: float, depth: float, thickness: float, color: Color) -> list[Part]:
    """Built lying on the keyboard, its screen below; then opened about the hinge."""
    shell = Material(plain(rng, color, 0.05), 0.35)
    outline = rounded_rectangle(width, depth, 0.012)
    parts = slab(outline, 0.001, 0.008, shell, Material(_logo(rng, color), 0.35), bevel=0.002)
    # Of a block's faces only the bottom shows the screen, turned so that it is upright once the lid is open.
    screen = Material(_screen(rng), 0.15)
    parts += block((0, 0.001, 0), (width * 0.985, 0.0015, depth * 0.97), Material(_bezel()), {"bottom": screen})
    hinge = (0, thickness + 0.001, -depth / 2)
    return turned(moved(parts, (0, thickness, 0)), "x", -_opening(rng), hinge)


def _keyboard(rng: np.random.Generator, color: Color) -> Texture:
    picture = plain(rng, color, 0.05, 256)
    keys = (30, 30, 32) if chance(rng, 0.7) else (226, 226, 226)
    top = rng.uniform(0.1, 0.2)
    for row in range(5):
        for column in range(14):
            x, y = 0.06 + column * 0.063, top + row * 0.09
            fill(picture, (x, y, x + 0.052, y + 0.075), keys)
    fill(picture, (0.34, top + 0.5, 0.66, 0.94), color * 0.82)
    return picture


def _screen(rng: np.random.Generator) -> Texture:
    picture = np.full((256, 256, 3), 16, np.uint8)
    if chance(rng, 0.8):
        picture[12:244, 8:248] = cv2.resize(pattern(rng, palette_color(rng), palette_color(rng), 256), (240, 232))
        fill(picture, (0.03, 0.9, 0.97, 0.953), (40, 42, 48))
    if chance(rng, 0.6):
        x, y = rng.uniform(0.08, 0.4), rng.uniform(0.1, 0.3)
        fill(picture, (x, y, x + 0.5, y + 0.52), (245, 245, 245))
        fill(picture, (x, y, x + 0.5, y + 0.06), palette_color(rng))
        write_lines(picture, rng, (x + 0.04, y + 0.12, x + 0.44, y + 0.46), (60, 60, 80), 8)
    return picture


def _bezel() -> Texture:
    return np.full((16, 16, 3), 18, np.uint8)


def _logo(rng: np.random.Generator, color: Color) -> Texture:
    picture = np.ascontiguousarray(plain(rng, color, 0.05, 256))
    cv2.circle(picture, (128, 128), int(rng.integers(10, 26)), ink(palette_color(rng)), -1, cv2.LINE_AA)
    return picture
