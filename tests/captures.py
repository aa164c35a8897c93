"""Tiny captures with known answers: coloured boxes on a floor, drawn from a camera that walks around them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from index.schema import Box, Camera

CAMERA = Camera(fx=150, fy=150, cx=60, cy=80, width=120, height=160)
_FACES = [[4, 6, 7, 5], [0, 1, 3, 2], [2, 3, 7, 6], [0, 4, 5, 1], [1, 5, 7, 3], [0, 2, 6, 4]]


def world_from_camera(azimuth: float, elevation: float, distance: float, target: np.ndarray) -> np.ndarray:
    """(4, 4): an OpenCV camera on a sphere around ``target``; the world's y is up, azimuth 0 looks along -z."""
    outward = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    forward = -outward
    right = np.cross(forward, [0, 1.0, 0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, target + distance * outward], axis=1)
    return pose


def draw(pose: np.ndarray, size: np.ndarray, colours: np.ndarray, floor: int) -> np.ndarray:
    """(160, 120, 3) RGB: the box that stands on the world's origin, each face in its own colour."""
    image = np.full((CAMERA.height, CAMERA.width, 3), floor, np.uint8)
    camera_from_world = np.linalg.inv(pose)
    rotation = camera_from_world[:3, :3]
    center = rotation @ [0, size[1] / 2, 0] + camera_from_world[:3, 3]
    corners = Box(rotation, center, size).corners
    pixels = CAMERA.project(corners)
    for face, colour in zip(_FACES, colours, strict=True):
        normal = np.cross(corners[face[1]] - corners[face[0]], corners[face[3]] - corners[face[0]])
        if normal @ corners[face[0]] < 0:
            polygon = np.round((pixels[face] - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(image, [polygon], colour.tolist(), cv2.LINE_AA, 4)
    return image


def write_capture(
    folder: Path,
    *,
    object_id: str,
    category: str,
    split: str,
    size: tuple[float, float, float] = (0.1, 0.14, 0.08),
    frames: int = 6,
    seed: int = 0,
    start: float = 0.0,
) -> Path:
    """A folder with pictures and a capture.json (axes opencv), the camera walking half around the object."""
    rng = np.random.default_rng(seed)
    # The colours belong to the object, so that two captures of it look alike.
    colours = np.random.default_rng(sum(object_id.encode())).integers(40, 255, (6, 3))
    folder.mkdir(parents=True)
    entries = []
    for i in range(frames):
        pose = world_from_camera(
            start + i * np.pi / frames, 0.5 + 0.05 * rng.normal(), 0.5, np.array([0, size[1] / 2, 0])
        )
        image = draw(pose, np.array(size), colours, floor=120)
        image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:04}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        entries.append({"image": f"{i:04}.png", "time_s": i / 5, "world_from_camera": pose.tolist()})
    capture = {
        "axes": "opencv",
        "fps": 5,
        "split": split,
        "camera": {name: getattr(CAMERA, name) for name in ("fx", "fy", "cx", "cy", "width", "height")},
        "plane": {"normal": [0, 1, 0], "point": [0, 0, 0]},
        "objects": [
            {
                "id": object_id,
                "category": category,
                "box": {"center": [0, size[1] / 2, 0], "size": list(size), "rotation": np.eye(3).tolist()},
            }
        ],
        "frames": entries,
    }
    (folder / "capture.json").write_text(json.dumps(capture))
    return folder


def write_captures(root: Path) -> Path:
    """Three categories of boxes; per category three objects to index, and one test object in two videos."""
    sizes = {"carton": (0.10, 0.14, 0.08), "plank": (0.16, 0.03, 0.1), "tower": (0.05, 0.2, 0.06)}
    for number, (category, size) in enumerate(sizes.items()):
        for i in range(3):
            seed = 10 * number + i
            name = f"{category}-{i}"
            write_capture(root / name, object_id=name, category=category, split="train", size=size, seed=seed)
        for take in range(2):
            write_capture(
                root / f"{category}-test-{take}",
                object_id=f"{category}-test",
                category=category,
                split="test",
                size=size,
                seed=100 + 10 * number + take,
                start=0.2 * take,
            )
    return root
