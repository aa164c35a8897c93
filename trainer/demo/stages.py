"""Places to film in that differ far more than ``build_scene``'s rooms: studios, loud floors, coloured light, clutter.

What is behind an object in a photograph can be anything; what is learnt must not depend on it. The cheapest places are
the commonest photographs of single objects: a plain backdrop of one colour, black above all.
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from trainer.demo.meshes import Part, moved, turned
from trainer.demo.objects import DemoObject
from trainer.demo.paints import any_color, any_texture, draw_patch, draw_style
from trainer.demo.scene import Float3, Floor, Light, Room, Scene, build_scene, room_panorama
from trainer.demo.shapes import any_shape
from trainer.demo.textures import Texture, chance, floor, log_uniform, plain

_ROOMS, _STUDIOS = 0.35, 0.35  # shares; the rest is loud
_FLOOR_TEXELS = 256
# The renderer halves a floor's texture six times.
_PLAIN_TEXELS = 64


def build_stage(subject: DemoObject, rng: np.random.Generator) -> Scene:
    """A new place for the object: a room as in the demo's captures, a plain studio, or anything."""
    kind = rng.random()
    if kind < _ROOMS:
        return build_scene(subject, rng)
    scale = float(np.linalg.norm(subject.size))
    if kind < _ROOMS + _STUDIOS:
        return _studio(subject, rng, scale)
    ground = Floor(_loud_floor(rng), scale * log_uniform(rng, 0.4, 4.0), rng.uniform(0, 2 * np.pi))
    light = _light(rng, _mean(ground.texture))
    panorama = room_panorama(rng) if chance(rng, 0.25) else _loud_panorama(rng)
    return Scene(subject, tuple(_clutter(rng, subject, scale)), ground, _room(rng, panorama, scale), light)


def _room(rng: np.random.Generator, panorama: Texture, scale: float) -> Room:
    """Never so small that a hand-held orbit would leave it."""
    half = (5 * scale + 0.5) * rng.uniform(1.0, 1.6)
    return Room(panorama, half, half * rng.uniform(0.6, 1.2))


# Plain studios


def _studio(subject: DemoObject, rng: np.random.Generator, scale: float) -> Scene:
    """Floor and walls of one colour; seldom a few things."""
    color = _backdrop_color(rng)
    ground = Floor(plain(rng, color, 0.03, _PLAIN_TEXELS), scale * rng.uniform(1.0, 4.0), 0.0)
    light = _light(rng, _mean(ground.texture))
    wall = _seamless(color, light) if chance(rng, 0.7) else color * rng.uniform(0.5, 1.0)
    panorama = np.full((8, 32, 3), np.clip(wall, 0, 255).astype(np.uint8))
    clutter = tuple(_clutter(rng, subject, scale)) if chance(rng, 0.15) else ()
    return Scene(subject, clutter, ground, _room(rng, panorama, scale), light)


def _backdrop_color(rng: np.random.Generator) -> Float3:
    """(3,) RGB: black, dark grey, white, mid grey, or any colour."""
    kind = rng.random()
    if kind < 0.4:
        return np.full(3, rng.uniform(0, 14))
    if kind < 0.55:
        return rng.uniform(14, 60) + rng.normal(0, 3, 3)
    if kind < 0.75:
        return rng.uniform(205, 252) + rng.normal(0, 3, 3)
    if kind < 0.85:
        return rng.uniform(80, 180) + rng.normal(0, 5, 3)
    return any_color(rng).astype(np.float64)


def _seamless(color: Float3, light: Light) -> Float3:
    """The wall's colour that looks like the floor's: lamp and sky light the two differently."""
    on_floor = light.lamp * light.direction[1] + light.sky
    on_wall = light.sky + 0.35 * light.lamp
    return np.asarray(np.maximum(color, 0) * (on_floor / on_wall) ** (1 / 2.2), np.float64)


# Light


def _light(rng: np.random.Generator, floor_color: Float3) -> Light:
    """From overcast to a bare bulb; the exposure follows the light, as a camera's does, but not exactly."""
    elevation, azimuth = rng.uniform(0.25, 1.5), rng.uniform(0, 2 * np.pi)
    direction = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    overcast = chance(rng, 0.12)
    strength = 0.0 if overcast else log_uniform(rng, 0.4, 2.2)
    sky = rng.uniform(0.6, 1.0) if overcast else log_uniform(rng, 0.15, 1.0)
    lamp_color, sky_color = _lamp_color(rng), 1 + 0.5 * (_tint(rng) - 1)
    brightness = sky + strength * max(0.35, 0.75 * np.sin(elevation))
    return Light(
        direction=np.array(direction),
        lamp=lamp_color * strength,
        sky=sky_color * sky,
        bounce=(floor_color**2.2 * 0.6 + 0.06) * sky_color * sky,
        exposure=float(np.clip(log_uniform(rng, 0.8, 1.9) / brightness, 0.55, 1.5)),
    )


def _tint(rng: np.random.Generator) -> Float3:
    """(3,) around 1: warm or cool, a little green or pink."""
    warmth, green = rng.normal(0, 0.14), rng.normal(0, 0.04)
    return np.clip([1 + warmth, 1 + green, 1 - warmth], 0.4, 1.6)


def _lamp_color(rng: np.random.Generator) -> Float3:
    if chance(rng, 0.94):
        return _tint(rng)
    color = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 0.8), 1.0))
    return np.asarray(color / color.mean(), np.float64)


def _mean(texture: Texture) -> Float3:
    """Its colour (3,) in 0..1."""
    return np.asarray(texture.reshape(-1, 3).mean(axis=0) / 255, np.float64)


# Loud places


def _loud_floor(rng: np.random.Generator) -> Texture:
    """(s, s, 3), s a power of two: any texture laid as tiles, pieces of many colours, or a real floor."""
    kind = rng.random()
    if kind < 0.2:
        return floor(rng)
    if kind < 0.4:
        return _pieces(rng, _FLOOR_TEXELS, _FLOOR_TEXELS)
    texture = any_texture(rng)
    count = int(rng.choice([1, 1, 2]))
    side = _FLOOR_TEXELS // count
    small = cv2.resize(texture, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return np.tile(small, (count, count, 1))


def _pieces(rng: np.random.Generator, width: int, height: int) -> Texture:
    """A collage (height, width, 3) of polygons in any colours, few large ones or many small."""
    picture = np.full((height, width, 3), any_color(rng).astype(np.uint8))
    colors = [any_color(rng) for _ in range(rng.integers(2, 12))]
    reach = log_uniform(rng, 0.06, 0.5) * height
    for _ in range(min(90, int(0.8 * width * height / reach**2))):
        color = colors[rng.integers(len(colors))] * rng.uniform(0.7, 1.1)
        draw_patch(picture, rng, rng.uniform(0, [width, height]), reach * rng.uniform(0.4, 1.0), color)
    return picture


def _loud_panorama(rng: np.random.Generator) -> Texture:
    """(128, 512, 3), more or less out of focus, closed all around."""
    if chance(rng, 0.5):
        picture = _pieces(rng, 512, 128)
    else:
        walls = [any_texture(rng) for _ in range(rng.integers(1, 5))]
        picture = np.concatenate([cv2.resize(walls[k % len(walls)], (128, 128)) for k in range(4)], axis=1)
    wide = np.concatenate([picture[:, -32:], picture, picture[:, :32]], axis=1)
    return cv2.GaussianBlur(wide, (0, 0), log_uniform(rng, 0.4, 4.0))[:, 32:-32].astype(np.uint8)


def _clutter(rng: np.random.Generator, subject: DemoObject, scale: float) -> list[Part]:
    """Other things around the object that do not touch it: none, a few, or a crowd close by."""
    kind = rng.random()
    if kind < 0.35:
        return []
    count, nearest = (int(rng.integers(6, 13)), 0.05) if kind > 0.75 else (int(rng.integers(1, 6)), 0.3)
    reach = float(np.hypot(subject.size[0], subject.size[2])) / 2
    style = draw_style(rng)
    parts: list[Part] = []
    for _ in range(count):
        size = scale * log_uniform(rng, 0.1, 0.5)
        distance = reach + 0.75 * size + scale * (nearest + rng.exponential(0.35))
        # Seen from 15 to 60 degrees above the floor, what is lower than this hides little of the object.
        tallest = 0.45 * (distance - reach)
        thing = _thing(rng, size, tallest) if chance(rng, 0.6) else any_shape(rng, style, (size, tallest, size))
        angle = rng.uniform(0, 2 * np.pi)
        parts += moved(turned(thing, "y", angle), (distance * np.sin(angle), 0, distance * np.cos(angle)))
    return parts


def _thing(rng: np.random.Generator, width: float, tallest: float) -> list[Part]:
    """In a style of its own, at most ``width`` wide and deep and ``tallest`` high."""
    height = min(tallest, width * log_uniform(rng, 0.2, 2.0))
    return any_shape(rng, draw_style(rng), (width, height, width * rng.uniform(0.3, 1.0)))
