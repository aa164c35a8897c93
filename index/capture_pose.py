"""Cameras and poses in our conventions from what a ``capture.json`` says of its pictures.

The camera of an AR session is a phone's landscape sensor: x right, y up and z backward in its landscape picture. The
phone is held upright, which turns that picture a quarter clockwise: its right becomes down, its up becomes right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from index.capture import BoxDocument, CaptureDocument, FrameDocument, PlaneDocument, nearest_rotation
from index.schema import Array, Box, Camera, InvalidValueError, Plane

# A picture stored smaller than its camera says may be this many pixels off its shape.
_ROUNDING = 1.5

# Points in the portrait picture's camera (OpenCV) from points in the sensor's.
CAMERA_FROM_SENSOR = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
# The same without the turn: of a picture that is stored as the sensor sees it.
CAMERA_FROM_UNTURNED = np.diag([1.0, -1.0, -1.0])


def turned_upright(camera: Camera) -> Camera:
    """The camera of the portrait picture from that of the landscape one, both in our pixels."""
    return Camera(
        fx=camera.fy,
        fy=camera.fx,
        cx=camera.height - camera.cy,
        cy=camera.cx,
        width=camera.height,
        height=camera.width,
    )


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the camera stands: camera_from_world (3, 3), and its position (3,) in the world, metres."""

    rotation: Array
    position: Array

    @property
    def world_from_camera(self) -> Array:
        """(4, 4) of the upright picture's camera."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation.T, self.position
        return matrix

    def plane(self, document: PlaneDocument) -> Plane:
        """In the camera's frame. Raises InvalidValueError where the camera is in it."""
        normal, point = np.array(document.normal), np.array(document.point)
        return Plane.towards_camera(self.rotation @ normal, self.rotation @ (point - self.position))[0]

    def box(self, document: BoxDocument) -> Box:
        """In the camera's frame. Raises InvalidValueError where its rotation is none."""
        world_from_box = nearest_rotation("box.rotation", document.rotation)
        center = self.rotation @ (np.array(document.center) - self.position)
        return Box(self.rotation @ world_from_box, center, np.array(document.size))


def posed_camera(
    document: CaptureDocument, frame: FrameDocument, width: int, height: int
) -> tuple[Camera | None, Pose | None]:
    """The camera of a frame's upright picture, ``width`` x ``height`` pixels, and where it stands, as far as known.

    Raises InvalidValueError naming the frame's field.
    """
    if (given := frame.camera or document.camera) is None:
        return None, None
    camera, camera_from_given = _upright(given.camera(), document.axes, width, height)
    if frame.world_from_camera is None:
        return camera, None
    world_from_given = np.array(frame.world_from_camera)
    rotation = camera_from_given @ nearest_rotation("world_from_camera", world_from_given[:3, :3]).T
    return camera, Pose(rotation, world_from_given[:3, 3])


def _upright(camera: Camera, axes: str | None, width: int, height: int) -> tuple[Camera, Array]:
    """The camera of the stored picture, and the rotation to it from the camera that the document means."""
    if _same_shape(camera, width, height):
        return camera.resize(width, height), CAMERA_FROM_UNTURNED if axes == "arkit" else np.eye(3)
    if axes == "arkit" and camera.width > camera.height and _same_shape(camera, height, width):
        return turned_upright(camera).resize(width, height), CAMERA_FROM_SENSOR
    raise InvalidValueError("camera", (camera.width, camera.height), f"of the picture's shape, {width} x {height}")


def _same_shape(camera: Camera, width: int, height: int) -> bool:
    return abs(camera.height * width / camera.width - height) <= _ROUNDING
