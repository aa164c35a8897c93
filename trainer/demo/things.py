"""Made-up things that belong to no category: figures, toys, tools, jars, packages, gadgets and mere heaps of shapes.

An encoder that shall tell apart what it has never seen has to be trained on more than nine categories. What these
things are matters little; that their shapes, proportions, colours and prints differ in every possible way does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.demo.meshes import (
    Material,
    Part,
    Points,
    arc,
    block,
    extents,
    moved,
    polygon,
    rod,
    scaled,
    tube,
    turned,
)
from trainer.demo.objects import DemoObject
from trainer.demo.paints import Style, any_color, draw_style, flat_square, painted, plainly, printed, star_outline
from trainer.demo.shapes import (
    ROUND,
    SHAPES,
    SOLIDS,
    any_shape,
    cone,
    cube,
    drum,
    fitted,
    lathed,
    loaf,
    mirrored,
    odd_size,
    prism,
    random_profile,
    repeated,
    shaped,
    smooth_outline,
    spindle,
    token,
)
from trainer.demo.textures import chance, log_uniform
from trainer.demo.toys import animal, figure, vehicle

MOST_TRIANGLES = 6000
SMALLEST, LARGEST = 0.04, 1.2


def build_thing(rng: np.random.Generator) -> DemoObject:
    """A new thing, its diagonal from 0.04 to 1.2 m, of fewer than ``MOST_TRIANGLES`` triangles."""
    while True:
        parts = _KINDS[rng.integers(len(_KINDS))](rng, draw_style(rng))
        if chance(rng, 0.3):
            parts = scaled(parts, np.exp(rng.normal(0, 0.3, 3)))
        if chance(rng, 0.1):
            parts = turned(parts, str(rng.choice(["x", "z"])), np.pi / 2 * rng.choice([-1, 1]))
        if sum(len(part.triangles) for part in parts) < MOST_TRIANGLES:
            break
    low, high = extents(parts)
    factor = log_uniform(rng, SMALLEST, LARGEST) / float(np.linalg.norm(high - low))
    size = (high - low) * factor
    return DemoObject("thing", tuple(fitted(parts, size)), size)


# Things


def _jar(rng: np.random.Generator, style: Style) -> list[Part]:
    """A hollow vessel: vase, jar, bowl, mug, jug or basket, with handles, a lid and a spout, or without."""
    height, profile = log_uniform(rng, 0.3, 3.0), random_profile(rng)
    profile = profile * (1, height)
    outside = printed(rng, style) if chance(rng, 0.5) else painted(rng, style)
    inner = [(r * 0.92, max(y, 0.04 * height)) for r, y in profile[::-1]]
    parts = repeated(lathed([(0, 0), *profile.tolist()], outside, 30), int(rng.integers(1, 4)))
    parts += lathed([tuple(profile[-1]), *inner, (0, 0.04 * height)], plainly(rng, style), 30)
    if chance(rng, 0.55):
        handle = _handle(rng, profile, plainly(rng, style))
        parts += mirrored(handle) if chance(rng, 0.35) else handle
    if chance(rng, 0.35):
        top, lid = 2.06 * profile[-1, 0], shaped(rng, ROUND, painted(rng, style), (1, 1, 1))
        parts += fitted(lid, (top, rng.uniform(0.05, 0.4) * height, top), (0, height, 0))
    if chance(rng, 0.12):
        radius, up = profile[6 % len(profile), 0], height * rng.uniform(0.4, 0.8)
        parts += rod((0, up * 0.6, radius * 0.6), (0, up * 1.4, radius + 0.5), 0.1, plainly(rng, style), 12)
    return parts


def _handle(rng: np.random.Generator, profile: Points, material: Material) -> list[Part]:
    """On the right (+x) of a lathe's profile (n, 2), its ends in the wall."""
    height = profile[-1, 1]
    half = height * rng.uniform(0.15, 0.4)
    path = arc((0, height * 0.5, 0), (half * log_uniform(rng, 0.5, 2.0), 0, 0), (0, half, 0), -np.pi / 2, np.pi / 2, 14)
    path[:, 0] += np.interp(path[:, 1], profile[:, 1], profile[:, 0]) * 0.97
    return tube(path, min(height, 1.2) * rng.uniform(0.03, 0.08), material, 8)


def _can(rng: np.random.Generator, style: Style) -> list[Part]:
    """A printed can, tub, tin or tube with a lid of its own colour."""
    height, radius, lid = log_uniform(rng, 0.3, 4.0), 0.5, plainly(rng, style)
    top = radius * rng.choice([1.0, 1.0, rng.uniform(0.3, 1.2)])
    depth = rng.choice([1.0, 1.0, rng.uniform(0.3, 0.8)])
    parts = repeated(lathed([(radius, 0.02), (top, height)], printed(rng, style), 30, depth), int(rng.integers(1, 4)))
    parts += lathed([(0, 0), (radius * 0.97, 0), (radius, 0.02)], lid, 30, depth)
    rim, rise = top * rng.uniform(0.5, 1.05), log_uniform(rng, 0.02, 0.4) * height
    return parts + lathed([(top, height), (rim, height), (rim, height + rise), (0, height + rise)], lid, 30, depth)


def _package(rng: np.random.Generator, style: Style) -> list[Part]:
    """A printed carton, sachet, brick or book-like block; sometimes with a cap, a gable or a ribbon."""
    width, height, depth = odd_size(rng, 0.6)
    front, side = printed(rng, style), painted(rng, style)
    back = front if chance(rng, 0.5) else printed(rng, style)
    faces = {"front": front, "back": back}
    faces |= {"top": front, "bottom": back} if chance(rng, 0.3) else {"top": plainly(rng, style)}
    parts = block((0, height / 2, 0), (width, height, depth), side, faces)
    extra = rng.random()
    if extra < 0.2:
        cap = min(width, depth) * rng.uniform(0.2, 0.7)
        parts += fitted(drum(rng, plainly(rng, style)), (cap, cap * 0.5, cap), (0, height, 0))
    elif extra < 0.35:
        parts += _gable(width, height, depth, front, side, rng.uniform(0.15, 0.5))
    elif extra < 0.5:
        ribbon = plainly(rng, style)
        parts += block((0, height / 2, 0), (width * 0.2, height * 1.01, depth * 1.01), ribbon)
        parts += block((0, height / 2, 0), (width * 1.01, height * 1.01, depth * 0.2), ribbon)
    return parts


def _gable(width: float, height: float, depth: float, front: Material, side: Material, rise: float) -> list[Part]:
    """A roof on a carton, its ridge along x."""
    x, z, top = width / 2, depth / 2, height * (1 + rise)
    square = [(0, 1), (1, 1), (1, 0), (0, 0)]
    slope = [(-x, height, z), (x, height, z), (x, top, 0), (-x, top, 0)]
    back = [(x, height, -z), (-x, height, -z), (-x, top, 0), (x, top, 0)]
    ends = [[(s * x, height, z), (s * x, height, -z), (s * x, top, 0)] for s in (1, -1)]
    lean = top - height
    return [
        polygon(slope, square, (0, z, lean), front),
        polygon(back, square, (0, z, -lean), front),
        *(polygon(end, square[:3], (s, 0, 0), side) for end, s in zip(ends, (1, -1), strict=True)),
    ]


def _gadget(rng: np.random.Generator, style: Style) -> list[Part]:
    """An appliance: a case with a screen, buttons, knobs, an aerial, feet."""
    width, height, depth = odd_size(rng, 0.45)
    case = painted(rng, style)
    parts = fitted(shaped(rng, (cube, loaf, loaf, drum), case, (1, 1, 1)), (width, height, depth))
    if chance(rng, 0.7):
        screen = printed(rng, style) if chance(rng, 0.5) else Material(flat_square(any_color(rng) * 0.2, 8), 0.12)
        place = rng.uniform(-0.1, 0.1) * width, height * rng.uniform(0.5, 0.65), depth / 2
        parts += block(place, (width * rng.uniform(0.4, 0.8), height * rng.uniform(0.25, 0.6), depth * 0.06), screen)
    knob, size = plainly(rng, style), min(width, height) * rng.uniform(0.08, 0.22)
    for x in np.linspace(-0.35, 0.35, rng.integers(1, 6)) * width:
        button = fitted(drum(rng, knob), (size, size * 0.7, size))
        parts += moved(turned(button, "x", np.pi / 2), (x, height * 0.14, depth * 0.49))
    if chance(rng, 0.3):
        tip = (width * rng.uniform(0.2, 0.7), height * rng.uniform(1.4, 2.2), -depth * 0.3)
        parts += rod((width * 0.3, height * 0.9, -depth * 0.3), tip, 0.03, plainly(rng, style), 8)
    if chance(rng, 0.3):
        bow = arc((0, height * 0.97, 0), (width * 0.35, 0, 0), (0, height * rng.uniform(0.15, 0.5), 0), 0, np.pi, 14)
        parts += tube(bow, 0.04, plainly(rng, style), 8)
    return parts


def _tool(rng: np.random.Generator, style: Style) -> list[Part]:
    """A long grip with a head: hammer, brush, spoon, screwdriver, racket, torch. Lying or standing."""
    length, thick = rng.uniform(1.0, 2.5), rng.uniform(0.08, 0.25)
    grip = fitted(shaped(rng, (spindle, drum, loaf), painted(rng, style), (1, 1, 1)), (thick, length, thick))
    wide, tall, deep = rng.uniform(0.15, 1.0), rng.uniform(0.15, 0.9), rng.uniform(0.06, 0.5)
    head = fitted(shaped(rng, SHAPES, painted(rng, style), (1, 1, 1)), (wide, tall, deep), (0, length * 0.97, 0))
    parts = grip + head
    if chance(rng, 0.3):
        collar = (thick * 1.5, length * 0.08, thick * 1.5)
        parts += fitted(drum(rng, plainly(rng, style)), collar, (0, length * rng.uniform(0.5, 0.9), 0))
    return turned(parts, "z", np.pi / 2) if chance(rng, 0.6) else parts


def _tower(rng: np.random.Generator, style: Style) -> list[Part]:
    """Solids on top of each other, alike or not."""
    parts: list[Part] = []
    top, width = 0.0, 1.0
    for _ in range(rng.integers(2, 6)):
        width, height = width * rng.uniform(0.5, 1.15), log_uniform(rng, 0.1, 1.0)
        aside = rng.normal(0, 0.06 * width, 2) * chance(rng, 0.3)
        size = (width, height, width * rng.uniform(0.6, 1.0) if chance(rng, 0.3) else width)
        parts += fitted(shaped(rng, SOLIDS, painted(rng, style), (1, 1, 1)), size, (aside[0], top, aside[1]))
        top += height * 0.97
    return parts


def _assembly(rng: np.random.Generator, style: Style) -> list[Part]:
    """A core with anything attached to its sides, in pairs or not."""
    size = np.array(odd_size(rng))
    parts = fitted(shaped(rng, SOLIDS, painted(rng, style), (1, 1, 1)), size)
    paired = chance(rng, 0.5)
    for _ in range(rng.integers(1, 5)):
        outwards = rng.normal(0, 1, 3)
        outwards /= np.abs(outwards).max()
        extra = size * np.exp(rng.normal(-0.8, 0.4, 3))
        place = np.array([0, size[1] / 2, 0]) + outwards * size / 2
        limb = moved(fitted(shaped(rng, SHAPES, painted(rng, style), (1, 1, 1)), extra), (0, -extra[1] / 2, 0))
        limb = moved(turned(limb, str(rng.choice(["x", "y", "z"])), rng.normal(0, 0.5)), place)
        parts += mirrored(limb) if paired else limb
    return parts


def _single(rng: np.random.Generator, style: Style) -> list[Part]:
    """One shape by itself, sometimes with a stalk."""
    parts = any_shape(rng, style, odd_size(rng))
    if chance(rng, 0.3):
        top = extents(parts)[1][1]
        parts += rod((0, top * 0.9, 0), (rng.normal(0, 0.1), top * 1.2, 0), 0.04, plainly(rng, style), 8)
    return parts


def _sign(rng: np.random.Generator, style: Style) -> list[Part]:
    """A flat outline, printed: standing on edge, on a foot, or lying."""
    outline = smooth_outline(rng) if chance(rng, 0.6) else star_outline(rng)
    parts = fitted(prism(outline, plainly(rng, style), printed(rng, style)), (2, rng.uniform(0.08, 0.6), 2))
    if chance(rng, 0.3):
        return parts
    parts = turned(parts, "x", np.pi / 2)
    low = extents(parts)[0][1]
    if chance(rng, 0.6):
        wide = rng.uniform(0.5, 1.5)
        parts += fitted(
            shaped(rng, (cube, drum, loaf), painted(rng, style), (1, 1, 1)), (wide, 0.2, 0.8), (0, low - 0.12, 0)
        )
    return parts


def _furniture(rng: np.random.Generator, style: Style) -> list[Part]:
    """A top or a shade on legs or on one foot: stools, lamps, tables, stands, trolleys."""
    width, height, depth = rng.uniform(0.5, 1.6), rng.uniform(0.4, 1.8), rng.uniform(0.4, 1.0)
    top = shaped(rng, (cube, drum, loaf, cone, token), painted(rng, style), (1, 1, 1))
    parts = fitted(top, (width, log_uniform(rng, 0.04, 0.6), depth), (0, height * 0.99, 0))
    metal, thick = painted(rng, style), rng.uniform(0.02, 0.07)
    if chance(rng, 0.4):
        parts += fitted(spindle(rng, metal), (thick * 4, height, thick * 4))
        return parts + fitted(shaped(rng, (drum, cone, loaf), metal, (1, 1, 1)), (width * 0.6, 0.08, depth * 0.6))
    spread = rng.uniform(0.8, 1.25)
    for z in (-0.4, 0.4):
        foot, joint = (width * 0.42 * spread, 0, z * depth * spread), (width * 0.4, height, z * depth)
        parts += mirrored(rod(foot, joint, thick, metal, 8))
    if chance(rng, 0.3):
        shelf = (width * 0.8, 0.05, depth * 0.8)
        parts += fitted(cube(rng, painted(rng, style)), shelf, (0, height * rng.uniform(0.2, 0.6), 0))
    return parts


_KINDS: tuple[Callable[[np.random.Generator, Style], list[Part]], ...] = (
    _jar,
    _jar,
    _can,
    _package,
    _package,
    figure,
    animal,
    vehicle,
    _gadget,
    _tool,
    _tower,
    _assembly,
    _assembly,
    _single,
    _sign,
    _furniture,
)
