"""How the pipeline does on real photographs: templeRing's boxes and COIL-100's identities.

    python -m benchmarks.real_data temple --encoder runs/demo/encoder
    python -m benchmarks.real_data coil --minutes 3

``temple``: every third of 47 calibrated views is indexed, the others are queries. ``coil``: the encoder that ships is
trained on with the turntable videos of objects 1-40 and must recognise objects 41-70; for each query, frames of the
same object less than 30 degrees away do not count. Both need the data sets in ``../shared/data``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.merit import coil_figures
from index.encoder import open_encoder
from index.fit import fit_box
from index.identity_map import read_identity_map, to_identities
from index.iou import iou_3d
from index.predict import Predictor
from index.schema import Frame
from index.search import FrameIndex, Vectors
from tests.real_captures import SHARED, coil, temple_ring
from trainer.baselines import RawPixels
from trainer.config import PRESETS
from trainer.export import export, export_pretrained, export_random
from trainer.frames import Frames
from trainer.identity import IdentityConfig
from trainer.inference import embed_frames, predict_frame
from trainer.ingest import IngestConfig, ingest
from trainer.pretrained import PRETRAINED
from trainer.train import train


def temple(encoder: Path) -> dict[str, Any]:
    """Mean 3D IoU and share above 0.5, for ``encoder``, raw pixels and the true nearest view."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        temple_ring(SHARED / "middlebury" / "templeRing", root / "captures", lambda number: number % 3 == 0)
        frames = Frames.open(ingest(root / "captures", root / "frames", IngestConfig(workers=1)))
        references, queries = (frames.select(frames.split == split) for split in ("train", "test"))
        items = [references.frame(i) for i in range(len(references))]
        truths = [queries.frame(i) for i in range(len(queries))]
        result: dict[str, Any] = {"indexed": len(references), "queries": len(queries)}
        for name, runtime in (("encoder", open_encoder(encoder)), ("raw pixels", RawPixels())):
            predictor = Predictor(runtime, FrameIndex.from_frames(embed_frames(runtime, references), items))
            for k in (1, 10):
                fits = [predict_frame(predictor, queries, i, k).fit for i in range(len(queries))]
                boxes = [fit.box if fit else None for fit in fits]
                result[f"{name}, k = {k}"] = _overlap(boxes, truths)
        nearest = [max(items, key=lambda item, truth=truth: _same_direction(item, truth)) for truth in truths]
        bound = [fit_box([item], truth.view).box for item, truth in zip(nearest, truths, strict=True)]
        result["true nearest view"] = _overlap(bound, truths)
    return result


def _same_direction(a: Frame, b: Frame) -> float:
    """Cosine between the directions in which two frames' cameras see their boxes, in the boxes' own axes."""
    directions = [-frame.box.rotation.T @ frame.box.center for frame in (a, b)]
    return float(np.prod([1 / np.linalg.norm(d) for d in directions]) * (directions[0] @ directions[1]))


def _overlap(boxes: list[Any], truths: list[Frame]) -> dict[str, float]:
    overlaps = [
        0.0 if box is None else float(iou_3d(box.corners[None], truth.box.corners[None])[0])
        for box, truth in zip(boxes, truths, strict=True)
    ]
    return {
        "mean_iou": round(float(np.mean(overlaps)), 3),
        "above_0.5": round(float(np.mean(np.array(overlaps) > 0.5)), 3),
    }


def coil_reid(minutes: float, rates: list[float]) -> dict[str, Any]:
    """Re-identification of objects 41 to 70: the shipped encoder, and trained on with objects 1 to 40 at each rate."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        coil(SHARED / "coil100", root / "captures", lambda number: "train" if number <= 40 else "test")
        frames_path = ingest(root / "captures", root / "frames", IngestConfig(workers=1))
        frames = Frames.open(frames_path)
        queries = frames.select(frames.split == "test")
        base = dataclasses.replace(PRESETS["continue"], max_minutes=minutes, monitor_every=1000)
        result = {"raw pixels": _reid(embed_frames(RawPixels(), queries), queries)}
        result["random network"] = _reid(_vectors(export_random(base, root / "random", 0), queries), queries)
        result |= _both("shipped", export_pretrained(root / "shipped"), queries)
        for rate in rates:
            config = dataclasses.replace(base, lr=rate)
            checkpoint = train(frames_path, root / f"training-{rate}", config, PRETRAINED)
            encoder = export(checkpoint, root / f"encoder-{rate}", frames_path, identity=IdentityConfig())
            result |= _both(f"continued, {minutes:g} min at rate {rate:g}", encoder, queries)
    return result


def _both(name: str, encoder: Path, queries: Frames) -> dict[str, dict[str, float]]:
    """By the encoder's vectors, and by the identities that its map makes of them."""
    vectors = _vectors(encoder, queries)
    identities = to_identities(read_identity_map(encoder), vectors)
    return {name: _reid(vectors, queries), f"{name}, its identities": _reid(identities, queries)}


def _vectors(encoder: Path, queries: Frames) -> Vectors:
    return embed_frames(open_encoder(encoder), queries)


def _reid(vectors: Vectors, queries: Frames) -> dict[str, float]:
    return {name: round(value, 3) for name, value in coil_figures(vectors, queries).items()}


def main() -> None:
    """Runs one of the two and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="name")
    commands.add_parser("temple").add_argument("--encoder", type=Path, default=Path("runs/demo/encoder"))
    coil_parser = commands.add_parser("coil")
    coil_parser.add_argument("--minutes", type=float, default=3)
    coil_parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.03, 0.1])
    options = parser.parse_args()
    result = temple(options.encoder) if options.name == "temple" else coil_reid(options.minutes, options.rates)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
