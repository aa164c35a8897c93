"""Middlebury's multi-view sets: ``<name>_par.txt``, a line a picture with K, R and t of K [R | t].

Their worlds are in metres, y up (temple and dino); pixels are counted from the centre of the first one. Pictures may
lie on their side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from index.schema import InvalidValueError
from trainer.captures.shot import CaptureError
from trainer.importers.files import inside, picture_size, read_text
from trainer.importers.intrinsics import four, pinhole_from_centre
from trainer.importers.poses import finite, inverse, rigid, rotation
from trainer.importers.recording import RecordedFrame, Recording, timed


def recognises(source: Path) -> bool:
    return len(list(source.glob("*_par.txt"))) == 1


def read(source: Path) -> Recording:
    """The recording in the folder ``source``; lines whose picture is missing are skipped and counted."""
    (file,) = source.glob("*_par.txt")
    lines = [line.split() for line in read_text(file).splitlines() if line.strip()]
    if not lines or lines[0] != [str(len(lines) - 1)]:
        raise InvalidValueError(f"{file}, line 1", lines[0] if lines else "", f"the number of lines, {len(lines) - 1}")
    parsed = [_frame(source, cells, f"{file}, line {number}") for number, cells in enumerate(lines[1:], start=2)]
    frames = [frame for frame in parsed if frame]
    missing = len(parsed) - len(frames)
    if not frames:
        raise CaptureError(file, f"none of its {missing} pictures are there")
    notes = (f"{missing} of {len(parsed)} lines skipped: their pictures are missing",) if missing else ()
    return Recording("Middlebury", timed(frames), np.array([0.0, 1, 0]), notes=notes)


def _frame(source: Path, cells: list[str], field: str) -> RecordedFrame | None:
    if len(cells) != 22:
        raise InvalidValueError(field, len(cells), "a picture's name and 21 numbers")
    picture = inside(source, cells[0], field)
    values = finite(field, cells[1:], 21)
    k, world_to_camera = values[:9].reshape(3, 3), values[9:18].reshape(3, 3)
    if not picture.is_file():
        return None
    camera = pinhole_from_centre(f"{field}: K", four(k), picture_size(picture))
    pose = inverse(rigid(rotation(f"{field}: R", world_to_camera), values[18:]))
    return RecordedFrame(picture, 0.0, camera, pose)
