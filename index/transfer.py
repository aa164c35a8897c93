"""The paper's box transfer: an indexed frame's 3D box, carried into the query's camera.

The algorithm of "Self-supervised learning of motion-informed latents" (section 3.4), kept to be compared with
``index.fit``, which is what the service answers by default.
"""

from __future__ import annotations

import numpy as np

from index.schema import (
    Array,
    Box,
    Camera,
    Frame,
    InvalidValueError,
    NoPoseError,
    OutOfViewError,
    Rect,
    View,
    clipped_rect,
)

_REPEATS = 3  # the paper's n


def transfer_box(reference: Frame, query: View) -> Box:
    """The paper's box transfer: the reference's box as the query's camera would see it.

    The box is turned by the smallest rotation between the two plane normals. Its centre is put where it lies in the
    reference's rectangle, on the viewing ray, at its height above the plane. Its scale is then readjusted n = 3 times,
    half-way towards the one at which the projected rectangle has the query rectangle's diagonal.

    Returns:
        The box in the query's camera frame, metres.

    Raises:
        NoPoseError: a camera, a plane or the reference's box is missing.
        RayMissesPlaneError: no point of the query's plane lies on the viewing ray.
        BehindCameraError: the box reaches behind the query's camera.
        OutOfViewError: no pixel of the query's picture shows the box.
    """
    camera, plane = query.posed()
    reference_camera, reference_plane = reference.view.posed()
    if reference.box is None:
        raise NoPoseError(f"frame {reference.id} has no box to transfer")
    ray = camera.rays(_carried_pixel(reference.box, reference_camera, reference.view.rect, query.rect))
    height = float(reference_plane.height(reference.box.center))
    rotation = _rotation_between(reference_plane.normal, plane.normal) @ reference.box.rotation
    scale = 1.0
    box = Box(rotation, plane.intersect(ray, height), reference.box.size)
    for _ in range(_REPEATS + 1):
        scale *= (1.0 + _diagonal(query.rect) / _diagonal(_visible_rect(box, camera))) / 2.0
        box = Box(rotation, plane.intersect(ray, height * scale), reference.box.size * scale)
    _visible_rect(box, camera)
    return box


def _carried_pixel(box: Box, camera: Camera, rect: Rect, query_rect: Rect) -> Array:
    """(2,): the pixel that lies in ``query_rect`` as the box's projected centre lies in ``rect``."""
    (x0, y0, x1, y1), (u0, v0, u1, v1) = rect, query_rect
    place = (camera.project(box.center) - (x0, y0)) / (x1 - x0, y1 - y0)
    pixel: Array = np.array([u0, v0]) + place * (u1 - u0, v1 - v0)
    return pixel


def _visible_rect(box: Box, camera: Camera) -> Rect:
    rect = box.rect(camera)
    try:
        return clipped_rect(rect, camera.width, camera.height)
    except InvalidValueError:
        rounded = [round(value) for value in rect]
        raise OutOfViewError(f"the box projects to {rounded}, outside the picture") from None


def _diagonal(rect: Rect) -> float:
    return float(np.hypot(rect[2] - rect[0], rect[3] - rect[1]))


def _rotation_between(source: Array, target: Array) -> Array:
    """(3, 3): the smallest rotation that takes the unit vector ``source`` to ``target``.

    Two half turns, about ``source`` and about the direction half-way, make it: orthonormal whatever the angle.
    """
    halfway = source + target
    if np.linalg.norm(halfway) < 1e-9:  # opposite: any axis across them serves
        halfway = np.cross(source, np.eye(3)[np.abs(source).argmin()])
    return _half_turn(halfway) @ _half_turn(source)


def _half_turn(axis: Array) -> Array:
    turn: Array = 2.0 * np.outer(axis, axis) / (axis @ axis) - np.eye(3)
    return turn
