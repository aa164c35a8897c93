"""Pictures of a scene, with NumPy and OpenCV alone: no display, no graphics driver.

Deferred shading: OpenCV says which triangle is seen at four points of every pixel; a pixel is then shaded once, or at
all four points where surfaces meet in it. Floor and walls are found by following the rays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.schema import Array, Camera, Rect
from trainer.demo.backdrop import Backdrop
from trainer.demo.bake import MAP_SIZE, floor_light, gather_triangles, shadow_map, texture_atlas
from trainer.demo.raster import Float32, Indices, triangle_colors, visible_triangles
from trainer.demo.scene import Scene
from trainer.demo.shading import Samples, Shader

Image = NDArray[np.uint8]

_TONE_STEPS, _TONE_END = 16384, 3


def _tone_curve() -> Image:
    """Linear light in steps of 1 / _TONE_STEPS to 8 bit: the ACES filmic curve as fitted by K. Narkowicz (2015)."""
    x = np.arange(_TONE_END * _TONE_STEPS, dtype=np.float64) / _TONE_STEPS
    y = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.rint(255 * np.clip(y, 0, 1) ** (1 / 2.2)).astype(np.uint8)


_TONE_CURVE = _tone_curve()


class Renderer:
    """Draws one scene from any camera. Making one takes longer than drawing a picture: keep it for the whole video."""

    def __init__(self, scene: Scene, map_size: int = MAP_SIZE) -> None:
        """``map_size``: texels along a side of the maps of shadows; 512 are enough for crops of 112 px."""
        self._triangles, textures = gather_triangles([*scene.subject.parts, *scene.clutter])
        self._subject_triangles = sum(len(part.triangles) for part in scene.subject.parts)
        self._colors = triangle_colors(self._triangles.surface)
        self._near = 0.02 * scene.scale
        self._exposure = scene.light.exposure
        shadows = shadow_map(self._triangles, scene.light, 1.5 * scene.scale, map_size)
        self._shader = Shader(self._triangles, texture_atlas(textures), shadows, scene.light, scene.scale)
        self._backdrop = Backdrop(scene, floor_light(self._triangles, scene, map_size))

    def render(self, camera: Camera, camera_from_scene: Array) -> Image:
        """The picture (height, width, 3) uint8 RGB.

        ``camera_from_scene`` (4, 4) is a rigid motion in metres that puts the camera above the floor, inside the room.
        """
        picture = self._developed(self._backdrop.light(camera, camera_from_scene))
        samples = self._samples(camera, camera_from_scene)
        if len(samples.pixel):
            light = self._shader.light(samples, camera, camera_from_scene)
            _blend(picture.reshape(-1, 3), samples, self._developed(light))
        return picture

    def subject_mask(self, camera: Camera, camera_from_scene: Array) -> NDArray[np.bool_]:
        """(height, width), True where the object itself is seen at the pixel's centre."""
        seen, _ = self._visible(camera, camera_from_scene)
        return (seen >= 0) & (seen < self._subject_triangles)

    def _developed(self, light: Float32) -> Image:
        steps = light * np.float32(_TONE_STEPS * self._exposure)
        return np.asarray(_TONE_CURVE[np.clip(steps, 0, len(_TONE_CURVE) - 1).astype(np.uint16)], np.uint8)

    def _visible(self, camera: Camera, camera_from_scene: Array) -> tuple[Indices, Float32]:
        rotation, translation = (m.astype(np.float32) for m in np.split(camera_from_scene[:3], [3], axis=1))
        corners = self._triangles.corners @ rotation.T + translation[:, 0]
        return visible_triangles(corners, self._colors, camera, self._near, 1e3)

    def _samples(self, camera: Camera, camera_from_scene: Array) -> Samples:
        triangle, label = self._visible(camera.resize(2 * camera.width, 2 * camera.height), camera_from_scene)
        quarters = [(slice(y, None, 2), slice(x, None, 2)) for y in (0, 1) for x in (0, 1)]
        first = label[quarters[0]]
        even = np.logical_and.reduce([label[q] == first for q in quarters[1:]])
        whole = np.flatnonzero(even & (first > 0))
        mixed = np.flatnonzero(~even)
        triangles, pixels, offsets = [triangle[quarters[0]].ravel()[whole]], [whole], [(0.5, 0.5)]
        for rows, columns in quarters:
            seen = triangle[rows, columns].ravel()[mixed]
            pixels.append(mixed[seen >= 0])
            triangles.append(seen[seen >= 0])
            offsets.append((columns.start / 2 + 0.25, rows.start / 2 + 0.25))
        counts, pixel = [len(p) for p in pixels], np.concatenate(pixels)
        corner = np.stack([pixel % camera.width, pixel // camera.width], axis=1)
        ray = camera.rays(corner + np.repeat(offsets, counts, axis=0)).T.astype(np.float32)
        weight = np.repeat(np.array([1, 0.25, 0.25, 0.25, 0.25], np.float32), counts)
        return Samples(ray, np.concatenate(triangles), pixel, weight)


def _blend(picture: Image, samples: Samples, colors: Image) -> None:
    """Lay the samples' colours (3, n) over the flat picture (pixels, 3), each by its weight."""
    size = len(picture)
    share = np.bincount(samples.pixel, samples.weight, size)
    touched = np.flatnonzero(share)
    for channel in range(3):
        color = np.bincount(samples.pixel, samples.weight * colors[channel], size)[touched]
        behind = picture[touched, channel] * (1 - share[touched])
        picture[touched, channel] = np.rint(behind + color).astype(np.uint8)


def render_crop(renderer: Renderer, camera: Camera, camera_from_scene: Array, rect: Rect, size: int) -> Image:
    """What an encoder would be shown of ``rect`` in the camera's picture, (size, size, 3) uint8 RGB, drawn directly.

    As in the encoder's own crop, the rectangle's longer side fills the square, its shape is kept, and what is left over
    beside it is black. No picture of the whole scene is made: an off-centre camera sees just the rectangle, also the
    part of it that lies outside the camera's picture.
    """
    x0, y0, x1, y1 = rect
    scale = size / max(x1 - x0, y1 - y0)
    (left, right), (top, bottom) = (_centred(length * scale, size) for length in (x1 - x0, y1 - y0))
    window = window_camera(camera, rect, right - left, bottom - top)
    crop = np.zeros((size, size, 3), np.uint8)
    crop[top:bottom, left:right] = renderer.render(window, camera_from_scene)
    return crop


def window_camera(camera: Camera, rect: Rect, width: int, height: int) -> Camera:
    """The off-centre camera whose picture is ``rect`` of this one's, also outside it, at width x height pixels."""
    x0, y0, x1, y1 = rect
    sx, sy = width / (x1 - x0), height / (y1 - y0)
    return Camera(camera.fx * sx, camera.fy * sy, (camera.cx - x0) * sx, (camera.cy - y0) * sy, width, height)


def _centred(length: float, size: int) -> tuple[int, int]:
    """First and last pixel (exclusive) of a span in the middle of ``size`` pixels; at least one."""
    start = min(round((size - length) / 2), size - 1)
    return start, max(round((size + length) / 2), start + 1)
