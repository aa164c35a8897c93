"""Cameras as files give them: four numbers, or a matrix, counted from a pixel's corner or from its centre."""

from __future__ import annotations

from collections.abc import Sequence

from index.schema import Array, Camera, InvalidValueError

# ARKit, BOP and Middlebury count pixels from the centre of the first one, we from its corner.
_CENTRE = 0.5


def pinhole(field: str, values: Sequence[float] | Array, size: tuple[int, int]) -> Camera:
    """The camera of (fx, fy, cx, cy), counted from the corner; InvalidValueError says that ``field`` is wrong."""
    fx, fy, cx, cy = (float(value) for value in values)
    try:
        return Camera(fx, fy, cx, cy, *size)
    except InvalidValueError as error:
        raise InvalidValueError(f"{field}, {error.field}", error.value, error.bound) from None


def pinhole_from_centre(field: str, values: Sequence[float] | Array, size: tuple[int, int]) -> Camera:
    """The same, where (fx, fy, cx, cy) count pixels from the centre of the first one."""
    fx, fy, cx, cy = values
    return pinhole(field, (fx, fy, cx + _CENTRE, cy + _CENTRE), size)


def four(matrix: Array) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of K (3, 3)."""
    return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])
