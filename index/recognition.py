"""What scores of objects mean: probabilities, and the one from which an object counts as known (``index.identity``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from index.confidence import Calibration
from index.schema import InvalidValueError

FRAMES_SEEN = 200  # nearest frames that are looked at; an object's others count as the last of them

_SIGNS = 2  # score and rival


@dataclass(frozen=True)
class Recognition:
    """What scores mean when ``views`` pictures or more are there.

    Attributes:
        views: pictures of the object in a query.
        calibration: P(this very object), of score and rival.
        threshold: the probability from which an object counts as known.
        frames: how many of the index's own queries, each looked up without its object, the threshold is from; 0: it is
            the one that ships.
    """

    views: int
    calibration: Calibration
    threshold: float
    frames: int

    def __post_init__(self) -> None:
        if len(self.calibration.weights) != 1 + _SIGNS:
            raise InvalidValueError("recognition.weights", self.calibration.weights, f"{1 + _SIGNS} numbers")
        if self.views < 1 or not 0 <= self.threshold <= 1:
            raise InvalidValueError("recognition", (self.views, self.threshold), "1 view or more, a probability")

    @classmethod
    def from_manifest(cls, value: Mapping[str, Any]) -> Recognition:
        """What ``dataclasses.asdict`` made of one."""
        calibration = value["calibration"]
        weights = tuple(float(weight) for weight in calibration["weights"])
        return cls(
            int(value["views"]),
            Calibration(weights, int(calibration["frames"])),
            float(value["threshold"]),
            int(value["frames"]),
        )


def of_views(recognitions: Sequence[Recognition], views: int) -> Recognition | None:
    """The one for the most views of those that ``views`` pictures suffice for; None where there is none."""
    fitting = [recognition for recognition in recognitions if recognition.views <= views]
    return max(fitting, key=lambda recognition: recognition.views, default=None)


# As if half of the queries were things that the index does not hold, 5 % of which are called known: from the demo's
# captures with seed 100, which no table is made of (docs/LOG.md).
SHIPPED = (
    Recognition(1, Calibration((-12.53, 32.11, -19.48), 0), 0.58, 0),
    Recognition(3, Calibration((-15.42, 36.84, -20.30), 0), 0.64, 0),
    Recognition(10, Calibration((-14.34, 34.25, -18.71), 0), 0.61, 0),
)
