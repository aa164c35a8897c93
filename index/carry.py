"""What a reference expects of the query's box, carried from the reference's camera into the query's; compiled."""

from __future__ import annotations

import math

import numpy as np

from index.compiled import compiled
from index.schema import Array

_IMAGE_UP = 0.05  # of what is up in the picture, against the viewing ray, in what "the same side" means: seen from
# above, the ray alone would not say


@compiled
def carry(rotations: Array, centers: Array, ups: Array, ray: Array, up: Array) -> tuple[Array, Array]:
    """Boxes as seen from the same side along another viewing ray.

    With the query's up direction, what lay towards the camera on the ground does so again: the yaw is carried relative
    to the viewing ray. Without, the whole object is turned with the ray.

    Args:
        rotations, centers, ups: (n, 3, 3), (n, 3), (n, 3), each in its reference's camera.
        ray: (3,) the query's viewing ray, in its camera.
        up: (3,) the query's up direction; zeros where it is not known.

    Returns:
        (n, 3, 3) rotations and (n, 3) up directions in the query's camera.
    """
    n = len(rotations)
    turned, turned_ups = np.empty((n, 3, 3)), np.empty((n, 3))
    known = up[0] != 0 or up[1] != 0 or up[2] != 0
    here = _ground_axes(ray, up) if known else _ray_axes(ray)
    for i in range(n):
        there = _ground_axes(centers[i], ups[i]) if known else _ray_axes(centers[i])
        for row in range(3):
            turned_ups[i, row] = 0.0
            for column in range(3):
                turned[i, row, column] = 0.0
            for middle in range(3):
                step = 0.0
                for k in range(3):
                    step += here[row, k] * there[middle, k]
                turned_ups[i, row] += step * ups[i, middle]
                for column in range(3):
                    turned[i, row, column] += step * rotations[i, middle, column]
    return turned, turned_ups


@compiled
def _ground_axes(point: Array, up: Array) -> Array:
    """(3, 3): as columns away from the camera along the ground, up, and across, for a camera that sees ``point``."""
    axes = _ray_axes(point)
    along = 0.0
    for k in range(3):
        axes[k, 0] = axes[k, 2] - _IMAGE_UP * axes[k, 1]  # where the ray goes and, a little, what is up in the picture
        along += axes[k, 0] * up[k]
    length = 0.0
    for k in range(3):
        axes[k, 0] -= along * up[k]
        length += axes[k, 0] ** 2
    if length < 1e-18:  # the ray and what is up in the picture cancel out: what is right in the picture is across
        return _ground_axes_by_right(axes, up)
    for k in range(3):
        axes[k, 0] /= math.sqrt(length)
        axes[k, 1] = up[k]
    axes[0, 2] = axes[1, 0] * up[2] - axes[2, 0] * up[1]
    axes[1, 2] = axes[2, 0] * up[0] - axes[0, 0] * up[2]
    axes[2, 2] = axes[0, 0] * up[1] - axes[1, 0] * up[0]
    return axes


@compiled
def _ground_axes_by_right(axes: Array, up: Array) -> Array:
    """The same where ``axes`` has in column 1 what is down in the picture, which lies along the ground there."""
    right = np.array(
        [
            axes[1, 1] * axes[2, 2] - axes[2, 1] * axes[1, 2],
            axes[2, 1] * axes[0, 2] - axes[0, 1] * axes[2, 2],
            axes[0, 1] * axes[1, 2] - axes[1, 1] * axes[0, 2],
        ]
    )
    away = np.array(
        [up[1] * right[2] - up[2] * right[1], up[2] * right[0] - up[0] * right[2], up[0] * right[1] - up[1] * right[0]]
    )
    for k in range(3):
        axes[k, 0], axes[k, 1], axes[k, 2] = away[k], up[k], right[k]
    return axes


@compiled
def _ray_axes(point: Array) -> Array:
    """(3, 3): the camera's axes as columns, turned by the smallest rotation from its optical axis to the point."""
    length = math.sqrt(point[0] ** 2 + point[1] ** 2 + point[2] ** 2)
    x, y, z = point[0] / length, point[1] / length, point[2] / length
    f = 1 / (1 + z)
    return np.array([[1 - x * x * f, -x * y * f, x], [-x * y * f, 1 - y * y * f, y], [-x, -y, z]])
