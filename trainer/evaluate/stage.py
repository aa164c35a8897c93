"""Stage: how good an encoder and its index are, on frames of objects that the index does not hold.

The trained encoder is compared with raw pixels and with the same network before training, the boxes with random ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from loky import cpu_count

from index.encoder import Encoder, Spec, open_encoder
from index.predict import open_predictor
from index.schema import InvalidValueError
from index.search import FrameIndex
from trainer.baselines import RawPixels
from trainer.boxes import Asked, Fitter
from trainer.evaluate.conditions import label_fractions, robustness
from trainer.evaluate.config import SYMMETRIC, EvaluateConfig
from trainer.evaluate.cost import cost_of
from trainer.evaluate.pose import Truths, calibration, measured, poses
from trainer.evaluate.records import Records
from trainer.evaluate.retrieval import retrieval
from trainer.evaluate.schema import Evaluation, OpenSet, Row, records_of
from trainer.evaluate.subject import Subject, Trial
from trainer.export import export_untrained
from trainer.frames import Frames
from trainer.open_set import open_set


@dataclass(frozen=True, eq=False)
class _Run:
    """What all lines of one evaluation share."""

    trial: Trial
    truths: Truths
    config: EvaluateConfig
    records: Records


def evaluate(frames: Path, encoder: Path, index: Path, out: Path, config: EvaluateConfig | None = None) -> Path:
    """Measures the current index on the test split; docs/evaluation.md says what ``out`` and its neighbour hold.

    Args:
        frames: the ``<run>/frames`` folder.
        encoder: the ``<run>/encoder`` artefact, whose architecture the untrained network has.
        index: the ``<run>/index`` folder.
        out: ``evaluation.json``; the queries' records go beside it, see ``records_of``.

    Returns:
        ``out``.

    Raises:
        InvalidValueError: there is no test split, the index holds frames of it, or was built with another encoder; or
            ``config.symmetric`` names what the frames do not have.
    """
    config = config or EvaluateConfig()
    trained = open_predictor(index, config.device)
    assert isinstance(trained.index, FrameIndex)  # nothing is enrolled beside it
    if Spec.read(encoder).digest != trained.encoder.digest:
        raise InvalidValueError("encoder", str(encoder), f"the one that {index} was built with")
    with _session(frames, out, config) as run, TemporaryDirectory() as folder:
        trial = run.trial
        trial.check_unseen(trained.index)
        rows = list(_random_boxes(run))
        pixels = Subject.embedding("raw 16x16 pixels", "pixels", RawPixels(), trial)
        rows.append(_measure(run, pixels, None))
        untrained = export_untrained(encoder, Path(folder) / "encoder", config.seed)
        random = Subject.embedding("random network", "random", open_encoder(untrained, config.device), trial)
        rows.append(_measure(run, random, untrained))
        own = Subject.embedding("trained encoder", "encoder", trained.encoder, trial, trained.index)
        rows.append(_measure(run, own, encoder))
        known = tuple(_known(own, config.queries))
    result = Evaluation(trial.data(trained.index), asdict(config), tuple(rows), known)
    result.write(out)
    return out


def evaluate_encoder(
    frames: Path, encoder: Encoder, artefact: Path | None, out: Path, name: str, config: EvaluateConfig | None = None
) -> Path:
    """Measures one encoder alone, as the line ``name`` of ``out``. No index is needed: the references are embedded.

    artefact: the encoder's folder; None: it has none, as raw pixels.
    """
    with _session(frames, out, config or EvaluateConfig()) as run:
        subject = Subject.embedding(name, "encoder" if artefact else "pixels", encoder, run.trial)
        row = _measure(run, subject, artefact)
    Evaluation(run.trial.data(subject.index), asdict(run.config), (row,), ()).write(out)
    return out


def evaluate_bounds(frames: Path, out: Path, config: EvaluateConfig | None = None) -> Path:
    """Measures random boxes alone."""
    with _session(frames, out, config or EvaluateConfig()) as run:
        rows = tuple(_random_boxes(run))
        references = FrameIndex(np.ones((len(run.trial.references), 1), np.float32), run.trial.references.table)
    Evaluation(run.trial.data(references), asdict(run.config), rows, ()).write(out)
    return out


@contextmanager
def _session(frames: Path, out: Path, config: EvaluateConfig) -> Iterator[_Run]:
    opened = Frames.open(frames)
    _check_symmetric(opened, config.symmetric)
    trial = Trial.of(opened, config.queries)
    out.parent.mkdir(parents=True, exist_ok=True)
    with Records(records_of(out)) as records:
        yield _Run(trial, Truths.of(trial.queries, config.symmetric), config, records)


def _check_symmetric(frames: Frames, names: tuple[str, ...]) -> None:
    """The published categories may be missing: they are the default, of whatever frames."""
    categories = sorted(set(frames.category.tolist()))
    known = {*categories, *frames.object_id.tolist(), *SYMMETRIC}
    for name in names:
        if name not in known:
            bound = f"categories of the frames ({', '.join(categories)}) or ids of their objects"
            raise InvalidValueError("symmetric", name, bound)


def _measure(run: _Run, subject: Subject, folder: Path | None) -> Row:
    """A line of the table; folder: of the encoder's artefact, where it has one."""
    config, truths, index = run.config, run.truths, subject.index
    asked = subject.ask(config.k)
    with Fitter(index.table, calibration=index.calibration, processes=config.processes) as fitter:
        answers = fitter.answer(asked, f"{subject.name}: boxes")
        found = measured(answers, truths)
        harder = config.full and subject.kind == "encoder" and len(truths) > 0
        sequences = run.trial.sequences_of(index)
        fractions = tuple(label_fractions(subject, sequences, fitter, truths, config)) if harder else ()
        errors = tuple(robustness(subject, fitter, truths, config)) if harder else ()
    run.records.add(subject.name, run.trial.queries, asked, index, truths, answers, found)
    return Row(
        subject.name,
        subject.kind,
        tuple(pose for one in found for pose in poses(one, truths)),
        retrieval(subject, asked, cpu_count()),
        calibration(asked, found[-1], truths) if found else None,
        cost_of(subject.encoder, folder),
        fractions,
        errors,
    )


def _random_boxes(run: _Run) -> Iterator[Row]:
    """The boxes of a random reference, and of a random one of the right category: what no search at all gives."""
    references, queries, rng = run.trial.references, run.trial.queries, np.random.default_rng(run.config.seed)
    boxed = np.asarray(references.table["box"].is_valid())
    anywhere = np.flatnonzero(boxed) if boxed.any() else np.arange(len(references))
    alike = {str(c): anywhere[references.category[anywhere] == c] for c in np.unique(references.category[anywhere])}
    choices = {
        "random box": [anywhere] * len(queries),
        "random in-category box": [alike.get(category, anywhere) for category in queries.category.tolist()],
    }
    index = FrameIndex(np.ones((len(references), 1), np.float32), references.table)
    for name, candidates in choices.items():
        rows = np.array([[rng.choice(among)] for among in candidates])
        asked = Asked(queries.table, rows, np.zeros((len(rows), 1), np.float32))
        with Fitter(references.table, ("paper",), processes=run.config.processes) as fitter:
            answers = fitter.answer(asked, name)
        found = measured(answers, run.truths)
        run.records.add(name, queries, asked, index, run.truths, answers, found)
        yield Row(name, "bound", tuple(pose for one in found for pose in poses(one, run.truths)))


def _known(subject: Subject, most: int) -> Iterator[OpenSet]:
    """The open-set trial, for as many pictures a query as the index knows the odds of.

    Of all test frames, not of those that are asked alone: an object would be indexed by some frames of its video.
    """
    for recognition in subject.index.recognition:
        answers = open_set(subject.index, subject.vectors, subject.trial.tests, recognition.views, most)
        if answers:
            yield OpenSet(recognition.views, answers.hits(), answers.accepts(), answers.false_accepts())
