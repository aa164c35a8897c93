"""A chair: low or tall, narrow or wide, on four legs, runners, a pillar or castors, or an upholstered armchair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.demo.meshes import (
    Material,
    Part,
    Points,
    lathe,
    moved,
    point,
    rod,
    rounded_rectangle,
    slab,
    tube,
    turned,
)
from trainer.demo.textures import chance, cloth, log_uniform, palette_color, pattern, plain, wood, wood_color


@dataclass(frozen=True, eq=False)
class _Plan:
    """Sizes in metres, ``seat`` being the height of its upper side and ``back`` that of the back above it."""

    width: float
    depth: float
    seat: float
    back: float
    thickness: float
    frame: Material
    cushion: Material


def build(rng: np.random.Generator) -> list[Part]:
    """One sits facing the front (+z)."""
    plan = _plan(rng)
    if chance(rng, 0.2):
        return _armchair(rng, plan)
    parts = _seat(plan) + _legs(rng, plan) + _back(rng, plan)
    return parts + (_arms(plan) if chance(rng, 0.3) else [])


def _plan(rng: np.random.Generator) -> _Plan:
    frame = wood(rng, wood_color(rng)) if chance(rng, 0.5) else plain(rng, palette_color(rng))
    color = palette_color(rng)
    cushion = cloth(rng, color) if chance(rng, 0.6) else pattern(rng, color, palette_color(rng))
    width = log_uniform(rng, 0.33, 0.78)
    return _Plan(
        width=width,
        depth=width * log_uniform(rng, 0.62, 1.3),
        seat=log_uniform(rng, 0.24, 0.78),
        back=log_uniform(rng, 0.14, 0.85),
        thickness=rng.uniform(0.02, 0.09),
        frame=Material(frame, 0.45),
        cushion=Material(cushion, 0.85),
    )


def _seat(plan: _Plan) -> list[Part]:
    outline = rounded_rectangle(plan.width, plan.depth, 0.05)
    return slab(outline, plan.seat - plan.thickness, plan.seat, plan.cushion, bevel=min(0.02, plan.thickness * 0.45))


def _legs(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    kinds = (_four_legs, _four_legs, _runners, _pillar)
    return kinds[rng.integers(len(kinds))](rng, plan)


def _four_legs(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    top, splay, radius = plan.seat - plan.thickness, rng.uniform(0, 0.05), rng.uniform(0.012, 0.026)
    inset = np.array([plan.width / 2 - 0.04, plan.depth / 2 - 0.04])
    parts, stretch = [], chance(rng, 0.5)
    for x, z in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        high, low = inset * (x, z), (inset + splay) * (x, z)
        parts += tube([(high[0], top, high[1]), (low[0], 0, low[1])], (radius * 1.25, radius * 0.8), plan.frame)
    if stretch:
        middle = inset + splay * 0.6
        for x in (-middle[0], middle[0]):
            parts += rod((x, top * 0.4, -middle[1]), (x, top * 0.4, middle[1]), radius * 0.7, plan.frame)
    return parts


def _runners(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    """Two bent pipes, open to the back."""
    top, parts = plan.seat - plan.thickness / 2, []
    for x in (-plan.width / 2 + 0.03, plan.width / 2 - 0.03):
        front, back = plan.depth / 2 - 0.03, -plan.depth / 2 + 0.03
        path = [(x, top, front), (x, 0.05, front), (x, 0.012, front - 0.04), (x, 0.012, back)]
        parts += tube(path, 0.012, Material(plain(rng, (150, 150, 154)), 0.25))
    return parts


def _pillar(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    metal, reach = Material(plain(rng, (62, 62, 66)), 0.35), 0.55 * max(plan.width, plan.depth)
    parts = rod((0, 0.07, 0), (0, plan.seat - plan.thickness, 0), 0.026, metal, 14)
    if chance(rng, 0.4):
        foot = reach * 0.8
        return parts + lathe([(foot, 0), (foot, 0.012), (0.05, 0.03), (0.03, 0.1)], metal)
    for angle in np.arange(5) * 2 * np.pi / 5:
        end = point(reach * np.sin(angle), 0.055, reach * np.cos(angle))
        parts += tube(np.array([point(0, 0.09, 0), end]), (0.024, 0.014), metal)
        hub, axle = end * (1, 0.5, 1), point(0.018 * np.cos(angle), 0, -0.018 * np.sin(angle))
        parts += rod(hub - axle, hub + axle, 0.0275, metal, 14)
    return parts


def _back(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    kinds = (_panel, _ladder, _spindles)
    parts = kinds[rng.integers(len(kinds))](rng, plan)
    hinge = (0, plan.seat, -plan.depth / 2 + 0.025)
    return turned(moved(parts, hinge), "x", -rng.uniform(0, 0.24), hinge)


def _posts(plan: _Plan, top: float, radius: float) -> list[Part]:
    half = plan.width / 2 - 0.03
    return [p for x in (-half, half) for p in rod((x, -0.03, 0), (x, top, 0), radius, plan.frame)]


def _board(width: float, low: float, high: float, thickness: float, material: Material) -> list[Part]:
    """An upright rounded board, in the plane of the back."""
    parts = slab(_board_outline(width, high - low), -thickness / 2, thickness / 2, material, bevel=thickness * 0.3)
    return moved(turned(parts, "x", np.pi / 2), (0, (low + high) / 2, 0))


def _board_outline(width: float, height: float) -> Points:
    return rounded_rectangle(width, height, min(width, height) * 0.22)


def _panel(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    low = plan.back * rng.uniform(0.05, 0.35)
    board = _board(plan.width * rng.uniform(0.82, 0.98), low, plan.back, rng.uniform(0.025, 0.07), plan.cushion)
    return board + _posts(plan, low + 0.3 * (plan.back - low), 0.014)


def _ladder(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    rungs, parts = int(rng.integers(2, 5)), _posts(plan, plan.back, 0.018)
    for share in np.linspace(0.4, 0.94, rungs):
        half = plan.back * rng.uniform(0.04, 0.07)
        parts += _board(plan.width - 0.06, plan.back * share - half, plan.back * share + half, 0.018, plan.frame)
    return parts


def _spindles(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    parts = _board(plan.width * 0.98, plan.back * 0.86, plan.back, 0.028, plan.frame)
    for x in np.linspace(-0.43, 0.43, int(rng.integers(4, 8))) * plan.width:
        parts += rod((x, -0.03, 0), (x, plan.back * 0.9, 0), 0.009, plan.frame, 8)
    return parts


def _arms(plan: _Plan) -> list[Part]:
    height, parts = plan.seat + min(0.22, plan.back * 0.8), []
    for x in (-plan.width / 2 + 0.01, plan.width / 2 - 0.01):
        rest = slab(rounded_rectangle(0.05, plan.depth * 0.84, 0.02), height, height + 0.025, plan.frame, bevel=0.008)
        parts += moved(rest, (x, 0, -0.04 * plan.depth))
        parts += rod((x, plan.seat - 0.03, plan.depth * 0.3), (x, height, plan.depth * 0.3), 0.014, plan.frame)
    return parts


def _armchair(rng: np.random.Generator, plan: _Plan) -> list[Part]:
    """All cushions, on short feet."""
    seat, thick = plan.seat * 0.8, min(0.14, plan.width * 0.25)
    width, depth = max(0.5, plan.width * 1.1), max(0.45, plan.depth)
    parts = slab(rounded_rectangle(width, depth, 0.05), 0.05, seat, plan.cushion, bevel=0.03)
    back = slab(rounded_rectangle(width, thick, 0.05), 0.06, seat + plan.back * 0.8, plan.cushion, bevel=0.04)
    parts += moved(back, (0, 0, -depth / 2 + thick * 0.4))
    arm_top = seat + min(0.2, plan.back * 0.5)
    for x in (-1, 1):
        arm = slab(rounded_rectangle(thick, depth, 0.05), 0.06, arm_top, plan.cushion, bevel=0.04)
        parts += moved(arm, (x * (width / 2 - thick * 0.3), 0, 0))
        for z in (-1, 1):
            foot = (x * width * 0.42, 0, z * depth * 0.42)
            parts += rod(foot, (foot[0], 0.07, foot[2]), 0.02, plan.frame)
    return parts
