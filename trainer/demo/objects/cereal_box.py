"""A cardboard box of breakfast cereals: tall or wide, a sachet's box or nearly a cube, closed or with its lid open."""

from __future__ import annotations

import numpy as np

from trainer.demo.meshes import Material, Part, block, moved, point, polygon, turned
from trainer.demo.textures import (
    Color,
    Texture,
    back_cover,
    bar_code,
    chance,
    contrasting_color,
    cover,
    fill,
    log_uniform,
    palette_color,
    plain,
    write_lines,
)


def build(rng: np.random.Generator) -> list[Part]:
    """The cover is at the front (+z)."""
    height = log_uniform(rng, 0.13, 0.36)
    width = height * log_uniform(rng, 0.52, 1.2)
    depth = width * log_uniform(rng, 0.26, 0.8)
    color, roughness = palette_color(rng), rng.uniform(0.3, 0.6)
    faces = {
        "front": cover(rng, width / height),
        "back": back_cover(rng, color, width / height),
        "right": _facts(rng, color),
        "left": _recipe(rng, color),
        "top": _seam(rng, color),
    }
    materials = {side: Material(picture, roughness) for side, picture in faces.items()}
    parts = block((0, height / 2, 0), (width, height, depth), Material(plain(rng, color), roughness), materials)
    return parts + (_lid(rng, width, height, depth, color) if chance(rng, 0.2) else [])


def _facts(rng: np.random.Generator, color: Color) -> Texture:
    picture = plain(rng, color, 0.06, 256)
    fill(picture, (0.15, 0.2, 0.85, 0.8), (245, 245, 245))
    write_lines(picture, rng, (0.22, 0.25, 0.8, 0.75), (30, 30, 30), 9)
    return picture


def _recipe(rng: np.random.Generator, color: Color) -> Texture:
    picture = plain(rng, color, 0.06, 256)
    write_lines(picture, rng, (0.15, 0.12, 0.85, 0.45), contrasting_color(rng, color), 6)
    bar_code(picture, rng, (0.2, 0.72, 0.8, 0.9))
    return picture


def _seam(rng: np.random.Generator, color: Color) -> Texture:
    picture = plain(rng, color, 0.06, 128)
    fill(picture, (0.0, 0.55, 1.0, 0.57), color * 0.5)
    return picture


def _lid(rng: np.random.Generator, width: float, height: float, depth: float, color: Color) -> list[Part]:
    """The flap that was the top, standing up from the back edge."""
    length = min(depth, 0.09)
    corners = np.array([[-1, 0, 0], [1, 0, 0], [1, 2, 0], [-1, 2, 0]]) * (width / 2, length / 2, 0)
    uvs = [(0, 1), (1, 1), (1, 0), (0, 0)]
    inside = Material(plain(rng, (165, 145, 118), 0.08), 0.9)
    front = polygon(corners + point(0, 0, 0.0006), uvs, (0, 0, 1), inside)
    back = polygon(corners, uvs, (0, 0, -1), Material(plain(rng, color), 0.6))
    return moved(turned([front, back], "x", -rng.uniform(0.1, 0.9)), (0, height, -depth / 2))
