"""An evaluation as text to print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.boxes import Method
from trainer.evaluate.schema import Data, Evaluation, Row
from trainer.metrics import Estimate, Spread

_METHODS: tuple[tuple[Method, str], ...] = (("paper", "paper"), ("nearest", "k = 1"), ("service", "k = {k}"))
_KNOWN = (
    "{o.views:>2} frames of an object: the best match is right in {o.right:.1%}, and known in {o.accepts:.1%}; "
    "{o.false_accepts:.1%} of objects that are not indexed are called known"
)


def table(result: Path) -> str:
    """The evaluation as tables to print: percent, with 95 % intervals over sequences in brackets."""
    evaluation = Evaluation.read(result)
    parts = [
        _heading(evaluation.data),
        _lines(_overview(evaluation)),
        _lines(_detail(evaluation)),
        *(_lines(_conditions(row)) for row in evaluation.rows if row.label_fractions or row.robustness),
        "\n".join(_KNOWN.format(o=trial) for trial in evaluation.open_set),
    ]
    return "\n\n".join(part for part in parts if part)


def _heading(data: Data) -> str:
    others = {None: "", 0: " of other objects"}
    whose = others.get(data.known_objects, f", among them the objects of {data.known_objects} test frames")
    return (
        f"{data.queries} test frames of {data.query_sequences} videos against {data.references} indexed frames{whose}; "
        "percent [95 % interval over videos]"
    )


def _overview(evaluation: Evaluation) -> list[list[str]]:
    k = evaluation.config["k"]
    heads = [f"IoU > 0.5, {label.format(k=k)}" for _, label in _METHODS]
    lines = [["", *heads, "category", "re-ID mAP, other video", "by identity map", "re-ID mAP, any frame"]]
    for row in evaluation.rows:
        figures = [_share(row, method, symmetric=False) for method, _ in _METHODS]
        if row.retrieval is not None:
            found = row.retrieval
            videos = (found.other_video, found.identity_other_video, found.any_frame)
            figures += [found.category, *(part.mean_ap if part else None for part in videos)]
        figures += [None] * (len(lines[0]) - 1 - len(figures))
        lines.append([row.name, *(_cell(figure) for figure in figures)])
    return lines


def _detail(evaluation: Evaluation) -> list[list[str]]:
    """Of the last row, the index that is measured: each method's boxes."""
    row = evaluation.rows[-1]
    poses = [pose for pose in row.poses if not pose.symmetric]
    if not poses:
        return []
    return [
        [row.name, *(dict(_METHODS)[pose.method].format(k=evaluation.config["k"]) for pose in poses)],
        ["IoU > 0.25", *(_cell(pose.overall.iou_25) for pose in poses)],
        ["IoU > 0.5", *(_cell(pose.overall.iou_50) for pose in poses)],
        ["the same, symmetric things turned", *(_cell(_share(row, pose.method, symmetric=True)) for pose in poses)],
        ["IoU > 0.7", *(_cell(pose.overall.iou_70) for pose in poses)],
        ["azimuth error, median", *(_median(pose.overall.azimuth_deg, 1, "°") for pose in poses)],
        ["elevation error, median", *(_median(pose.overall.elevation_deg, 1, "°") for pose in poses)],
        ["corners in the picture, median", *(_median(pose.overall.pixels, 1, " px") for pose in poses)],
        ["ADD, median", *(_median(pose.overall.add_m, 100, " cm") for pose in poses)],
        ["ADD-S, median", *(_median(pose.overall.adds_m, 100, " cm") for pose in poses)],
        ["AP at IoU 0.5, Objectron's official", *(_cell(pose.official.ap_iou_50) for pose in poses)],
        ["AP at IoU 0.5, corrected", *(_cell(pose.corrected.ap_iou_50) for pose in poses)],
    ]


def _conditions(row: Row) -> list[list[str]]:
    fractions = [
        [
            f"{part.fraction:.0%} of the sequences ({part.sequences}), {len(part.draws)} draws",
            _cell(part.iou_50_paper),
            _cell(part.iou_50_service),
        ]
        for part in row.label_fractions
    ]
    errors = [
        [f"{error.kind} off by {error.level:g}", _cell(error.iou_50_paper), _cell(error.iou_50_service)]
        for error in row.robustness
    ]
    return [[row.name, "IoU > 0.5, paper", "service"], *fractions, *errors]


def _share(row: Row, method: Method, *, symmetric: bool) -> Estimate | None:
    pose = row.pose(method, symmetric=symmetric)
    return pose.overall.iou_50 if pose else None


def _cell(figure: Estimate | None) -> str:
    return str(figure).strip() if figure else "-"


def _median(spread: Spread | None, scale: float, unit: str) -> str:
    if spread is None:
        return "-"
    value, low, high = (scale * part for part in (spread.median.value, spread.median.low, spread.median.high))
    return f"{value:.1f}{unit} [{low:.1f}, {high:.1f}]"


def _lines(cells: Sequence[Sequence[str]]) -> str:
    """Columns under each other."""
    if not cells:
        return ""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
