"""How good imported captures are.

    python -m benchmarks.importers temple       # templeRing's pictures alone, then indexed and asked
    python -m benchmarks.importers formats      # a demo object as Stray Scanner, Record3D and transforms.json

``temple``: 47 photographs without poses, by structure from motion; poses against the calibrated ones after one
similarity, the ground against the box's lowest face; then every third view is indexed with the data set's box, carried
into the found world, and the others are asked. Needs the data set in ``../shared/data`` and pycolmap. ``formats``:
where the object's box is seen after the import, in pixels, and how far off the ground is.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from index.encoder import open_encoder
from index.iou import iou_3d
from index.predict import Predictor
from index.schema import Array
from index.search import FrameIndex
from tests import recordings
from tests.real_captures import SHARED, TEMPLE_BOX
from trainer.export import export_pretrained
from trainer.frames import Frames
from trainer.import_capture import Imported, import_capture
from trainer.importers import ImportConfig
from trainer.inference import embed_frames, predict_frame
from trainer.ingest import IngestConfig, ingest


def alignment(found: Array, truth: Array) -> tuple[float, Array, Array]:
    """Scale, rotation (3, 3) and shift (3,) that bring the positions of poses (n, 4, 4) nearest to the true ones."""
    x, y = found[:, :3, 3], truth[:, :3, 3]
    u, d, vt = np.linalg.svd((y - y.mean(axis=0)).T @ (x - x.mean(axis=0)) / len(x))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((d * signs).sum() / ((x - x.mean(axis=0)) ** 2).sum(axis=1).mean())
    return scale, rotation, y.mean(axis=0) - scale * rotation @ x.mean(axis=0)


def pose_errors(found: Array, truth: Array) -> tuple[Array, Array]:
    """Degrees and the true world's unit, (n,) each, after the alignment."""
    scale, rotation, shift = alignment(found, truth)
    positions = np.linalg.norm(scale * found[:, :3, 3] @ rotation.T + shift - truth[:, :3, 3], axis=1)
    traces = np.einsum("nij,nij->n", truth[:, :3, :3], rotation @ found[:, :3, :3])
    return np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1))), positions


def temple() -> dict[str, Any]:
    """Time, registered pictures, errors of poses and ground, and 3D IoU of the whole road."""
    source = SHARED / "middlebury" / "templeRing"
    with TemporaryDirectory() as name:
        root = Path(name)
        (root / "photos").mkdir()
        for picture in source.glob("*.png"):
            (root / "photos" / picture.name).write_bytes(picture.read_bytes())
        calibrated = import_capture(source, root / "calibrated", ImportConfig(name="temple"))
        start = time.perf_counter()
        imported = import_capture(root / "photos", root / "found", ImportConfig(name="temple", threads=1))
        seconds = time.perf_counter() - start
        truth, found = _poses(calibrated), _poses(imported)
        result: dict[str, Any] = {"seconds": round(seconds), "pictures": len(truth), "registered": len(found)}
        if len(found) == len(truth):
            result |= _errors(imported, found, truth) | _road(root, imported, alignment(found, truth))
        return result | {"notes": imported.recording.notes}


def _poses(imported: Imported) -> Array:
    return np.array([frame.world_from_camera for frame in imported.recording.frames])


def _errors(imported: Imported, found: Array, truth: Array) -> dict[str, Any]:
    rotations, positions = pose_errors(found, truth)
    scale, rotation, shift = alignment(found, truth)
    ground = imported.recording.ground
    result = {
        "rotation_deg": {"median": round(float(np.median(rotations)), 2), "max": round(float(rotations.max()), 2)},
        "position_mm": {
            "median": round(1000 * float(np.median(positions)), 2),
            "max": round(1000 * float(positions.max()), 2),
        },
    }
    if ground:
        normal, point = rotation @ ground.normal, scale * rotation @ ground.point + shift
        foot = np.array([*TEMPLE_BOX.mean(axis=0)])
        foot[1] = TEMPLE_BOX[0, 1]
        tilt = float(np.degrees(np.arccos(normal[1])))
        above = 1000 * float((point - foot) @ normal / normal[1])
        result["ground"] = {"tilt_deg": round(tilt, 2), "above_mm": round(above, 1), "from": ground.found_by}
    return result


def _road(root: Path, imported: Imported, world_from_found: tuple[float, Array, Array]) -> dict[str, Any]:
    """Every third view indexed with the shipped encoder, the others asked: with the ground that was found, and with the
    one below the box."""
    scale, rotation, shift = world_from_found
    center = rotation.T @ (TEMPLE_BOX.mean(axis=0) - shift) / scale
    size = (TEMPLE_BOX[1] - TEMPLE_BOX[0]) / scale
    box = {"center": center.tolist(), "size": size.tolist(), "rotation": rotation.T.tolist()}
    up = rotation.T[:, 1]
    below = {"normal": up.tolist(), "point": (center - up * size[1] / 2).tolist()}
    document = json.loads((imported.folder / "capture.json").read_text())
    document["objects"] = [{"id": "temple", "category": "temple", "box": box}]
    planes = {"ground found": document.get("plane"), "ground below the box": below}
    return {
        name: asked(root / name, imported.folder, document | {"plane": plane}, document | {"plane": plane})
        for name, plane in planes.items()
        if plane
    }


def asked(root: Path, pictures: Path, indexed: dict[str, Any], true: dict[str, Any]) -> dict[str, float]:
    """Every third view indexed as one ``capture.json`` says, the others compared with what the other one says."""
    for split, document, wanted in (("train", indexed, {0}), ("test", true, {1, 2})):
        folder = root / "captures" / split
        folder.mkdir(parents=True)
        frames = [frame for k, frame in enumerate(document["frames"]) if k % 3 in wanted]
        for frame in frames:
            (folder / frame["image"]).write_bytes((pictures / frame["image"]).read_bytes())
        (folder / "capture.json").write_text(json.dumps(document | {"split": split, "frames": frames}))
    stored = Frames.open(ingest(root / "captures", root / "frames", IngestConfig(workers=1)))
    references, queries = (stored.select(stored.split == split) for split in ("train", "test"))
    encoder = open_encoder(export_pretrained(root / "encoder"))
    items = [references.frame(i) for i in range(len(references))]
    predictor = Predictor(encoder, FrameIndex.from_frames(embed_frames(encoder, references), items))
    overlaps = []
    for i in range(len(queries)):
        fit, truth = predict_frame(predictor, queries, i, 10).fit, queries.frame(i).box
        overlap = iou_3d(fit.box.corners[None], truth.corners[None])[0] if fit and truth else 0.0
        overlaps.append(float(overlap))
    good = float(np.mean(np.array(overlaps) > 0.5))
    return {"queries": len(overlaps), "mean_iou": round(float(np.mean(overlaps)), 3), "above_0.5": round(good, 3)}


def formats() -> dict[str, Any]:
    """The largest distance, in pixels, of a box's corner from where it was filmed, and the ground's error."""
    filmed = recordings.film()
    writers = {
        "Stray Scanner": (recordings.stray_scanner, np.eye(4)),
        "Record3D": (recordings.record3d, np.eye(4)),
        "transforms.json": (recordings.transforms, recordings.Z_UP),
    }
    result = {}
    with TemporaryDirectory() as name:
        for number, (label, (write, world_from_filmed)) in enumerate(writers.items()):
            source = Path(name) / (f"{number}.r3d" if label == "Record3D" else str(number))
            imported = import_capture(write(filmed, source), Path(name) / "captures", ImportConfig(name=label))
            result[label] = _format_errors(imported, filmed, world_from_filmed)
    return result


def _format_errors(imported: Imported, filmed: recordings.Filmed, world_from_filmed: Array) -> dict[str, Any]:
    recording = imported.recording
    errors = []
    for k, frame in enumerate(recording.frames):
        in_filmed = filmed.box(k).corners @ filmed.world_from_camera[k, :3, :3].T + filmed.world_from_camera[k, :3, 3]
        corners = in_filmed @ world_from_filmed[:3, :3].T + world_from_filmed[:3, 3]
        pose = np.linalg.inv(frame.world_from_camera)
        seen = frame.camera.project(corners @ pose[:3, :3].T + pose[:3, 3])
        errors.append(np.abs(seen - filmed.camera.project(filmed.box(k).corners)).max())
    result: dict[str, Any] = {"corner_px": float(f"{max(errors):.2g}")}
    if recording.ground:
        height = recording.ground.height((world_from_filmed @ [*filmed.center, 1])[:3]) - filmed.size[1] / 2
        result["ground_percent_of_distance"] = round(100 * abs(float(height)) / recording.distance(), 2)
    return result


def main() -> None:
    """Runs one of the two and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("temple", "formats"))
    print(json.dumps({"temple": temple, "formats": formats}[parser.parse_args().name](), indent=2))


if __name__ == "__main__":
    main()
