"""What a sweep compares: strategies that are learnt, and encoders and boxes to compare them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from index.encoder import MANIFEST
from index.schema import InvalidValueError
from trainer.config import TrainConfig
from trainer.pretrained import PRETRAINED
from trainer.strategies import NTXENT, STRATEGIES, TABLE_2, strategy

Kind = Literal["learnt", "random", "pixels", "given", "bounds"]


@dataclass(frozen=True)
class Line:
    """One line of the tables: a strategy of that name that is learnt, or an encoder that is there.

    ``bounds`` are two lines: random boxes, and random ones of the right category.
    """

    name: str
    label: str
    kind: Kind
    encoder: Path | None = None

    def __post_init__(self) -> None:
        if (self.kind == "given") != (self.encoder is not None):
            raise InvalidValueError("encoder", self.encoder, "given with kind 'given', and with no other")

    @property
    def seeded(self) -> bool:
        """Whether another seed gives another encoder."""
        return self.kind in ("learnt", "random")

    def config(self, base: TrainConfig, seed: int) -> TrainConfig:
        """How it is trained; ``base`` decides the network and the budget. Of a random network those alone count."""
        seeded = replace(base, seed=seed)
        return strategy(self.name).config(seeded) if self.kind == "learnt" else seeded


_LEARNT = [Line(s.name, s.label, "learnt") for s in STRATEGIES.values() if s.changes is not None]
_BASELINES = [
    Line("bounds", "Random boxes", "bounds"),
    Line("random", STRATEGIES["random"].label, "random"),
    Line("raw", "Raw 16x16 pixels", "pixels"),
    Line("shipped", "The encoder that ships", "given", PRETRAINED),
]
_NAMED = {line.name: line for line in (*_LEARNT, *_BASELINES)}
_GROUPS = {
    "table2": list(TABLE_2.values()),
    "table5": [s.name for s in STRATEGIES.values() if s.table == 5],
    "table5-ntxent": [name for name in STRATEGIES if name.startswith(NTXENT)],
    "baselines": [line.name for line in _BASELINES],
    "all": [name for name in _NAMED if not name.startswith(NTXENT)],  # twice the training for ours to add
}


def position(name: str) -> tuple[int, str]:
    """By which lines are sorted: as in the tables, given encoders last."""
    return (list(_NAMED).index(name) if name in _NAMED else len(_NAMED), name)


def chosen(names: Sequence[str]) -> list[Line]:
    """The lines of names, of groups of names, or of folders with an encoder artefact; each once, in order."""
    found: dict[str, Line] = {}
    for name in names:
        for line in _resolved(name):
            if found.setdefault(line.name, line) != line:
                raise InvalidValueError("strategies", name, f"a folder of another name than {line.name}")
    return list(found.values())


def _resolved(name: str) -> list[Line]:
    if name in _GROUPS:
        return [_NAMED[member] for member in _GROUPS[name]]
    if name in _NAMED:
        return [_NAMED[name]]
    folder = Path(name)
    if (folder / MANIFEST).is_file():
        return [Line(f"given-{folder.resolve().name}", str(folder), "given", folder.resolve())]
    known = ", ".join([*_GROUPS, *_NAMED])
    raise InvalidValueError("strategies", name, f"one of {known}, or the folder of an encoder")
