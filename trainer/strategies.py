"""Pre-training strategies by name: the rows of the paper's tables 2 and 5, and ours. One trainer runs them all.

Table 5's are there a second time with NT-Xent in SimSiam's place: what pairs and crops are worth can then be told after
minutes, which SimSiam's slow start hides (docs/LOG.md).

A strategy is what it changes of a ``TrainConfig``; architecture, input size and budget stay the preset's, so that rows
are compared under one budget. One that changes nothing because nothing is trained has ``changes`` None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from index.schema import InvalidValueError
from trainer.config import TrainConfig

NTXENT = "ntxent-"  # before the name of a row of table 5: the same with another loss

_PAIRS = {"same": "Same", "nearby": "Nearby", "distant": "Distant"}
_AUGMENTATIONS = {"px": "PX", "ulc": "ULC + PX", "lc": "LC + PX", "full": "Full"}


@dataclass(frozen=True)
class Strategy:
    """``label`` is its name in the paper's tables, ``table`` which of them it is a row of, 0 for none."""

    name: str
    label: str
    changes: Mapping[str, Any] | None
    table: int = 0

    def config(self, base: TrainConfig) -> TrainConfig:
        """``base`` with what the strategy changes. Raises InvalidValueError when nothing is trained."""
        if self.changes is None:
            raise InvalidValueError("strategy", self.name, "one that is trained")
        return replace(base, **self.changes)


def _plain(pairs: str, augmentation: str) -> Mapping[str, Any]:
    """SimSiam as the paper trains it, whatever else the preset does with pairs and windows."""
    return {"loss": "simsiam", "pairs": pairs, "augmentation": augmentation, "window": "anchor", "together": 1}


def _every() -> list[Strategy]:
    nearby = _plain("nearby", "lc")
    return [
        *(
            Strategy(f"{pairs}-{augmentation}", f"{_PAIRS[pairs]} - {label}", _plain(pairs, augmentation), 5)
            for pairs in _PAIRS
            for augmentation, label in _AUGMENTATIONS.items()
        ),
        *(
            Strategy(
                f"{NTXENT}{pairs}-{augmentation}",
                f"{_PAIRS[pairs]} - {label} (NT-Xent)",
                {**_plain(pairs, augmentation), "loss": "ntxent", "temperature": 0.1},
            )
            for pairs in _PAIRS
            for augmentation, label in _AUGMENTATIONS.items()
        ),
        Strategy("nt-xent", "NT-Xent", {**nearby, "loss": "ntxent", "temperature": 0.5}, 2),
        Strategy("tcn", "TCN", {**nearby, "loss": "tcn", "pairs": "triplet", "margin": 0.2}, 2),
        Strategy("random", "Random embeddings", None, 2),
        Strategy(
            "pose-identity",
            "Pose and identity in two projectors",
            {
                "loss": "pose_identity",
                "pairs": "mixed",
                "window": "own",
                "together": 2,
                "temperature": 0.1,
                "augmentation": "lc",
            },
        ),
    ]


STRATEGIES: Mapping[str, Strategy] = {strategy.name: strategy for strategy in _every()}

# Rows of table 2 that are rows of table 5 as well: the figures printed in both agree.
TABLE_2 = {
    "Nearby frame pairs": "nearby-lc",
    "Distant frame pairs": "distant-full",
    "Same frame pairs": "same-lc",
    "NT-Xent": "nt-xent",
    "TCN": "tcn",
    "Random embeddings": "random",
}


def strategy(name: str) -> Strategy:
    """Raises InvalidValueError when there is none of that name."""
    if name not in STRATEGIES:
        raise InvalidValueError("strategy", name, f"one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
