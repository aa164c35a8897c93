"""The colour of points on things: texture, lamp with shadow, sky, and a shine."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from index.schema import Array, Camera
from trainer.demo.bake import TEXELS, ShadowMap, Triangles
from trainer.demo.raster import Float32, Indices, sampled
from trainer.demo.scene import Light

# Offsets in shadow map texels that soften the shadow's edge.
_TAPS = ((0.0, 0.0), (-1.2, -0.5), (0.5, -1.2), (1.2, 0.5), (-0.5, 1.2))


@dataclass(frozen=True, eq=False)
class Samples:
    """Points of the picture at which a triangle is seen, n of them."""

    ray: Float32  # (3, n) directions in the camera's frame, z = 1
    triangle: Indices  # (n,)
    pixel: NDArray[np.int64]  # (n,) index into the flattened picture
    weight: Float32  # (n,) the share of the pixel that the sample stands for


@dataclass(frozen=True, eq=False)
class _Hits:
    """The samples' points on their surfaces, in the scene: (3, n) each, or (n,)."""

    point: Float32
    normal: Float32
    to_eye: Float32
    uv: Float32
    depth: Float32


class Shader:
    """Lights the triangles of one scene."""

    def __init__(
        self, triangles: Triangles, atlas: list[Float32], shadows: ShadowMap, light: Light, scale: float
    ) -> None:
        self._triangles, self._atlas, self._shadows, self._light = triangles, atlas, shadows, light
        self._scale = np.float32(scale)

    def light(self, samples: Samples, camera: Camera, camera_from_scene: Array) -> Float32:
        """(3, n) linear RGB that reaches the camera before exposure."""
        hits = self._hits(samples, camera_from_scene)
        facing = np.clip((hits.normal * hits.to_eye).sum(axis=0), 0.05, 1)
        texels = self._triangles.texels[samples.triangle] * hits.depth / np.float32(camera.fx) / np.sqrt(facing)
        albedo = self._texture(hits.uv, self._triangles.layer[samples.triangle], texels)
        return self._reflected(hits, albedo, self._triangles.roughness[samples.triangle], facing)

    def _hits(self, samples: Samples, camera_from_scene: Array) -> _Hits:
        rotation, translation = camera_from_scene[:3, :3], camera_from_scene[:3, 3]
        seen, which = _compact(samples.triangle, len(self._triangles.corners))
        per_ray = self._attributes_per_ray(seen, rotation, translation)[which]
        values = (per_ray * samples.ray.T[:, None, :]).sum(axis=2).T
        depth = 1 / np.maximum(values[5], np.float32(1e-3))  # a grazing triangle may be missed by the ray beside it
        ray_in_scene = rotation.T.astype(np.float32) @ samples.ray
        eye = (-rotation.T @ translation).astype(np.float32)
        return _Hits(
            point=eye[:, None] + ray_in_scene * depth,
            normal=_unit(values[2:5]),
            to_eye=-_unit(ray_in_scene),
            uv=values[:2] * depth,
            depth=depth,
        )

    def _attributes_per_ray(self, seen: Indices, rotation: Array, translation: Array) -> Float32:
        """(m, 6, 3): times a ray (z = 1) of the triangle's, its attributes there divided by their depth.

        A point of a triangle with corners V = [a b c] is V w for weights w that sum to 1, and depth times its ray; so
        w / depth = V^-1 ray. The attributes' last one, which is 1 everywhere, yields the depth itself.
        """
        a, b, c = (self._triangles.corners[seen] @ rotation.T + translation).swapaxes(0, 1)
        dual = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
        volume = (a * dual[:, 0]).sum(axis=1)
        volume = np.where(np.abs(volume) < 1e-30, 1e-30, volume)
        attributes = self._triangles.attributes[seen].swapaxes(1, 2).astype(np.float64)
        attributes[:, 2:5] *= -np.sign(volume)[:, None, None]  # a surface seen from behind shows its other side
        per_ray = attributes @ dual / volume[:, None, None]
        return np.asarray(per_ray, np.float32)

    def _texture(self, uv: Float32, layer: Indices, texels: Float32) -> Float32:
        """(3, n) linear RGB; ``texels`` (n,) of them fall into a pixel."""
        level = np.clip(np.rint(np.log2(texels + np.float32(1e-6))), 0, len(self._atlas) - 1).astype(np.int8)
        uv = uv - np.floor(uv)
        color = np.empty((len(layer), 3), np.float32)
        for k in np.unique(level):
            chosen = np.flatnonzero(level == k)
            size = TEXELS >> int(k)
            u, v = np.clip(uv[:, chosen] * size - 0.5, 0, size - 1)
            color[chosen] = _sampled_list(self._atlas[k], u, v + layer[chosen] * np.float32(size))
        return color.T

    def _reflected(self, hits: _Hits, albedo: Float32, roughness: Float32, facing: Float32) -> Float32:
        light, up = self._light, hits.normal[1]
        to_lamp = light.direction.astype(np.float32)
        lamp = (light.lamp[:, None] * self._lit(hits)).astype(np.float32)
        on_lamp = np.maximum(to_lamp @ hits.normal, 0)
        halfway = np.maximum((_unit(hits.to_eye + to_lamp[:, None]) * hits.normal).sum(axis=0), 0)
        shine = halfway ** np.clip(2 / roughness**4, 2, 300) * (1 - roughness) * np.float32(0.6) * (on_lamp > 0)
        bounce, sky = (c.astype(np.float32)[:, None] for c in (light.bounce, light.sky))
        # Near the floor, the things around and the object itself keep the sky away.
        open_share = 0.55 + 0.45 * np.clip(hits.point[1] / (0.2 * self._scale), 0, 1)
        ambient = (bounce + (sky - bounce) * (0.5 + 0.5 * up)) * open_share
        mirrored_up = 2 * (hits.normal * hits.to_eye).sum(axis=0) * up - hits.to_eye[1]
        gloss = (0.04 + 0.5 * (1 - facing) ** 5) * (1 - roughness) ** 2 * (0.6 + 0.5 * mirrored_up)
        light_seen: Float32 = albedo * (ambient + lamp * on_lamp) + lamp * shine + sky * np.maximum(gloss, 0)
        return light_seen

    def _lit(self, hits: _Hits) -> Float32:
        """(n,): the share of the lamp that each point sees. Outside the shadow map, all of it."""
        shadows, size = self._shadows, len(self._shadows.depths)
        lifted = hits.point + hits.normal * np.float32(shadows.bias)
        x, y, z = shadows.camera_from_scene[:, :3] @ lifted + shadows.camera_from_scene[:, 3:]
        u, v = x / z * np.float32(shadows.camera.fx) + size / 2, y / z * np.float32(shadows.camera.fy) + size / 2
        lit = np.zeros(len(z), np.float32)
        for du, dv in _TAPS:
            column = np.clip(u + np.float32(du), 0, size - 1).astype(np.int32)
            row = np.clip(v + np.float32(dv), 0, size - 1).astype(np.int32)
            lit += shadows.depths[row, column] > z - np.float32(shadows.bias)
        inside = (np.abs(u - size / 2) < size / 2 - 2) & (np.abs(v - size / 2) < size / 2 - 2)
        return np.where(inside, lit / len(_TAPS), 1).astype(np.float32)


def _unit(vectors: Float32) -> Float32:
    """(3, n) scaled to length 1."""
    lengths: Float32 = np.sqrt(np.maximum((vectors * vectors).sum(axis=0), 1e-20))
    return vectors / lengths


def _compact(numbers: Indices, count: int) -> tuple[Indices, Indices]:
    """The distinct ``numbers`` (each < count) in order, and for each number its place among them."""
    used = np.zeros(count, bool)
    used[numbers] = True
    distinct = np.flatnonzero(used).astype(np.int32)
    place = np.zeros(count, np.int32)
    place[distinct] = np.arange(len(distinct), dtype=np.int32)
    return distinct, place[numbers]


def _sampled_list(texture: Float32, columns: Float32, rows: Float32) -> Float32:
    """(n, 3): the texture between texel centres (columns, rows), each (n,)."""
    count, width = len(columns), 512  # OpenCV takes maps of less than 32,768 columns
    padded = -(-count // width) * width
    u, v = (np.resize(m.astype(np.float32), padded).reshape(-1, width) for m in (columns, rows))
    return sampled(texture, u, v, cv2.BORDER_REPLICATE).reshape(-1, 3)[:count]
