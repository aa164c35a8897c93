"""One figure for an encoder, and what it is made of: what the recipe of the pre-trained encoder was chosen by.

    python -m benchmarks.merit runs/pretrain/encoder

The figure of merit is the plain mean of six shares, fixed before the first trial, on objects that neither the
pre-training nor the demo's test split holds:

    category      nearest indexed frame is of the query's category
    iou           its box, carried by the paper's transfer, has 3D IoU > 0.5
    azimuth       it is seen from within 15 degrees of the query's azimuth, where the category shows one
    reid_r1       the nearest frame of the *other* videos of all test objects is of the query's object
    reid_map      mean average precision of the same
    coil          mean average precision on photographs: COIL-100 objects 1 to 40, views at least 30 degrees apart

The first five on the demo's captures with another seed (100), 28 objects a category indexed, 6 asked for, twice each,
drawn as crops. A crop's picture ends at its rectangle, and the transfer does not look at what of a box is outside of
the picture: every IoU here is lower than on whole pictures, and comparable only with its like.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.encoder import Encoder, open_encoder
from index.iou import iou_3d
from index.schema import Frame, GeometryError
from index.transfer import transfer_box
from tests.real_captures import SHARED, coil
from trainer.baselines import RawPixels
from trainer.demo.crops import draw_demo_crops
from trainer.demo.film import DemoConfig
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.ingest import IngestConfig, ingest
from trainer.metrics import average_precisions

Vectors = NDArray[np.float32]
Values = NDArray[np.float64]
Figures = dict[str, Values]

VALIDATION = DemoConfig(seed=100, test_objects=6)
WITHOUT_AZIMUTH = ("bottle", "cup")  # most of them look the same from all sides
_COIL_VALIDATION = 40  # objects 1 to 40; 41 to 70 are for the final figures
_APART = 29.9  # degrees


def merit(encoder: Encoder, demo: Frames, photographs: Frames | None) -> dict[str, float]:
    """The figure ``merit`` and its parts, each in [0, 1]; ``demo`` has the splits train and test."""
    references, queries = (demo.select(demo.split == split) for split in ("train", "test"))
    parts = demo_figures(embed_frames(encoder, references), embed_frames(encoder, queries), references, queries)
    if photographs is not None:
        parts["coil"] = coil_figures(embed_frames(encoder, photographs), photographs)["map"]
    return with_merit(parts)


def with_merit(parts: dict[str, float]) -> dict[str, float]:
    """The parts that there are, and their mean before them."""
    names = ("category", "iou", "azimuth", "reid_r1", "reid_map", "coil")
    return {"merit": float(np.mean([parts[name] for name in names if name in parts]))} | parts


def demo_figures(indexed: Vectors, asked: Vectors, references: Frames, queries: Frames) -> dict[str, float]:
    """Figures of unit vectors (n, d) of ``references`` and (m, d) of ``queries``."""
    figures = per_query(indexed, asked, references, queries)
    azimuth = figures.pop("azimuth_median_deg")
    azimuth = azimuth[~np.isnan(azimuth)]
    return {name: float(np.nanmean(values)) for name, values in figures.items()} | {
        "azimuth": float((azimuth < 15).mean()),
        "azimuth_median_deg": float(np.median(azimuth)),
    }


def per_query(indexed: Vectors, asked: Vectors, references: Frames, queries: Frames) -> Figures:
    """Each query's figures, (m,) each; NaN where it has none. The azimuth is its error in degrees."""
    nearest = (asked @ indexed.T).argmax(axis=1)
    found = [references.frame(int(i)) for i in nearest]
    truths = [queries.frame(i) for i in range(len(queries))]
    azimuth, overlap = azimuth_errors(found, truths), overlaps(found, truths)
    azimuth[np.isin(queries.category, WITHOUT_AZIMUTH)] = np.nan
    hits, precisions = reid_across_videos(asked, queries)
    return {
        "category": (references.category[nearest] == queries.category).astype(np.float64),
        "iou": (overlap > 0.5).astype(np.float64),
        "iou_0.7": (overlap > 0.7).astype(np.float64),
        "azimuth_median_deg": azimuth,
        "reid_r1": hits,
        "reid_map": precisions,
    }


def reid_across_videos(vectors: Vectors, queries: Frames) -> tuple[Values, Values]:
    """``reid`` of the (n, d) vectors of ``queries``, among the other videos of all of them."""
    return reid(vectors, queries.object_id, queries.sequence[:, None] == queries.sequence)


def reid(vectors: Vectors, object_id: NDArray[np.str_], ignored: NDArray[np.bool_]) -> tuple[Values, Values]:
    """(n,) whether the nearest frame is of the query's object, and (n,) average precisions.

    ignored: (n, n) frames that do not count for a query.
    """
    similarities = vectors @ vectors.T
    nearest = np.where(ignored, -np.inf, similarities).argmax(axis=1)
    hits = (object_id[nearest] == object_id).astype(np.float64)
    return hits, average_precisions(similarities, object_id[:, None] == object_id, ignored)


def overlaps(found: list[Frame], truths: list[Frame]) -> NDArray[np.float64]:
    """(n,) 3D IoU of each found frame's box, carried by the paper's transfer, with the truth; 0 where it cannot be."""
    result = np.zeros(len(found))
    for i, (frame, truth) in enumerate(zip(found, truths, strict=True)):
        try:
            box = transfer_box(frame, truth.view)
        except GeometryError:
            continue
        assert truth.box is not None
        result[i] = iou_3d(box.corners[None], truth.box.corners[None])[0]
    return result


def azimuth_errors(found: list[Frame], truths: list[Frame]) -> NDArray[np.float64]:
    """(n,) degrees between the azimuths, each in its own box's axes, that found and true frames are seen from."""
    difference = np.degrees([_azimuth(a) - _azimuth(b) for a, b in zip(found, truths, strict=True)])
    return np.asarray(np.abs((difference + 180) % 360 - 180), np.float64)


def _azimuth(frame: Frame) -> float:
    assert frame.box is not None
    x, _, z = -frame.box.rotation.T @ frame.box.center
    return float(np.arctan2(x, z))


def coil_figures(vectors: Vectors, photographs: Frames) -> dict[str, float]:
    """The means of ``coil_queries``."""
    return {name: float(values.mean()) for name, values in coil_queries(vectors, photographs).items()}


def coil_queries(vectors: Vectors, photographs: Frames) -> Figures:
    """COIL-100, (n,) each: average precision and a hit at 1 among views at least 30 degrees apart; degrees to the most
    alike other view of the object.
    """
    degrees = photographs.time_s * 50  # a picture every 10 degrees, five a second
    apart = np.abs((degrees[:, None] - degrees + 180) % 360 - 180)
    same = photographs.object_id[:, None] == photographs.object_id
    hits, precisions = reid(vectors, photographs.object_id, same & (apart < _APART))
    others = np.where(same & (apart > 0), vectors @ vectors.T, -np.inf).argmax(axis=1)
    return {
        "map": precisions,
        "r1": hits.astype(np.float64),
        "view_error_deg": apart[np.arange(len(others)), others],
    }


def photographs(folder: Path) -> Frames | None:
    """All of COIL-100 that there is, as frames below ``folder``; split ``valid`` for objects 1 to 40, else ``test``."""
    if not (SHARED / "coil100").is_dir():
        return None
    if not (folder / "frames").exists():
        split_of = lambda number: "valid" if number <= _COIL_VALIDATION else "test"  # noqa: E731
        coil(SHARED / "coil100", folder / "captures", split_of)
        ingest(folder / "captures", folder / "frames", IngestConfig(workers=1))
    return Frames.open(folder / "frames")


def main() -> None:
    """Prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", type=Path, help="exported encoders; none: raw pixels")
    parser.add_argument("--work", type=Path, default=Path("runs/merit"), help="where the captures are kept")
    options = parser.parse_args()
    demo = Frames.open(draw_demo_crops(options.work / "demo", VALIDATION))
    real = photographs(options.work / "coil")
    chosen = real and real.select(real.split == "valid")
    encoders: dict[str, Any] = {str(path): open_encoder(path) for path in options.encoders} or {"pixels": RawPixels()}
    for name, encoder in encoders.items():
        print(json.dumps({"encoder": name, **merit(encoder, demo, chosen)}), flush=True)


if __name__ == "__main__":
    main()
