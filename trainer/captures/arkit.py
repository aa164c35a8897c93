"""Cameras of the upright portrait picture from what an AR session tells of a phone's landscape sensor.

``index.capture_pose`` says how the one is turned into the other.
"""

from __future__ import annotations

from index.capture_pose import turned_upright
from index.schema import Array, Camera


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
