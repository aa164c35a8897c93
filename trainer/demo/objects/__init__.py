"""Objectron's nine categories as procedural objects, a module each.

``build_object(category, rng)`` makes one up: its shape, proportions and paint all come from the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from index.schema import InvalidValueError
from trainer.demo.meshes import Part, Points, extents, moved
from trainer.demo.objects import bike, book, bottle, camera, cereal_box, chair, cup, laptop, shoe

_BUILDERS: Mapping[str, Callable[[np.random.Generator], list[Part]]] = MappingProxyType(
    {
        "bike": bike.build,
        "book": book.build,
        "bottle": bottle.build,
        "camera": camera.build,
        "cereal_box": cereal_box.build,
        "chair": chair.build,
        "cup": cup.build,
        "laptop": laptop.build,
        "shoe": shoe.build,
    }
)
CATEGORIES: tuple[str, ...] = tuple(_BUILDERS)


@dataclass(frozen=True, eq=False)
class DemoObject:
    """An object that stands on y = 0 with its bounding box, ``size`` (3,) metres, centred on the y axis. Front: +z."""

    category: str
    parts: tuple[Part, ...]
    size: Points


def build_object(category: str, rng: np.random.Generator) -> DemoObject:
    """A new object of one of ``CATEGORIES``. Raises InvalidValueError for any other."""
    if category not in _BUILDERS:
        raise InvalidValueError("category", category, f"one of {', '.join(CATEGORIES)}")
    parts = _BUILDERS[category](rng)
    low, high = extents(parts)
    foot = ((low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2)
    return DemoObject(category, tuple(moved(parts, np.negative(foot))), high - low)
