"""One object, filmed by a phone held upright, as each app and tool would have written it. The truth is known."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from index.schema import Box, Camera
from trainer.demo.film import DemoConfig, Take, stage, walk
from trainer.demo.orbit import look_at
from trainer.demo.render import Renderer

FRAMES = 10
FLIP = np.diag([1.0, -1, -1, 1])
Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # a z-up world from a y-up one


@dataclass(frozen=True, eq=False)
class Filmed:
    """Pictures (h, w, 3) RGB, the camera of all, poses (n, 4, 4) with OpenCV's axes, and the box; y is up, metres."""

    pictures: list[np.ndarray]
    camera: Camera
    world_from_camera: np.ndarray
    rotation: np.ndarray
    center: np.ndarray
    size: np.ndarray
    ground: float  # the height of the ground

    @property
    def times(self) -> list[float]:
        return [k / 5 for k in range(len(self.pictures))]

    def box(self, k: int) -> Box:
        """In the camera's frame of picture ``k``."""
        turn = self.world_from_camera[k, :3, :3].T
        return Box(turn @ self.rotation, turn @ (self.center - self.world_from_camera[k, :3, 3]), self.size)


def film(
    category: str = "shoe", frames: int = FRAMES, seed: int = 2, height: int = 480, arc_deg: float | None = None
) -> Filmed:
    """One of the demo's objects, in a world that began elsewhere; with ``arc_deg``, on a steady path of that length."""
    config = DemoConfig(seed=seed, frames=frames, width=height * 3 // 4, height=height)
    take = Take(category, 0, 0, "train", f"{category}/batch-1/0")
    scene = stage(config, take)
    camera, cameras_from_scene = walk(config, take, scene)
    size = np.asarray(scene.subject.size)
    if arc_deg is not None:
        cameras_from_scene = _steady(size, frames, arc_deg)
    renderer = Renderer(scene)
    pictures = [renderer.render(camera, pose) for pose in cameras_from_scene]
    world_from_scene = np.eye(4)
    world_from_scene[:3, :3] = Rotation.from_euler("y", 0.7).as_matrix()
    world_from_scene[:3, 3] = 0.4, -1.1, 0.3
    center = (world_from_scene @ [0, size[1] / 2, 0, 1])[:3]
    poses = world_from_scene @ np.linalg.inv(cameras_from_scene)
    return Filmed(pictures, camera, poses, world_from_scene[:3, :3], center, size, -1.1)


def _steady(size: np.ndarray, frames: int, arc_deg: float) -> np.ndarray:
    """camera_from_scene (frames, 4, 4) around the object."""
    distance, up = 1.6 * float(np.linalg.norm(size)), np.radians(35)
    eyes = [
        distance * np.array([np.cos(up) * np.sin(angle), np.sin(up), np.cos(up) * np.cos(angle)])
        for angle in np.radians(np.linspace(0, arc_deg, frames))
    ]
    return np.stack([look_at(eye, np.array([0, size[1] / 2, 0]), 0.0) for eye in eyes])


def save(file: Path, picture: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    quality = (cv2.IMWRITE_JPEG_QUALITY, 95) if file.suffix == ".jpg" else ()
    cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)


def as_sensor(filmed: Filmed) -> tuple[list[np.ndarray], Camera, np.ndarray]:
    """What a phone's landscape sensor saw: pictures, camera and poses, a quarter turn anticlockwise."""
    old = filmed.camera
    camera = Camera(old.fy, old.fx, old.cy, old.width - old.cx, old.height, old.width)
    portrait_from_sensor = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    pictures = [np.ascontiguousarray(np.rot90(picture)) for picture in filmed.pictures]
    return pictures, camera, filmed.world_from_camera @ portrait_from_sensor


def quaternion(pose: np.ndarray) -> list[float]:
    return Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()


def stray_scanner(filmed: Filmed, out: Path, rate: float = 5.0) -> Path:
    out.mkdir(parents=True)
    pictures, camera, poses = as_sensor(filmed)
    writer = cv2.VideoWriter(str(out / "rgb.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), rate, (camera.width, camera.height))
    for picture in pictures:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    # ARKit counts pixels from the centre of the first one.
    matrix = [[camera.fx, 0, camera.cx - 0.5], [0, camera.fy, camera.cy - 0.5], [0, 0, 1]]
    (out / "camera_matrix.csv").write_text("\n".join(", ".join(repr(float(v)) for v in row) for row in matrix) + "\n")
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    for k, pose in enumerate(poses):
        numbers = [*pose[:3, 3].tolist(), *quaternion(pose)]
        lines.append(f"{1000 + k / rate!r}, {k:06d}, " + ", ".join(map(repr, numbers)))
    (out / "odometry.csv").write_text("\n".join(lines) + "\n")
    return out


def record3d(filmed: Filmed, out: Path) -> Path:
    camera = filmed.camera
    poses = filmed.world_from_camera @ FLIP
    metadata = {
        "w": camera.width,
        "h": camera.height,
        "fps": 5,
        "K": [camera.fx, 0, 0, 0, camera.fy, 0, camera.cx - 0.5, camera.cy - 0.5, 1],
        "poses": [[*quaternion(pose), *pose[:3, 3].tolist()] for pose in poses],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata", json.dumps(metadata))
        for k, picture in enumerate(filmed.pictures):
            data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 95))[1]
            archive.writestr(f"rgbd/{k}.jpg", data.tobytes(), zipfile.ZIP_STORED)
    return out


def transforms(filmed: Filmed, out: Path) -> Path:
    camera = filmed.camera
    frames = []
    for k, picture in enumerate(filmed.pictures):
        save(out / "images" / f"frame_{k + 1}.jpg", picture)
        pose = Z_UP @ filmed.world_from_camera[k] @ FLIP
        frames.append({"file_path": f"./images/frame_{k + 1}.jpg", "transform_matrix": pose.tolist()})
    document = {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "w": camera.width,
        "h": camera.height,
        "frames": frames[::-1],
    }
    (out / "transforms.json").write_text(json.dumps(document))
    return out


def ar_frames(filmed: Filmed, out: Path) -> Path:
    pictures, camera, poses = as_sensor(filmed)
    lines = []
    for k, (picture, pose) in enumerate(zip(pictures, poses, strict=True)):
        save(out / f"{k}.jpg", picture)
        lines.append(
            {
                "image": f"{k}.jpg",
                "timestamp": 77 + k / 5,
                "intrinsics": [camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5],
                "transform": (pose @ FLIP).T.ravel().tolist(),
                "tracking": "normal",
            }
        )
    anchor = np.eye(4)
    anchor[:3, 3] = 5, filmed.ground, 5
    lines.insert(3, {"plane": {"transform": anchor.T.ravel().tolist()}})
    (out / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


def middlebury(filmed: Filmed, out: Path) -> Path:
    pictures, camera, poses = as_sensor(filmed)
    lines = [str(len(pictures))]
    matrix = camera.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    for k, (picture, pose) in enumerate(zip(pictures, poses, strict=True)):
        save(out / f"thing{k:04d}.png", picture)
        inverse = np.linalg.inv(pose)
        numbers = [*matrix.ravel(), *inverse[:3, :3].ravel(), *inverse[:3, 3]]
        lines.append(" ".join([f"thing{k:04d}.png", *(repr(float(value)) for value in numbers)]))
    (out / "thing_par.txt").write_text("\n".join(lines) + "\n")
    return out


def colmap(filmed: Filmed, out: Path) -> Path:
    """A text model without points; pixels are counted from the corner."""
    model = out / "sparse" / "0"
    model.mkdir(parents=True)
    camera = filmed.camera
    parameters = f"{camera.fx!r} {camera.fy!r} {camera.cx!r} {camera.cy!r}"
    (model / "cameras.txt").write_text(f"1 PINHOLE {camera.width} {camera.height} {parameters}\n")
    (model / "points3D.txt").write_text("")
    lines = []
    for k, picture in enumerate(filmed.pictures):
        save(out / "images" / f"{k}.jpg", picture)
        inverse = np.linalg.inv(filmed.world_from_camera[k])
        x, y, z, w = quaternion(inverse)
        numbers = " ".join(repr(float(value)) for value in (w, x, y, z, *inverse[:3, 3]))
        lines += [f"{k + 1} {numbers} 1 {k}.jpg", ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    return out


def bop(filmed: Filmed, out: Path) -> Path:
    """The scene in a data set's folder, with the model's z up and its -y to the front; millimetres."""
    scene = out / "test" / "000001"
    model_from_box = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    camera = filmed.camera
    matrix = (camera.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]).ravel().tolist()
    cameras, truths = {}, {}
    for k, picture in enumerate(filmed.pictures):
        save(scene / "rgb" / f"{k:06d}.png", picture)
        box = filmed.box(k)
        pose = {
            "cam_R_m2c": (box.rotation @ model_from_box.T).ravel().tolist(),
            "cam_t_m2c": (box.center * 1000).tolist(),
        }
        cameras[str(k)] = {"cam_K": matrix, "depth_scale": 1.0}
        truths[str(k)] = [{"obj_id": 4, **pose}]
    size = (model_from_box @ filmed.size) * [1, -1, 1] * 1000
    info = {f"size_{axis}": float(value) for axis, value in zip("xyz", size, strict=True)}
    info |= {f"min_{axis}": float(-value / 2) for axis, value in zip("xyz", size, strict=True)}
    (out / "models").mkdir()
    (out / "models" / "models_info.json").write_text(json.dumps({"4": info}))
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    (scene / "scene_gt.json").write_text(json.dumps(truths))
    return scene
