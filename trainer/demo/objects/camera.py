"""A photo camera: compact, reflex with a short or long lens, rangefinder, instant, or a small cube."""

from __future__ import annotations

import cv2
import numpy as np

from trainer.demo.meshes import (
    Material,
    Part,
    block,
    disc,
    lathe,
    moved,
    rounded_rectangle,
    slab,
    turned,
)
from trainer.demo.textures import (
    Color,
    Texture,
    chance,
    contrasting_color,
    fill,
    log_uniform,
    palette_color,
    plain,
    word,
    write,
)


def build(rng: np.random.Generator) -> list[Part]:
    """The lens is at the front (+z), the screen at the back, the grip under the photographer's right hand (-x)."""
    width = log_uniform(rng, 0.065, 0.17)
    height = width * log_uniform(rng, 0.5, 1.2)
    depth = width * log_uniform(rng, 0.22, 0.6)
    color = np.full(3, rng.uniform(25, 60), np.float32) if chance(rng, 0.5) else palette_color(rng)
    body = _body(rng, width, height, depth, color)
    top = _top(rng, width, height, depth, color)
    radius = rng.uniform(0.26, 0.44) * min(width * 0.8, height)
    lens = _lens(rng, radius, width * log_uniform(rng, 0.1, 1.3))
    place = (rng.uniform(0.0, 0.16) * width, height * rng.uniform(0.45, 0.5), depth / 2)
    return body + top + moved(lens, place) + _back(rng, width, height, depth)


def _body(rng: np.random.Generator, width: float, height: float, depth: float, color: Color) -> list[Part]:
    skin = Material(plain(rng, color, 0.15), 0.7)
    plate = Material(plain(rng, (188, 188, 192) if chance(rng, 0.5) else color, 0.05), 0.3)
    outline, split = rounded_rectangle(width, depth, depth * 0.3), height * rng.uniform(0.72, 0.85)
    parts = slab(outline, 0, split, skin) + slab(outline * 0.995, split, height, plate, bevel=height * 0.02)
    if chance(rng, 0.7):
        around = rounded_rectangle(width * 0.2, depth * 0.5, depth * 0.15)
        grip = slab(around, height * 0.04, height * 0.9, _rubber(rng))
        parts += moved(grip, (-width * 0.38, 0, depth * 0.5))
    size = (width * 0.34, (height - split) * 0.7, 0.0006)
    return parts + block((width * 0.22, (height + split) / 2, depth / 2), size, plate, {"front": _name(rng, plate)})


def _name(rng: np.random.Generator, plate: Material) -> Material:
    picture = cv2.resize(plate.texture, (192, 64)).astype(np.uint8)
    write(picture, rng, word(rng, 4, 7), (0.05, 0.1, 0.95, 0.9), contrasting_color(rng, plate.texture))
    return Material(picture, plate.roughness)


def _rubber(rng: np.random.Generator) -> Material:
    return Material(plain(rng, (30, 30, 32), 0.25), 0.8)


def _top(rng: np.random.Generator, width: float, height: float, depth: float, color: Color) -> list[Part]:
    """What stands on the body: the viewfinder's hump or a flash, a release button and a dial."""
    metal = Material(plain(rng, (170, 170, 174), 0.08), 0.3)
    parts = _knob(0.06 * width, 0.05 * height, metal, (-0.34 * width, height, 0))
    if chance(rng, 0.6):
        parts += _knob(0.085 * width, 0.08 * height, _rubber(rng), (0.34 * width, height, -0.1 * depth))
    if chance(rng, 0.6):
        rise = height * log_uniform(rng, 0.1, 0.45)
        around = rounded_rectangle(width * rng.uniform(0.26, 0.4), depth * 0.85, depth * 0.15)
        shell = Material(plain(rng, color, 0.06), 0.4)
        hump = slab(around, height * 0.97, height + rise, shell, bevel=rise * 0.2)
        glass = Material(_flash(), 0.1)
        front = block((0, height + rise * 0.5, depth * 0.425), (width * 0.18, rise * 0.5, 0.002), glass)
        parts += moved(hump + front, (rng.choice([0.0, 0.0, -0.2]) * width, 0, 0))
    return parts


def _knob(radius: float, rise: float, material: Material, place: tuple[float, float, float]) -> list[Part]:
    return moved(lathe([(radius, -0.001), (radius, rise), (0, rise)], material, 18), place)


def _flash() -> Texture:
    picture = np.full((32, 64, 3), 205, np.uint8)
    picture[::6] = 165
    return picture


def _lens(rng: np.random.Generator, radius: float, length: float) -> list[Part]:
    """Pointing to +z from the origin: a barrel with rings, and glass."""
    ribs = np.full((64, 64, 3), 34, np.uint8)
    ribs[:, ::4] = 58
    barrel = Material(plain(rng, (30, 30, 33) if chance(rng, 0.75) else (225, 222, 214), 0.08), 0.4)
    flare = rng.uniform(0.85, 1.12)
    rings = [(radius, 0.0), (radius, 0.35 * length), (radius * flare, 0.45 * length)]
    parts = lathe(rings, barrel)
    mouth = radius * flare
    ring = [(mouth, 0.45 * length), (mouth * 1.04, 0.47 * length), (mouth * 1.04, 0.8 * length)]
    parts += lathe(ring, Material(ribs, 0.7))
    front = [(mouth * 1.04, 0.8 * length), (mouth, 0.82 * length), (mouth, length), (mouth * 0.88, length)]
    parts += lathe([*front, (mouth * 0.74, length * 0.94)], barrel)
    parts = turned(parts, "x", np.pi / 2)
    return [*parts, disc((0, 0, 0.945 * length), "z", mouth * 0.8, Material(_glass(rng), 0.08))]


def _glass(rng: np.random.Generator) -> Texture:
    picture = np.full((96, 96, 3), 16, np.uint8)
    for radius, color in ((40, (28, 28, 34)), (30, (46, 30, 84)), (18, (22, 34, 70)), (9, (8, 8, 12))):
        cv2.circle(picture, (48, 48), radius, color, -1, cv2.LINE_AA)
    cv2.circle(picture, (34, 33), 8, (215, 215, 245), -1, cv2.LINE_AA)
    return picture


def _back(rng: np.random.Generator, width: float, height: float, depth: float) -> list[Part]:
    """Screen and buttons."""
    picture = plain(rng, (36, 36, 38), 0.1, 128)
    fill(picture, (0.04, 0.08, 0.72, 0.92), (14, 18, 34))
    fill(picture, (0.08, 0.14, 0.68, 0.4), (52, 66, 96))
    for y in (26, 52, 78, 104):
        cv2.circle(picture, (108, y), 7, (150, 150, 152), -1, cv2.LINE_AA)
    size = (width * 0.8, height * 0.55, 0.003)
    return block((0, height * 0.42, -depth / 2), size, _rubber(rng), {"back": Material(picture, 0.25)})
