"""A shoe: ballerina, trainer, ankle boot, high boot or heeled, narrow or wide, a child's or a grown-up's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from trainer.demo.meshes import Material, Part, Points, ellipse, lathe, moved, scaled, slab, surface, tube, turned
from trainer.demo.textures import (
    Color,
    Texture,
    chance,
    cloth,
    contrasting_color,
    ink,
    log_uniform,
    palette_color,
    pattern,
    plain,
)

# From the heel (0) to the toe (1): half the width, the middle line's bend to the inside, and the height of the upper.
_STATIONS = np.array([0, 0.025, 0.12, 0.35, 0.5, 0.72, 0.9, 0.975, 1])
_HALF_WIDTH = np.array([0, 0.42, 0.64, 0.66, 0.76, 1, 0.82, 0.5, 0])
_BEND = np.array([0, 0, 0, 0, 0.09, 0.1, 0.02, -0.05, -0.09])
_SECTIONS = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2  # closer together at heel and toe, which are round


@dataclass(frozen=True, eq=False)
class _Last:
    """What the shoe is built around, in metres: ``collar`` is the height of the opening, ``open_to`` its end (0..1)."""

    length: float
    width: float
    collar: float
    toe: float
    sole: float
    open_to: float
    side: int

    def z(self, share: float) -> float:
        return (share - 0.5) * self.length

    def half_width(self, share: Points) -> Points:
        shares: Points = np.interp(share, _STATIONS, _HALF_WIDTH)
        return shares * self.width / 2

    def middle(self, share: Points) -> Points:
        shares: Points = np.interp(share, _STATIONS, _BEND)
        return shares * self.side * self.width

    def top(self, share: Points) -> Points:
        heights = [0.75, 0.97, 1, 0.98, 0.95]
        stations = np.array([0, 0.04, 0.12, self.open_to * 0.8, self.open_to])
        # Sunk in the middle, so that the opening's dark inside lies above the skin.
        sunk = np.interp(share, [0.06, 0.1, self.open_to * 0.9, self.open_to], [1, 0.9, 0.9, 1])
        collar = np.interp(share, stations, heights) * sunk * (self.collar - self.sole)
        fall = np.clip((share - self.open_to) / (0.93 - self.open_to), 0, 1)
        vamp = 0.95 * (self.collar - self.sole) * (1 - fall) ** 1.15 + self.toe * np.minimum(fall * 1.3, 1)
        tip = np.interp(share, [0.9, 0.97, 1], [1, 0.85, 0.45])
        return self.sole + np.where(share <= self.open_to, collar, vamp * tip)


def build(rng: np.random.Generator) -> list[Part]:
    """The toe is at the front (+z)."""
    last, shaft, heel = _style(rng)
    color, accent = palette_color(rng), palette_color(rng)
    skin = Material(_upper_texture(rng, color, accent), rng.uniform(0.35, 0.8))
    foot = [*_sole(rng, last), _upper(last, skin)]
    leg = _shaft(rng, last, shaft, color, skin.roughness) if shaft else []
    if not shaft:
        foot += _opening(rng, last, color)
    if last.open_to < 0.5 and chance(rng, 0.75):
        foot += _laces(rng, last) + _tongue(rng, last, accent)
    if not heel:
        return foot + leg
    ankle = float(_rise(last, heel, np.array([_mouth(last)[2]]))[0])
    return [_lifted(part, last, heel) for part in foot] + moved(leg, (0, ankle, 0)) + _stilt(rng, last, heel)


def _style(rng: np.random.Generator) -> tuple[_Last, float, float]:
    """The last, the height of a boot's shaft (0: none) and that of a heel (0: none), in metres."""
    length = log_uniform(rng, 0.13, 0.33)
    width = length * log_uniform(rng, 0.31, 0.46)
    sole = length * log_uniform(rng, 0.05, 0.14)
    side = int(rng.choice([-1, 1]))
    toe = length * rng.uniform(0.1, 0.15)
    kind = rng.random()
    if kind < 0.25:
        low = sole + length * rng.uniform(0.12, 0.2)
        return _Last(length, width, low, toe * 0.8, sole, rng.uniform(0.55, 0.68), side), 0.0, _heel(rng, length)
    collar = sole + length * rng.uniform(0.25, 0.38)
    shaft = length * log_uniform(rng, 0.2, 0.9) if kind > 0.6 else 0.0
    heel = _heel(rng, length) if kind > 0.8 else 0.0
    return _Last(length, width, collar, toe, sole, rng.uniform(0.36, 0.44), side), shaft, heel


def _heel(rng: np.random.Generator, length: float) -> float:
    return length * rng.uniform(0.1, 0.4) if chance(rng, 0.5) else 0.0


def _upper_texture(rng: np.random.Generator, color: Color, accent: Color) -> Texture:
    """Around the shoe from its bottom (u), from the toe down to the heel (v), with an emblem on both sides."""
    size = 256
    base = cloth(rng, color, size) if chance(rng, 0.4) else plain(rng, color, 0.1, size)
    if chance(rng, 0.25):
        base = pattern(rng, color, accent, size)
    emblem = int(rng.integers(4))
    for u, lean in ((0.2, 1), (0.8, -1)):
        x = int(u * size)
        if emblem == 0:
            for row in range(3):
                y = 100 + row * 22
                cv2.line(base, (x - lean * 26, y + 14), (x + lean * 30, y - 8), ink(accent), 8, cv2.LINE_AA)
        elif emblem == 1:
            corners = np.array([[x - lean * 14, 70], [x + lean * 24, 110], [x - lean * 4, 190]], np.int32)
            cv2.fillPoly(base, [corners], ink(accent), cv2.LINE_AA)
        elif emblem == 2:
            cv2.circle(base, (x + lean * 8, 140), 18, ink(accent), -1, cv2.LINE_AA)
    if chance(rng, 0.6):
        base[: int(size * rng.uniform(0.08, 0.16))] = ink(accent)
    if chance(rng, 0.6):
        base[int(size * rng.uniform(0.86, 0.92)) :] = ink(accent * 0.8)
    return base


def _loft(last: _Last, half: Points, low: Points, high: Points, boxy: float, material: Material) -> Part:
    """A skin around the shoe's middle line: one rounded section per station of ``_SECTIONS``."""
    angles = np.linspace(-np.pi / 2, 3 * np.pi / 2, 29)[None, :]
    half, low, high, middle = (v[:, None] for v in (half, low, high, last.middle(_SECTIONS)))
    # An upper narrows towards its top; a sole, which is boxy, does not.
    lean = np.where(np.sin(angles) > 0, 1 - 0.5 * (boxy - 0.04) * np.sin(angles) ** 2, 1.0)
    x = middle + half * _rounded(np.cos(angles), boxy) * lean
    y = (low + high) / 2 + (high - low) / 2 * _rounded(np.sin(angles), boxy)
    z = (_SECTIONS[:, None] - 0.5) * last.length + 0 * angles
    return surface(np.stack([x, y, z], axis=-1), material)


def _rounded(x: Points, power: float) -> Points:
    bent: Points = np.sign(x) * np.abs(x) ** power
    return bent


def _sole(rng: np.random.Generator, last: _Last) -> list[Part]:
    rubber = Material(plain(rng, (236, 233, 226) if chance(rng, 0.55) else palette_color(rng), 0.06), 0.75)
    half, level = last.half_width(_SECTIONS) * 1.06, np.ones_like(_SECTIONS)
    if last.sole > 0.015 and chance(rng, 0.5):
        tread = Material(plain(rng, palette_color(rng)), 0.8)
        parts = [_loft(last, half * 0.99, 0 * level, last.sole * 0.4 * level, 0.2, tread)]
        return [*parts, _loft(last, half, last.sole * 0.3 * level, last.sole * level, 0.3, rubber)]
    return [_loft(last, half, 0 * level, last.sole * level, 0.3, rubber)]


def _upper(last: _Last, skin: Material) -> Part:
    low = np.full_like(_SECTIONS, last.sole * 0.8)
    return _loft(last, last.half_width(_SECTIONS) * 0.99, low, last.top(_SECTIONS), 0.78, skin)


def _mouth(last: _Last) -> tuple[float, float, float]:
    """Width, depth and z of the opening's middle."""
    back, front = 0.06, last.open_to
    middle = np.array([(back + front) / 2])
    return float(last.half_width(middle)[0]) * 1.28, (front - back) * last.length, last.z((back + front) / 2)


def _opening(rng: np.random.Generator, last: _Last, color: Color) -> list[Part]:
    """The dark inside and a padded collar around it."""
    width, depth, z = _mouth(last)
    inside = Material(plain(rng, (34, 31, 30), 0.2), 0.95)
    collar = Material(cloth(rng, color * rng.uniform(0.55, 0.9)), 0.85)
    dark = scaled(lathe([(r, 0.0) for r in np.linspace(0.5, 0, 6)], inside, 24), (width, 1, depth))
    rim = ellipse(width * 1.02, depth * 1.02, 28)
    path = np.stack([rim[:, 0], 0.004 * np.cos(rim[:, 1] / depth * 4), rim[:, 1]], axis=1)
    ring = tube(path, last.length * 0.017, collar, 8)
    return moved(dark + ring, (0, last.collar - last.length * 0.006, z))


def _shaft(rng: np.random.Generator, last: _Last, height: float, color: Color, roughness: float) -> list[Part]:
    """A boot's leg: from the ankle up, open at the top."""
    width, depth, z = _mouth(last)
    low, high = last.collar - last.length * 0.1, last.collar + height
    share = np.linspace(0, 1, 7)
    flare = 1 + rng.uniform(-0.05, 0.25) * share**1.5 + 0.08 * (1 - share) ** 3
    rings = [ellipse(width * 1.12 * f, depth * 1.04 * f, 24) for f in flare]
    heights = low + (high - low) * share
    grid = [np.stack([r[:, 0], np.full(len(r), y), r[:, 1]], axis=1) for r, y in zip(rings, heights, strict=True)]
    leather = Material(plain(rng, color, 0.1, 128), roughness)
    top = np.stack([rings[-1][:, 0], np.full(len(rings[-1]), high), rings[-1][:, 1]], axis=1)
    rim = tube(top, last.length * 0.014, Material(plain(rng, contrasting_color(rng, color)), 0.85), 8)
    size = np.ptp(rings[-1], axis=0)
    inside = scaled(lathe([(0.5, 0), (0, 0)], Material(plain(rng, (30, 28, 27), 0.2), 0.95), 24), (size[0], 1, size[1]))
    return moved([surface(grid, leather), *rim, *moved(inside, (0, high - 0.004, 0))], (0, 0, z))


def _laces(rng: np.random.Generator, last: _Last) -> list[Part]:
    lace, parts = Material(plain(rng, rng.choice([(236, 236, 232), (40, 40, 42), (190, 60, 50)])), 0.8), []
    stations = np.linspace(last.open_to + 0.03, last.open_to + 0.24, 5)
    for row, share in enumerate(stations):
        half = 0.46 * float(last.half_width(np.array([share]))[0])
        y, z = float(last.top(np.array([share]))[0]), last.z(share)
        slant = 0.012 * last.length * (-1) ** row
        bow = [
            (-half, y - 0.02 * last.length, z),
            (0, y + 0.004, z + slant / 2),
            (half, y - 0.02 * last.length, z + slant),
        ]
        parts += moved(tube(bow, last.length * 0.012, lace, 6), (float(last.middle(np.array([share]))[0]), 0, 0))
    return parts


def _tongue(rng: np.random.Generator, last: _Last, accent: Color) -> list[Part]:
    width = last.width * 0.27
    flap = slab(ellipse(width, last.length * 0.13, 16), -0.002, 0.004, Material(cloth(rng, accent), 0.85), bevel=0.002)
    return moved(turned(flap, "x", 0.75), (0, last.collar, last.z(last.open_to)))


def _rise(last: _Last, heel: float, z: Points) -> Points:
    """How far a heel lifts the shoe at each z: not at all under the ball of the foot."""
    share = np.clip((0.68 - (z / last.length + 0.5)) / 0.48, 0, 1)
    return heel * share * share * (3 - 2 * share)


def _lifted(part: Part, last: _Last, heel: float) -> Part:
    vertices = part.vertices.copy()
    vertices[:, 1] += _rise(last, heel, vertices[:, 2])
    return replace(part, vertices=vertices)


def _stilt(rng: np.random.Generator, last: _Last, heel: float) -> list[Part]:
    width = last.width * rng.uniform(0.14, 0.4)
    path = [(0, 0, last.z(0.12)), (0, heel + last.sole * 0.5, last.z(0.13))]
    return tube(path, (width * 0.7, width), Material(plain(rng, palette_color(rng)), 0.4), 16)
