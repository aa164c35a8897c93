"""A scene of the BOP benchmark: ``scene_camera.json``, ``scene_gt.json``, ``rgb/`` (or ``gray/``), and the sizes of its
objects from the data set's ``models*/models_info.json``.

BOP counts in millimetres. ``cam_R_w2c`` and ``cam_t_w2c`` give a world where they are there; elsewhere the world is the
first object's own frame, which stands still as far as the others are concerned. An object's z axis is taken for its
up, as models are scanned; its front is unknown, and is where -y points.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.schema import Array, InvalidValueError
from trainer.captures.shot import CaptureError
from trainer.importers.files import picture_size, read_json
from trainer.importers.intrinsics import four, pinhole_from_centre
from trainer.importers.poses import finite, inverse, mapping, number, rigid, rotation
from trainer.importers.recording import Ground, RecordedFrame, RecordedObject, Recording, timed

_MM = 1e-3
# Box axes (y up, z front) in the model's: x stays, y is the model's z, z its -y.
_MODEL_FROM_BOX = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
# Objects that move against each other by more than this, in metres, are not one still scene.
_STILL = 0.02


@dataclass(frozen=True, eq=False)
class _View:
    """A picture's annotation: its camera_from_model poses by (object, how many of it came before)."""

    name: str
    field: str
    matrix: Array
    camera_from_world: Array | None
    camera_from_model: dict[tuple[int, int], Array]


def recognises(source: Path) -> bool:
    return (source / "scene_camera.json").is_file() and (source / "scene_gt.json").is_file()


def read(source: Path) -> Recording:
    """The recording in the scene's folder ``source``; pictures without the world's first object are skipped."""
    views = _views(source)
    counts = Counter(key for view in views for key in view.camera_from_model)
    if not counts:
        raise CaptureError(source / "scene_gt.json", "no objects in it")
    anchor = counts.most_common(1)[0][0]
    posed = [(view, pose) for view in views if (pose := _world_from_camera(view, anchor)) is not None]
    frames = [(view, _frame(source, view, pose)) for view, pose in posed]
    found = [(view, frame) for view, frame in frames if frame.file.is_file()]
    if not found:
        raise CaptureError(source, f"none of {len(views)} pictures are there with a pose")
    things = _objects(source, [(view, frame.world_from_camera) for view, frame in found], counts)
    notes = (f"{len(views) - len(found)} of {len(views)} pictures skipped: not there, or without a pose",)
    ground = _ground(things)
    recording = Recording("BOP", timed([frame for _, frame in found]), ground.normal, ground=ground, objects=things)
    return recording.noted(*(notes if len(found) < len(views) else ()), "a box's front is the model's -y axis: a guess")


def _views(source: Path) -> list[_View]:
    cameras, truths = (read_json(source / name) for name in ("scene_camera.json", "scene_gt.json"))
    if set(cameras) != set(truths):
        odd = sorted(set(cameras) ^ set(truths))[0]
        raise InvalidValueError(
            f"{source / 'scene_gt.json'}: {odd}", None, "in scene_camera.json and here, or in neither"
        )
    return [_view(source, name, cameras[name], truths[name]) for name in sorted(cameras, key=_image_number)]


def _image_number(name: str) -> int:
    return int(number("image number", name, 0))


def _view(source: Path, name: str, camera: Any, truths: Any) -> _View:
    field = f"{source / 'scene_camera.json'}: {name}"
    camera = mapping(field, camera)
    matrix = finite(f"{field}.cam_K", camera.get("cam_K"), 9).reshape(3, 3)
    world = None
    if "cam_R_w2c" in camera:
        world = _pose(camera, "w2c", field)
    poses: dict[tuple[int, int], Array] = {}
    if not isinstance(truths, list):
        raise InvalidValueError(f"{source / 'scene_gt.json'}: {name}", truths, "a list of objects")
    for k, truth in enumerate(truths):
        truth_field = f"{source / 'scene_gt.json'}: {name}[{k}]"
        truth = mapping(truth_field, truth)
        identity = int(number(f"{truth_field}.obj_id", truth.get("obj_id"), 0))
        copies = sum(1 for known, _ in poses if known == identity)
        poses[identity, copies] = _pose(truth, "m2c", truth_field)
    return _View(name, field, matrix, world, poses)


def _pose(values: dict[str, Any], which: str, field: str) -> Array:
    turn = finite(f"{field}.cam_R_{which}", values.get(f"cam_R_{which}"), 9).reshape(3, 3)
    shift = finite(f"{field}.cam_t_{which}", values.get(f"cam_t_{which}"), 3)
    return rigid(rotation(f"{field}.cam_R_{which}", turn), shift * _MM)


def _world_from_camera(view: _View, anchor: tuple[int, int]) -> Array | None:
    camera_from_world = view.camera_from_world
    if camera_from_world is None:
        camera_from_world = view.camera_from_model.get(anchor)
    return None if camera_from_world is None else inverse(camera_from_world)


def _frame(source: Path, view: _View, pose: Array) -> RecordedFrame:
    stem = f"{int(view.name):06d}"
    names = [source / folder / f"{stem}{suffix}" for folder in ("rgb", "gray") for suffix in (".png", ".jpg", ".tif")]
    file = next((name for name in names if name.is_file()), names[0])
    size = picture_size(file) if file.is_file() else (1, 1)
    return RecordedFrame(file, 0.0, pinhole_from_centre(f"{view.field}.cam_K", four(view.matrix), size), pose)


def _objects(
    source: Path, views: list[tuple[_View, Array]], counts: Counter[tuple[int, int]]
) -> tuple[RecordedObject, ...]:
    sizes = _model_boxes(source)
    things = []
    for identity, copy in sorted(counts):
        worlds = [
            pose @ view.camera_from_model[identity, copy]
            for view, pose in views
            if (identity, copy) in view.camera_from_model
        ]
        if not worlds:
            continue
        centers = np.array([world[:3, 3] for world in worlds])
        if np.linalg.norm(centers - np.median(centers, axis=0), axis=1).max() > _STILL:
            raise InvalidValueError(f"{source / 'scene_gt.json'}: object {identity}", centers[-1], "still in the world")
        if identity not in sizes:
            raise InvalidValueError(
                f"{source}: models_info.json: {identity}", None, "there: it gives the object's size"
            )
        low, size = sizes[identity]
        middle = worlds[len(worlds) // 2]
        center = middle[:3, :3] @ (low + size / 2) + middle[:3, 3]
        name = f"{source.resolve().parent.parent.name}-{identity:06d}" + (f"-{copy}" if copy else "")
        turn = middle[:3, :3] @ _MODEL_FROM_BOX
        things.append(RecordedObject(name, f"object-{identity:06d}", turn, center, size[[0, 2, 1]]))
    return tuple(things)


def _model_boxes(source: Path) -> dict[int, tuple[Array, Array]]:
    """The lowest corner and the size (3,) of each model's box, metres, in the model's axes."""
    roots = [source.resolve(), *list(source.resolve().parents)[:2]]
    files = [file for root in roots for file in sorted(root.glob("models*/models_info.json"))]
    if not files:
        raise CaptureError(source, "no models*/models_info.json in it, or one or two folders above: the objects' sizes")
    boxes = {}
    for name, info in read_json(files[0]).items():
        field = f"{files[0]}: {name}"
        info = mapping(field, info)
        low = [number(f"{field}.min_{axis}", info.get(f"min_{axis}")) * _MM for axis in "xyz"]
        size = [number(f"{field}.size_{axis}", info.get(f"size_{axis}"), 1e-6) * _MM for axis in "xyz"]
        boxes[int(number(f"{files[0]}: object", name, 0))] = np.array(low), np.array(size)
    return boxes


def _ground(things: tuple[RecordedObject, ...]) -> Ground:
    """Below the first object, as it stands."""
    first = things[0]
    up = first.rotation[:, 1]
    return Ground(up, first.center - up * first.size[1] / 2, f"the lowest face of {first.id}")
