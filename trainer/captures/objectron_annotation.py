"""What Objectron's two publications, videos with annotations and TFRecords, have in common: their geometry.

Points are in the sensor's camera frame of ``trainer.captures.arkit``: seen in the published portrait pictures, x points
down, y to the right and z to the viewer. Intrinsics are of the sensor's landscape picture (1920 x 1440), whatever the
size of the published one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from index.capture_pose import CAMERA_FROM_SENSOR
from index.schema import Array, Box, Camera, Frame, InvalidValueError, Plane, View
from trainer.captures.arkit import camera_from_intrinsics, camera_from_projection
from trainer.captures.shot import Reason, RejectedError, box_rect, frame_id, object_name

SENSOR_SIZE = (1920, 1440)

# Objectron's own evaluation leaves out what is no more visible than this; it was published in single precision.
_LEAST_VISIBILITY = float(np.float32(0.1))
# Keypoints are published in metres and in the picture. That far apart, in shares of the picture, either they or the
# camera are wrong.
_DISAGREEMENT = 0.02
_VALID_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Instance:
    """An annotated object of a picture, as published.

    ``number`` tells the objects of one video apart. ``keypoints`` (9, 3), metres, in the sensor's camera frame, the
    centre first. ``pixels`` (9, 2) are their places in the picture, shares of its width and height, or None.
    """

    number: int
    keypoints: Array
    pixels: Array | None
    visibility: float


@dataclass(frozen=True, eq=False)
class Annotation:
    """A picture's annotation, as published: arrays may be empty where a field was not written.

    ``projection`` (16,) and ``intrinsics`` (9,) are row-major, ``plane_normal`` and ``plane_center`` (3,) in
    the sensor's camera frame. ``sensor`` is the (width, height) that the intrinsics are of.
    """

    projection: Array
    intrinsics: Array
    sensor: tuple[int, int]
    plane_normal: Array
    plane_center: Array
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Video:
    """Who is who in a sequence: the names that its frames get."""

    sequence: str
    category: str
    object_id: str

    def frames(
        self, annotation: Annotation, number: int, width: int, height: int
    ) -> tuple[tuple[Frame, ...], tuple[Reason, ...]]:
        """The objects of picture ``number``, ``width`` x ``height`` pixels, and why the others are not among them."""
        if not annotation.instances:
            return (), (Reason.NO_ANNOTATION,)
        if width > height:
            return (), (Reason.NOT_PORTRAIT,) * len(annotation.instances)
        try:
            camera, plane = _camera_of(annotation, width, height), _plane_of(annotation)
        except RejectedError as error:
            return (), (error.reason,) * len(annotation.instances)
        frames, rejected = [], []
        for instance in annotation.instances:
            try:
                frames.append(self._frame(instance, number, camera, plane))
            except RejectedError as error:
                rejected.append(error.reason)
        return tuple(frames), tuple(rejected)

    def _frame(self, instance: Instance, number: int, camera: Camera, plane: Plane) -> Frame:
        box = _box_of(instance, camera)
        return Frame(
            id=frame_id(self.sequence, number, instance.number),
            category=self.category,
            object_id=object_name(self.object_id, instance.number),
            view=View(camera, plane, box_rect(box, camera)),
            box=box,
        )


def _camera_of(annotation: Annotation, width: int, height: int) -> Camera:
    """The camera of the portrait picture, by its projection matrix or else by its intrinsics; else RejectedError."""
    try:
        if annotation.projection.size == 16 and np.isclose(annotation.projection[14], -1):
            return camera_from_projection(annotation.projection.reshape(4, 4), width, height)
        if annotation.intrinsics.size == 9:
            return camera_from_intrinsics(annotation.intrinsics.reshape(3, 3), annotation.sensor, width, height)
    except InvalidValueError:
        pass
    raise RejectedError(Reason.BROKEN_CAMERA)


def _plane_of(annotation: Annotation) -> Plane:
    try:
        plane, _ = Plane.towards_camera(
            _in_camera(annotation.plane_normal, (3,)), _in_camera(annotation.plane_center, (3,))
        )
    except InvalidValueError:
        raise RejectedError(Reason.BROKEN_PLANE) from None
    return plane


def _box_of(instance: Instance, camera: Camera) -> Box:
    if instance.visibility <= _LEAST_VISIBILITY:
        raise RejectedError(Reason.HIDDEN)
    try:
        keypoints = _in_camera(instance.keypoints, (9, 3))
        box = Box.from_keypoints(keypoints)
    except InvalidValueError:
        raise RejectedError(Reason.BROKEN_BOX) from None
    if (keypoints[1:, 2] <= 0).any():
        raise RejectedError(Reason.BEHIND)
    if instance.pixels is not None and _disagreement(instance.pixels, keypoints, camera) > _DISAGREEMENT:
        raise RejectedError(Reason.DISAGREES)
    return box


def _disagreement(pixels: Array, keypoints: Array, camera: Camera) -> float:
    """The median distance between corners as published and as projected, in shares of the picture."""
    projected = camera.project(keypoints[1:]) / (camera.width, camera.height)
    return float(np.median(np.linalg.norm(projected - pixels[1:], axis=1)))


def _in_camera(vectors: Array, shape: tuple[int, ...]) -> Array:
    if vectors.shape != shape or not np.isfinite(vectors).all():
        raise InvalidValueError("annotation", vectors, f"finite, of shape {shape}")
    turned: Array = vectors @ CAMERA_FROM_SENSOR.T
    return turned


def split_of(listed: str, sequence: str) -> str:
    """The split of a sequence that is ``listed`` as train or test: a tenth of train, by its name, is ``valid``."""
    fraction = int.from_bytes(hashlib.sha256(sequence.encode()).digest()[:8]) / 2**64
    return "valid" if listed == "train" and fraction < _VALID_SHARE else listed
