"""Points that two neighbouring pictures both show, and whether the poses agree with what the pictures show.

Pictures alone tell which matches are those of one rigid scene. Given poses must explain these as well: where they do
not, axes are mixed up, the world is mirrored, or a camera jumped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from index.schema import Array, Camera
from trainer.captures.shot import Image

_SIDE = 960  # pictures are looked at no larger than this
_FEATURES = 2500
_RATIO = 0.8  # Lowe's: a match must be this much better than the second best
_RIGID_PX = 1.5
# How far a match may be off the line that the poses allow: a share of the longer side (phones' poses are off by one or
# two thousandths), and no less than keypoints are uncertain by.
_AGREES_SHARE, _AGREES_PX = 0.004, 1.5
_REPROJECTION_PX = 2.0
_LEAST_ANGLE = np.radians(2.0)
_LEAST_MATCHES = 20


@dataclass(frozen=True, eq=False)
class Features:
    """Keypoints (n, 2) in the picture's pixels and SIFT descriptors (n, 128), of a picture with a pose."""

    camera: Camera
    world_from_camera: Array
    pixels: Array
    descriptors: NDArray[np.float32]
    pixel: float  # how many of its pixels one pixel of the picture that was looked at is


@dataclass(frozen=True, eq=False)
class Pair:
    """What two pictures have in common.

    ``matches`` of one rigid scene; ``agreement``: the share of them that the poses explain, None where there are too
    few to tell; ``points`` (n, 3) in the world, of those seen from directions that differ enough.
    """

    matches: int
    agreement: float | None
    points: Array


def features(image: Image, camera: Camera, world_from_camera: Array) -> Features:
    """SIFT of (h, w, 3) RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, _SIDE / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    keypoints, descriptors = cv2.SIFT.create(_FEATURES).detectAndCompute(grey, None)
    # OpenCV's pixel (0, 0) is a centre, ours a corner.
    pixels = (np.array([point.pt for point in keypoints]).reshape(-1, 2) + 0.5) / scale
    if descriptors is None:
        descriptors = np.empty((0, 128), np.float32)
    return Features(camera, world_from_camera, pixels, np.asarray(descriptors, np.float32), 1 / scale)


def pairs(found: Sequence[Features], reach: int) -> Iterator[tuple[int, int, Pair]]:
    """Each picture with the ``reach`` that follow it."""
    for i in range(len(found)):
        for j in range(i + 1, min(i + reach + 1, len(found))):
            yield i, j, compare(found[i], found[j])


def compare(a: Features, b: Features) -> Pair:
    """Matches the two and triangulates what the poses explain."""
    matches = _matches(a, b)
    if len(matches) < _LEAST_MATCHES:
        return Pair(len(matches), None, np.empty((0, 3)))
    in_a, in_b = a.pixels[matches[:, 0]], b.pixels[matches[:, 1]]
    kept = _rigid(in_a, in_b, _RIGID_PX * a.pixel)
    if kept.sum() < _LEAST_MATCHES:
        return Pair(int(kept.sum()), None, np.empty((0, 3)))
    in_a, in_b = in_a[kept], in_b[kept]
    tolerance = max(_AGREES_SHARE * max(b.camera.width, b.camera.height), _AGREES_PX * b.pixel)
    explained = _epipolar_distance(a, b, in_a, in_b) < tolerance
    return Pair(int(kept.sum()), float(explained.mean()), _triangulated(a, b, in_a[explained], in_b[explained]))


def _matches(a: Features, b: Features) -> NDArray[np.int64]:
    """(n, 2) rows of both, each the other's clear best."""
    if min(len(a.descriptors), len(b.descriptors)) < 2:
        return np.empty((0, 2), np.int64)
    ways = []
    for one, other in ((a, b), (b, a)):
        nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(one.descriptors, other.descriptors, k=2)
        ways.append(
            {first.queryIdx: first.trainIdx for first, second in nearest if first.distance < _RATIO * second.distance}
        )
    both = [(i, j) for i, j in ways[0].items() if ways[1].get(j) == i]
    return np.array(both, np.int64).reshape(-1, 2)


def _rigid(in_a: Array, in_b: Array, off: float) -> NDArray[np.bool_]:
    """Which matches (n,) are those of one rigid scene, within ``off`` pixels of their epipolar lines."""
    try:
        _, mask = cv2.findFundamentalMat(in_a, in_b, cv2.USAC_MAGSAC, off, 0.999, 5000)
    except cv2.error:  # OpenCV 5 stumbles over its own empty models
        _, mask = cv2.findFundamentalMat(in_a, in_b, cv2.FM_RANSAC, off, 0.999, 5000)
    return np.zeros(len(in_a), bool) if mask is None else np.asarray(mask[:, 0], bool)


def _b_from_a(a: Features, b: Features) -> tuple[Array, Array]:
    rotation = b.world_from_camera[:3, :3].T
    shift = rotation @ (a.world_from_camera[:3, 3] - b.world_from_camera[:3, 3])
    return rotation @ a.world_from_camera[:3, :3], shift


def _epipolar_distance(a: Features, b: Features, in_a: Array, in_b: Array) -> Array:
    """How far, in b's pixels, each match is from the line that the poses allow."""
    rotation, shift = _b_from_a(a, b)
    cross = np.array([[0, -shift[2], shift[1]], [shift[2], 0, -shift[0]], [-shift[1], shift[0], 0]])
    lines = a.camera.rays(in_a) @ (np.linalg.inv(b.camera.matrix).T @ cross @ rotation).T
    off = (lines[:, :2] * in_b).sum(axis=1) + lines[:, 2]
    distance: Array = np.abs(off) / np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-12)
    return distance


def _triangulated(a: Features, b: Features, in_a: Array, in_b: Array) -> Array:
    """(n, 3) in the world: the matches in front of both cameras, seen well apart, and seen again where they were."""
    if len(in_a) == 0:
        return np.empty((0, 3))
    rotation, shift = _b_from_a(a, b)
    first, second = np.eye(3, 4), np.column_stack([rotation, shift])
    rays_a, rays_b = a.camera.rays(in_a), b.camera.rays(in_b)
    homogeneous = cv2.triangulatePoints(first, second, rays_a[:, :2].T, rays_b[:, :2].T)
    with np.errstate(divide="ignore", invalid="ignore"):
        in_camera = (homogeneous[:3] / homogeneous[3]).T
        again = in_camera @ rotation.T + shift
        error_a = np.linalg.norm(in_camera[:, :2] / in_camera[:, 2:] - rays_a[:, :2], axis=1) * a.camera.fx
        error_b = np.linalg.norm(again[:, :2] / again[:, 2:] - rays_b[:, :2], axis=1) * b.camera.fx
        seen_from_b = in_camera + rotation.T @ shift
        cosine = (in_camera * seen_from_b).sum(axis=1)
        cosine /= np.linalg.norm(in_camera, axis=1) * np.linalg.norm(seen_from_b, axis=1)
        good = (in_camera[:, 2] > 0) & (again[:, 2] > 0) & (cosine < np.cos(_LEAST_ANGLE))
        good &= np.maximum(error_a / a.pixel, error_b / b.pixel) < _REPROJECTION_PX
    return np.asarray(in_camera[good] @ a.world_from_camera[:3, :3].T + a.world_from_camera[:3, 3])
