"""Captures with exact poses for the annotation page, and what a browser does on it at positions computed from a box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page

from index.schema import Array, Box, Camera
from tests.recordings import Filmed, save

_NAMES = ("fx", "fy", "cx", "cy", "width", "height")


def capture_of(filmed: Filmed, **changes: Any) -> dict[str, Any]:
    """``capture.json`` of a film, its ground known, nothing annotated."""
    return {
        "axes": "opencv",
        "camera": {name: getattr(filmed.camera, name) for name in _NAMES},
        "plane": {"normal": [0.0, 1.0, 0.0], "point": [0.0, filmed.ground, 0.0]},
        "plane_from": "2790 of 2940 sparse points",
        "objects": [],
        "frames": [
            {"image": f"{k:04d}.jpg", "time_s": time_s, "world_from_camera": pose.tolist()}
            for k, (time_s, pose) in enumerate(zip(filmed.times, filmed.world_from_camera, strict=True))
        ],
    } | changes


def write_capture(folder: Path, filmed: Filmed, **changes: Any) -> Path:
    for k, picture in enumerate(filmed.pictures):
        save(folder / f"{k:04d}.jpg", picture)
    (folder / "capture.json").write_text(json.dumps(capture_of(filmed, **changes)))
    return folder


def world_box(filmed: Filmed) -> Box:
    """The truth, in the capture's world."""
    return Box(filmed.rotation, filmed.center, filmed.size)


def document_box(box: Box) -> dict[str, Any]:
    return {"center": box.center.tolist(), "size": box.size.tolist(), "rotation": box.rotation.tolist()}


def saved_box(capture: Path, number: int = 0) -> Box:
    """As ``capture.json`` has it."""
    box = json.loads((capture / "capture.json").read_text())["objects"][number]["box"]
    return Box(box["rotation"], box["center"], box["size"])


def pixels_of(points_in_world: Array, camera: Camera, world_from_camera: Array) -> Array:
    """(..., 3) metres -> (..., 2) pixels of the full picture."""
    turn, eye = world_from_camera[:3, :3], world_from_camera[:3, 3]
    return camera.project((np.asarray(points_in_world) - eye) @ turn)


class Annotator:
    """A person at the page: shows a frame, and clicks where points of the world are seen in it.

    Args:
        page: with the capture open.
        camera: of all frames.
        poses: world_from_camera (n, 4, 4).
        error_px: how far beside it is clicked, a normal distribution's deviation in pixels of the screen.
    """

    def __init__(self, page: Page, camera: Camera, poses: Array, error_px: float = 0.0, seed: int = 0) -> None:
        self.page, self.camera, self.poses, self.frame = page, camera, poses, 0
        self.error_px, self.rng = error_px, np.random.default_rng(seed)
        self.clicks, self.keys = 0, 0

    def show(self, frame: int) -> None:
        self.page.locator("#scrub").fill(str(frame))
        self.frame = frame

    def screen(self, point_in_world: Array) -> tuple[float, float]:
        """Where a point is on the screen, CSS pixels; beside it by the error."""
        place = self.page.locator("#stage canvas").bounding_box()
        assert place is not None
        pixel = pixels_of(point_in_world, self.camera, self.poses[self.frame])
        x, y = pixel * place["width"] / self.camera.width + self.rng.normal(0, self.error_px, 2)
        return place["x"] + x, place["y"] + y

    def click(self, point_in_world: Array) -> None:
        self.page.mouse.move(*self.screen(point_in_world), steps=3)
        self.page.mouse.down()
        self.page.mouse.up()
        self.clicks += 1

    def press(self, selector: str) -> None:
        self.page.click(selector)
        self.clicks += 1

    def drag(self, point_in_world: Array, to_in_world: Array) -> None:
        start, end = self.screen(point_in_world), self.screen(to_in_world)
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=5)
        self.page.mouse.up()
        self.clicks += 1

    def draw(self, box: Box) -> None:
        """The near corners of the front, one at the back, and the height above that one. (A box in the world.)"""
        corners = box.corners
        self.press("#draw")
        for corner in (1, 5, 4, 6):  # front left, front right, back right, above it; front is z, up is y
            self.click(corners[corner])

    def front_frame(self, box: Box) -> int:
        """The frame that sees the box's front best."""
        eyes = self.poses[:, :3, 3] - box.center
        return int(np.argmax(eyes @ box.rotation[:, 2] / np.linalg.norm(eyes, axis=1)))
