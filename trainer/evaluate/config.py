"""How an index is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from index.predict import DEFAULT_K, MAX_K
from index.schema import InvalidValueError

SYMMETRIC = ("bottle", "cup")  # the published ones, whose handles count not


@dataclass(frozen=True)
class EvaluateConfig:
    """How an index is evaluated."""

    queries: int = 2000  # test frames at most, evenly spread: more only narrow the interval within a video
    k: int = DEFAULT_K  # neighbours for the consensus box, the service's default
    seed: int = 0
    device: str = "auto"
    full: bool = False  # also with fewer labelled sequences, and with errors in what comes with a picture
    symmetric: tuple[str, ...] = SYMMETRIC  # categories or objects that look the same from all sides
    fractions: tuple[float, ...] = (1.0, 0.1, 0.01)  # of the labelled sequences
    draws: int = 5  # of a fraction's sequences
    processes: int | None = None  # that fit boxes; None: one a core where there are queries enough

    def __post_init__(self) -> None:
        for name in ("queries", "draws"):
            if getattr(self, name) < 1:
                raise InvalidValueError(name, getattr(self, name), "at least 1")
        if not 1 <= self.k <= MAX_K:
            raise InvalidValueError("k", self.k, f"from 1 to {MAX_K}")
        if self.processes is not None and self.processes < 1:
            raise InvalidValueError("processes", self.processes, "at least 1, or None")
        if bad := [fraction for fraction in self.fractions if not 0 < fraction <= 1]:
            raise InvalidValueError("fractions", bad, "above 0, at most 1")
