"""Solid shapes to build things of: each stands on y = 0 around the y axis, a metre high, wide and deep at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from trainer.demo.meshes import (
    Material,
    Part,
    Points,
    arc,
    block,
    ellipse,
    extents,
    lathe,
    moved,
    rounded_rectangle,
    scaled,
    slab,
    smooth_runs,
    surface,
    tube,
)
from trainer.demo.paints import Shape, Size, Style, painted, star_outline
from trainer.demo.textures import (
    chance,
)

# Shapes: each as large as it comes, ``fitted`` into a box where it is used


def fitted(
    parts: Sequence[Part], size: Sequence[float] | Points, foot: Sequence[float] = (0.0, 0.0, 0.0)
) -> list[Part]:
    """The parts scaled into a box of ``size`` (3,), the middle of whose bottom is at ``foot`` (3,)."""
    low, high = extents(parts)
    base = ((low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2)
    return moved(scaled(moved(parts, np.negative(base)), np.asarray(size) / np.maximum(high - low, 1e-9)), foot)


def mirrored(parts: Sequence[Part]) -> list[Part]:
    """The parts and what a mirror in the plane x = 0 shows of them."""
    flip = np.array([-1.0, 1.0, 1.0])
    return [
        *parts,
        *(
            replace(p, vertices=p.vertices * flip, normals=p.normals * flip, triangles=p.triangles[:, ::-1])
            for p in parts
        ),
    ]


def repeated(parts: Sequence[Part], columns: float, rows: float = 1.0) -> list[Part]:
    """The parts, their textures laid so many times beside and above each other."""
    return [replace(part, uvs=part.uvs * (columns, rows)) for part in parts]


def cube(rng: np.random.Generator, material: Material) -> list[Part]:
    return block((0, 0, 0), (1, 1, 1), material)


def sphere(rng: np.random.Generator, material: Material) -> list[Part]:
    angles = np.linspace(-np.pi / 2, np.pi / 2, 12)
    profile = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    profile[[0, -1], 0] = 0
    return lathe(profile.tolist(), material, 20)


def blob(rng: np.random.Generator, material: Material) -> list[Part]:
    """A ball with bumps: fruit, stones, plush."""
    ball = sphere(rng, material)[0]
    waves, phases = rng.normal(0, 2.2, (5, 3)), rng.uniform(0, 2 * np.pi, 5)
    swell = 1 + rng.uniform(0.05, 0.25) * np.sin(ball.vertices @ waves.T + phases).mean(axis=1) * 2
    grid = (ball.vertices * swell[:, None]).reshape(12, 21, 3)
    return [surface(grid, material)]


def loaf(rng: np.random.Generator, material: Material) -> list[Part]:
    """A box with rounded corners and edges."""
    outline = rounded_rectangle(1, 1, rng.uniform(0.08, 0.48))
    return slab(outline, 0, 1, material, bevel=rng.choice([0.0, 0.08, 0.3]))


def lathed(profile: Sequence[Sequence[float]], material: Material, sides: int, depth: float = 1.0) -> list[Part]:
    """``lathe`` for profiles in which a point may repeat: a band without width has no normals."""
    points = np.asarray(profile, np.float64)
    distinct = np.insert(np.abs(np.diff(points, axis=0)).max(axis=1) > 1e-6, 0, True)
    return lathe([(float(r), float(y)) for r, y in points[distinct]], material, sides, depth)


def drum(rng: np.random.Generator, material: Material) -> list[Part]:
    """A cylinder or a regular prism, its rim broken or not."""
    sides, bevel = int(rng.choice([5, 6, 8, 28, 28, 28])), rng.choice([0.0, 0.06])
    if sides < 28:
        return prism(ellipse(1, 1, sides), material, material)
    return lathed([(0, 0), (0.5 - bevel, 0), (0.5, bevel), (0.5, 1 - bevel), (0.5 - bevel, 1), (0, 1)], material, 28)


def cone(rng: np.random.Generator, material: Material) -> list[Part]:
    tip = rng.choice([0.01, rng.uniform(0.1, 0.8)])
    return lathed([(0, 0), (1, 0), (tip, 1), (0, 1)], material, 24)


def spindle(rng: np.random.Generator, material: Material) -> list[Part]:
    """Turned on a lathe: a random curve, or steps."""
    profile = random_profile(rng)
    return lathed([(0, 0), *profile.tolist(), (0, 1)], material, 24)


def random_profile(rng: np.random.Generator) -> Points:
    """(n, 2) radius and height from 0 to 1, of a vase, a baluster or a chess piece."""
    count = int(rng.integers(3, 7))
    heights = np.concatenate([[0], np.sort(rng.uniform(0.1, 0.9, count - 2)), [1]])
    heights = np.maximum.accumulate(heights + np.arange(count) * 1e-3)
    heights /= heights[-1]
    radii = rng.uniform(0.2, 1.0, count)
    if chance(rng, 0.25):
        steps = np.stack([np.repeat(radii[:-1], 2), np.repeat(heights, 2)[1:-1]], axis=1)
        return np.asarray(steps, np.float64)
    y = np.linspace(0, 1, 13)
    return np.stack([PchipInterpolator(heights, radii)(y), y], axis=1)


def token(rng: np.random.Generator, material: Material) -> list[Part]:
    """A random outline, extruded upwards."""
    outline = smooth_outline(rng) if chance(rng, 0.5) else star_outline(rng)
    return prism(outline, material, material)


def _ring(rng: np.random.Generator, material: Material) -> list[Part]:
    return tube(arc((0, 0, 0), (1, 0, 0), (0, 0, 1), steps=24), rng.uniform(0.1, 0.45), material, 12)


def _wire(rng: np.random.Generator, material: Material) -> list[Part]:
    """A bent pipe."""
    path = CubicSpline(np.arange(5), np.cumsum(rng.normal(0, 1, (5, 3)), axis=0))(np.linspace(0, 4, 26))
    return tube(path, rng.uniform(0.08, 0.35) * np.linspace(1, rng.uniform(0.4, 1.0), 26), material, 10)


def smooth_outline(rng: np.random.Generator, steps: int = 36) -> Points:
    """A closed curve (steps + 1, 2) around the origin: clovers, hearts, guitars."""
    angles = np.linspace(-np.pi, np.pi, steps + 1)
    radii = np.ones(steps + 1)
    for wave in range(2, 6):
        radii += rng.normal(0, 0.45 / wave) * np.cos(wave * (angles + rng.uniform(0, 2 * np.pi) * chance(rng, 0.5)))
    return np.asarray(np.maximum(radii, 0.25)[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=1), np.float64)


def prism(outline: Points, side: Material, cap: Material) -> list[Part]:
    """An outline (n + 1, 2) in (x, z), closed and star-shaped around the origin, extruded from y = 0 to 1."""
    low, high = (np.insert(outline, 1, y, axis=1) for y in (0.0, 1.0))
    walls = [surface([low[run], high[run]], side) for run in smooth_runs(outline)]
    center = np.zeros_like(low)
    top, bottom = surface([high, center + np.array([0, 1, 0])], cap), surface([center, low], cap)
    span = np.maximum(np.ptp(outline, axis=0), 1e-9)
    flat = [replace(p, uvs=(p.vertices[:, [0, 2]] - outline.min(axis=0)) / span) for p in (top, bottom)]
    return walls + flat


SHAPES: tuple[Shape, ...] = (
    cube,
    cube,
    sphere,
    blob,
    loaf,
    loaf,
    drum,
    drum,
    cone,
    spindle,
    spindle,
    token,
    _ring,
    _wire,
)
SOLIDS: tuple[Shape, ...] = (cube, sphere, blob, loaf, loaf, drum, spindle, token)
ROUND: tuple[Shape, ...] = (sphere, sphere, blob, loaf, drum, spindle)


def any_shape(rng: np.random.Generator, style: Style, size: Size) -> list[Part]:
    """A shape in a box of ``size`` metres that stands at the origin."""
    return shaped(rng, SHAPES, painted(rng, style), size)


def shaped(rng: np.random.Generator, shapes: Sequence[Shape], material: Material, size: Sequence[float]) -> list[Part]:
    parts = fitted(shapes[int(rng.integers(len(shapes)))](rng, material), size)
    return repeated(parts, int(rng.integers(1, 4)), int(rng.integers(1, 3))) if chance(rng, 0.4) else parts


def odd_size(rng: np.random.Generator, spread: float = 0.5) -> Size:
    width, height, depth = np.exp(rng.normal(0, spread, 3)).tolist()
    return width, height, depth
