"""The page's curves: good boxes over thresholds, precision over recall, and how far similarity can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.evaluate.schema import Bin, ReId, Row
from trainer.report.figures import PALETTE, Line, colours, line_plot, share_plot
from trainer.report.page import Block, Plot
from trainer.report.source import Entry, Source

_PAIRS = {"same": PALETTE[2], "nearby": PALETTE[0], "distant": PALETTE[4]}
_DASHES = {"px": ":", "ulc": "-.", "lc": "-", "full": "--"}
_OTHERS = (PALETTE[1], PALETTE[6], PALETTE[5], PALETTE[3], PALETTE[7], PALETTE[8])


def curves(source: Source, shown: Entry | None) -> list[Block]:
    """Those that there is something to draw of."""
    blocks: list[Block] = []
    if lines := _threshold_lines(source):
        text = "The nearest frame's box, carried by the paper's transfer. Dotted: the threshold of the tables."
        blocks.append(Plot("Boxes over IoU thresholds.", text, line_plot(lines, "3D IoU", "share above", 0.5)))
    if lines := _precision_lines(source):
        text = "Mean over categories; frames of the query's own video count."
        blocks.append(Plot("Re-identification by encoder.", text, line_plot(lines, "recall", "precision")))
    if shown is not None:
        blocks += _of_one(shown, shown.rows[0])
    return blocks


def _threshold_lines(source: Source) -> list[Line]:
    lines = []
    for entry, style in _styled(source):
        curves = [boxes.iou_curve for row in entry.rows if (boxes := row.pose("paper"))]
        if curves:
            values = np.mean([curve.values for curve in curves], axis=0)
            lines.append(Line(entry.label, curves[0].thresholds, values.tolist(), *style))
    return lines


def _precision_lines(source: Source) -> list[Line]:
    lines = []
    for entry, style in _styled(source):
        found = [reid for row in entry.rows if (reid := _reid(row))]
        if found:
            values = np.mean([np.mean(list(reid.precision.values()), axis=0) for reid in found], axis=0)
            lines.append(Line(entry.label, np.linspace(0, 1, len(values)).tolist(), values.tolist(), *style))
    return lines


def _reid(row: Row) -> ReId | None:
    return row.retrieval.any_frame if row.retrieval else None


def _styled(source: Source) -> list[tuple[Entry, tuple[str, str, float]]]:
    """Each entry's colour, dashes and width: pairs by colour and augmentations by dashes; the others in their own."""
    styled, others = [], 0
    for entry in source.entries:
        pairs, _, augmentation = entry.name.partition("-")
        if pairs in _PAIRS and augmentation in _DASHES:
            styled.append((entry, (_PAIRS[pairs], _DASHES[augmentation], 1.3)))
        else:
            styled.append((entry, (_OTHERS[others % len(_OTHERS)], "-", 2.0)))
            others += 1
    return styled


def _of_one(shown: Entry, row: Row) -> list[Block]:
    blocks: list[Block] = []
    reid = _reid(row)
    if reid is not None:
        colour = colours(list(reid.precision))
        lines = [
            Line(name.replace("_", " "), np.linspace(0, 1, len(values)).tolist(), list(values), colour[name])
            for name, values in sorted(reid.precision.items())
        ]
        text = "As the paper's figure 5: best where instances differ in what one sees of them."
        blocks.append(
            Plot(f"Re-identification by category: {shown.label}.", text, line_plot(lines, "recall", "precision"))
        )
    if row.calibration is not None and row.calibration.similarity:
        text = "Boxes fitted to all neighbours; each point is a tenth of the queries."
        if row.calibration.rank_correlation is not None:
            text += f" Rank correlation with their IoU: {row.calibration.rank_correlation:.2f}."
        plot = _calibration(row.calibration.similarity)
        blocks.append(Plot(f"Good boxes by similarity of the nearest frame: {shown.label}.", text, plot))
    return blocks


def _calibration(bins: Sequence[Bin]) -> str:
    filled = [part for part in bins if part.queries]
    means, shares = [part.mean for part in filled], [part.iou_50 for part in filled]
    return share_plot(means, shares, "cosine similarity of the nearest frame", "share with IoU > 0.5")
