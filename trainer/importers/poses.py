"""Poses and numbers as files give them, checked: quaternions, matrices, and cameras with other axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from index.capture import nearest_rotation
from index.schema import Array, InvalidValueError

# A camera with x right, y up and z backward (OpenGL, ARKit, ARCore, Blender) from ours; it is its own inverse.
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
# Quaternions in text are rounded to five digits or more.
_UNIT = 1e-3


def finite(field: str, value: Any, *shape: int) -> Array:
    """``value`` as float64 of ``shape``; InvalidValueError naming ``field`` otherwise. ``-1`` stands for any length."""
    bound = f"{' x '.join('n' if n < 0 else str(n) for n in shape)} finite numbers"
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidValueError(field, value, bound) from None
    fits = array.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits or not np.isfinite(array).all():
        raise InvalidValueError(field, value, bound)
    return array


def number(field: str, value: Any, low: float = -np.inf, high: float = np.inf) -> float:
    """``value`` as a finite float from ``low`` to ``high``; InvalidValueError naming ``field`` otherwise."""
    bounds = f"from {low:g} to {high:g}" if np.isfinite([low, high]).any() else "a finite number"
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise InvalidValueError(field, value, bounds) from None
    if not np.isfinite(result) or not low <= result <= high:
        raise InvalidValueError(field, value, bounds)
    return result


def mapping(field: str, value: Any) -> dict[str, Any]:
    """``value``, which must be a JSON object."""
    if not isinstance(value, dict):
        raise InvalidValueError(field, value, "a JSON object")
    return value


def pose_from_quaternion(field: str, quaternion: ArrayLike, position: ArrayLike) -> Array:
    """(4, 4) from a unit quaternion (x, y, z, w) and a position."""
    q, p = finite(f"{field}, quaternion", quaternion, 4), finite(f"{field}, position", position, 3)
    if abs(np.linalg.norm(q) - 1) > _UNIT:
        raise InvalidValueError(f"{field}, quaternion", quaternion, f"of length 1 (it is {np.linalg.norm(q):.4g})")
    return rigid(Rotation.from_quat(q).as_matrix(), p)


def pose_from_matrix(field: str, matrix: Any) -> Array:
    """(4, 4) from 4 x 4 or 3 x 4 numbers, row by row, whose rotation is one but for rounding."""
    try:
        values = finite(field, matrix, 4, 4)
    except InvalidValueError:
        values = np.vstack([finite(field, matrix, 3, 4), [0, 0, 0, 1]])
    if np.abs(values[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise InvalidValueError(f"{field}, last row", values[3], "(0, 0, 0, 1)")
    return rigid(rotation(field, values[:3, :3]), values[:3, 3])


def rotation(field: str, matrix: Array) -> Array:
    """The nearest rotation (3, 3); says of a mirroring matrix that it is one."""
    if np.linalg.det(matrix) < 0:
        raise InvalidValueError(field, matrix, "a rotation: this one mirrors (its determinant is negative)")
    return nearest_rotation(field, matrix)


def rigid(rotation: Array, translation: Array) -> Array:
    """(4, 4) of a rotation (3, 3) and a translation (3,)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def inverse(pose: Array) -> Array:
    """Of a rigid (4, 4)."""
    return rigid(pose[:3, :3].T, -pose[:3, :3].T @ pose[:3, 3])
