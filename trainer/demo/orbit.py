"""A hand-held walk around the object: an orbit whose distance, height, aim and roll waver."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from index.schema import Box, Camera, clipped_rect

Array = NDArray[np.float64]

_LOWEST, _HIGHEST = np.radians(15), np.radians(60)
_IN_PICTURE = 0.92


def phone_camera(rng: np.random.Generator, width: int, height: int) -> Camera:
    """A phone's camera held upright, scaled from its 1440 x 1920 pictures to width x height.

    Published readers of Objectron disagree whether the intrinsics' horizontal principal point is mirrored, so it is in
    the middle here, where they agree.
    """
    focal = rng.uniform(1450, 1620)
    return Camera(focal, focal, 720, 960 + rng.normal(0, 8), 1440, 1920).resize(width, height)


def hand_held_orbit(rng: np.random.Generator, size: Array, camera: Camera, frames: int) -> Array:
    """Poses ``camera_from_scene``, (frames, 4, 4), around an object of ``size`` (3,) metres on the scene's floor.

    The arc spans 120 to 360 degrees at elevations from 15 to 60 degrees. Where the object would leave the picture, the
    camera steps back until at least 92 % of its box's rectangle is in it.
    """
    scale, height = float(np.linalg.norm(size)), float(size[1])
    reach = camera.fx / (camera.width / 2) * scale / 2
    arc = np.radians(rng.uniform(120, 360)) * rng.choice([-1, 1])
    azimuths = rng.uniform(0, 2 * np.pi) + arc * np.linspace(0, 1, frames) + _waver(rng, frames, 0.03)
    elevations = np.clip(np.radians(rng.uniform(20, 50)) + _waver(rng, frames, 0.1), _LOWEST, _HIGHEST)
    distances = reach * rng.uniform(0.85, 1.5) * np.exp(_waver(rng, frames, 0.08))
    aims = np.stack([_waver(rng, frames, 0.05 * scale) for _ in range(3)], axis=1) + np.array([0, height / 2, 0])
    rolls = _waver(rng, frames, 0.07)
    box = Box(np.eye(3), np.array([0, height / 2, 0]), size)
    walk = zip(azimuths, elevations, distances, aims, rolls, strict=True)
    return np.stack([_framed(box, camera, *step) for step in walk])


def _waver(rng: np.random.Generator, frames: int, amplitude: float, smoothness: float = 3.0) -> Array:
    """Smooth noise, (frames,), with a standard deviation of about ``amplitude``."""
    margin = int(4 * smoothness)
    rough = rng.standard_normal(frames + 2 * margin)
    smooth = gaussian_filter1d(rough, smoothness)[margin : margin + frames]
    wavering: Array = smooth * amplitude * np.sqrt(2 * smoothness * np.sqrt(np.pi))
    return wavering


def _framed(
    box_in_scene: Box, camera: Camera, azimuth: float, elevation: float, distance: float, aim: Array, roll: float
) -> Array:
    """The pose, from further away where the box would not be in the picture."""
    direction = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    while True:
        camera_from_scene = look_at(box_in_scene.center + distance * np.array(direction), aim, roll)
        if _share_in_picture(box_in_camera(camera_from_scene, box_in_scene), camera) >= _IN_PICTURE:
            return camera_from_scene
        distance *= 1.05


def look_at(eye: Array, target: Array, roll: float) -> Array:
    """``camera_from_scene`` (4, 4) of an OpenCV camera at ``eye`` that looks at ``target``, rolled by radians."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    upright = np.stack([right, np.cross(forward, right), forward])
    camera_from_scene = np.eye(4)
    camera_from_scene[:3, :3] = Rotation.from_euler("z", roll).as_matrix() @ upright
    camera_from_scene[:3, 3] = -camera_from_scene[:3, :3] @ eye
    return camera_from_scene


def box_in_camera(camera_from_scene: Array, box_in_scene: Box) -> Box:
    """The box as the camera sees it."""
    rotation, translation = camera_from_scene[:3, :3], camera_from_scene[:3, 3]
    return Box(rotation @ box_in_scene.rotation, rotation @ box_in_scene.center + translation, box_in_scene.size)


def _share_in_picture(box: Box, camera: Camera) -> float:
    """Which part of the box's rectangle is in the picture; 0 when some of the box is behind the camera."""
    if not box.in_front():
        return 0.0
    x0, y0, x1, y1 = box.rect(camera)
    if x1 < 1 or y1 < 1 or x0 > camera.width - 1 or y0 > camera.height - 1:
        return 0.0
    a, b, c, d = clipped_rect((x0, y0, x1, y1), camera.width, camera.height)
    return (c - a) * (d - b) / ((x1 - x0) * (y1 - y0))
