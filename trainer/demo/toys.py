"""Made-up toys that have a front: figurines, animals, cars and trains."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from trainer.demo.meshes import Material, Part, moved, rod, tube, turned
from trainer.demo.paints import Style, any_color, flat_square, hsv, painted, plainly
from trainer.demo.shapes import ROUND, blob, cone, cube, drum, fitted, lathed, loaf, mirrored, shaped, sphere, spindle
from trainer.demo.textures import chance


def figure(rng: np.random.Generator, style: Style) -> list[Part]:
    """A figurine that stands upright: legs or a skirt, body, arms, head."""
    width, leg, body, head = (
        rng.uniform(0.25, 0.7),
        rng.uniform(0.1, 0.7),
        rng.uniform(0.3, 0.8),
        rng.uniform(0.25, 0.6),
    )
    depth, shoes = width * rng.uniform(0.5, 1.0), plainly(rng, style)
    if chance(rng, 0.6):
        thick = width * rng.uniform(0.25, 0.45)
        legs = fitted(drum(rng, painted(rng, style)), (thick, leg * 1.1, thick), (width / 4, 0, 0))
        foot = fitted(sphere(rng, shoes), (thick * 1.2, thick * 0.6, thick * 2), (width / 4, 0, thick * 0.4))
        parts = mirrored([*legs, *foot])
    else:
        parts = fitted(cone(rng, painted(rng, style)), (width * 1.3, leg * 1.2, depth * 1.3))
    parts += fitted(shaped(rng, ROUND, painted(rng, style), (1, 1, 1)), (width, body, depth), (0, leg, 0))
    shoulder, hand = (
        (width * 0.42, leg + body * 0.8, 0),
        (width * rng.uniform(0.6, 1.1), leg + body * rng.uniform(0, 1.5)),
    )
    arm = CubicSpline([0, 1, 2], [shoulder, (*hand, 0), (hand[0], leg + body * 0.4, depth * rng.uniform(0, 1))])
    parts += mirrored(tube(arm(np.linspace(0, 2, 9)), width * rng.uniform(0.07, 0.15), painted(rng, style), 8))
    return parts + moved(_head(rng, style, head), (0, leg + body * 0.95, 0))


def _head(rng: np.random.Generator, style: Style, size: float) -> list[Part]:
    """A head that faces +z and stands at the origin, ``size`` metres wide: eyes, nose, ears or a hat."""
    skin = painted(rng, style)
    parts = fitted(shaped(rng, (sphere, sphere, blob, loaf), skin, (1, 1, 1)), (size, size, size))
    eye = Material(flat_square(np.array(rng.choice([8.0, 245.0]) * np.ones(3), np.float32), 8), 0.15)
    width, up, aside = size * rng.uniform(0.12, 0.28), size * rng.uniform(0.5, 0.7), size * rng.uniform(0.14, 0.26)
    parts += mirrored(fitted(sphere(rng, eye), (width, width, width * 0.6), (aside, up, size * 0.4)))
    if chance(rng, 0.6):
        snout = size * rng.uniform(0.15, 0.6)
        parts += fitted(sphere(rng, plainly(rng, style)), (snout, snout * 0.7, snout), (0, size * 0.25, size * 0.45))
    if chance(rng, 0.45):
        ear = np.array([rng.uniform(0.15, 0.4), rng.uniform(0.2, 0.9), 0.15]) * size
        ears = fitted(shaped(rng, (sphere, cone), skin, (1, 1, 1)), ear, (size * 0.3, size * 0.75, 0))
        parts += mirrored(ears)
    if chance(rng, 0.4):
        brim = size * rng.uniform(0.7, 1.4)
        hat = shaped(rng, (cone, drum, sphere, spindle), painted(rng, style), (1, 1, 1))
        parts += fitted(hat, (brim, size * rng.uniform(0.15, 0.7), brim), (0, size * 0.82, 0))
    return parts


def animal(rng: np.random.Generator, style: Style) -> list[Part]:
    """On four legs, six or none, looking along +z."""
    length, height, width = rng.uniform(0.7, 1.8), rng.uniform(0.35, 0.8), rng.uniform(0.3, 0.7)
    leg, thick = rng.choice([0.05, rng.uniform(0.2, 0.9)]), width * rng.uniform(0.15, 0.35)
    skin = painted(rng, style)
    shape = shaped(rng, (sphere, sphere, blob, loaf, cube), skin, (1, 1, 1))
    parts = fitted(shape, (width, height, length), (0, leg, 0))
    for z in np.linspace(-0.33, 0.33, int(rng.choice([2, 2, 3]))) * length:
        limb = shaped(rng, (drum, cone, sphere), skin if chance(rng, 0.7) else painted(rng, style), (1, 1, 1))
        parts += mirrored(fitted(limb, (thick, leg + height * 0.4, thick), (width * 0.3, 0, z)))
    tail = np.array([[0, leg + height * 0.6, -length * 0.45], [0, leg + height * rng.uniform(0.2, 1.6), -length * 0.7]])
    end = [rng.normal(0, 0.2), leg + height * rng.uniform(0.0, 1.8), -length * rng.uniform(0.6, 0.9)]
    curve = CubicSpline([0, 1, 2], [*tail, end])(np.linspace(0, 2, 10))
    parts += tube(curve, np.linspace(1, 0.4, 10) * width * rng.uniform(0.05, 0.2), skin, 8)
    size, neck = height * rng.uniform(0.6, 1.2), height * rng.uniform(0.1, 1.2)
    top = (0, leg + height * 0.5 + neck, length * 0.5)
    parts += rod((0, leg + height * 0.5, length * 0.3), (0, top[1] + size * 0.4, top[2]), width * 0.2, skin, 10)
    return parts + moved(_head(rng, style, size), top)


def vehicle(rng: np.random.Generator, style: Style) -> list[Part]:
    """A toy car, lorry or train, driving along +z."""
    length, width, height = rng.uniform(1.2, 3.0), rng.uniform(0.6, 1.0), rng.uniform(0.25, 0.6)
    wheel = rng.uniform(0.2, 0.5)
    body, base = painted(rng, style), wheel * 0.4
    shape = shaped(rng, (cube, loaf, loaf, sphere), body, (1, 1, 1))
    parts = fitted(shape, (width, height, length), (0, base, 0))
    for _ in range(rng.integers(1, 4)):
        cabin = (width * rng.uniform(0.6, 0.98), height * rng.uniform(0.6, 2.0), length * rng.uniform(0.15, 0.6))
        place = (0, base + height * 0.95, rng.uniform(-0.5, 0.5) * (length - cabin[2]))
        paint = body if chance(rng, 0.5) else painted(rng, style)
        parts += fitted(shaped(rng, (cube, loaf, loaf, drum, sphere), paint, (1, 1, 1)), cabin, place)
    rubber = Material(flat_square(any_color(rng) * 0.25 if chance(rng, 0.8) else any_color(rng), 8), 0.8)
    hub = Material(flat_square(any_color(rng), 8), 0.3)
    for z in np.linspace(-0.35, 0.35, int(rng.choice([2, 2, 2, 3, 4]))) * length:
        parts += mirrored(moved(_wheel(wheel, rubber, hub), (width * 0.5, wheel / 2, z)))
    lamp = Material(flat_square(hsv(rng.uniform(0, 0.16), rng.uniform(0, 0.9), 1.0), 8), 0.2)
    lights = fitted(sphere(rng, lamp), (0.14, 0.14, 0.08), (width * 0.34, base + height * 0.45, length * 0.49))
    return parts + mirrored(lights)


def _wheel(diameter: float, tyre: Material, hub: Material) -> list[Part]:
    """Around the x axis, its outside towards +x."""
    r, w = diameter / 2, diameter * 0.18
    rim = lathed([(0, -w), (r, -w), (r, w), (0.6 * r, w)], tyre, 20)
    return turned(rim + lathed([(0.6 * r, w), (0.55 * r, 0.6 * w), (0, 0.9 * w)], hub, 20), "z", -np.pi / 2)
