"""Table 2 on real photographs and videos: every strategy under one budget, beside random networks and raw pixels.

    python -m benchmarks.paper_real coil --epochs 68 --input-size 48 --batch-size 64 --lr 0.15 --jobs 2
    python -m benchmarks.paper_real ucf101 --epochs 33 --input-size 48 --batch-size 64 --lr 0.15 --jobs 2

``coil``: COIL-100's objects 1 to 40 are learnt from, 41 to 70 asked for. There are no boxes: in place of the 3D IoU
there is the error of the view of the nearest other photograph of the same object, in degrees; re-identification is
among views at least 30 degrees apart. ``ucf101``: the clips of split 1's training list are learnt from, those of its
test list asked for (section 6.2). Intervals are over objects and over recordings, of a row's mean over its seeds and
of what is between it and random networks. Pooled features, without a head. Needs the data sets in ``../shared/data``.
A run that is interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.merit import Figures, coil_queries
from index.encoder import Encoder, open_encoder
from tests.real_captures import SHARED, coil
from trainer.baselines import RawPixels
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.ingest import IngestConfig, ingest
from trainer.metrics.estimate import category_mean
from trainer.retrieve import Clips, pooled_hits, recording, voted_hits
from trainer.sweep.lines import chosen
from trainer.sweep.plan import SweepConfig, budget, jobs_of
from trainer.sweep.run import RowsFailedError, failed, sweep

_LEARNT = 40  # objects 1 to 40


@dataclass(frozen=True)
class Study:
    """Captures as they are written or published; each query's figures, and what the queries are independent by."""

    captures: Callable[[Path], Path]
    figures: Callable[[Encoder, Frames], tuple[Figures, NDArray[np.str_]]]


def _coil_captures(work: Path) -> Path:
    if not (work / "captures").exists():
        coil(SHARED / "coil100", work / "captures", lambda number: "train" if number <= _LEARNT else "test")
    return work / "captures"


def _coil_figures(encoder: Encoder, frames: Frames) -> tuple[Figures, NDArray[np.str_]]:
    queries = frames.select(frames.split == "test")
    return coil_queries(embed_frames(encoder, queries), queries), queries.object_id


def _ucf_figures(encoder: Encoder, frames: Frames) -> tuple[Figures, NDArray[np.str_]]:
    queries, references = (Clips.of(encoder, frames.select(frames.split == s), s) for s in ("test", "train"))
    hits = {
        f"{name}_r{k}": found(queries, references, k).astype(np.float64)
        for name, found in (("voted", voted_hits), ("pooled", pooled_hits))
        for k in (1, 5)
    }
    return hits, np.array([recording(video) for video in np.unique(queries.video)])


STUDIES = {
    "coil": Study(_coil_captures, _coil_figures),
    "ucf101": Study(lambda work: SHARED / "ucf101", _ucf_figures),
}


def table2(study: Study, frames: Path, work: Path, config: SweepConfig) -> list[dict[str, Any]]:
    """A line a row: its label and its figures; see ``_summary``."""
    if problems := failed(sweep(frames, work / "sweep", config)):
        raise RowsFailedError(problems)
    everything, found, labels = Frames.open(frames), dict[str, list[Figures]](), dict[str, str]()
    groups = np.array([], str)
    for folder, job in jobs_of(frames, work / "sweep", config):
        encoder = open_encoder(folder / "encoder") if (folder / "encoder").exists() else RawPixels()
        figures, groups = study.figures(encoder, everything)
        found.setdefault(job.name, []).append(figures)
        labels[job.name] = job.label
    means = {name: {k: np.mean([f[k] for f in runs], axis=0) for k in runs[0]} for name, runs in found.items()}
    return [
        {"row": name, "label": labels[name]} | _summary(found[name], means[name], means.get("random"), groups)
        for name in found
    ]


def _summary(runs: list[Figures], mean: Figures, random: Figures | None, groups: NDArray[np.str_]) -> dict[str, Any]:
    """Of each figure: the mean with its interval, what it is above random networks, and every seed's."""
    everything = np.full(len(groups), "all")
    return {
        name: asdict(category_mean(values, everything, groups))
        | ({} if random is None else {"above_random": asdict(category_mean(values - random[name], everything, groups))})
        | {"seeds": [round(float(run[name].mean()), 4) for run in runs]}
        for name, values in mean.items()
    }


def main() -> None:
    """Writes the table as JSON and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=STUDIES)
    parser.add_argument("--work", type=Path, help="default: runs/paper_<data>")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/paper_<data>.json")
    parser.add_argument("--strategies", nargs="+", default=["table2", "raw", "shipped"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--input-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    length = {name: getattr(options, name) for name in ("epochs", "input_size", "batch_size", "lr")}
    config = SweepConfig(tuple(chosen(options.strategies)), budget("scratch", **length), options.seeds, options.jobs)
    work, study = options.work or Path("runs") / f"paper_{options.data}", STUDIES[options.data]
    frames = ingest(study.captures(work), work / "frames", IngestConfig(workers=1))
    rows = table2(study, frames, work, config)
    content = {"budget": length, "seeds": options.seeds, "rows": rows}
    out = options.out or Path("benchmarks/results") / f"paper_{options.data}.json"
    out.write_text(json.dumps(content, indent=2) + "\n")
    for row in rows:
        cells = [
            f"{name} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
            for name, value in row.items()
            if isinstance(value, dict)
        ]
        print(f"{row['label']:<28}" + "  ".join(cells))


if __name__ == "__main__":
    main()
