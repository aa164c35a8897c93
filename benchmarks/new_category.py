"""What a category that the index does not hold is worth after one, three and ten captures of it.

    python -m benchmarks.new_category --run runs/demo --categories cup shoe --out benchmarks/results/new_category.json

The index of the demo without a category; made-up objects of it, which the demo has not, are filmed as Stray Scanner,
Record3D and transforms.json exports in turn, imported, given the box that a hand would draw (centre and sides off by
3 % of the sides, turned by 3 degrees), and added. Asked are frames of the demo's test objects of the category, by the
road that ``POST /pose`` takes, with each one's rectangle, camera and ground: the share of boxes with 3D IoU > 0.5.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from index.history import History
from index.iou import iou_3d
from index.predict import open_predictor
from index.schema import Array
from index.store import Content, IndexVersion, open_index, write_version
from tests import recordings
from trainer.build import origins
from trainer.change import add
from trainer.frames import Frames, evenly
from trainer.import_capture import import_capture
from trainer.importers import ImportConfig
from trainer.inference import predict_frame
from trainer.metrics import category_mean

COUNTS = (1, 3, 10)
_FRAMES = 20  # of a capture
_SEED = 4000  # of the objects that are filmed: the demo's captures have others
_HAND = 0.03
_TURN = np.radians(3)


@dataclass(frozen=True)
class Export:
    """How an app writes what it filmed, and how the imported world lies to the filmed one's."""

    name: str
    write: Callable[[recordings.Filmed, Path], Path]
    world_from_filmed: Array


EXPORTS = (
    Export("stray-scanner", recordings.stray_scanner, np.eye(4)),
    Export("record3d", lambda filmed, out: recordings.record3d(filmed, out.with_suffix(".r3d")), np.eye(4)),
    Export("transforms", recordings.transforms, recordings.Z_UP),
)


def annotated(category: str, number: int, root: Path) -> Path:
    """A capture of a made-up object, filmed, exported, imported and annotated by hand."""
    export, seed = EXPORTS[number % len(EXPORTS)], _SEED + number
    filmed = recordings.film(category, _FRAMES, seed)
    name = f"{category}-{export.name}-{number}"
    source = export.write(filmed, root / "exports" / name)
    imported = import_capture(source, root / "captures", ImportConfig(name=name, metric=export.name == "transforms"))
    file = imported.folder / "capture.json"
    document = json.loads(file.read_text())
    rng = np.random.default_rng(seed)
    turn = export.world_from_filmed[:3, :3] @ filmed.rotation
    tilt = turn @ Rotation.from_euler("y", rng.normal(0, _TURN)).as_matrix()
    center = (export.world_from_filmed @ [*filmed.center, 1])[:3] + turn @ (rng.normal(0, _HAND, 3) * filmed.size)
    size = filmed.size * np.exp(rng.normal(0, _HAND, 3))
    box = {"center": center.tolist(), "size": size.tolist(), "rotation": tilt.tolist()}
    document["objects"] = [{"id": name, "category": category, "box": box}]
    if document.get("plane") is None:  # no ground was found: a person says that it is where the box stands
        document["plane"] = {"normal": turn[:, 1].tolist(), "point": (center - turn[:, 1] * size[1] / 2).tolist()}
    file.write_text(json.dumps(document))
    return imported.folder


def without(index: IndexVersion, frames: Frames, category: str, root: Path) -> None:
    """Writes the index without a category to ``root``."""
    rows = np.flatnonzero(np.array(index.table["category"].to_pylist()) != category)
    position = {name: row for row, name in enumerate(frames.table["id"].to_pylist())}
    ids = index.table["id"].take(rows).to_pylist()
    table = origins(frames.select(np.array([position[name] for name in ids])))
    pictures = (index.thumbnail(int(row)) for row in rows)
    content = Content(
        index.vectors[rows],
        table,
        pictures,
        index.encoder_path,
        index.manifest["encoder_digest"],
        index.calibration,
        index.recognition,
        history=History({}, calibrated_frames=len(rows)),
    )
    write_version(root, content)


def asked(index: Path, queries: Frames) -> dict[str, Any]:
    """Shares of good boxes, and of the right category, of all queries; percent with 95 % intervals over videos."""
    predictor = open_predictor(index)
    good, right = [], []
    for row in range(len(queries)):
        answer, truth = predict_frame(predictor, queries, row), queries.frame(row)
        assert truth.box is not None
        overlap = iou_3d(answer.fit.box.corners[None], truth.box.corners[None])[0] if answer.fit else 0.0
        good.append(float(overlap > 0.5))
        right.append(float(answer.category == truth.category))
    shares = (category_mean(np.array(v), queries.category, queries.sequence) for v in (good, right))
    return dict(zip(("above_0.5", "right_category"), (str(share).strip() for share in shares), strict=True))


def measure(run: Path, category: str, most: int) -> list[dict[str, Any]]:
    """A row for each number of captures of the category."""
    frames = Frames.open(run / "frames")
    queries = evenly(frames.select((frames.split == "test") & (frames.category == category)), most)
    with TemporaryDirectory() as name:
        root = Path(name)
        without(open_index(run / "index"), frames, category, root / "run" / "index")
        start: dict[str, Any] = {"category": category, "captures": 0, "queries": len(queries)}
        rows = [start | asked(root / "run" / "index", queries)]
        print(json.dumps(rows[-1]), flush=True)
        for count in COUNTS:
            while len(list((root / "captures").glob("*/capture.json"))) < count:
                annotated(category, len(list((root / "captures").glob("*/capture.json"))), root)
            before, known = time.process_time(), rows[-1]["captures"]
            made = add(root / "captures", root / "run" / "index")
            row = {"category": category, "captures": known + len(made.added), "queries": len(queries)}
            row |= {"cpu_seconds_to_add": round(time.process_time() - before, 1), "faults": list(made.faults)}
            rows.append(row | asked(root / "run" / "index", queries))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Measures, prints the rows and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--categories", nargs="+", default=["cup", "shoe"])
    parser.add_argument("--queries", type=int, default=80, help="frames of each category")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [row for name in options.categories for row in measure(options.run, name, options.queries)]
    print(json.dumps(rows, indent=1))
    if options.out:
        options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
