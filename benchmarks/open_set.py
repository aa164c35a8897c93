"""Knowing an object again, or not: how many of its pictures are accepted at how many false accepts.

    python -m benchmarks.open_set runs/demo/frames runs/merit/demo-1

Each folder is a frames artefact, of the demo's captures or of crops of them (``trainer.demo.crops``). Its training
split is indexed with the encoder that ships, and the trial of ``trainer.open_set`` is held with its test objects:
strangers are of the same categories as what is indexed. Rows: by the similarity of the nearest frame of the encoder's
vectors, as before there were identities; and as the service answers, from 1, 3, 5 and 10 frames of a video. 95 %
intervals are over objects. Writes ``--out`` (JSON) and ``--figure``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.encoder import Encoder, open_encoder
from index.identity import Recogniser
from index.identity_map import read_identity_map
from index.search import FrameIndex, Vectors
from trainer.export import export_pretrained
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.open_set import Answers, enrolments, open_set
from trainer.recognise import recognitions

VIEWS = (1, 3, 5, 10)
FALSE_ACCEPTS = (0.01, 0.05, 0.1)
_CURVE = np.geomspace(0.005, 0.5, 25)
_DRAWS = 300
_BEFORE = "nearest frame, encoder's vectors"


def answers_of(encoder: Encoder, identity_map: Vectors | None, frames: Frames) -> dict[str, Answers]:
    """The trial's answers of each row."""
    references, tested = (frames.select(part) for part in (frames.split != "test", frames.split == "test"))
    index = FrameIndex(embed_frames(encoder, references), references.table)
    vectors = embed_frames(encoder, tested)
    rows = {_BEFORE: _by_nearest(index, vectors, tested)}
    index.identity_map = identity_map
    index.recognition = recognitions(index, references.sequence, 0.05)
    for views in VIEWS:
        if answers := open_set(index, vectors, tested, views):
            rows[f"{views} frame{'s' if views > 1 else ''}"] = answers
    return rows


def _by_nearest(index: FrameIndex, vectors: Vectors, tested: Frames) -> Answers:
    """Known by the most similar frame, at the similarity that 5 % of the index's frames reach without their object."""
    names = np.array([index.object_of(row) for row in range(len(index))])
    sample = np.random.default_rng(0).permutation(len(index))[:2000]
    others = np.where(names[sample, None] == names, -1, index.vectors[sample] @ index.vectors.T)
    threshold = np.quantile(others.max(axis=1), 0.95)
    parts, shown_by = [], np.unique(tested.object_id, return_inverse=True)[1]
    for indexed in enrolments(tested):
        shown = np.concatenate([names, tested.object_id[indexed]])
        similarities = vectors[~indexed] @ np.concatenate([index.vectors, vectors[indexed]]).T
        nearest, asked = similarities.argmax(axis=1), tested.object_id[~indexed]
        score = similarities.max(axis=1).astype(np.float64)
        there = np.isin(asked, tested.object_id[indexed])
        parts.append(Answers(there, shown[nearest] == asked, score >= threshold, score, shown_by[~indexed]))
    return joined(parts, apart=False)


def joined(parts: Sequence[Answers], *, apart: bool = True) -> Answers:
    """The answers of several trials, of different objects each (``apart``) or of the same."""
    fields = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("indexed", "right", "known", "probability")
    }
    return Answers(
        **fields, shown=np.concatenate([part.shown + (10_000 * i if apart else 0) for i, part in enumerate(parts)])
    )


def figures(answers: Answers) -> dict[str, Any]:
    """Shares with their 95 % intervals, and the curve."""
    result: dict[str, Any] = {
        "queries": len(answers.indexed),
        "right": _interval(answers, Answers.hits),
        "false_accepts": _interval(answers, Answers.false_accepts),
        "false_rejects": _interval(answers, lambda a: 1 - a.accepts()),
    }
    for rate in FALSE_ACCEPTS:
        result[f"accepted_at_{rate:g}"] = _interval(answers, lambda a, rate=rate: a.accepts_at(rate))
    result["curve"] = [[round(float(rate), 4), round(answers.accepts_at(float(rate)), 4)] for rate in _CURVE]
    return result


def _interval(answers: Answers, figure: Any) -> list[float]:
    """The figure, and its 95 % interval over draws of objects: as strangers and as known ones."""
    rng = np.random.default_rng(0)
    groups = [_rows_by_object(answers, answers.indexed == indexed) for indexed in (True, False)]
    draws = []
    for _ in range(_DRAWS):
        rows = np.concatenate([rows for group in groups for rows in _drawn(rng, group)])
        draws.append(figure(_selected(answers, rows)))
    return [round(float(value), 4) for value in (figure(answers), *np.quantile(draws, [0.025, 0.975]))]


def _rows_by_object(answers: Answers, chosen: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    rows = np.flatnonzero(chosen)
    _, number = np.unique(answers.shown[rows], return_inverse=True)
    return [rows[number == shown] for shown in range(number.max() + 1)]


def _drawn(rng: np.random.Generator, groups: list[NDArray[np.intp]]) -> list[NDArray[np.intp]]:
    return [groups[i] for i in rng.integers(0, len(groups), len(groups))]


def _selected(answers: Answers, rows: NDArray[np.intp]) -> Answers:
    return replace(answers, **{name: getattr(answers, name)[rows] for name in answers.__dataclass_fields__})


def milliseconds(encoder: Encoder, identity_map: Vectors | None, frames: Frames) -> float:
    """The median time that a single query's matches take beside the search for its box."""
    index = FrameIndex(embed_frames(encoder, frames), frames.table)
    index.identity_map = identity_map
    recogniser, times = Recogniser(index), []
    for row in range(0, len(index), 5):
        start = time.perf_counter()
        recogniser.matches(index.vectors[row : row + 1], 10)
        times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times)), 3)


def draw(rows: dict[str, Any], out: Path) -> None:
    """The curves as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4), layout="constrained")
    axes = figure.subplots()
    for name, row in rows.items():
        rates, accepted = zip(*row["curve"], strict=True)
        style = {"color": "0.5", "linestyle": "--"} if name == _BEFORE else {}
        axes.plot(rates, accepted, label=name, **style)
    axes.axvline(0.05, color="0.8", zorder=0)
    axes.set(
        xscale="log",
        xlabel="objects that are not indexed, called known",
        ylabel="indexed objects called known, by the right name",
        ylim=(0, 1),
    )
    axes.legend(loc="upper left", fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(out, dpi=110)


def main() -> None:
    """Prints the rows, and writes figures and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", nargs="+", type=Path, help="frames with a test split")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/open_set.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/open_set.png"))
    options = parser.parse_args()
    sets = [Frames.open(path) for path in options.frames]
    with TemporaryDirectory() as folder:
        path = export_pretrained(Path(folder) / "encoder")
        encoder, identity_map = open_encoder(path), read_identity_map(path)
        parts = [answers_of(encoder, identity_map, frames) for frames in sets]
        spent = milliseconds(encoder, identity_map, sets[0])
    rows = {name: figures(joined([part[name] for part in parts])) for name in parts[0]}
    for name, row in rows.items():
        print(name, json.dumps({key: value for key, value in row.items() if key != "curve"}))
    result = {"sets": len(sets), "milliseconds": spent, "rows": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    draw(rows, options.figure)


if __name__ == "__main__":
    main()
