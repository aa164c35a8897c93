"""What the renderer prepares once per scene: triangles, a texture atlas, a shadow map and the light on the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from index.schema import Camera
from trainer.demo.meshes import Part
from trainer.demo.raster import Float32, Indices, depth_map
from trainer.demo.scene import Light, Scene
from trainer.demo.textures import Texture

TEXELS = 256
_LEVELS = 6
MAP_SIZE = 1024
# The lamp's camera stands this many scene radii away: far enough for its rays to be parallel, near enough for float32.
_LAMP_DISTANCE = 30.0

# The display's gamma undone.
_LINEAR = (np.arange(256, dtype=np.float32) / 255) ** 2.2


@dataclass(frozen=True, eq=False)
class Triangles:
    """All parts of a scene, a row per triangle.

    ``corners`` (n, 3, 3) in the scene; ``attributes`` (n, 3, 6) at the corners: u, v, normal and 1; ``surface`` the
    part's number, ``layer`` its texture's, ``roughness``; ``texels`` how many texels there are along a metre.
    """

    corners: Float32
    attributes: Float32
    surface: Indices
    layer: Indices
    roughness: Float32
    texels: Float32


def gather_triangles(parts: Sequence[Part]) -> tuple[Triangles, list[Texture]]:
    """The triangles of all parts, and the textures that ``layer`` counts."""
    layers: dict[int, int] = {}
    textures: list[Texture] = []
    corners, attributes, counts, layer = [], [], [], []
    for part in parts:
        key = id(part.material.texture)
        if key not in layers:
            layers[key] = len(textures)
            textures.append(part.material.texture)
        values = np.concatenate([part.uvs, part.normals, np.ones((len(part.uvs), 1))], axis=1)
        corners.append(part.vertices[part.triangles])
        attributes.append(values[part.triangles])
        counts.append(len(part.triangles))
        layer.append(layers[key])
    points, values = np.concatenate(corners), np.concatenate(attributes)
    roughness = np.repeat([p.material.roughness for p in parts], counts)
    return (
        Triangles(
            corners=points.astype(np.float32),
            attributes=values.astype(np.float32),
            surface=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
            layer=np.repeat(np.array(layer, np.int32), counts),
            roughness=roughness.astype(np.float32),
            texels=_texel_density(points, values[..., :2]).astype(np.float32),
        ),
        textures,
    )


def _texel_density(corners: NDArray[np.float64], uvs: NDArray[np.float64]) -> NDArray[np.float64]:
    edges, sides = corners[:, 1:] - corners[:, :1], uvs[:, 1:] - uvs[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    painted = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    density: NDArray[np.float64] = np.sqrt(painted / np.maximum(area, 1e-12)) * TEXELS
    return density


def linear(picture: Texture) -> Float32:
    """8 bit to linear light, the same shape."""
    return np.asarray(_LINEAR[picture], np.float32)


def linear_pyramid(picture: Texture, levels: int) -> list[Float32]:
    """The picture (h, w, 3) in linear light, and its successive halves."""
    pyramid = [linear(picture)]
    for _ in range(levels - 1):
        height, width = pyramid[-1].shape[:2]
        half = cv2.resize(pyramid[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        pyramid.append(np.asarray(half, np.float32))
    return pyramid


def texture_atlas(textures: Sequence[Texture]) -> list[Float32]:
    """All textures below each other, each TEXELS x TEXELS, in linear light; then all at half the size, and so on."""
    squares = [cv2.resize(t, (TEXELS, TEXELS), interpolation=cv2.INTER_LINEAR) for t in textures]
    return linear_pyramid(np.concatenate(squares).astype(np.uint8), _LEVELS)


@dataclass(frozen=True, eq=False)
class ShadowMap:
    """Depths (s, s) that a distant camera in the lamp's place sees."""

    depths: Float32
    camera: Camera
    camera_from_scene: Float32
    bias: float


def shadow_map(triangles: Triangles, light: Light, radius: float, size: int = MAP_SIZE) -> ShadowMap:
    """Of all within ``radius`` metres around the scene's origin, ``size`` x ``size`` texels."""
    distance = _LAMP_DISTANCE * radius
    camera_from_scene = np.eye(4)
    camera_from_scene[:3, :3] = _facing(-light.direction)
    camera_from_scene[2, 3] = distance
    focal = size / 2 * distance / radius
    camera = Camera(focal, focal, size / 2, size / 2, size, size)
    seen = triangles.corners[np.abs(triangles.corners).max(axis=(1, 2)) < 3 * radius]
    seen = seen @ camera_from_scene[:3, :3].T.astype(np.float32) + camera_from_scene[:3, 3].astype(np.float32)
    depths = depth_map(seen, camera, distance / 2, 2 * distance)
    return ShadowMap(depths, camera, camera_from_scene[:3].astype(np.float32), 0.008 * radius)


def _facing(forward: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation (3, 3) of a camera that looks along the unit vector ``forward``."""
    right = np.cross(forward, (0.0, 1.0, 0.01))
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


@dataclass(frozen=True, eq=False)
class FloorLight:
    """Light (s, s, 3), linear RGB, that falls on the floor where |x| and |z| < ``half`` metres; rows go along +z."""

    light: Float32
    half: float


def floor_light(triangles: Triangles, scene: Scene, size: int = MAP_SIZE) -> FloorLight:
    """Lamp and sky, less what the things on the floor keep away, ``size`` x ``size`` texels.

    The lamp's shadow is what is left when all triangles are pressed onto the floor along its rays: it meets the things
    without a gap. Shadows of what is higher above the floor are softer.
    """
    half, scale = 3.6 * scene.scale, scene.scale
    heights = triangles.corners[..., 1]
    direction = scene.light.direction.astype(np.float32)
    pressed = triangles.corners - heights[..., None] * (direction / direction[1])
    texel = 2 * half / size
    shadow = np.zeros((size, size), np.float32)
    for low, high, blur in ((0.0, 0.15, 0.004), (0.15, 0.4, 0.012), (0.4, np.inf, 0.022)):
        middle = heights.mean(axis=1)
        band = (middle >= low * scale) & (middle < high * scale)
        covered = _covered(pressed[band][..., [0, 2]], half, size)
        shadow = np.maximum(shadow, cv2.GaussianBlur(covered, (0, 0), max(0.7, blur * scale / texel)))
    lamp, sky = scene.light.lamp * scene.light.direction[1], scene.light.sky
    lit, open_sky = 1 - shadow, _open_sky(triangles, scene, half, size)
    colors = [lit * np.float32(a) + open_sky * np.float32(b) for a, b in zip(lamp, sky, strict=True)]
    return FloorLight(np.asarray(cv2.merge(colors), np.float32), half)


def _open_sky(triangles: Triangles, scene: Scene, half: float, size: int) -> Float32:
    """How much of the sky the floor sees: less near things, the lower the less."""
    heights, texel = triangles.corners[..., 1].min(axis=1), 2 * half / size
    hidden = np.zeros((size, size), np.float32)
    for reach, share in ((0.03, 0.35), (0.1, 0.3), (0.3, 0.25)):
        covered = _covered(triangles.corners[heights < reach * scene.scale][..., [0, 2]], half, size)
        small = cv2.resize(covered, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(small, (0, 0), reach * scene.scale / texel / 4 * 0.7)
        hidden += share * cv2.resize(blurred, hidden.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.maximum(1 - hidden, 0)


def _covered(flat: Float32, half: float, size: int) -> Float32:
    """1 where one of the flat triangles (n, 3, 2) in (x, z) covers the floor, else 0."""
    camera = Camera(size / 2 / half, size / 2 / half, size / 2, size / 2, size, size)
    points = np.concatenate([flat, np.ones((*flat.shape[:2], 1), np.float32)], axis=2)
    return (depth_map(points, camera, 0.5, 2.0) < 1.5).astype(np.float32)
