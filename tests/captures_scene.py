"""A filmed box with known answers, written in each of the capture formats.

Nothing here uses the readers' code: the way out to a format is derived on its own from the format's description.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import google_crc32c
import numpy as np

from index.schema import Array, Box, Camera, Frame, Plane, View
from trainer.captures.protos.annotation_data_pb2 import Sequence as ObjectronSequence
from trainer.captures.protos.example_pb2 import Example, Feature, SequenceExample

WIDTH, HEIGHT, RATE = 180, 240, 30
# Not in the middle, and not square: a swap or a mirror that is forgotten shows.
CAMERA = Camera(fx=203.0, fy=205.0, cx=87.5, cy=126.25, width=WIDTH, height=HEIGHT)
SEQUENCE = "cup/batch-1/3"
SIZE = np.array([0.12, 0.2, 0.16])


@dataclass(frozen=True)
class Pose:
    """world_from_camera, OpenCV's axes; the world is y up."""

    rotation: Array
    position: Array

    @property
    def matrix(self) -> Array:
        return np.block([[self.rotation, self.position[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])


WORLD_FROM_BOX = cv2.Rodrigues(np.array([0.0, 0.4, 0.0]))[0]
BOX_CENTER = np.array([0.05, 0.1, -0.02])


def orbit(count: int) -> list[Pose]:
    """Cameras around the box that look at it, rolled a little."""
    poses = []
    for k in range(count):
        azimuth = 0.3 + 0.02 * k
        position = np.array([0.7 * np.sin(azimuth), 0.5 + 0.002 * k, 0.7 * np.cos(azimuth)])
        forward = (BOX_CENTER - position) / np.linalg.norm(BOX_CENTER - position)
        right = np.cross(forward, [0, 1.0, 0])
        right /= np.linalg.norm(right)
        looking = np.stack([right, np.cross(forward, right), forward], axis=1)
        poses.append(Pose(looking @ cv2.Rodrigues(np.array([0, 0, 0.05]))[0], position))
    return poses


def box_in(pose: Pose) -> Box:
    return Box(pose.rotation.T @ WORLD_FROM_BOX, pose.rotation.T @ (BOX_CENTER - pose.position), SIZE)


def plane_in(pose: Pose) -> Plane:
    return Plane.from_point(pose.rotation.T @ [0, 1.0, 0], pose.rotation.T @ -pose.position)


def expected(pose: Pose) -> Frame:
    box = box_in(pose)
    return Frame("expected", "cup", "object", View(CAMERA, plane_in(pose), box.rect(CAMERA)), box)


def draw(pose: Pose) -> np.ndarray:
    """(h, w, 3) uint8 RGB: the box, textured red, on a dark blue ground."""
    rng = np.random.default_rng(7)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 2] = rng.integers(0, 60, (HEIGHT, WIDTH))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    hull = cv2.convexHull(CAMERA.project(box_in(pose).corners).astype(np.float32))
    cv2.fillPoly(mask, [np.round(hull * 16 - 8).astype(np.int32)], 255, shift=4)
    red = np.kron(rng.integers(120, 255, (HEIGHT // 4, WIDTH // 4)), np.ones((4, 4))).astype(np.uint8)
    image[mask > 0] = np.stack([red, red * 0, red * 0], axis=-1)[mask > 0]
    return image


def write_video(path: Path, images: Sequence[np.ndarray], rate: float = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (width, height))
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes()


def objectron_points(points: Array) -> Array:
    """x down, y right, z to the viewer."""
    return np.stack([points[..., 1], points[..., 0], -points[..., 2]], axis=-1)


def keypoints(pose: Pose) -> tuple[Array, Array]:
    """The nine keypoints as Objectron has them: (9, 3) metres, and (9, 3) shares of the picture with the depth."""
    corners = box_in(pose).corners
    points = np.concatenate([corners.mean(axis=0, keepdims=True), corners])
    shares = CAMERA.project(points) / (WIDTH, HEIGHT)
    return objectron_points(points), np.concatenate([shares, points[:, 2:]], axis=1)


def projection_matrix() -> Array:
    """OpenGL's, of the landscape sensor: ndc x runs down the portrait picture, ndc y to its right."""
    rows = np.zeros((4, 4))
    rows[0, 0], rows[0, 2] = 2 * CAMERA.fy / HEIGHT, 1 - 2 * CAMERA.cy / HEIGHT
    rows[1, 1], rows[1, 2] = 2 * CAMERA.fx / WIDTH, 1 - 2 * CAMERA.cx / WIDTH
    rows[2, 2], rows[2, 3], rows[3, 2] = -1, -0.001, -1
    return rows


def intrinsics() -> Array:
    """Of the 1920 x 1440 sensor, pixels counted from the centre of the first, y down the landscape picture."""
    along, across = 1920 / HEIGHT, 1440 / WIDTH
    return np.array(
        [
            [CAMERA.fy * along, 0, CAMERA.cy * along - 0.5],
            [0, CAMERA.fx * across, 1440 - CAMERA.cx * across - 0.5],
            [0, 0, 1],
        ]
    )


def plane_point(pose: Pose) -> tuple[Array, Array]:
    """The plane's normal and a point of it, as Objectron has them."""
    plane = plane_in(pose)
    return objectron_points(plane.normal), objectron_points(-plane.offset * plane.normal)


def annotate(poses: Sequence[Pose], change: Callable[[ObjectronSequence], None] | None = None) -> bytes:
    """The pbdata file of a video; ``change`` edits the message before it is serialised."""
    sequence = ObjectronSequence()
    sequence.objects.add(id=4, category="chair")  # known to be wrong at times
    for k, pose in enumerate(poses):
        normal, point = plane_point(pose)
        frame = sequence.frame_annotations.add(
            frame_id=k, timestamp=100 + k / RATE, plane_center=point, plane_normal=normal
        )
        frame.camera.projection_matrix[:] = projection_matrix().ravel()
        frame.camera.intrinsics[:] = intrinsics().ravel()
        frame.camera.image_resolution_width, frame.camera.image_resolution_height = 1920, 1440
        annotation = frame.annotations.add(object_id=4, visibility=1.0)
        for number, (metres, shares) in enumerate(zip(*keypoints(pose), strict=True)):
            keypoint = annotation.keypoints.add(id=number)
            keypoint.point_3d.x, keypoint.point_3d.y, keypoint.point_3d.z = metres
            keypoint.point_2d.x, keypoint.point_2d.y, keypoint.point_2d.depth = shares
    if change:
        change(sequence)
    return sequence.SerializeToString()


def write_objectron(
    root: Path,
    poses: Sequence[Pose],
    sequence: str = SEQUENCE,
    split: str = "test",
    change: Callable[[ObjectronSequence], None] | None = None,
) -> Path:
    """Add one sequence to a capture in Objectron's published layout."""
    write_video(root / "videos" / sequence / "video.MOV", [draw(pose) for pose in poses])
    annotation = root / "annotations" / f"{sequence}.pbdata"
    annotation.parent.mkdir(parents=True, exist_ok=True)
    annotation.write_bytes(annotate(poses, change))
    (root / "index").mkdir(exist_ok=True)
    with (root / "index" / f"{sequence.split('/')[0]}_annotations_{split}").open("a") as lines:
        lines.write(f"{sequence}\n")
    return root


def features(pose: Pose, k: int) -> dict[str, Feature]:
    metres, shares = keypoints(pose)
    normal, point = plane_point(pose)
    floats = {
        "point_3d": metres,
        "point_2d": shares,
        "camera/projection": projection_matrix(),
        "camera/intrinsics": intrinsics(),
        "plane/normal": normal,
        "plane/center": point,
        "object/visibility": np.ones(1),
    }
    found = {name: Feature() for name in [*floats, "image/encoded", "image/timestamp", "instance_num"]}
    for name, values in floats.items():
        found[name].float_list.value[:] = np.ravel(values).tolist()
    found["image/encoded"].bytes_list.value.append(jpeg(draw(pose)))
    found["image/timestamp"].int64_list.value.append(5_000_000 + round(k * 1e6 / RATE))
    found["instance_num"].int64_list.value.append(1)
    return found


def sequence_example(poses: Sequence[Pose]) -> SequenceExample:
    record = SequenceExample()
    record.context.feature["sequence_id"].bytes_list.value.append(SEQUENCE.encode())
    for k, pose in enumerate(poses):
        for name, feature in features(pose, k).items():
            record.feature_lists.feature_list[name].feature.append(feature)
    return record


def single_example(pose: Pose) -> Example:
    record = Example()
    for name, feature in features(pose, 0).items():
        record.features.feature[name].CopyFrom(feature)
    return record


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_records(path: Path, messages: Sequence[Example | SequenceExample]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for message in messages:
            data = message.SerializeToString()
            length = struct.pack("<Q", len(data))
            file.write(length + masked(length) + data + masked(data))
    return path


def capture_document(poses: Sequence[Pose]) -> dict:
    """``capture.json`` of the scene, its pictures named by number."""
    names = ("fx", "fy", "cx", "cy", "width", "height")
    box = {"center": BOX_CENTER.tolist(), "size": SIZE.tolist(), "rotation": WORLD_FROM_BOX.tolist()}
    return {
        "axes": "opencv",
        "fps": RATE,
        "split": "test",
        "camera": {name: getattr(CAMERA, name) for name in names},
        "plane": {"normal": [0, 1, 0], "point": [0, 0, 0]},
        "objects": [{"id": "mug-17", "category": "cup", "box": box}],
        "frames": [
            {"image": f"{k:04d}.jpg", "time_s": k / RATE, "world_from_camera": pose.matrix.tolist()}
            for k, pose in enumerate(poses)
        ],
    }


def write_folder(folder: Path, document: dict, poses: Sequence[Pose]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "capture.json").write_text(json.dumps(document))
    for k, pose in enumerate(poses):
        (folder / f"{k:04d}.jpg").write_bytes(jpeg(draw(pose)))
    return folder


def assert_same(frame: Frame, other: Frame, tolerance: float = 1e-5) -> None:
    """Camera, plane, box and rect agree; pixels to a hundred times the tolerance."""
    camera, plane = frame.view.posed()
    other_camera, other_plane = other.view.posed()
    np.testing.assert_allclose(camera.matrix, other_camera.matrix, atol=100 * tolerance)
    assert (camera.width, camera.height) == (other_camera.width, other_camera.height)
    np.testing.assert_allclose(plane.normal, other_plane.normal, atol=tolerance)
    np.testing.assert_allclose(plane.offset, other_plane.offset, atol=tolerance)
    assert frame.box is not None
    assert other.box is not None
    for name in ("rotation", "center", "size"):
        np.testing.assert_allclose(getattr(frame.box, name), getattr(other.box, name), atol=tolerance)
    np.testing.assert_allclose(frame.view.rect, other.view.rect, atol=100 * tolerance)
