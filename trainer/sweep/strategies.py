"""The rows of the paper's tables by name: ways to learn an encoder, and encoders to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from index.encoder import MANIFEST
from index.schema import InvalidValueError
from trainer.config import TrainConfig
from trainer.pretrained import PRETRAINED

Kind = Literal["learnt", "random", "pixels", "given", "bounds"]

# What every row has in common with the paper's, whatever the preset is: one window for both views, no track twice in a
# batch but by chance.
_PAPERS: Mapping[str, Any] = {"window": "anchor", "together": 1}
_PAIRS = {"same": "Same", "nearby": "Nearby", "distant": "Distant"}
_AUGMENTATIONS = {"px": "PX", "ulc": "ULC + PX", "lc": "LC + PX", "full": "Full"}


@dataclass(frozen=True)
class Strategy:
    """One row: an encoder that is learnt, with the fields ``learns`` of a ``TrainConfig``, or that is there.

    ``bounds`` are two lines of the table: random boxes, and random ones of the right category.
    """

    name: str
    label: str
    kind: Kind = "learnt"
    learns: Mapping[str, Any] = field(default_factory=dict)
    encoder: Path | None = None

    def __post_init__(self) -> None:
        if (self.kind == "given") != (self.encoder is not None):
            raise InvalidValueError("encoder", self.encoder, "given with kind 'given', and with no other")

    @property
    def seeded(self) -> bool:
        """Whether another seed gives another encoder."""
        return self.kind in ("learnt", "random")

    def config(self, base: TrainConfig, seed: int) -> TrainConfig:
        """How the row is trained: ``base`` decides the network and the budget."""
        return replace(base, **{**_PAPERS, **self.learns, "seed": seed})


def _table5() -> list[Strategy]:
    return [
        Strategy(
            f"{pairs}-{augmentation}",
            f"{_PAIRS[pairs]} - {_AUGMENTATIONS[augmentation]}",
            learns={"loss": "simsiam", "pairs": pairs, "augmentation": augmentation},
        )
        for pairs, augmentation in product(_PAIRS, _AUGMENTATIONS)
    ]


TABLE5 = _table5()
NEGATIVES = [
    Strategy(
        "ntxent",
        "NT-Xent",
        learns={"loss": "ntxent", "pairs": "nearby", "augmentation": "lc", "temperature": 0.5},
    ),
]
BASELINES = [
    Strategy("bounds", "Random boxes", "bounds"),
    Strategy("random", "Random embeddings", "random"),
    Strategy("raw", "Raw 16x16 pixels", "pixels"),
    Strategy("shipped", "The encoder that ships", "given", encoder=PRETRAINED),
]
_NAMED = {strategy.name: strategy for strategy in (*TABLE5, *NEGATIVES, *BASELINES)}
# The rows of table 2 that are learnt are rows of table 5 and those with negatives.
_GROUPS = {
    "table5": [strategy.name for strategy in TABLE5],
    "table2": ["nearby-lc", "distant-full", "same-lc", *(s.name for s in NEGATIVES), "random"],
    "baselines": [strategy.name for strategy in BASELINES],
    "all": list(_NAMED),
}


def position(name: str) -> tuple[int, str]:
    """By which rows are sorted: as in the tables, those of given encoders last."""
    return (list(_NAMED).index(name) if name in _NAMED else len(_NAMED), name)


def chosen(names: Sequence[str]) -> list[Strategy]:
    """The strategies of names, of groups of names, or of folders with an encoder artefact; each once, in order."""
    found: dict[str, Strategy] = {}
    for name in names:
        for strategy in _resolved(name):
            if found.setdefault(strategy.name, strategy) != strategy:
                raise InvalidValueError("strategies", name, f"a folder of another name than {strategy.name}")
    return list(found.values())


def _resolved(name: str) -> list[Strategy]:
    if name in _GROUPS:
        return [_NAMED[member] for member in _GROUPS[name]]
    if name in _NAMED:
        return [_NAMED[name]]
    folder = Path(name)
    if (folder / MANIFEST).is_file():
        return [Strategy(f"given-{folder.resolve().name}", str(folder), "given", encoder=folder.resolve())]
    known = ", ".join([*_GROUPS, *_NAMED])
    raise InvalidValueError("strategies", name, f"one of {known}, or the folder of an encoder")
