"""Which of the paper's orderings hold here, which are reversed, and which the intervals leave open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from trainer.evaluate.schema import Row
from trainer.metrics import Estimate
from trainer.report.source import Source

Verdict = Literal["holds", "reversed", "undecided"]
Figure = Callable[[Row], Estimate | None]

PAIRS = ("same", "nearby", "distant")
STRONGER = ("ulc", "lc", "full")


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
    """``better`` is above ``worse`` in the paper; ``difference`` is what was measured of that here."""

    claim: str
    figure: str
    better: str
    worse: str
    difference: Estimate

    @property
    def verdict(self) -> Verdict:
        """Whether the interval of the difference is on one side of zero."""
        if self.difference.low > 0:
            return "holds"
        return "reversed" if self.difference.high < 0 else "undecided"


def comparisons(source: Source) -> list[Comparison]:
    """Of all the paper's claims of whose two rows both were measured."""
    found = []
    for claim, figure, better, worse in _claims(source):
        above, below = source.entry(better), source.entry(worse)
        a, b = (entry and entry.figure(FIGURES[figure]) for entry in (above, below))
        if above and below and a and b:
            found.append(Comparison(claim, figure, above.label, below.label, difference(a, b)))
    return found


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b. The interval takes the two for independent; being of the same queries they are not, it is too wide."""
    low = ((a.value - a.low) ** 2 + (b.high - b.value) ** 2) ** 0.5
    high = ((a.high - a.value) ** 2 + (b.value - b.low) ** 2) ** 0.5
    value = a.value - b.value
    return Estimate(value, value - low, value + high)


def _claims(source: Source) -> Iterator[tuple[str, str, str, str]]:
    """Claim, figure, and the names of the rows that are above and below by it."""
    for other in ("same-lc", "distant-full"):
        yield "Nearby pairs keep the pose best", "3D mAP", "nearby-lc", other
    for other in ("nearby-lc", "same-lc"):
        yield "Distant pairs keep the identity best", "re-ID mAP", "distant-full", other
    for other in ("nearby-lc", "distant-full"):
        yield "Pairs of the same frame are worst at identity", "re-ID mAP", other, "same-lc"
    for other in ("nt-xent", "tcn"):
        yield "Negatives cost pose", "3D mAP", "nearby-lc", other
    for pairs in PAIRS:
        for stronger in STRONGER:
            yield "Changing pixels alone is the worst augmentation", "3D mAP", f"{pairs}-{stronger}", f"{pairs}-px"
    for entry in source.entries:
        # The paper's pixel-only rows are hardly above it themselves.
        if entry.kind == "learnt" and not entry.name.endswith("-px"):
            yield "Everything else is above random initialisation", "3D mAP", entry.name, "random"


def summary(found: Sequence[Comparison]) -> dict[str, dict[Verdict, int]]:
    """How many comparisons of each claim came out how."""
    table: dict[str, dict[Verdict, int]] = {}
    for comparison in found:
        counts = table.setdefault(comparison.claim, {"holds": 0, "undecided": 0, "reversed": 0})
        counts[comparison.verdict] += 1
    return table
