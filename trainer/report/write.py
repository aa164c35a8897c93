"""Stage: what a sweep or an evaluation measured in, ``report.json`` and ``report.html`` out (docs/report.md)."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from index.encoder import open_encoder
from index.schema import InvalidValueError
from trainer.metrics import Estimate
from trainer.report import gallery
from trainer.report.answers import Answers, answer
from trainer.report.contents import tables
from trainer.report.curves import curves
from trainer.report.failures import KINDS, Failure, failures
from trainer.report.orderings import FIGURES, Comparison, comparisons, pose, summary
from trainer.report.page import Block, Page, Section, TableBlock, Text
from trainer.report.source import Entry, Source, read_source
from trainer.report.tables import Cell, Column, Line, Table

logger = logging.getLogger(__name__)

FORMAT, VERSION = "nearpose-report", 1
_TITLE = "Pose and identity by nearest neighbours"
_LEAD = (
    "The experiments of “Self-supervised learning of motion-informed latents”, repeated on other data. Small figures "
    "are 95 % intervals from a bootstrap over videos. The best of each column is marked, among what was measured here "
    "and, underlined, among what was published."
)


@dataclass(frozen=True)
class ReportConfig:
    """What a report shows. ``show``: the row whose answers are drawn; None: the one with the best pose."""

    show: str | None = None
    queries: int = 2000  # that are embedded for the pictures, at most
    device: str = "auto"
    title: str = _TITLE


def report(path: Path, out: Path, config: ReportConfig | None = None) -> Path:
    """Writes ``report.json`` and ``report.html`` to the folder ``out`` and returns the page.

    path: a sweep's folder, a run's folder, or its ``evaluation.json``. Pictures need the frames and an encoder; without
    them the page has tables and curves alone.
    """
    config = config or ReportConfig()
    source = read_source(path)
    shown = _shown(source, config.show)
    answers = _answers(source, shown, config)
    wrong = failures(answers) if answers else []
    made, found = tables(source), comparisons(source)
    out.mkdir(parents=True, exist_ok=True)
    content = _content(source, made, found, shown, answers, wrong)
    (out / "report.json").write_text(json.dumps(content, indent=1) + "\n")
    sections = [*_measured(source, made, found, shown), *_seen(answers, wrong)]
    page = Page(config.title, _LEAD, _facts(source, shown), sections, _footer(source))
    (out / "report.html").write_text(page.html())
    return out / "report.html"


def _shown(source: Source, name: str | None) -> Entry | None:
    """The entry to draw: the one that is asked for, or the best by pose of those that have an encoder."""
    able = [entry for entry in source.entries if entry.encoder and entry.rows]
    if name is not None:
        found = [entry for entry in able if entry.name == name]
        if not found:
            raise InvalidValueError("show", name, f"one of {', '.join(entry.name for entry in able)}")
        return found[0]
    return max(able, key=_pose, default=None)


def _pose(entry: Entry) -> float:
    estimate = entry.figure(pose)
    return estimate.value if estimate else 0.0


def _answers(source: Source, shown: Entry | None, config: ReportConfig) -> Answers | None:
    if shown is None or shown.encoder is None or not (source.frames / "frames.parquet").is_file():
        logger.warning("no pictures in the report: they need an encoder and the frames (%s)", source.frames)
        return None
    return answer(source.frames, open_encoder(shown.encoder, config.device), config.queries)


def _measured(source: Source, made: Sequence[Table], found: Sequence[Comparison], shown: Entry | None) -> list[Section]:
    problems = [Text(f"{entry.label} failed: {entry.problem}") for entry in source.entries if entry.problem]
    return [
        Section("tables", "Tables", [*(TableBlock(table) for table in made), *problems]),
        Section("orderings", "Orderings", _orderings(found)),
        Section("curves", "Curves", curves(source, shown)),
    ]


def _seen(answers: Answers | None, wrong: Sequence[Failure]) -> list[Section]:
    if answers is None:
        return []
    return [
        Section("embedding", "Embedding", gallery.embedding(answers)),
        Section("neighbours", "Neighbours", gallery.neighbours(answers)),
        Section("boxes", "Boxes", gallery.boxes(answers)),
        Section("matching", "Matching", gallery.matching(answers)),
        Section("failures", "Failures", gallery.failure_gallery(answers, wrong)),
    ]


def _orderings(found: Sequence[Comparison]) -> list[Block]:
    if not found:
        return []
    lines: list[Line] = []
    for claim, group in groupby(found, key=lambda comparison: comparison.claim):
        for place, one in enumerate(group):
            if place == 0:
                lines.append(Line(f"{claim} ({one.figure})", heading=True))
            lines.append(Line(f"{one.better} above {one.worse}: {one.told}", (Cell.of(one.difference),)))
    told = [
        f"{claim}: {counts['holds']} of {sum(counts.values())} comparisons hold, {counts['undecided']} are not told "
        f"apart, {counts['reversed']} are reversed."
        for claim, counts in summary(found).items()
    ]
    caption = (
        "Each line is one comparison that the paper makes, with the difference that was measured here. It holds or is "
        "reversed where the interval is on one side of zero, else the two are not told apart. The interval is over "
        "videos, taking the rows for independent, which makes it rather too wide, and over seeds, where a row has "
        "several; one seed each says nothing of how much another seed would change."
    )
    table = Table(
        "orderings-table", "The paper's orderings, one by one.", caption, (Column("difference"),), tuple(lines)
    )
    return [*(Text(line) for line in told), TableBlock(table)]


def _facts(source: Source, shown: Entry | None) -> list[tuple[str, str]]:
    data = source.data
    facts = [
        ("queries", f"{data.queries:,}"),
        ("of videos", f"{data.query_sequences:,}"),
        ("looked up in", f"{data.references:,} frames"),
        ("categories", str(len(source.categories))),
        ("rows", str(len(source.entries))),
        ("seeds", str(source.seeds)),
    ]
    if source.budget is not None and any(entry.kind == "learnt" for entry in source.entries):
        facts.append(("each learnt for", _budget(source.budget)))
        if source.learnt_from is not None:
            facts.append(("from other frames", "/".join(source.learnt_from.parts[-2:])))
        facts.append(("network", f"{source.budget['architecture']}, {source.budget['input_size']} px"))
    if shown is not None:
        facts.append(("pictures are of", shown.label))
    return facts


def _budget(config: Any) -> str:
    return f"{config['max_minutes']:g} minutes" if config["max_minutes"] else f"{config['epochs']} epochs"


def _footer(source: Source) -> str:
    return (
        f"Made by `python -m trainer report {source.path}`; the same figures are in report.json beside this page. "
        "Published figures: “Self-supervised learning of motion-informed latents”, on the real Objectron and UCF101."
    )


def _content(
    source: Source,
    made: Sequence[Table],
    found: Sequence[Comparison],
    shown: Entry | None,
    answers: Answers | None,
    wrong: Sequence[Failure],
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "data": asdict(source.data),
        "budget": source.budget,
        "learnt_from": str(source.learnt_from) if source.learnt_from else None,
        "rows": [_row(entry) for entry in source.entries],
        "tables": [_table(table) for table in made],
        "orderings": [asdict(comparison) | {"verdict": comparison.verdict} for comparison in found],
        "shown": shown.name if shown else None,
        "failures": _failures(answers, wrong) if answers and answers.has_boxes() else None,
    }


def _row(entry: Entry) -> dict[str, Any]:
    figures = {name: _estimate(entry.figure(of)) for name, of in FIGURES.items()}
    return {
        "name": entry.name,
        "label": entry.label,
        "kind": entry.kind,
        "seeds": len(entry.rows),
        "figures": figures,
        "problem": entry.problem or None,
    }


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    return asdict(estimate) if estimate else None


def _table(table: Table) -> dict[str, Any]:
    rows = [
        {
            "label": row.label,
            "published": row.published,
            "cells": [
                {"value": c.value, "low": c.low, "high": c.high, "published": c.published, "best": c.best}
                for c in row.cells
            ],
        }
        for row in table.rows
        if not row.heading
    ]
    return {"id": table.id, "title": table.title, "columns": [c.title for c in table.columns], "rows": rows}


def _failures(answers: Answers, wrong: Sequence[Failure]) -> dict[str, Any]:
    queries, references = answers.queries.table["id"].to_pylist(), answers.references.table["id"].to_pylist()
    counts = Counter(failure.kind for failure in wrong)
    return {
        "queries": answers.posed,
        "kinds": {kind: counts[kind] for kind in KINDS},
        "by_category": gallery.kinds_by_category(answers.queries, wrong),
        "frames": [
            {
                "query": queries[failure.row],
                "found": references[int(answers.nearest[failure.row])],
                "kind": failure.kind,
                "iou": failure.iou,
                "mended": failure.mended,
            }
            for failure in wrong
        ],
    }
