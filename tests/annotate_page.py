"""Captures with exact poses for the annotation page, and what a browser does on it at positions computed from a box."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
from playwright.sync_api import Page, expect

from index.schema import Array, Box, Camera
from tests.recordings import Filmed, save
from tests.service_fixtures import wait_until

# Axis and corners of the faces that can be dragged.
FACES = {
    "bottom": (1, (0, 4, 5, 1)),
    "top": (1, (2, 3, 7, 6)),
    "left": (0, (0, 1, 3, 2)),
    "right": (0, (4, 6, 7, 5)),
    "front": (2, (1, 5, 7, 3)),
    "back": (2, (0, 2, 6, 4)),
}
_EDGE = 8.0  # pixels of the picture: a hand that begins nearer to its edge may miss it
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


@dataclass(frozen=True, eq=False)
class Ground:
    """The frame of the page's numbers, in the world: its axes as columns (3, 3), y the normal, and its origin (3,)."""

    axes: Array
    origin: Array

    @classmethod
    def of(cls, plane: dict[str, list[float]]) -> Ground:
        """x is the world's x along the ground; the origin is the world's, brought down to it."""
        y = np.array(plane["normal"]) / np.linalg.norm(plane["normal"])
        x = np.array([1.0, 0, 0]) - y[0] * y
        x /= np.linalg.norm(x)
        return cls(np.stack([x, y, np.cross(x, y)], axis=1), y * (y @ plane["point"]))


class Annotator:
    """A person at the page: shows a frame, and clicks where points of the world are seen in it.

    ``clicks`` are presses of the button, drags too; ``steps`` are what has to be thought of, a word typed or a click.

    Args:
        page: with the capture open.
        camera: of all frames.
        poses: world_from_camera (n, 4, 4).
        error_px: how far beside it is clicked, a normal distribution's deviation in pixels of the screen.
    """

    def __init__(self, page: Page, camera: Camera, poses: Array, error_px: float = 0.0, seed: int = 0) -> None:
        self.page, self.camera, self.poses, self.frame = page, camera, poses, 0
        self.error_px, self.rng = error_px, np.random.default_rng(seed)
        self.clicks, self.keys, self.steps = 0, 0, 0
        self.draft: float | None = None  # how well one that was proposed overlapped

    def look(self, frame: int) -> None:
        """Drags the slider to a frame, and waits for its picture."""
        self.show(frame)
        self.clicks, self.steps = self.clicks + 1, self.steps + 1
        expect(self.page.locator("#stage")).not_to_have_attribute("aria-busy", "true")

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)
        self.page.keyboard.press("Tab")
        self.keys, self.steps = self.keys + len(text) + 1, self.steps + 1

    def correct(self, truth: Box, ground: Ground) -> None:
        """Makes a draft right: its front, its turn, two opposite corners of its base, its top."""
        self.key("Shift+e")  # a draft becomes a box of one's own
        while abs(turn := _turn(self.shown(ground), truth)) > 45:
            self.key("t")
        if abs(turn) > 4:
            box = self.shown(ground)
            foot, reach = _foot(box), box.size[2] / 2 + 0.3 * max(box.size[0], box.size[2])
            self.drag(foot + reach * box.rotation[:, 2], foot + reach * truth.rotation[:, 2])
        for corner in (1, 4):
            self.drag(self.shown(ground).corners[corner], truth.corners[corner])
        self.drag_face("top", truth, ground)

    def fit(self, truth: Box, ground: Ground) -> None:
        """Drags the faces that are wrong to where the true ones are, in a view a quarter of a round on."""
        self.look(self.seeing(truth, 0))
        for face in ("top", "left", "right", "front", "back"):
            self.drag_face(face, truth, ground)

    def drag_face(self, face: str, truth: Box, ground: Ground) -> None:
        """Along the face's own axis; one that is right to a thirtieth of its side stays."""
        box, corners = self.shown(ground), list(FACES[face][1])
        middle, axis = box.corners[corners].mean(axis=0), box.rotation[:, FACES[face][0]]
        by = float((truth.corners[corners].mean(axis=0) - middle) @ axis)
        if abs(by) > truth.size[FACES[face][0]] / 30:
            self.drag(middle, middle + by * axis)

    def level(self, truth: Box, ground: Callable[[], Ground]) -> None:
        """Tilts and lifts the ground, step by step, until it lies below the true box to half a step."""
        self.press("#ground-moves summary")
        right, ahead = self.poses[self.frame][:3, 0], self.poses[self.frame][:3, 2]
        needed = np.degrees(np.cross(ground().axes[:, 1], truth.rotation[:, 1]))
        for angle, names in ((needed @ right, ("nearer", "farther")), (needed @ ahead, ("left", "right"))):
            self._step(names, round(float(angle) / 0.5))
        up = ground().axes[:, 1]
        step = float((self.poses[self.frame][:3, 3] - ground().origin) @ up) / 200
        self._step(("down", "up"), round(float((_foot(truth) - ground().origin) @ up) / step))

    def _step(self, names: tuple[str, str], count: int) -> None:
        for _ in range(abs(count)):
            self.press(f"[data-tilt={names[count > 0]}]")

    def shown(self, ground: Ground) -> Box:
        """The box as the page's numbers have it."""
        names = ("width", "height", "depth", "x", "z", "above", "yaw")
        width, height, depth, x, z, above, yaw = (float(self.page.locator(f"#{name}").input_value()) for name in names)
        turn = ground.axes @ cv2.Rodrigues(np.array([0.0, np.radians(yaw), 0.0]))[0]
        return Box(turn, ground.origin + ground.axes @ [x, above + height / 2, z], [width, height, depth])

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
        self.clicks, self.steps = self.clicks + 1, self.steps + 1

    def press(self, selector: str) -> None:
        self.page.click(selector)
        self.clicks, self.steps = self.clicks + 1, self.steps + 1

    def key(self, name: str) -> None:
        """On the picture."""
        self.page.focus("#stage canvas")
        self.page.keyboard.press(name)
        self.keys, self.steps = self.keys + 1, self.steps + 1

    def drag(self, point_in_world: Array, to_in_world: Array) -> None:
        """In the frame that is shown, or where one of the two is out of it, in one that shows both best."""
        margins = self.margins(np.stack([point_in_world, to_in_world]))
        if margins[self.frame] < _EDGE:
            self.look(int(np.argmax(margins)))
        start, end = self.screen(point_in_world), self.screen(to_in_world)
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=5)
        self.page.mouse.up()
        self.clicks, self.steps = self.clicks + 1, self.steps + 1

    def draw(self, box: Box) -> None:
        """The near corners of the front, one at the back, and the height above that one. (A box in the world.)"""
        corners = box.corners
        self.press("#draw")
        for corner in (1, 5, 4, 6):  # front left, front right, back right, above it; front is z, up is y
            self.click(corners[corner])

    def seeing(self, box: Box, axis: int) -> int:
        """The frame that looks most straight at the face towards which the box's ``axis`` points."""
        eyes = self.poses[:, :3, 3] - box.center
        return int(np.argmax(eyes @ box.rotation[:, axis] / np.linalg.norm(eyes, axis=1)))

    def front_frame(self, box: Box) -> int:
        return self.seeing(box, 2)

    def whole_frame(self, box: Box) -> int:
        """The frame in which the box, and a tenth of its sides about it, is farthest from the picture's edges."""
        return int(np.argmax(self.margins((box.corners - box.center) * 1.2 + box.center)))

    def margins(self, points_in_world: Array) -> Array:
        """How far all of the points (k, 3) are from the edges of each frame's picture, pixels, (n,)."""
        size = np.array([self.camera.width, self.camera.height])
        pixels = np.stack([pixels_of(points_in_world, self.camera, pose) for pose in self.poses])
        margins: Array = np.minimum(pixels, size - pixels).min(axis=(1, 2))
        return margins


def _foot(box: Box) -> Array:
    foot: Array = box.corners[[0, 1, 4, 5]].mean(axis=0)
    return foot


def _turn(box: Box, truth: Box) -> float:
    """Degrees about the up between their fronts, signed."""
    x, _, z = box.rotation.T @ truth.rotation[:, 2]
    return float(np.degrees(np.arctan2(x, z)))


class AnnotateServer:
    """``python -m service annotate`` on a port of its own, which can be killed and started again there."""

    def __init__(self, captures: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [sys.executable, "-m", "service", "annotate", str(captures), "--port", str(self.port), *options]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def __enter__(self) -> AnnotateServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.status("/healthz") == 200, timeout_s=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def status(self, path: str) -> int:
        """0 where nobody answers."""
        try:
            return httpx2.get(f"{self.url}{path}", trust_env=False, timeout=60).status_code
        except httpx2.TransportError:
            return 0

    def wait_for_drafts(self, capture: str) -> None:
        """Until the index is open: its encoder may be compiled first."""
        wait_until(lambda: self.status(f"/annotate/captures/{capture}/draft") in (200, 404), timeout_s=600)
