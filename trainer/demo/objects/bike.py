"""A bicycle: a child's with stabilisers, a racer, a city bike with basket and rack, or one with tiny wheels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.demo.meshes import Material, Part, Points, arc, block, lathe, moved, point, rod, surface, tube
from trainer.demo.textures import chance, cloth, log_uniform, palette_color, pattern, plain


@dataclass(frozen=True, eq=False)
class _Plan:
    """The frame's joints in the plane x = 0, each (3,) in metres, and what it is painted with."""

    wheel: float
    rear: Points
    front: Points
    bracket: Points
    saddle: Points
    seat_joint: Points
    head_low: Points
    head_high: Points
    paint: Material
    metal: Material
    black: Material


def build(rng: np.random.Generator) -> list[Part]:
    """It rides towards the front (+z)."""
    plan = _plan(rng)
    tyre = rng.uniform(0.014, 0.03) * plan.wheel / 0.3
    parts = [p for hub in (plan.rear, plan.front) for p in _wheel(plan, hub, tyre)]
    parts += _frame(rng, plan) + _cranks(plan) + _saddle(rng, plan) + _handlebar(rng, plan)
    for extra, probability in ((_basket, 0.35), (_rack, 0.35), (_stabilisers, 0.7 if plan.wheel < 0.2 else 0.0)):
        if chance(rng, probability):
            parts += extra(rng, plan)
    return parts


def _plan(rng: np.random.Generator) -> _Plan:
    wheel = log_uniform(rng, 0.14, 0.37)
    base = max(log_uniform(rng, 0.62, 1.4), 2.35 * wheel)
    saddle_height = max(log_uniform(rng, 0.52, 1.05), wheel * 2.1)
    bar_height = max(saddle_height * rng.uniform(0.9, 1.15), 2 * wheel + 0.14)
    bracket = np.array([0, min(wheel * 0.9, 0.3) + 0.02, -0.04 * base])
    saddle = np.array([0, saddle_height, -0.24 * base])
    head_high = np.array([0, bar_height - 0.1, 0.3 * base])
    color = palette_color(rng)
    texture = plain(rng, color) if chance(rng, 0.75) else pattern(rng, color, palette_color(rng))
    return _Plan(
        wheel=wheel,
        rear=np.array([0, wheel, -base / 2]),
        front=np.array([0, wheel, base / 2]),
        bracket=bracket,
        saddle=saddle,
        seat_joint=bracket + (saddle - bracket) * rng.uniform(0.66, 0.84),
        head_low=head_high + point(0, -max(0.1, (bar_height - 2 * wheel) * 0.45), 0.04),
        head_high=head_high,
        paint=Material(texture, 0.25),
        metal=Material(plain(rng, (172, 172, 176)), 0.25),
        black=Material(plain(rng, (34, 32, 32)), 0.7),
    )


def _ring(hub: Points, radius: float, steps: int) -> Points:
    return arc(hub, (0, 0, radius), (0, radius, 0), steps=steps)


def _wheel(plan: _Plan, hub: Points, tyre: float) -> list[Part]:
    parts = tube(_ring(hub, plan.wheel - tyre, 40), tyre, plan.black, 8)
    parts += tube(_ring(hub, plan.wheel - 2.2 * tyre, 36), tyre * 0.55, plan.metal, 5)
    parts += rod(hub - point(0.05, 0, 0), hub + point(0.05, 0, 0), 0.02, plan.metal)
    for spoke, end in enumerate(_ring(hub, plan.wheel - 2.2 * tyre, 16)[:-1]):
        flange = np.array([0.03 * (-1) ** spoke, 0, 0])
        parts.append(tube([hub + flange, end], 0.0025, plan.metal, 4)[0])
    return parts


def _frame(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    radius = rng.uniform(0.014, 0.026)
    top = plan.head_high - point(0, 0.03, 0)
    if chance(rng, 0.35):  # a low entry
        top = plan.head_low * 0.85 + plan.head_high * 0.15
    seat_end = plan.seat_joint if chance(rng, 0.6) else plan.bracket * 0.45 + plan.seat_joint * 0.55
    parts = rod(plan.bracket, plan.seat_joint, radius, plan.paint) + rod(
        plan.bracket, plan.head_low, radius, plan.paint
    )
    parts += rod(seat_end, top, radius * 0.9, plan.paint)
    parts += rod(plan.head_low - point(0, 0.01, 0), plan.head_high, radius * 1.25, plan.paint)
    parts += rod(plan.seat_joint, plan.saddle, 0.013, plan.metal)
    for x in (-0.05, 0.05):
        out, inner = np.array([x, 0, 0]), np.array([x * 0.6, 0, 0])
        parts += rod(plan.rear + out, plan.bracket + inner, 0.011, plan.paint, 8)
        parts += rod(plan.rear + out, plan.seat_joint + inner * 0.6, 0.01, plan.paint, 8)
        parts += rod(plan.front + out, plan.head_low + inner, 0.014, plan.paint, 8)
    return parts


def _cranks(plan: _Plan) -> list[Part]:
    """Chain wheel on the right of the rider (-x), and two pedals."""
    parts = rod(plan.bracket - point(0.062, 0, 0), plan.bracket - point(0.052, 0, 0), 0.3 * plan.wheel, plan.metal, 20)
    parts += rod(plan.bracket - point(0.07, 0, 0), plan.bracket + point(0.07, 0, 0), 0.022, plan.metal)
    for side, angle in ((-1, 0.6), (1, 0.6 + np.pi)):
        length = 0.48 * plan.wheel
        start = plan.bracket + point(side * 0.07, 0, 0)
        end = start + point(side * 0.01, length * np.sin(angle), length * np.cos(angle))
        parts += rod(start, end, 0.011, plan.metal, 8)
        parts += block(end + point(side * 0.05, 0, 0), (0.085, 0.02, 0.07), plan.black)
    return parts


def _saddle(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    length, half = rng.uniform(0.22, 0.28), rng.uniform(0.06, 0.1)
    share = np.linspace(0, 1, 9)
    width = np.interp(share, [0, 0.12, 0.35, 0.6, 0.95, 1], [0, 1, 0.85, 0.35, 0.14, 0]) * half
    angles = np.linspace(-np.pi / 2, 3 * np.pi / 2, 15)[None, :]
    x = width[:, None] * np.cos(angles)
    y = 0.028 * np.sin(angles) * np.ones_like(x)
    z = (share[:, None] - 0.45) * length * np.ones_like(x)
    leather = Material(plain(rng, (34, 32, 32) if chance(rng, 0.6) else palette_color(rng)), 0.6)
    return moved([surface(np.stack([x, y, z], axis=-1), leather)], plan.saddle)


def _handlebar(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    half = log_uniform(rng, 0.19, 0.4)
    stem = plan.head_high + point(0, 0.09, 0.03)
    parts = rod(plan.head_high, stem, 0.015, plan.metal)
    rise, sweep, drop = [(0.0, 0.0, 0.0), (0.09, -0.2, 0.0), (0.0, 0.06, -0.17)][rng.integers(3)]
    for side in (-1, 1):
        bend = stem + point(side * half * 0.72, rise, 0.05 if drop else 0.0)
        end = stem + point(side * half, rise + drop, sweep)
        middle = (bend + end) / 2 + point(side * 0.02, 0, 0.05 if drop else 0.0)
        parts += tube([stem, (stem + bend) / 2, bend, middle, end], 0.013, plan.metal)
        parts += rod(middle, end, 0.019, plan.black)
    return parts


def _basket(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    color = palette_color(rng)
    wicker = Material(cloth(rng, color), 0.9)
    width, depth, height = rng.uniform(0.26, 0.42), rng.uniform(0.18, 0.3), rng.uniform(0.14, 0.26)
    low = max(plan.head_high[1] - 0.04, 2 * plan.wheel + 0.02)
    half, foot = width / 2, 0.42 * width
    outside = [(0, 0), (foot, 0), (half, height), (half - 0.008, height), (foot - 0.008, 0.008), (0, 0.008)]
    return lathe(outside, wicker, 24, depth / width, (0, low, plan.head_high[2] + 0.08 + depth / 2))


def _rack(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    top = max(plan.wheel * 2 + 0.06, plan.seat_joint[1] - 0.1)
    z = plan.rear[2] + 0.03
    parts = block((0, top, z), (0.13, 0.014, 0.34), plan.black)
    for x in (-0.06, 0.06):
        parts += rod(plan.rear + point(x, 0, 0), (x, top, z - 0.06), 0.006, plan.metal, 6)
    if chance(rng, 0.5):
        bag = Material(cloth(rng, palette_color(rng)), 0.85)
        for x in (-0.12, 0.12):
            parts += block((x, top - 0.13, z), (0.1, 0.26, 0.28), bag)
    return parts


def _stabilisers(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    radius, parts = plan.wheel * 0.34, []
    for x in (-0.17, 0.17):
        hub = np.array([x, radius, plan.rear[2]])
        parts += tube(_ring(hub, radius - 0.012, 20), 0.012, plan.black, 6)
        parts += rod(hub - point(0.008, 0, 0), hub + point(0.008, 0, 0), radius * 0.85, plan.paint, 16)
        parts += rod(hub, plan.rear + point(np.sign(x) * 0.05, 0, 0), 0.008, plan.metal, 6)
    return parts
