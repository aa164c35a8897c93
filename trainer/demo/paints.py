"""Colours, prints and materials of every kind, far from the palette that the nine categories share."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from trainer.demo.meshes import (
    Material,
    Part,
    Points,
)
from trainer.demo.textures import (
    Color,
    Texture,
    bar_code,
    chance,
    cloth,
    contrasting_color,
    cover,
    fill,
    ink,
    log_uniform,
    noise,
    palette_color,
    pattern,
    plain,
    wood,
    wood_color,
    word,
    write,
    write_lines,
)

_TEXELS = 128


@dataclass(frozen=True, eq=False)
class Style:
    """What the parts of a thing have in common: colours (n, 3), roughness, how they are painted, or one paint for all.

    ``variety`` is the probability that a part is painted in another way than ``painter``'s.
    """

    colors: Color
    roughness: float
    painter: Painter
    variety: float
    everywhere: Material | None


Painter = Callable[[np.random.Generator, Color], Texture]
Shape = Callable[[np.random.Generator, Material], list[Part]]
Size = tuple[float, float, float]


def any_color(rng: np.random.Generator) -> Color:
    """Loud, muted, pale, dark or grey: (3,) float32 RGB. Wider than the palette that the nine categories share."""
    hue, kind = rng.random(), rng.random()
    if kind < 0.36:
        return hsv(hue, rng.uniform(0.7, 1.0), rng.uniform(0.5, 1.0))
    if kind < 0.56:
        return hsv(hue, rng.uniform(0.2, 0.65), rng.uniform(0.3, 0.85))
    if kind < 0.72:
        return hsv(hue, rng.uniform(0.0, 0.2), rng.uniform(0.82, 0.98))
    if kind < 0.82:
        return hsv(hue, rng.uniform(0.0, 0.6), rng.uniform(0.06, 0.22))
    if kind < 0.9:
        return hsv(hue, rng.uniform(0.0, 0.08), rng.uniform(0.25, 0.8))
    return palette_color(rng)


def hsv(hue: float, saturation: float, value: float) -> Color:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * 250 + 3


def _flat(rng: np.random.Generator, colors: Color) -> Texture:
    return plain(rng, colors[0], rng.uniform(0.0, 0.14))


def _two_toned(rng: np.random.Generator, colors: Color) -> Texture:
    return pattern(rng, colors[0], colors[-1], _TEXELS)


def _grained(rng: np.random.Generator, colors: Color) -> Texture:
    return wood(rng, wood_color(rng) if chance(rng, 0.75) else colors[0], _TEXELS)


def _woven(rng: np.random.Generator, colors: Color) -> Texture:
    return cloth(rng, colors[0], 64)


def _banded(rng: np.random.Generator, colors: Color) -> Texture:
    """Stripes of random widths, across or along."""
    cuts = np.sort(rng.uniform(0, 1, rng.integers(1, 9)))
    bands = colors[rng.integers(len(colors), size=len(cuts) + 1)]
    column = bands[np.searchsorted(cuts, np.linspace(0, 1, _TEXELS))].astype(np.uint8)
    picture = np.repeat(column[:, None], _TEXELS, axis=1)
    return np.ascontiguousarray(picture.swapaxes(0, 1)) if chance(rng, 0.3) else picture


def _marbled(rng: np.random.Generator, colors: Color) -> Texture:
    """Noise that runs through all the colours: camouflage, marble, rust."""
    cells = (int(rng.choice([2, 4, 8, 16])), int(rng.choice([2, 4, 8, 16])))
    field = noise(rng, _TEXELS, cells, int(rng.integers(1, 5)))
    stops = np.sort(rng.uniform(0.25, 0.75, len(colors)))
    steps = np.linspace(0, 1, 256)
    if chance(rng, 0.4):
        table = colors[np.minimum(np.searchsorted(stops, steps), len(colors) - 1)]
    else:
        table = np.stack([np.interp(steps, stops, channel) for channel in colors.T], axis=1)
    return table.astype(np.uint8)[(field * 255).astype(np.uint8)]


def _collage(rng: np.random.Generator, colors: Color) -> Texture:
    """Polygons, discs and words over each other."""
    picture = _banded(rng, colors) if chance(rng, 0.3) else flat_square(colors[0], 2 * _TEXELS)
    height, width = picture.shape[:2]
    reach = rng.uniform(0.05, 0.35) * height
    for _ in range(rng.integers(4, 30)):
        color, center = colors[rng.integers(len(colors))], rng.uniform(0, [width, height])
        draw_patch(picture, rng, center, reach * rng.uniform(0.3, 1.0), color)
    if chance(rng, 0.4):
        y = rng.uniform(0.1, 0.7)
        write(picture, rng, word(rng), (0.05, y, 0.95, y + rng.uniform(0.1, 0.3)), any_color(rng))
    return picture


def flat_square(color: Color, size: int) -> Texture:
    return np.full((size, size, 3), color.astype(np.uint8))


def draw_patch(picture: Texture, rng: np.random.Generator, center: Points, radius: float, color: Color) -> None:
    """Draw a disc, a star or an irregular polygon around ``center`` (2,) pixels."""
    if chance(rng, 0.25):
        axes = int(radius) + 1, int(radius * rng.uniform(0.3, 1.0)) + 1
        cv2.ellipse(
            picture, center.astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, ink(color), -1, cv2.LINE_AA
        )
        return
    outline = center + radius * star_outline(rng)[:-1]
    cv2.fillPoly(picture, [outline.astype(np.int32)], ink(color), cv2.LINE_AA)


def _label(rng: np.random.Generator, colors: Color) -> Texture:
    """What is printed on packages: an emblem, words, fields, small print, sometimes a bar code."""
    picture = flat_square(colors[0], 256)
    if chance(rng, 0.5):
        picture = cv2.resize(_SURFACES[rng.integers(len(_SURFACES))](rng, colors), (256, 256)).astype(np.uint8)
    for _ in range(rng.integers(0, 3)):
        y = rng.uniform(0, 0.8)
        fill(picture, (0.0, y, 1.0, y + rng.uniform(0.08, 0.4)), colors[rng.integers(len(colors))])
    for _ in range(rng.integers(1, 3)):
        draw_patch(picture, rng, rng.uniform(70, 186, 2), rng.uniform(30, 90), colors[rng.integers(len(colors))])
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0.03, 0.3), rng.uniform(0.02, 0.8)
        write(picture, rng, word(rng), (x, y, rng.uniform(0.6, 0.97), y + log_uniform(rng, 0.06, 0.3)), any_color(rng))
    if chance(rng, 0.3):
        write_lines(picture, rng, (0.1, 0.6, 0.9, 0.9), contrasting_color(rng, colors[0]), int(rng.integers(3, 9)))
    if chance(rng, 0.25):
        bar_code(picture, rng, (0.6, 0.72, 0.94, 0.94))
    return picture


def _shared_cover(rng: np.random.Generator, colors: Color) -> Texture:
    return cover(rng, 1.0)


_SURFACES: tuple[Painter, ...] = (_flat, _two_toned, _grained, _woven, _banded, _marbled)
_PAINTERS: tuple[Painter, ...] = (*_SURFACES, _flat, _flat, _flat, _collage, _label, _shared_cover)
_PRINTS: tuple[Painter, ...] = (_label, _label, _label, _collage, _shared_cover, _banded, _two_toned)


def draw_style(rng: np.random.Generator) -> Style:
    """How the next thing is painted."""
    colors = np.stack([any_color(rng) for _ in range(rng.integers(2, 6))])
    roughness = rng.uniform(0.1, 0.95)
    painter = _PAINTERS[rng.integers(len(_PAINTERS))]
    everywhere = Material(painter(rng, colors), roughness) if chance(rng, 0.2) else None
    return Style(colors, roughness, painter, rng.choice([0.0, 0.3, 0.8]), everywhere)


def painted(rng: np.random.Generator, style: Style) -> Material:
    """A part's material."""
    if style.everywhere is not None:
        return style.everywhere
    colors = rng.permutation(style.colors)
    if chance(rng, style.variety):
        return Material(_PAINTERS[rng.integers(len(_PAINTERS))](rng, colors), rng.uniform(0.1, 0.95))
    return Material(style.painter(rng, colors), style.roughness)


def any_texture(rng: np.random.Generator) -> Texture:
    """A square picture of any of the kinds above, in colours of its own: (s, s, 3), s a power of two from 64."""
    colors = np.stack([any_color(rng) for _ in range(rng.integers(2, 6))])
    return _PAINTERS[rng.integers(len(_PAINTERS))](rng, colors)


def printed(rng: np.random.Generator, style: Style) -> Material:
    return Material(_PRINTS[rng.integers(len(_PRINTS))](rng, style.colors), rng.uniform(0.1, 0.8))


def plainly(rng: np.random.Generator, style: Style) -> Material:
    """For small parts, on which a print would be lost."""
    return Material(_flat(rng, rng.permutation(style.colors)), style.roughness)


def star_outline(rng: np.random.Generator) -> Points:
    """A closed outline (n + 1, 2) around the origin, reaching as far as 1: stars, gears, rocks, regular polygons."""
    count = int(rng.integers(3, 13))
    angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count) * chance(rng, 0.5)) * 2 * np.pi / count
    radii = np.where(np.arange(count) % 2 == 1, rng.uniform(0.4, 1.0), 1.0) if count % 2 == 0 else np.ones(count)
    radii = radii * rng.uniform(0.55, 1.0, count) if chance(rng, 0.4) else radii
    outline = -radii[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return np.concatenate([outline, outline[:1]])
