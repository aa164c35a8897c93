"""How a version of the index came about: which captures it holds, and what of it is older than it is itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class History:
    """What a manifest says under ``history``.

    Attributes:
        sources: what frames are of, by name, with the digest of its files; a frame's row names its source.
        left_out: sources of which something was removed, likewise: it is not added again unless they change, or are
            asked for by name.
        calibrated_frames: how many frames the index had when its calibration and recognition were made.
        calibrated_in: the version in which they were; None: in this one.
        laid_out_in: likewise, for ``map.npy``: frames that are newer lie where their nearest one does.
    """

    sources: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    calibrated_frames: int = 0
    calibrated_in: str | None = None
    laid_out_in: str | None = None

    @classmethod
    def from_manifest(cls, value: Mapping[str, Any] | None) -> History | None:
        """None for versions that were written before there was one."""
        return None if value is None else cls(**value)
