"""Pictures of a scene that does not move, with the cameras' poses in a world of its own, and its ground."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from index.picture import Image
from index.schema import Array, Box, Camera, InvalidValueError, Plane


@dataclass(frozen=True, eq=False)
class PosedPicture:
    """A picture, read when it is needed (RGB uint8, of the camera's size or scaled), and where it was taken from.

    ``read`` raises ImageError or InvalidValueError where the picture is damaged or missing.
    """

    camera: Camera
    world_from_camera: Array  # (4, 4)
    read: Callable[[], Image]

    @property
    def position(self) -> Array:
        """(3,) of the camera in the world."""
        return np.asarray(self.world_from_camera[:3, 3], np.float64)

    @cached_property
    def camera_from_world(self) -> Array:
        """(4, 4)."""
        return np.linalg.inv(np.asarray(self.world_from_camera, np.float64))

    def boxed(self, box: Box) -> Box:
        """A box of the world in the camera's frame."""
        rotation, translation = self.camera_from_world[:3, :3], self.camera_from_world[:3, 3]
        return Box(rotation @ box.rotation, rotation @ box.center + translation, box.size)

    def shows(self, point: Array) -> bool:
        """Whether a point (3,) of the world is in the picture, if nothing hides it."""
        x, y, z = self.camera_from_world[:3, :3] @ point + self.camera_from_world[:3, 3]
        if z <= 0:
            return False
        column, row = self.camera.project((x, y, z))
        return bool(0 <= column < self.camera.width and 0 <= row < self.camera.height)


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """What things stand on, in the world: ``normal`` (3,) points up, ``point`` (3,) is any on it; metres."""

    normal: Array
    point: Array

    def __post_init__(self) -> None:
        normal, point = np.asarray(self.normal, np.float64), np.asarray(self.point, np.float64)
        length = float(np.linalg.norm(normal))
        if normal.shape != (3,) or not 0 < length < np.inf:
            raise InvalidValueError("plane.normal", self.normal, "three numbers, longer than zero")
        if point.shape != (3,) or not np.isfinite(point).all():
            raise InvalidValueError("plane.point", self.point, "three finite numbers")
        object.__setattr__(self, "normal", normal / length)
        object.__setattr__(self, "point", point)

    def height(self, points: Array) -> Array:
        """(..., 3) -> (...,) heights above the ground."""
        return np.asarray((points - self.point) @ self.normal)

    def below(self, points: Array) -> Array:
        """(..., 3) -> (..., 3): the points of the ground straight below."""
        return np.asarray(points - self.height(points)[..., None] * self.normal)

    def seen_by(self, picture: PosedPicture) -> Plane:
        """In the camera's frame. Raises InvalidValueError where the camera is below the ground."""
        rotation, translation = picture.camera_from_world[:3, :3], picture.camera_from_world[:3, 3]
        return Plane.from_point(rotation @ self.normal, rotation @ self.point + translation)

    def axes(self) -> Array:
        """(3, 3) world_from_box of a box that stands on it; its y is up."""
        x = np.linalg.svd(self.normal[None])[2][1]
        return np.stack([x, self.normal, np.cross(x, self.normal)], axis=1)


def aim(world_from_cameras: Array) -> Array:
    """(3,) what cameras (n, 4, 4) look at: the point nearest to all optical axes, by least squares."""
    positions, forward = world_from_cameras[:, :3, 3], world_from_cameras[:, :3, 2]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    # A trace of regularisation: axes that are all parallel meet nowhere, and then any point on them will do.
    left = across.sum(axis=0) + 1e-9 * len(forward) * np.eye(3)
    right = np.einsum("nij,nj->i", across, positions) + 1e-9 * (positions + forward).sum(axis=0)
    return np.asarray(np.linalg.solve(left, right))


def spread(
    pictures: Sequence[PosedPicture], place: Array, most: int, first: int | None = None, without: Collection[int] = ()
) -> list[int]:
    """At most ``most`` pictures that see ``place`` (3,) from directions as different as can be, ``first`` the first.

    Those ``without`` are left out; the ones that are chosen before such a one would be are the same without it.
    """
    rays = np.stack([picture.position for picture in pictures]) - place
    rays = rays / np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-9)
    shown = [number for number, picture in enumerate(pictures) if picture.shows(place) or number == first]
    usable = [number for number in shown if number not in without]
    chosen = usable[:1] if first is None else [first]
    while chosen and len(chosen) < min(most, len(usable)):
        chosen.append(min((n for n in usable if n not in chosen), key=lambda n: float((rays[chosen] @ rays[n]).max())))
    return chosen
