"""From neighbours to a box: an indexed frame's 3D box, carried into the query's camera.

``transfer_box`` is the algorithm of "Self-supervised learning of motion-informed latents" (section 3.4); ``fit_box``
applies it to all neighbours and takes the box on which they, weighted by similarity, agree most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from index.iou import iou_3d
from index.schema import (
    Array,
    Box,
    Camera,
    Frame,
    GeometryError,
    InvalidValueError,
    NoPoseError,
    OutOfViewError,
    Rect,
    View,
    clipped_rect,
)

_REPEATS = 3  # the paper's n
_SIMILARITY_SCALE = 0.1  # of cosine similarity; docs/LOG.md has what other scales give
_AGREEMENT = 0.5  # the IoU at which two boxes count as the same answer: the benchmark's own threshold


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted box in the query's camera frame.

    ``support`` are the positions of the references whose own transferred box overlaps ``box`` with 3D IoU > 0.5.
    ``confidence`` in [0, 1] is their weight as a share of all references': an agreement, not a calibrated probability.
    """

    box: Box
    confidence: float
    support: tuple[int, ...]


def fit_box(references: Sequence[Frame], query: View, similarities: Sequence[float] | None = None) -> Fit:
    """Carries every reference into ``query`` and answers with the box that the others agree with most (the medoid).

    Ties, and so a single reference or two of one weight, go to the nearest.

    Args:
        references: nearest first; those without a box, or whose transfer the geometry refuses, are passed over.
        similarities: their cosine similarities to the query. One that is 0.1 less similar than the nearest weighs
            1/e of it: where one view is clearly the nearest it decides alone, where many are alike the majority does.
            None: all weigh the same.

    Raises:
        NoPoseError: the query has no camera or plane, or no reference has a box.
        GeometryError: every transfer was refused; the error is the nearest reference's.
    """
    boxes = _transferred(references, query)
    weights = _weights(similarities if similarities is not None else [1.0] * len(references))
    corners = np.stack([box.corners for box in boxes.values()])
    n = len(corners)
    overlaps = iou_3d(np.repeat(corners, n, axis=0), np.tile(corners, (n, 1, 1))).reshape(n, n)
    # Rounding keeps the choice from resting on the last bit where boxes tie.
    medoid = int(np.round(overlaps @ weights[list(boxes)], 9).argmax())
    support = tuple(p for p, iou in zip(boxes, overlaps[medoid], strict=True) if iou > _AGREEMENT)
    return Fit(list(boxes.values())[medoid], min(1.0, float(weights[list(support)].sum())), support)


def _weights(similarities: Sequence[float]) -> Array:
    """(n,) positive, summing to 1."""
    s = np.asarray(similarities, dtype=np.float64)
    unscaled: Array = np.exp((s - s.max()) / _SIMILARITY_SCALE)
    weights: Array = unscaled / unscaled.sum()
    return weights


def _transferred(references: Sequence[Frame], query: View) -> dict[int, Box]:
    """The transferred box of every reference that fits, by position; never empty."""
    query.posed()
    boxes: dict[int, Box] = {}
    refusals: list[GeometryError] = []
    for position, reference in enumerate(references):
        if reference.box is None:
            continue
        try:
            boxes[position] = transfer_box(reference, query)
        except GeometryError as error:
            refusals.append(error)
    if not boxes:
        raise refusals[0] if refusals else NoPoseError("none of the neighbours has a box")
    return boxes


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
