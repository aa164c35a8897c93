"""The tables of a report, from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from trainer.evaluate.schema import Pose, Row
from trainer.metrics import Estimate
from trainer.report import published
from trainer.report.orderings import Figure, classification, pose, reid
from trainer.report.source import Entry, Source
from trainer.report.tables import Cell, Column, Line, Table
from trainer.strategies import NTXENT, TABLE_2

PUBLISHED = "As published: other data (the real Objectron), other network and budget"
_KS = ("R@1", "R@5", "R@10", "R@20")
_TABLE4 = {name: row for name, row in TABLE_2.items() if name in published.TABLE4} | {"Single frame": "same-full"}


def tables(source: Source) -> list[Table]:
    """Those of the paper's of which something was measured."""
    made = [table1(source), table2(source), table4(source), table5(source)]
    return [table for table in made if any(_measured(row) for row in table.rows)]


def _measured(row: Line) -> bool:
    return any(cell.value is not None and not cell.published for cell in row.cells)


def table1(source: Source) -> Table:
    """Zero-shot pose by category."""
    lines = [Line(_random_fit(row), _by_category(source, row.pose("paper"))) for row in source.bounds]
    for entry in source.entries:
        lines.append(Line(entry.label, _entry_by_category(source, entry)))
        lines += _label_fractions(source, entry)
    lines.append(Line(PUBLISHED, heading=True))
    lines += [Line(name, _published_by_category(source, name), published=True) for name in published.TABLE1]
    return Table.marked(
        "table1",
        "Table 1. Zero-shot pose.",
        "Share of queries whose nearest frame's box, carried by the paper's transfer, has 3D IoU above 0.5.",
        [Column(name.replace("_", " ")) for name in source.categories] + [Column("overall")],
        lines,
    )


def _random_fit(row: Row) -> str:
    return "Random in-category fit" if "category" in row.name else "Random fit"


def _by_category(source: Source, boxes: Pose | None) -> tuple[Cell, ...]:
    if boxes is None:
        return tuple(Cell() for _ in [*source.categories, "overall"])
    found = boxes.by_category
    there = [found[name].iou_50 if name in found else None for name in source.categories]
    return tuple(Cell.of(estimate) for estimate in [*there, boxes.overall.iou_50])


def _entry_by_category(source: Source, entry: Entry) -> tuple[Cell, ...]:
    def of(category: str | None) -> Figure:
        def figure(row: Row) -> Estimate | None:
            boxes = row.pose("paper")
            if boxes is None:
                return None
            figures = boxes.overall if category is None else boxes.by_category.get(category)
            return figures.iou_50 if figures else None

        return figure

    return tuple(Cell.of(entry.figure(of(category))) for category in [*source.categories, None])


def _label_fractions(source: Source, entry: Entry) -> Iterator[Line]:
    """Of the first seed; there are no figures by category."""
    for fraction in entry.rows[0].label_fractions if entry.rows else ():
        if fraction.fraction < 1:
            cells = [Cell() for _ in source.categories] + [Cell.of(fraction.iou_50_paper)]
            yield Line(f"{entry.label} ({100 * fraction.fraction:g} % of labels)", tuple(cells))


def _published_by_category(source: Source, name: str) -> tuple[Cell, ...]:
    *by_category, overall = published.TABLE1[name]
    known = dict(zip(published.CATEGORIES, by_category, strict=True))
    return tuple(Cell(value, published=True) for value in [*(known.get(c) for c in source.categories), overall])


def table2(source: Source) -> Table:
    """Classification, pose and re-identification."""
    columns = [
        Column("classif. acc.", "percent"),
        Column("3D mAP"),
        Column("re-ID mAP"),
        Column("AP, official"),
        Column("AP, corrected"),
        Column("re-ID, other video"),
    ]
    figures = [classification, pose, reid, _official, _corrected, _other_video]
    lines = []
    for name, paper in published.TABLE2.items():
        entry = source.entry(TABLE_2.get(name, ""))
        here = _cells(entry, figures) if entry else tuple(Cell() for _ in figures)
        lines.append(Line(name, (*here, *_paper(paper, 3))))
    others = [e for e in source.entries if e.name not in TABLE_2.values() and not _of_table5(e.name)]
    lines += [Line(entry.label, (*_cells(entry, figures), *_paper(None, 3))) for entry in others]
    return Table.marked(
        "table2",
        "Table 2. Recognition, pose and re-identification.",
        "3D mAP as in the paper: the share of queries with 3D IoU above 0.5, as in table 1. AP: average precision by "
        "Objectron's evaluator, as it is published and with its faults corrected. Re-ID counts other frames of the "
        "query's own video, as in the paper; the last measured column leaves them out.",
        [*columns, *columns[:3]],
        lines,
        _groups(len(columns), 3),
    )


def _official(row: Row) -> Estimate | None:
    paper = row.pose("paper")
    return paper.official.ap_iou_50 if paper else None


def _corrected(row: Row) -> Estimate | None:
    paper = row.pose("paper")
    return paper.corrected.ap_iou_50 if paper else None


def _other_video(row: Row) -> Estimate | None:
    found = row.retrieval.other_video if row.retrieval else None
    return found.mean_ap if found else None


def table4(source: Source) -> Table:
    """Retrieval of actions: the paper's tables 3 and 4."""
    lines = []
    for name, paper in (published.TABLE3 | published.TABLE4).items():
        entry = source.entry(_TABLE4.get(name, ""))
        lines.append(Line(name, (*_recalls(entry), *_paper(paper, len(_KS))), published=entry is None))
    others = [entry for entry in source.entries if entry.retrievals and entry.name not in _TABLE4.values()]
    lines += [Line(entry.label, (*_recalls(entry), *_paper(None, len(_KS)))) for entry in others]
    columns = [Column(k, "percent") for k in _KS]
    return Table.marked(
        "table4",
        "Tables 3 and 4. Retrieval of actions.",
        "Voted: every frame of a test video votes with its neighbours among the training videos' frames. Pooled: "
        "nearest training videos by the mean of their frames' vectors.",
        columns * 3,
        lines,
        (("voted", len(_KS)), ("pooled", len(_KS)), ("published, real UCF101", len(_KS))),
    )


def _recalls(entry: Entry | None) -> tuple[Cell, ...]:
    """Voted, then pooled."""
    return tuple(Cell.of(entry.recall(how, k) if entry else None) for how in ("voted", "pooled") for k in _KS)


def table5(source: Source) -> Table:
    """Pairs and augmentations."""
    columns = [Column("classif. acc.", "percent"), Column("re-ID mAP"), Column("3D mAP")]
    figures = [classification, reid, pose]
    lines = [
        Line(entry.label, (*_cells(entry, figures), *_paper(published.TABLE5[entry.name], 3)))
        for entry in source.entries
        if entry.name in published.TABLE5
    ]
    again = [entry for entry in source.entries if entry.name.startswith(NTXENT)]
    if again:
        lines.append(Line("With NT-Xent in SimSiam's place", heading=True))
    lines += [Line(entry.label, (*_cells(entry, figures), *_paper(None, 3))) for entry in again]
    return Table.marked(
        "table5",
        "Table 5. Pairs and augmentations.",
        "SimSiam on pairs of the same frame, of nearby frames and of any two of a video. PX: pixels alone change; ULC "
        "and LC: ultra-light and light crops; Full: SimCLR's.",
        columns * 2,
        lines,
        _groups(3, 3),
    )


def _of_table5(name: str) -> bool:
    return name.removeprefix(NTXENT) in published.TABLE5


def _groups(here: int, paper: int) -> tuple[tuple[str, int], ...]:
    return (("measured here", here), ("published, real Objectron", paper))


def _cells(entry: Entry, figures: Sequence[Callable[[Row], Estimate | None]]) -> tuple[Cell, ...]:
    return tuple(Cell.of(entry.figure(figure)) for figure in figures)


def _paper(values: Sequence[float] | None, count: int) -> tuple[Cell, ...]:
    return tuple(Cell(value, published=True) for value in (values if values is not None else (None,) * count))
