"""Table 2 on real photographs: COIL-100's objects 1 to 40 are learnt from, 41 to 70 asked for.

    python -m benchmarks.paper_coil --epochs 20 --seeds 3

COIL-100 has no boxes: in place of the 3D IoU there is the error of the view of the nearest other photograph of the same
object, in degrees. Re-identification: mAP and R@1, views at least 30 degrees apart. Every row under one budget, without
the paper's head. Needs the data set in ``../shared/data``. A run that is interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.merit import coil_figures
from index.encoder import open_encoder
from tests.real_captures import SHARED, coil
from trainer.baselines import RawPixels
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.ingest import IngestConfig, ingest
from trainer.sweep.lines import chosen
from trainer.sweep.plan import SweepConfig, budget, jobs_of
from trainer.sweep.run import RowsFailedError, failed, sweep

_LEARNT = 40  # objects 1 to 40


def coil_frames(work: Path) -> Path:
    """The photographs as frames below ``work``, ingested once."""
    if not (work / "captures").exists():
        coil(SHARED / "coil100", work / "captures", lambda number: "train" if number <= _LEARNT else "test")
    return ingest(work / "captures", work / "frames", IngestConfig(workers=1))


def table2(frames: Path, work: Path, config: SweepConfig) -> list[dict[str, Any]]:
    """A line a row: its label, and each figure with a value a seed."""
    if problems := failed(sweep(frames, work / "sweep", config)):
        raise RowsFailedError(problems)
    everything = Frames.open(frames)
    tests = everything.select(everything.split == "test")
    lines: dict[str, dict[str, Any]] = {}
    for folder, job in jobs_of(frames, work / "sweep", config):
        encoder = open_encoder(folder / "encoder") if (folder / "encoder").exists() else RawPixels()
        line = lines.setdefault(job.name, {"row": job.name, "label": job.label})
        for name, value in coil_figures(embed_frames(encoder, tests, job.label), tests).items():
            line.setdefault(name, []).append(round(value, 4))
    return list(lines.values())


def main() -> None:
    """Writes the table as JSON and prints its means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/paper_coil"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/paper_coil.json"))
    parser.add_argument("--strategies", nargs="+", default=["table2", "raw", "shipped"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    config = SweepConfig(
        tuple(chosen(options.strategies)), budget("scratch", epochs=options.epochs), options.seeds, options.jobs
    )
    rows = table2(coil_frames(options.work), options.work, config)
    content = {"epochs": options.epochs, "seeds": options.seeds, "rows": rows}
    options.out.write_text(json.dumps(content, indent=2) + "\n")
    for row in rows:
        means = "  ".join(f"{name} {np.mean(row[name]):.3f}" for name in ("map", "r1", "view_error_deg"))
        print(f"{row['label']:<28}{means}")


if __name__ == "__main__":
    main()
