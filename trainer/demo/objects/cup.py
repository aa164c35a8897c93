"""A cup: from an espresso cup to a beaker, with a handle of any size or none, some on a saucer."""

from __future__ import annotations

import cv2
import numpy as np

from trainer.demo.meshes import Material, Part, Points, arc, lathe, moved, tube
from trainer.demo.textures import Color, Texture, chance, cover, log_uniform, palette_color, pattern, plain

_WALL = 0.0035


def build(rng: np.random.Generator) -> list[Part]:
    """The print is at the front (+z), the handle on the right (+x)."""
    height = log_uniform(rng, 0.05, 0.17)
    top = height / log_uniform(rng, 0.7, 3.4)
    base = top * rng.uniform(0.55, 0.98)
    color = palette_color(rng)
    roughness = rng.uniform(0.12, 0.5)
    profile = _wall(rng, base, top, height)
    parts = _bowl(rng, profile, color, roughness)
    if chance(rng, 0.8):
        parts += _handle(rng, profile, Material(plain(rng, color, 0.04), roughness))
    return _on_saucer(rng, parts, base, top, color) if chance(rng, 0.2) else parts


def _wall(rng: np.random.Generator, base: float, top: float, height: float) -> Points:
    """The outside, (n, 2) of radius and height, from the foot to the rim."""
    share = np.linspace(0, 1, 9)
    belly = rng.uniform(-0.06, 0.22) * top
    radius = base + (top - base) * share + belly * np.sin(np.pi * share**0.8)
    return np.stack([radius, height * share], axis=1)


def _bowl(rng: np.random.Generator, profile: Points, color: Color, roughness: float) -> list[Part]:
    (top, height), foot = profile[-1], profile[0, 0]
    inner = [(r - _WALL, max(y, _WALL)) for r, y in profile[::-1]]
    level = rng.uniform(0.5, 0.9) * height
    rim = [(top, height), (top - _WALL * 0.5, height + _WALL * 0.4), (top - _WALL, height)]
    outside = Material(_print(rng, color), roughness)
    inside = Material(plain(rng, color if chance(rng, 0.4) else (236, 233, 226), 0.04), roughness)
    drink = Material(plain(rng, (64, 42, 26) if chance(rng, 0.6) else palette_color(rng), 0.05), 0.15)
    surface_radius = float(np.interp(level, profile[:, 1], profile[:, 0])) - _WALL * 0.8
    parts = lathe([(0, 0), (foot * 0.96, 0), (foot, 0.002), *profile[1:].tolist()], outside, 36)
    parts += lathe(rim, inside, 36) + lathe([*inner, (0, _WALL)], inside, 36)
    return parts + lathe([(surface_radius, level), (0, level)], drink, 36)


def _print(rng: np.random.Generator, color: Color) -> Texture:
    """The wrapping of the outside: a picture in the middle, which is the front."""
    band = pattern(rng, color, palette_color(rng), 256) if chance(rng, 0.45) else plain(rng, color, 0.05, 256)
    band = cv2.resize(band, (512, 256)).astype(np.uint8)
    width = int(rng.integers(110, 180))
    picture = cv2.resize(cover(rng, 0.9), (width, 170))
    band[40:210, 256 - width // 2 : 256 - width // 2 + width] = picture
    return band


def _handle(rng: np.random.Generator, profile: Points, material: Material) -> list[Part]:
    height = profile[-1, 1]
    half = height * rng.uniform(0.2, 0.36)
    middle = height * rng.uniform(0.46, 0.56)
    reach = half * log_uniform(rng, 0.6, 2.0)
    start = float(np.interp(middle, profile[:, 1], profile[:, 0])) - _WALL / 2
    path = arc((start, middle, 0), (reach, 0, 0), (0, half, 0), -np.pi / 2, np.pi / 2, 14)
    # The ends follow the wall, so that a handle meets a slanted cup without a gap.
    path[:, 0] += (np.interp(path[:, 1], profile[:, 1], profile[:, 0]) - _WALL / 2 - start) * np.abs(
        np.linspace(-1, 1, len(path))
    )
    return tube(path, height * rng.uniform(0.035, 0.06), material, 10)


def _on_saucer(rng: np.random.Generator, parts: list[Part], base: float, top: float, color: Color) -> list[Part]:
    radius = max(top, base) * rng.uniform(1.4, 2.0)
    china = Material(plain(rng, color, 0.04), 0.2)
    profile = [(0, 0.0), (radius * 0.6, 0.0), (radius, 0.012), (radius, 0.0145), (radius * 0.6, 0.004), (0, 0.004)]
    return lathe(profile, china, 40) + moved(parts, (0, 0.0035, 0))
