"""From the camera of an AR session, a phone's landscape sensor, to the upright portrait picture of our convention.

The sensor's camera has x right, y up and z backward in its landscape picture. The phone is held upright, which turns
that picture a quarter clockwise: its right becomes down, its up becomes right.
"""

from __future__ import annotations

import numpy as np

from index.schema import Array, Camera

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


def camera_from_projection(projection: Array, width: int, height: int) -> Camera:
    """The camera of a ``width`` x ``height`` portrait picture from OpenGL's projection matrix (4, 4) of the sensor.

    A point is then seen at ``((1 + ndc_y) / 2 * width, (1 + ndc_x) / 2 * height)``.
    """
    return Camera(
        fx=projection[1, 1] * width / 2,
        fy=projection[0, 0] * height / 2,
        cx=(1 - projection[1, 2]) * width / 2,
        cy=(1 - projection[0, 2]) * height / 2,
        width=width,
        height=height,
    )


def camera_from_intrinsics(intrinsics: Array, sensor: tuple[int, int], width: int, height: int) -> Camera:
    """The camera of a ``width`` x ``height`` portrait picture from K (3, 3) of the ``sensor``'s landscape picture.

    ARKit counts pixels from the *centre* of the top-left one, hence the halves. With them, and with the principal
    point turned like the picture, K agrees with ARKit's own projection matrix to the last digit. (Published code swaps
    the rows of K and no more, and is off by twice the distance of the principal point from the middle.)
    """
    landscape = Camera(
        fx=intrinsics[0, 0],
        fy=intrinsics[1, 1],
        cx=intrinsics[0, 2] + 0.5,
        cy=intrinsics[1, 2] + 0.5,
        width=sensor[0],
        height=sensor[1],
    )
    return turned_upright(landscape).resize(width, height)
