"""A bottle: slim or stout, round or flat, with a cap, a handle, a pump or a spray head."""

from __future__ import annotations

import numpy as np

from trainer.demo.meshes import Material, Part, Points, arc, block, lathe, rod, surface, tube
from trainer.demo.textures import (
    back_cover,
    chance,
    cover,
    log_uniform,
    palette_color,
    pattern,
    plain,
)

_LABEL_GAP = 0.0006


def build(rng: np.random.Generator) -> list[Part]:
    """The large label is at the front (+z), a small one at the back; spray heads point to the front."""
    height = log_uniform(rng, 0.14, 0.38)
    radius = height / log_uniform(rng, 2.5, 9.0)
    depth = 1.0 if chance(rng, 0.45) else rng.uniform(0.4, 1.0)
    profile = _profile(rng, radius, height)
    parts = lathe(profile.tolist(), _skin(rng), 32, depth) + _labels(rng, profile, depth)
    neck, top = profile[-1]
    material = Material(plain(rng, palette_color(rng), 0.05), 0.4)
    kind = rng.random()
    if kind < 0.55:
        return parts + _cap(rng, neck, top, material)
    if kind < 0.7:
        return parts + _cap(rng, neck, top, material) + _handle(rng, profile, material)
    return parts + (_pump(rng, neck, top, height, material) if kind < 0.85 else _spray(neck, top, height, material))


def _skin(rng: np.random.Generator) -> Material:
    """Plastic, glass or painted metal."""
    if chance(rng, 0.3):
        glass = np.array([[28, 58, 36], [62, 36, 18], [150, 175, 178], [24, 34, 66]])
        return Material(plain(rng, rng.choice(glass), 0.05), 0.08)
    color = palette_color(rng)
    texture = plain(rng, color, 0.05) if chance(rng, 0.7) else pattern(rng, color, palette_color(rng))
    return Material(texture, rng.uniform(0.15, 0.5))


def _profile(rng: np.random.Generator, radius: float, height: float) -> Points:
    """(15, 2) of radius and height, from the middle of the foot to the mouth; row 4 is the body, row 7 the shoulder."""
    neck = min(radius * rng.uniform(0.28, 0.75), 0.03)
    shoulder, mouth = rng.uniform(0.5, 0.82) * height, rng.uniform(0.88, 0.95) * height
    bend = np.linspace(0, 1, 8)[1:]
    slope = (1 - np.cos(bend * np.pi)) / 2 if chance(rng, 0.7) else bend
    waist = radius * (rng.uniform(0.82, 0.95) if chance(rng, 0.3) else 1.0)
    body = [(radius, 0.012), (radius, shoulder * 0.2), (waist, shoulder * 0.55), (radius, shoulder * 0.9)]
    curve = np.stack([radius + (neck - radius) * slope, shoulder + (mouth - shoulder) * 0.8 * bend], axis=1)
    foot = [(0, 0.0), (radius * 0.88, 0.0), (radius * 0.97, 0.004)]
    return np.array([*foot, *body, (radius, shoulder), *curve.tolist(), (neck, mouth)])


def _labels(rng: np.random.Generator, profile: Points, depth: float) -> list[Part]:
    low, high = np.array([rng.uniform(0.16, 0.3), rng.uniform(0.62, 0.92)]) * profile[7, 1]
    reach = rng.uniform(0.3, 0.62) * np.pi
    aspect = reach * 2 * profile[4, 0] / (high - low)
    front = _label(profile, depth, (low, high), (-reach, reach), Material(cover(rng, aspect), 0.5))
    paper = back_cover(rng, palette_color(rng))
    back = _label(profile, depth, (low, high), (np.pi - 0.7, np.pi + 0.7), Material(paper, 0.5))
    return [front, back]


def _label(
    profile: Points, depth: float, heights: tuple[float, float], angles: tuple[float, float], material: Material
) -> Part:
    y = np.linspace(*heights, 6)[:, None]
    radius = np.interp(y, profile[:, 1], profile[:, 0])
    a = np.linspace(*angles, 20)[None, :]
    x, z = (radius + _LABEL_GAP) * np.sin(a), (radius * depth + _LABEL_GAP) * np.cos(a)
    return surface(np.stack(np.broadcast_arrays(x, y, z), axis=-1), material)


def _cap(rng: np.random.Generator, neck: float, top: float, material: Material) -> list[Part]:
    radius, rise = neck * 1.15, rng.uniform(0.012, 0.035)
    profile = [(radius, top - 0.008), (radius, top + rise * 0.9), (radius * 0.93, top + rise), (0, top + rise)]
    return lathe(profile, material)


def _handle(rng: np.random.Generator, profile: Points, material: Material) -> list[Part]:
    """A jug's handle on the right."""
    radius, shoulder = profile[4, 0], profile[7, 1]
    half = shoulder * rng.uniform(0.22, 0.34)
    reach = radius * rng.uniform(0.5, 0.9)
    path = arc((radius * 0.95, shoulder * 0.62, 0), (reach, 0, 0), (0, half, 0), -np.pi / 2, np.pi / 2, 14)
    return tube(path, radius * 0.13, material)


def _pump(rng: np.random.Generator, neck: float, top: float, height: float, material: Material) -> list[Part]:
    rise = height * rng.uniform(0.1, 0.2)
    parts = _cap(rng, neck, top, material) + rod((0, top, 0), (0, top + rise, 0), neck * 0.3, material)
    nozzle = [(0, top + rise, -neck * 0.5), (0, top + rise, neck * 1.2), (0, top + rise * 0.85, neck * 2.4)]
    return parts + tube(nozzle, neck * 0.28, material)


def _spray(neck: float, top: float, height: float, material: Material) -> list[Part]:
    reach = max(neck * 2.2, height * 0.16)
    parts = lathe([(neck * 1.1, top - 0.01), (neck * 0.9, top + 0.03), (0, top + 0.03)], material)
    head = (neck * 1.3, height * 0.09, reach * 1.3)
    parts += block((0, top + 0.03 + head[1] / 2, reach * 0.35), head, material)
    trigger = [(0, top + 0.03, reach * 0.6), (0, top - 0.01, reach * 0.75), (0, top - height * 0.11, reach * 0.6)]
    return parts + tube(trigger, neck * 0.25, material, 6)
