"""Public data sets of real photographs, turned into capture folders (`capture.json`) as a user would write them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
TEMPLE_BOX = np.array([[-0.023121, -0.038009, -0.091940], [0.078626, 0.121636, -0.017395]])


def temple_ring(source: Path, out: Path, indexed: Callable[[int], bool]) -> Path:
    """Middlebury's templeRing as two captures, ``index`` (split train) and ``query`` (split test).

    The pictures lie on their side; they are turned upright, and their cameras with them. The world's y axis is the
    temple's vertical; it stands on its box's lowest face.
    """
    center, size = TEMPLE_BOX.mean(axis=0), TEMPLE_BOX[1] - TEMPLE_BOX[0]
    box = {"center": center.tolist(), "size": size.tolist(), "rotation": np.eye(3).tolist()}
    common = {
        "axes": "opencv",
        "fps": 5,
        "plane": {"normal": [0, 1, 0], "point": [0, float(TEMPLE_BOX[0, 1]), 0]},
        "objects": [{"id": "temple", "category": "temple", "box": box}],
    }
    frames: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for number, line in enumerate((source / "templeR_par.txt").read_text().splitlines()[1:]):
        name, *numbers = line.split()
        values = np.array(numbers, dtype=float)
        k, rotation, translation = values[:9].reshape(3, 3), values[9:18].reshape(3, 3), values[18:]
        folder = out / ("index" if indexed(number) else "query")
        folder.mkdir(parents=True, exist_ok=True)
        picture, camera, pose = _upright(cv2.imread(str(source / name)), k, rotation, translation)
        cv2.imwrite(str(folder / name), picture)
        entry = {"image": name, "time_s": number / 5, "camera": camera, "world_from_camera": pose.tolist()}
        frames[indexed(number)].append(entry)
    for which, folder, split in ((True, "index", "train"), (False, "query", "test")):
        capture = common | {"split": split, "camera": frames[which][0]["camera"], "frames": frames[which]}
        (out / folder / "capture.json").write_text(json.dumps(capture))
    return out


def _upright(picture: np.ndarray, k: np.ndarray, rotation: np.ndarray, translation: np.ndarray):
    """Turns a picture by quarter turns until the world's y points up in it; its camera and (4, 4) pose as well."""
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5  # their pixel (0, 0) is a centre, ours a corner
    quarter = np.array([[0, 1.0, 0], [-1, 0, 0], [0, 0, 1]])  # x' = y, y' = -x: anticlockwise
    while rotation[1, 1] > -0.7:
        fx, fy, cx, cy = fy, fx, cy, picture.shape[1] - cx
        picture, rotation, translation = np.rot90(picture), quarter @ rotation, quarter @ translation
    camera = {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "width": picture.shape[1], "height": picture.shape[0]}
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ translation
    return picture, camera, pose


def coil(source: Path, out: Path, split_of: Callable[[int], str]) -> Path:
    """COIL-100 as captures without boxes: one turntable video an object, the whole picture as its rectangle."""
    pictures: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for path in source.glob("obj*__*.png"):
        number, degrees = map(int, re.findall(r"\d+", path.stem))
        pictures[number].append((degrees, path))
    for number, views in sorted(pictures.items()):
        folder = out / f"obj{number:03}"
        folder.mkdir(parents=True)
        frames = []
        for i, (degrees, path) in enumerate(sorted(views)):
            (folder / f"{degrees:03}.png").write_bytes(path.read_bytes())
            frames.append({"image": f"{degrees:03}.png", "time_s": i / 5, "rects": {folder.name: [0, 0, 128, 128]}})
        capture = {
            "axes": "opencv",
            "fps": 5,
            "split": split_of(number),
            "objects": [{"id": folder.name, "category": "thing"}],
            "frames": frames,
        }
        (folder / "capture.json").write_text(json.dumps(capture))
    return out
