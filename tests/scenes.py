"""Scenes with known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from index.schema import Box, Camera, Frame, Plane, View, clipped_rect

DATA = Path(__file__).parent / "data"
CAMERA_FROM_OBJECTRON = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])  # OpenCV's x is Objectron's y, and so on
CAMERA = Camera(fx=500, fy=510, cx=238, cy=322, width=480, height=640)


def rotation_about(axis: str, angle: float) -> np.ndarray:
    """(3, 3): a rotation by ``angle`` radians about 'x', 'y' or 'z'."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = np.eye(3)
    rotation[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return rotation


def standing_frame(
    *,
    id: str = "mug/1/0",
    category: str = "cup",
    object_id: str = "mug-1",
    camera: Camera = CAMERA,
    size: tuple[float, float, float] = (0.1, 0.14, 0.08),
    azimuth: float = 0.4,
    elevation: float = 0.6,
    distance: float = 0.6,
    aside: float = 0.0,
) -> Frame:
    """A box that stands on the ground in front of a camera that looks at it from ``elevation`` radians above."""
    # In the world, y is up; the camera looks along +z before it is tilted down.
    camera_from_world = rotation_about("x", elevation) @ np.diag([1.0, -1.0, -1.0])
    base = np.array([aside, 0.0, distance])
    up = camera_from_world @ [0, 1.0, 0]
    rotation = camera_from_world @ rotation_about("y", azimuth)
    box = Box(rotation, base + up * size[1] / 2, np.array(size))
    plane = Plane.from_point(up, base)
    rect = clipped_rect(box.rect(camera), camera.width, camera.height)
    return Frame(id, category, object_id, View(camera, plane, rect), box)


def oracle_frame(scenes: dict[str, np.ndarray], prefix: str, *position: int) -> Frame:
    """A scene of ``fit.npz`` as a Frame."""
    part = {
        name: scenes[f"{prefix}_{name}"][position]
        for name in ("points_3d", "intrinsics", "plane_center", "plane_normal")
    }
    k = part["intrinsics"]
    camera = Camera(k[1, 1], k[0, 0], k[1, 2], k[0, 2], 1440, 1920)
    turn = CAMERA_FROM_OBJECTRON
    plane, _ = Plane.towards_camera(turn @ part["plane_normal"], turn @ part["plane_center"])
    box = Box.from_keypoints(part["points_3d"] @ turn.T)
    rect = clipped_rect(box.rect(camera), camera.width, camera.height)
    return Frame(f"{prefix}/{position}", "thing", "thing-1", View(camera, plane, rect), box)
