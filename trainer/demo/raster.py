"""Triangles to pixels with OpenCV: which triangle is seen where, and how far away it is.

OpenCV's software rasteriser knows one centred pinhole with square pixels and does not clip at the near plane. Points
are therefore warped so that any pinhole, an off-centre one too, becomes that one, and triangles that reach behind the
near plane are left out.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from index.schema import Camera

Float32 = NDArray[np.float32]
Indices = NDArray[np.int32]

# Triangle numbers travel as two colour channels, each a whole number of 255ths, and the surface's label as the third.
_BASE = 256


def _settings(shading: int) -> cv2.TriangleRasterizeSettings:
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    settings.setShadingType(shading)
    return settings


def triangle_colors(surfaces: Indices) -> Float32:
    """Colours (3 * n, 3) for ``visible_triangles``: the triangle's number and its surface's, a row per corner."""
    number = np.arange(1, len(surfaces) + 1)
    digits = np.stack([number % _BASE, number // _BASE, 1 + surfaces % (_BASE - 1)], axis=1)
    return np.repeat(digits / np.float32(_BASE - 1), 3, axis=0).astype(np.float32)


def visible_triangles(
    triangles_in_camera: Float32, colors: Float32, camera: Camera, near: float, far: float
) -> tuple[Indices, Float32]:
    """The nearest triangle at every pixel's centre.

    ``triangles_in_camera`` (n, 3, 3) are corners in metres, n < 65,536, ``colors`` those of ``triangle_colors``.
    Returns two (height, width) pictures: the triangle's index, -1 where there is none, and a label that is 0 where
    there is none and differs between surfaces.
    """
    size = (camera.height, camera.width)
    label: Float32 = np.zeros((*size, 3), np.float32)
    depth = np.full(size, far, np.float32)
    in_front = triangles_in_camera[..., 2].min(axis=1) > near
    corners = np.arange(3 * len(in_front), dtype=np.int32).reshape(-1, 3)[in_front]
    if len(corners):
        points, lens = _warped(triangles_in_camera, camera), _lens(camera, near, far)
        drawn, _ = cv2.triangleRasterize(
            points, corners, colors, label, depth, *lens, _settings(cv2.RASTERIZE_SHADING_FLAT)
        )
        label = np.asarray(drawn, np.float32)
    weights = np.array([[_BASE - 1, _BASE * (_BASE - 1), 0]], np.float32)
    return np.rint(cv2.transform(label, weights)).astype(np.int32) - 1, label[..., 2]


def _lens(camera: Camera, near: float, far: float) -> tuple[Float32, float, float, float]:
    """As OpenCV takes it: the pose (none: points are in the camera's frame), vertical field of view, near and far."""
    return np.eye(4, dtype=np.float32), 2 * float(np.arctan(camera.height / 2 / camera.fy)), near, far


def _warped(triangles_in_camera: Float32, camera: Camera) -> Float32:
    """(3 * n, 3) points in OpenGL's axes, that the centred pinhole with square pixels ``fy`` sees where ours does."""
    x, y, z = triangles_in_camera.reshape(-1, 3).T
    u = (x * camera.fx + (camera.cx - camera.width / 2) * z) / camera.fy
    v = (y * camera.fy + (camera.cy - camera.height / 2) * z) / camera.fy
    return np.stack([u, -v, -z], axis=1).astype(np.float32)


def depth_map(triangles_in_camera: Float32, camera: Camera, near: float, far: float) -> Float32:
    """Depth in metres of the nearest triangle (n, 3, 3) at every pixel's centre, ``far`` where there is none."""
    depth = np.full((camera.height, camera.width), far, np.float32)
    if not len(triangles_in_camera):
        return depth
    corners = np.arange(3 * len(triangles_in_camera), dtype=np.int32).reshape(-1, 3)
    points, lens = _warped(triangles_in_camera, camera), _lens(camera, near, far)
    drawn = cv2.triangleRasterizeDepth(points, corners, depth, *lens, _settings(cv2.RASTERIZE_SHADING_WHITE))
    return np.asarray(drawn, np.float32)


def sampled(texture: Float32, columns: Float32, rows: Float32, border: int) -> Float32:
    """The texture (h, w, 3) between its texels' centres, at (columns, rows) of one shape (a, b); -> (a, b, 3)."""
    return np.asarray(cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, None, border), np.float32)
