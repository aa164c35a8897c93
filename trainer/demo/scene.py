"""A place to film in: an object on a textured floor, in a room, among other things, under one lamp.

The scene's frame is the object's: metres, y up, the floor at y = 0, the object in the middle with its front along +z.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.demo.meshes import Material, Part, block, ellipse, extents, lathe, moved, rod, slab, turned
from trainer.demo.objects import DemoObject
from trainer.demo.textures import (
    Texture,
    chance,
    cloth,
    cover,
    fill,
    floor,
    log_uniform,
    palette_color,
    pattern,
    plain,
)

Float3 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Floor:
    """A tile (512, 512, 3) laid over and over, each ``tile`` metres wide, turned by ``angle`` radians."""

    texture: Texture
    tile: float
    angle: float


@dataclass(frozen=True, eq=False)
class Room:
    """Four walls at |x| or |z| = ``half`` metres, ``height`` metres high; the panorama (h, w, 3) goes once around."""

    panorama: Texture
    half: float
    height: float


@dataclass(frozen=True, eq=False)
class Light:
    """One distant lamp and what comes from everywhere else. Colours are linear RGB (3,).

    ``direction`` points to the lamp; ``sky`` falls from above, ``bounce`` comes back from the floor; ``exposure``
    multiplies everything.
    """

    direction: Float3
    lamp: Float3
    sky: Float3
    bounce: Float3
    exposure: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a picture shows."""

    subject: DemoObject
    clutter: tuple[Part, ...]
    floor: Floor
    room: Room
    light: Light

    @property
    def scale(self) -> float:
        """The diagonal of the object's box in metres: distances in a scene are multiples of it."""
        return float(np.linalg.norm(self.subject.size))


def build_scene(subject: DemoObject, rng: np.random.Generator) -> Scene:
    """A new place for the object."""
    scale = float(np.linalg.norm(subject.size))
    ground = Floor(floor(rng), scale * rng.uniform(1.2, 3.0), rng.uniform(0, 2 * np.pi))
    room = Room(room_panorama(rng), 5 * scale + 1, 0.8 * (5 * scale + 1))
    light = _light(rng, ground.texture.reshape(-1, 3).mean(axis=0) / 255)
    return Scene(subject, tuple(_clutter(rng, subject, scale)), ground, room, light)


def _light(rng: np.random.Generator, floor_color: Float3) -> Light:
    elevation, azimuth = rng.uniform(0.6, 1.3), rng.uniform(0, 2 * np.pi)
    direction = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    warmth = np.array([1, 0, -1]) * rng.normal(0, 0.1)
    sky = rng.uniform(0.35, 0.75)
    return Light(
        direction=np.array(direction),
        lamp=(1 + warmth) * rng.uniform(0.6, 1.5),
        sky=(1 - 0.5 * warmth) * sky,
        bounce=(floor_color**2.2 * 0.6 + 0.08) * sky,
        exposure=float(rng.uniform(0.8, 1.15)),
    )


def room_panorama(rng: np.random.Generator) -> Texture:
    """The four walls side by side, out of focus: furniture, pictures, windows and a skirting board."""
    wall = palette_color(rng) * 0.35 + 130
    picture = cv2.resize(plain(rng, wall, 0.1, 256), (1024, 256)).astype(np.uint8)
    fill(picture, (0.0, 0.94, 1.0, 1.0), wall * rng.uniform(0.5, 1.2))
    for _ in range(rng.integers(6, 16)):
        _furnish(picture, rng)
    # Blurred with its own other end beside it, so that the panorama closes.
    wide = np.concatenate([picture[:, -64:], picture, picture[:, :64]], axis=1)
    return cv2.GaussianBlur(wide, (0, 0), rng.uniform(2.0, 4.0))[:, 64:-64].astype(np.uint8)


def _furnish(picture: Texture, rng: np.random.Generator) -> None:
    x, width = rng.uniform(0, 0.9), rng.uniform(0.02, 0.1)
    kind = rng.random()
    if kind < 0.45:  # cupboards and sofas stand on the floor
        top = rng.uniform(0.4, 0.85)
        color = palette_color(rng)
        fill(picture, (x, top, x + width, 0.985), color)
        fill(picture, (x + width * 0.48, top + 0.03, x + width * 0.52, 0.96), color * 0.7)
    elif kind < 0.8:  # pictures hang
        y = rng.uniform(0.35, 0.6)
        fill(picture, (x, y, x + width * 0.6, y + 0.2), palette_color(rng))
        fill(picture, (x + 0.006, y + 0.025, x + width * 0.6 - 0.006, y + 0.175), palette_color(rng))
    else:  # windows are bright
        fill(picture, (x, 0.3, x + width, 0.72), (250, 252, 255))


def _clutter(rng: np.random.Generator, subject: DemoObject, scale: float) -> list[Part]:
    """Things around the object that neither touch it nor, as a rule, hide it."""
    taken = [(0.0, 0.0, float(np.hypot(subject.size[0], subject.size[2])) / 2)]
    parts: list[Part] = []
    for _ in range(rng.integers(3, 10)):
        far = chance(rng, 0.4)
        distance = scale * (rng.uniform(2.6, 4.2) if far else rng.uniform(0.55, 1.7))
        angle = rng.uniform(0, 2 * np.pi)
        size = scale * (log_uniform(rng, 0.4, 1.2) if far else log_uniform(rng, 0.12, 0.4))
        x, z = distance * np.sin(angle), distance * np.cos(angle)
        # A view from 15 degrees above the floor still passes over what is lower than this.
        room_above = 0.3 * (distance - taken[0][2])
        thing = _thing(rng, size, size if far else max(room_above, 0.01 * scale))
        low, high = extents(thing)
        radius = float(np.hypot(*np.maximum(np.abs(low), np.abs(high))[[0, 2]])) + 0.02 * scale
        if all(np.hypot(x - a, z - b) > radius + c for a, b, c in taken):
            taken.append((x, z, radius))
            parts += moved(turned(thing, "y", rng.uniform(0, 2 * np.pi)), (x, 0, z))
    return parts


def _thing(rng: np.random.Generator, size: float, tallest: float) -> list[Part]:
    """Something about ``size`` metres wide, standing on y = 0 around the y axis, at most ``tallest`` metres high."""
    kinds = (_package, _ball, _sheet, _pot, _cushion, _stick)
    return kinds[rng.integers(len(kinds))](rng, size, tallest)


def _paint(rng: np.random.Generator) -> Material:
    color = palette_color(rng)
    texture = pattern(rng, color, palette_color(rng)) if chance(rng, 0.4) else plain(rng, color)
    return Material(texture, rng.uniform(0.25, 0.8))


def _package(rng: np.random.Generator, size: float, tallest: float) -> list[Part]:
    height = min(size * rng.uniform(0.2, 1.2), tallest)
    width, depth = size * rng.uniform(0.5, 1.0, 2)
    return block((0, height / 2, 0), (width, height, depth), _paint(rng))


def _ball(rng: np.random.Generator, size: float, tallest: float) -> list[Part]:
    radius = min(size * 0.4, tallest / 2)
    angles = np.linspace(-np.pi / 2, np.pi / 2, 12)
    profile = np.stack([radius * np.cos(angles), radius * (1 + np.sin(angles))], axis=1)
    profile[[0, -1], 0] = 0
    return lathe(profile.tolist(), _paint(rng), 22)


def _sheet(rng: np.random.Generator, size: float, tallest: float) -> list[Part]:
    """A magazine or a sheet of paper."""
    height, depth = size * 0.01, size * rng.uniform(0.6, 0.8)
    top = Material(cover(rng, size / depth) if chance(rng, 0.6) else plain(rng, (240, 240, 236), 0.04), 0.6)
    return block((0, height / 2, 0), (size, height, depth), Material(plain(rng, (225, 222, 214)), 0.8), {"top": top})


def _pot(rng: np.random.Generator, size: float, tallest: float) -> list[Part]:
    height = min(size * rng.uniform(0.4, 1.1), tallest)
    low, middle, top = size * rng.uniform(0.15, 0.4, 3)
    outside = [(0, 0.0), (low, 0.0), (middle, height * 0.5), (top, height)]
    return lathe([*outside, (top * 0.9, height), (middle * 0.9, height * 0.5), (0, height * 0.45)], _paint(rng), 22)


def _cushion(rng: np.random.Generator, size: float, tallest: float) -> list[Part]:
    height = min(size * rng.uniform(0.12, 0.3), tallest)
    material = Material(cloth(rng, palette_color(rng)), 0.9)
    return slab(ellipse(size, size * rng.uniform(0.6, 1.0), 24), 0, height, material, bevel=height * 0.45)


def _stick(rng: np.random.Generator, size: float, tallest: float) -> list[Part]:
    """A pen, a pipe or a rolling pin."""
    radius = min(size * rng.uniform(0.03, 0.08), tallest / 2)
    return rod((-size * 0.6, radius, 0), (size * 0.6, radius, 0), radius, _paint(rng), 12)
