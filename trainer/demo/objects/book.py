"""A book that lies on its back cover: from a thin pocket book to a thick atlas, portrait, square or landscape."""

from __future__ import annotations

import numpy as np

from trainer.demo.meshes import Material, Part, block, surface
from trainer.demo.textures import (
    Color,
    Texture,
    back_cover,
    chance,
    contrasting_color,
    cover,
    log_uniform,
    palette_color,
    plain,
    word,
    write,
)


def build(rng: np.random.Generator) -> list[Part]:
    """The spine is on the left (-x); the cover reads upright from the front (+z)."""
    width = log_uniform(rng, 0.1, 0.26)
    depth = width * log_uniform(rng, 0.62, 1.65)
    height = log_uniform(rng, 0.008, 0.09)
    color = palette_color(rng)
    boards = _boards(rng, width, depth, height, color)
    return boards + _pages(rng, width, depth, height) + [_spine(rng, width, depth, height, color)]


def _board_thickness(height: float) -> float:
    return min(0.003, height / 6)


def _boards(rng: np.random.Generator, width: float, depth: float, height: float, color: Color) -> list[Part]:
    thickness, gloss = _board_thickness(height), rng.uniform(0.25, 0.7)
    edge = Material(plain(rng, color), gloss)
    front = Material(cover(rng, width / depth), gloss)
    back = Material(back_cover(rng, color, width / depth), gloss)
    low = block((0, thickness / 2, 0), (width, thickness, depth), edge, {"bottom": back})
    return low + block((0, height - thickness / 2, 0), (width, thickness, depth), edge, {"top": front})


def _pages(rng: np.random.Generator, width: float, depth: float, height: float) -> list[Part]:
    thickness, overhang = _board_thickness(height), 0.004 if chance(rng, 0.6) else 0.0005
    paper = Material(_page_edges(rng), 0.9)
    size = (width - overhang, height - 2 * thickness, depth - 2 * overhang)
    return block((-overhang / 2, height / 2, 0), size, paper)


def _page_edges(rng: np.random.Generator) -> Texture:
    tone = rng.uniform(0.82, 1.0)
    lines = rng.uniform(196, 250, (64, 1, 1)) * np.array([1.0, 0.97, 0.9]) * tone
    return np.broadcast_to(lines, (64, 64, 3)).astype(np.uint8)


def _spine(rng: np.random.Generator, width: float, depth: float, height: float, color: Color) -> Part:
    picture = np.ascontiguousarray(np.repeat(plain(rng, color, 0.08, 64), 4, axis=1))
    write(picture, rng, word(rng, 5, 10), (0.08, 0.25, 0.8, 0.75), contrasting_color(rng, color))
    bulge = rng.uniform(0, 0.18) * min(height, 0.04)
    angles = np.linspace(-np.pi / 2, np.pi / 2, 7)
    x = -width / 2 - 0.0002 - bulge * np.cos(angles)
    y = height / 2 * (1 + np.sin(angles))
    grid = np.stack([np.stack([x, y, np.full(7, z)], axis=1) for z in (-depth / 2, depth / 2)], axis=1)
    return surface(grid, Material(picture, 0.5))
