"""What the check of a capture found, as the file ``check.json`` beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from index.capture import CAPTURE_FILE

FINDINGS = "check.json"
SHEET = "check.jpg"  # the pictures, with what was found drawn on them


@dataclass(frozen=True)
class Finding:
    """Something wrong, or worth knowing: of a frame by its number, or of the whole capture."""

    frame: int | None
    kind: str
    text: str

    def __str__(self) -> str:
        where = "capture" if self.frame is None else f"frame {self.frame}"
        return f"{where}: {self.kind}: {self.text}"


@dataclass(frozen=True)
class Findings:
    """What was found, and a digest of the ``capture.json`` that was looked at."""

    capture: str
    findings: tuple[Finding, ...]


_CONTENT = TypeAdapter(Findings)


def write_findings(folder: Path, findings: list[Finding]) -> None:
    """Replaces what an earlier check found."""
    draft = folder / f".{FINDINGS}.part"
    draft.write_bytes(_CONTENT.dump_json(Findings(_digest(folder), tuple(findings)), indent=1) + b"\n")
    draft.replace(folder / FINDINGS)


def read_findings(folder: Path) -> tuple[Finding, ...]:
    """Those of the last check that hold still: of the frames, and of the capture if its file is the same as then.

    None where it was not checked, or by another version.
    """
    try:
        found = _CONTENT.validate_json((folder / FINDINGS).read_bytes())
        same = found.capture == _digest(folder)
    except (OSError, ValidationError):
        return ()
    return tuple(finding for finding in found.findings if same or finding.frame is not None)


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / CAPTURE_FILE).read_bytes()).hexdigest()
