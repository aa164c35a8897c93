"""A COLMAP model, text or binary, with its pictures: read by ``pycolmap``. Its world has no unit and no up."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from index.schema import Camera
from trainer.captures.shot import CaptureError
from trainer.importers.files import inside, natural
from trainer.importers.intrinsics import pinhole
from trainer.importers.lens import Distortion, distortion_of, named_parameters
from trainer.importers.poses import finite, inverse, rigid
from trainer.importers.recording import RecordedFrame, Recording, timed

_MODELS = ("", "sparse/0", "sparse", "colmap/sparse/0")


def recognises(source: Path) -> bool:
    return _model(source) is not None


def _model(source: Path) -> Path | None:
    """The folder of the model in ``source``."""
    for name in _MODELS:
        if any((source / name / f"cameras.{suffix}").is_file() for suffix in ("bin", "txt")):
            return source / name
    return None


def load_pycolmap(source: Path) -> ModuleType:
    """The library, or CaptureError saying how to install it."""
    try:
        import pycolmap
    except ImportError:
        raise CaptureError(source, "needs pycolmap: pip install 'nearpose[sfm]'") from None
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
    pycolmap.logging.logtostderr = False
    pycolmap.logging.alsologtostderr = False
    library: ModuleType = pycolmap
    return library


def read(source: Path) -> Recording:
    """The recording of the model in the folder ``source``; pictures that are missing are skipped and counted."""
    folder = _model(source)
    if folder is None:
        raise CaptureError(source, "no COLMAP model in it")
    pycolmap = load_pycolmap(source)
    try:
        model = pycolmap.Reconstruction(folder)
    except (ValueError, RuntimeError, IndexError, MemoryError) as error:
        raise CaptureError(folder, f"not a readable COLMAP model ({str(error).splitlines()[0]})") from None
    return recording_of(model, _pictures(source, folder, model), "COLMAP")


def _pictures(source: Path, folder: Path, model: Any) -> Path:
    """The folder that the model's pictures are in."""
    roots = [source, folder, *list(folder.resolve().parents)[:3]]
    names = [image.name for image in model.images.values()]
    candidates = [root / name for root in roots for name in ("images", "")]
    for candidate in candidates:
        if any(inside(candidate, name, f"{folder}: image name").is_file() for name in names):
            return candidate
    raise CaptureError(folder, f"none of the model's {len(names)} pictures found; looked in {source / 'images'}")


def recording_of(model: Any, pictures: Path, source: str) -> Recording:
    """The recording of a ``pycolmap.Reconstruction`` whose pictures are in the folder ``pictures``."""
    frames, missing, unposed = [], 0, 0
    for image in sorted(model.images.values(), key=lambda image: natural(image.name)):
        file = inside(pictures, image.name, f"{source}: image name")
        if not image.has_pose:
            unposed += 1
        elif not file.is_file():
            missing += 1
        else:
            frames.append(_frame(model.cameras[image.camera_id], image, file))
    if not frames:
        raise CaptureError(pictures, "no picture has a pose")
    told = ((missing, "their files are missing"), (unposed, "they have no pose"))
    notes = tuple(f"{count} pictures skipped: {why}" for count, why in told if count)
    points = np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)
    return Recording(source, timed(frames), metric=False, points=points, notes=notes)


def _frame(camera: Any, image: Any, file: Path) -> RecordedFrame:
    matrix = finite(f"{image.name}: pose", image.cam_from_world().matrix(), 3, 4)
    pose = inverse(rigid(matrix[:, :3], matrix[:, 3]))
    ours, distortion = camera_of(camera)
    return RecordedFrame(file, 0.0, ours, pose, None, distortion)


def camera_of(camera: Any) -> tuple[Camera, Distortion]:
    """Our camera of a ``pycolmap.Camera``, and its lens."""
    field = f"COLMAP camera {camera.camera_id}"
    model = camera.model_name
    extra = [float(camera.params[i]) for i in camera.extra_params_idxs()]
    distortion = distortion_of(model, named_parameters(model, extra), f"{field}: model")
    values = (camera.focal_length_x, camera.focal_length_y, camera.principal_point_x, camera.principal_point_y)
    return pinhole(field, values, (camera.width, camera.height)), distortion
