"""Which of the paper's orderings hold here, which are reversed, and which the intervals leave open.

A difference may be off because of the videos that were asked about, and because of the seeds that were learnt from: its
interval is of both. Another seed may move a row by more than other videos would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from trainer.evaluate.schema import Row
from trainer.metrics import Estimate
from trainer.metrics.estimate import LEVEL
from trainer.report.source import Source, mean_estimate
from trainer.strategies import NTXENT

Verdict = Literal["holds", "reversed", "undecided"]
Figure = Callable[[Row], Estimate | None]

PAIRS = ("same", "nearby", "distant")
STRONGER = ("ulc", "lc", "full")
_WORDS = {"holds": "holds", "reversed": "reversed", "undecided": "not told apart"}


def pose(row: Row) -> Estimate | None:
    """The paper's "3D mAP": the share of boxes by its transfer with 3D IoU above 0.5, which is no average precision."""
    paper = row.pose("paper")
    return paper.overall.iou_50 if paper else None


def reid(row: Row) -> Estimate | None:
    """Re-identification mAP, frames of the query's own video included, as in the paper."""
    found = row.retrieval.any_frame if row.retrieval else None
    return found.mean_ap if found else None


def classification(row: Row) -> Estimate | None:
    """How often the nearest frame is of the right category."""
    return row.retrieval.category if row.retrieval else None


FIGURES: dict[str, Figure] = {"3D mAP": pose, "re-ID mAP": reid, "classification": classification}


@dataclass(frozen=True)
class Comparison:
    """``better`` is above ``worse`` in the paper; ``difference`` is what was measured of that here.

    ``seeds``: how many of each. One says nothing of the spread over seeds.
    """

    claim: str
    figure: str
    better: str
    worse: str
    difference: Estimate
    seeds: tuple[int, int]

    @property
    def verdict(self) -> Verdict:
        """Whether the interval of the difference is on one side of zero."""
        if self.difference.low > 0:
            return "holds"
        return "reversed" if self.difference.high < 0 else "undecided"

    @property
    def told(self) -> str:
        """The verdict in words, and what it does not know."""
        if max(self.seeds) == 1:
            return f"{_WORDS[self.verdict]} (one seed each: other seeds may say otherwise)"
        counts = " and ".join(map(str, dict.fromkeys(self.seeds)))
        return f"{_WORDS[self.verdict]} ({counts} seeds)"


def comparisons(source: Source) -> list[Comparison]:
    """Of all the paper's claims of whose two rows both were measured."""
    found = []
    for claim, figure, better, worse in _claims(source):
        above, below = source.entry(better), source.entry(worse)
        if above and below:
            a, b = (entry.figures(FIGURES[figure]) for entry in (above, below))
            if a and b:
                seeds = len(a), len(b)
                found.append(Comparison(claim, figure, above.label, below.label, difference(a, b), seeds))
    return found


def difference(above: Sequence[Estimate], below: Sequence[Estimate]) -> Estimate:
    """The mean of a figure's seeds of one row, less that of another's.

    The interval is over videos (``Estimate``'s own) and, where either row has several seeds, over seeds. It takes the
    two rows for independent; being of the same queries they are not: over videos it is too wide.
    """
    a, b = mean_estimate(above), mean_estimate(below)
    seeds = _seeds_half_width([e.value for e in above], [e.value for e in below])
    low = math.hypot(a.value - a.low, b.high - b.value, seeds)
    high = math.hypot(a.high - a.value, b.value - b.low, seeds)
    value = a.value - b.value
    return Estimate(value, value - low, value + high)


def _seeds_half_width(above: Sequence[float], below: Sequence[float]) -> float:
    """Of Welch's 95 % interval of the difference of two means over seeds; 0, for unknown, where both have one seed.

    A row of one seed is taken to vary as much as the other does.
    """
    several = [values for values in (above, below) if len(values) > 1]
    if not several:
        return 0.0
    known = [values if len(values) > 1 else several[0] for values in (above, below)]
    errors = np.array([np.var(of, ddof=1) / len(values) for of, values in zip(known, (above, below), strict=True)])
    if not errors.any():
        return 0.0
    freedom = float(len(several[0]) - 1)
    if len(several) == 2:
        freedom = errors.sum() ** 2 / (errors**2 / [len(values) - 1 for values in several]).sum()
    return float(stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(errors.sum()))


def _claims(source: Source) -> Iterator[tuple[str, str, str, str]]:
    """Claim, figure, and the names of the rows that are above and below by it."""
    yield from _of_pairs("", "")
    for other in ("nt-xent", "tcn"):
        yield "Negatives cost pose", "3D mAP", "nearby-lc", other
    yield from _of_pairs(NTXENT, ", with NT-Xent")
    for entry in source.entries:
        # The paper's pixel-only rows are hardly above it themselves.
        if entry.kind == "learnt" and not entry.name.endswith("-px"):
            yield "Everything else is above random initialisation", "3D mAP", entry.name, "random"


def _of_pairs(prefix: str, loss: str) -> Iterator[tuple[str, str, str, str]]:
    """The claims about table 5's rows. prefix: of their names; loss: of the claim, where it is not the paper's."""
    for other in ("same-lc", "distant-full"):
        yield f"Nearby pairs keep the pose best{loss}", "3D mAP", f"{prefix}nearby-lc", f"{prefix}{other}"
    for other in ("nearby-lc", "same-lc"):
        yield f"Distant pairs keep the identity best{loss}", "re-ID mAP", f"{prefix}distant-full", f"{prefix}{other}"
    for other in ("nearby-lc", "distant-full"):
        claim = f"Pairs of the same frame are worst at identity{loss}"
        yield claim, "re-ID mAP", f"{prefix}{other}", f"{prefix}same-lc"
    for pairs in PAIRS:
        for stronger in STRONGER:
            claim = f"Changing pixels alone is the worst augmentation{loss}"
            yield claim, "3D mAP", f"{prefix}{pairs}-{stronger}", f"{prefix}{pairs}-px"


def summary(found: Sequence[Comparison]) -> dict[str, dict[Verdict, int]]:
    """How many comparisons of each claim came out how."""
    table: dict[str, dict[Verdict, int]] = {}
    for comparison in found:
        counts = table.setdefault(comparison.claim, {"holds": 0, "undecided": 0, "reversed": 0})
        counts[comparison.verdict] += 1
    return table
