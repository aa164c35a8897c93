"""What the check of a capture found, as the file ``check.json`` beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from index.capture import ANNOTATED, CAPTURE_FILE

FINDINGS = "check.json"
SHEET = "check.jpg"  # the pictures, with what was found drawn on them


@dataclass(frozen=True)
class Finding:
    """Something wrong, or worth knowing: of a frame by its number, or of the whole capture.

    ``annotated``: of the ground or a box in the frame, not of the picture, its camera or its pose alone.
    """

    frame: int | None
    kind: str
    text: str
    annotated: bool = False

    def __str__(self) -> str:
        where = "capture" if self.frame is None else f"frame {self.frame}"
        return f"{where}: {self.kind}: {self.text}"


@dataclass(frozen=True)
class Findings:
    """What was found, and digests of the ``capture.json`` that was looked at: of the file, and of how it was filmed.

    The latter is of its fields but the annotation; None where the file was none, or by a check that did not note it.
    """

    capture: str
    findings: tuple[Finding, ...]
    filmed: str | None = None


_CONTENT = TypeAdapter(Findings)


def write_findings(folder: Path, findings: list[Finding]) -> None:
    """Replaces what an earlier check found."""
    draft = folder / f".{FINDINGS}.part"
    capture, filmed = _digests(folder)
    draft.write_bytes(_CONTENT.dump_json(Findings(capture, tuple(findings), filmed), indent=1) + b"\n")
    draft.replace(folder / FINDINGS)


def read_findings(folder: Path) -> tuple[Finding, ...]:
    """Those of the last check that hold still: all if the capture's file is the same as then.

    Where the annotation alone is another, those of frames that do not look at it. None where it was not checked.
    """
    try:
        found = _CONTENT.validate_json((folder / FINDINGS).read_bytes())
        capture, filmed = _digests(folder)
    except (OSError, ValidationError):
        return ()
    if found.capture == capture:
        return found.findings
    if filmed is None or found.filmed != filmed:
        return ()
    return tuple(finding for finding in found.findings if finding.frame is not None and not finding.annotated)


def _digests(folder: Path) -> tuple[str, str | None]:
    data = (folder / CAPTURE_FILE).read_bytes()
    whole = hashlib.sha256(data).hexdigest()
    try:
        filmed = {name: value for name, value in json.loads(data).items() if name not in ANNOTATED}
    except (ValueError, AttributeError, RecursionError):
        return whole, None
    return whole, hashlib.sha256(json.dumps(filmed, sort_keys=True).encode()).hexdigest()
