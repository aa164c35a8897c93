"""The floor and the walls behind everything: found by following each pixel's ray, so they have no end and no edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from index.schema import Array, Camera
from trainer.demo.bake import FloorLight, linear_pyramid
from trainer.demo.raster import Float32, sampled
from trainer.demo.scene import Scene

_FLOOR_LEVELS = 7


@dataclass(frozen=True, eq=False)
class _Rays:
    """What pixels look along, in the scene: ``eye`` (3,) and ``x``, ``y``, ``z`` (rows, columns), 1 m deep."""

    eye: Array
    x: Float32
    y: Float32
    z: Float32
    focal: float

    def rows(self, rows: slice) -> _Rays:
        return _Rays(self.eye, self.x[rows], self.y[rows], self.z[rows], self.focal)


def _rays(camera: Camera, camera_from_scene: Array) -> _Rays:
    rotation = camera_from_scene[:3, :3].astype(np.float32)
    right = ((np.arange(camera.width, dtype=np.float32) + 0.5 - camera.cx) / camera.fx).astype(np.float32)
    down = ((np.arange(camera.height, dtype=np.float32) + 0.5 - camera.cy) / camera.fy).astype(np.float32)
    x, y, z = (right * rotation[0, k] + (down[:, None] * rotation[1, k] + rotation[2, k]) for k in range(3))
    eye = -camera_from_scene[:3, :3].T @ camera_from_scene[:3, 3]
    return _Rays(eye, x, y, z, camera.fy)


class Backdrop:
    """The scene without its things, but with the light and shadow they leave on the floor."""

    def __init__(self, scene: Scene, light: FloorLight) -> None:
        self._floor, self._room, self._floor_light = scene.floor, scene.room, light
        self._floor_pyramid = linear_pyramid(scene.floor.texture, _FLOOR_LEVELS)
        wall_light = (scene.light.sky + 0.35 * scene.light.lamp).astype(np.float32)
        self._panorama = linear_pyramid(scene.room.panorama, 1)[0] * wall_light

    def light(self, camera: Camera, camera_from_scene: Array) -> Float32:
        """(height, width, 3) linear RGB that reaches the camera before exposure."""
        rays = _rays(camera, camera_from_scene)
        to_wall = self._wall_distance(rays)
        # How much of a pixel the wall fills, from how far above the floor its ray meets the wall: a smooth skirting.
        wall = np.clip(0.5 + (rays.eye[1] / to_wall + rays.y) * rays.focal, 0, 1)
        picture = self._floor_color(rays, to_wall)
        rows = np.flatnonzero(wall.any(axis=1))
        if len(rows):
            band = slice(rows[0], rows[-1] + 1)
            color = self._wall_color(rays.rows(band), to_wall[band])
            picture[band] += wall[band, :, None] * (color - picture[band])
        return picture

    def _wall_distance(self, rays: _Rays) -> Float32:
        half, (x, _, z) = np.float32(self._room.half), rays.eye.astype(np.float32)
        with np.errstate(divide="ignore"):
            to_side = (np.copysign(half, rays.x) - x) / rays.x
            to_end = (np.copysign(half, rays.z) - z) / rays.z
        distance: Float32 = np.minimum(to_side, to_end)
        return distance

    def _floor_color(self, rays: _Rays, to_wall: Float32) -> Float32:
        height = np.float32(rays.eye[1])
        # Where a ray meets no floor in the room, what lies under the wall stands in: the wall is painted over it.
        distance = height / np.maximum(-rays.y, height / to_wall)
        x, z = rays.eye[0] + distance * rays.x, rays.eye[2] + distance * rays.z
        x, z = x.astype(np.float32), z.astype(np.float32)
        size = len(self._floor_light.light)
        scale = size / 2 / self._floor_light.half
        center = size / 2 - 0.5
        columns, rows = x * np.float32(scale) + np.float32(center), z * np.float32(scale) + np.float32(center)
        light = sampled(self._floor_light.light, columns, rows, cv2.BORDER_REPLICATE)
        return self._tiles(rays, distance, x, z) * light

    def _tiles(self, rays: _Rays, distance: Float32, x: Float32, z: Float32) -> Float32:
        """The floor's texture, (rows, columns, 3)."""
        size = len(self._floor_pyramid[0])
        cos, sin = np.float32(np.cos(self._floor.angle)), np.float32(np.sin(self._floor.angle))
        per_metre = np.float32(size / self._floor.tile)
        u, v = (x * cos - z * sin) * per_metre, (x * sin + z * cos) * per_metre
        texels = distance * (per_metre / np.float32(rays.focal))
        level = np.log2(texels * np.sqrt(1 / np.maximum(-rays.y, 0.02)) + np.float32(1e-6))
        return _trilinear(self._floor_pyramid, u, v, level - 0.3)

    def _wall_color(self, rays: _Rays, to_wall: Float32) -> Float32:
        x, z = (rays.eye[0] + to_wall * rays.x) / self._room.half, (rays.eye[2] + to_wall * rays.z) / self._room.half
        side = np.abs(x) > np.abs(z)
        corner = np.where(side, np.where(x > 0, 1, 3), np.where(z > 0, 0, 2))
        along = np.where(side, np.where(x > 0, -z, z), np.where(z > 0, x, -x))
        height, width = self._panorama.shape[:2]
        u = (corner + (along + 1) / 2) * (width / 4) - 0.5
        up = (rays.eye[1] + to_wall * rays.y) / self._room.height
        v = np.clip((1 - up) * height - 0.5, 0, height - 1)
        return sampled(self._panorama, u.astype(np.float32), v.astype(np.float32), cv2.BORDER_WRAP)


def _trilinear(pyramid: Sequence[Float32], u: Float32, v: Float32, level: Float32) -> Float32:
    """A tileable texture at texels (u, v) of its first level, blended between the two nearest levels."""
    level = np.clip(level, 0, len(pyramid) - 1)
    picture = np.zeros((*level.shape, 3), np.float32)
    for k, texture in enumerate(pyramid):
        weight = np.maximum(1 - np.abs(level - k), 0)
        rows = np.flatnonzero(weight.any(axis=1))
        if len(rows):
            band = slice(rows[0], rows[-1] + 1)
            picture[band] += weight[band, :, None] * _wrapped(texture, u[band], v[band], k)
    return picture


def _wrapped(texture: Float32, u: Float32, v: Float32, level: int) -> Float32:
    size, scale = len(texture), np.float32(0.5**level)
    columns, rows = u * scale, v * scale
    columns -= np.floor(columns / size) * size
    rows -= np.floor(rows / size) * size
    return sampled(texture, columns - np.float32(0.5), rows - np.float32(0.5), cv2.BORDER_WRAP)
