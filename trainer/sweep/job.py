"""One row of a sweep, in a process of its own so that what goes wrong in it stops no other.

    python -m trainer.sweep.job <sweep>/rows/<strategy>/seed-<n>

The folder's ``job.json`` says what to do. A stage that is up to date is skipped, and training goes on where it was
interrupted.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.encoder import Encoder, Spec, open_encoder
from index.schema import CorruptArtifactError, NearposeError
from trainer.baselines import RawPixels
from trainer.config import TrainConfig
from trainer.evaluate import EvaluateConfig, evaluate_bounds, evaluate_encoder
from trainer.export import export, export_pretrained, export_random
from trainer.frames import Frames
from trainer.rebuild import Stages
from trainer.retrieve import write_retrieval
from trainer.sweep.watch import end_with
from trainer.train import CHECKPOINT, train

JOB = "job.json"
EVALUATION = "evaluation.json"
RETRIEVAL = "retrieval.json"  # where no frame has a box, and there is more than one class


@dataclass(frozen=True)
class Job:
    """What a row is made from. ``data``: the digest of the frames' table; ``train``: also of a random network.

    ``source``: the frames that are learnt from, and ``source_data`` their table's digest; None: ``frames``, which the
    row is measured on.
    """

    name: str
    label: str
    kind: str
    seed: int
    frames: Path
    data: str
    train: TrainConfig
    evaluate: EvaluateConfig
    encoder: Path | None = None
    source: Path | None = None
    source_data: str | None = None

    def write(self, folder: Path) -> None:
        """To ``folder``, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JOB).write_text(json.dumps(asdict(self), indent=2, default=str) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Raises CorruptArtifactError where ``folder`` holds none."""
        try:
            content: dict[str, Any] = json.loads((folder / JOB).read_text())
            lists = {name: tuple(value) for name, value in content["evaluate"].items() if isinstance(value, list)}
            content["evaluate"] = EvaluateConfig(**{**content["evaluate"], **lists})
            content["train"] = TrainConfig(**content["train"])
            content["frames"] = Path(content["frames"])
            for name in ("encoder", "source"):
                content[name] = content.get(name) and Path(content[name])
            return cls(**content)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CorruptArtifactError(folder / JOB, f"is no row of a sweep ({error})") from error


def run(folder: Path) -> None:
    """Does what of a row is not done yet."""
    job, stages = Job.read(folder), Stages(folder)
    artefact = make_encoder(job, folder, stages)
    inputs = {"made": stages.done.get("export"), "data": job.data, "config": asdict(job.evaluate)}
    stages.run("evaluate", inputs, folder / EVALUATION, lambda: _measure(job, folder, artefact))
    (folder / EVALUATION).touch()  # newer than the job that asked for it: finished


def make_encoder(job: Job, folder: Path, stages: Stages) -> Path | None:
    """The row's encoder artefact: learnt, drawn at random, or a copy. None: the row needs none.

    Of what is learnt here, pooled features are the embedding, as in the paper; an encoder that is given keeps its head.
    """
    encoder = folder / "encoder"
    if job.kind == "learnt":
        training, inputs = folder / "training", {"config": asdict(job.train), "data": job.source_data or job.data}
        source = job.source or job.frames
        if stages.outdated("train", inputs):  # else it would go on from weights that other frames have taught
            shutil.rmtree(training, ignore_errors=True)
        stages.run("train", inputs, training / CHECKPOINT, lambda: train(source, training, job.train))
        stages.run("export", inputs, encoder, lambda: export(training, encoder))
    elif job.kind == "random":
        drawn = {"architecture": job.train.architecture, "size": job.train.input_size, "seed": job.seed}
        stages.run("export", drawn, encoder, lambda: export_random(job.train, encoder, job.seed))
    elif job.encoder is not None:
        given = job.encoder
        stages.run("export", {"given": Spec.read(given).digest}, encoder, lambda: export_pretrained(encoder, given))
    else:
        return None
    return encoder


def _measure(job: Job, folder: Path, artefact: Path | None) -> None:
    out = folder / EVALUATION
    if job.kind == "bounds":
        evaluate_bounds(job.frames, out, job.evaluate)
        return
    encoder: Encoder = open_encoder(artefact, job.evaluate.device) if artefact else RawPixels()
    frames = Frames.open(job.frames)
    if frames.table["box"].null_count == len(frames) and len(set(frames.category.tolist())) > 1:
        write_retrieval(job.frames, encoder, folder / RETRIEVAL)
    evaluate_encoder(job.frames, encoder, artefact, out, job.label, job.evaluate)


def main() -> int:
    """Runs the row of the folder that is the first argument; returns the exit status.

    The second, if there is one, is the process that this one ends with.
    """
    if len(sys.argv) > 2:
        end_with(int(sys.argv[2]))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        run(Path(sys.argv[1]))
    except NearposeError as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
