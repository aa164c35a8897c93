"""Files of a source that nobody here wrote: bounded, and never outside of its folder."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import cv2

from index.schema import InvalidValueError
from trainer.captures.shot import CaptureError

PICTURES = frozenset({".jpg", ".jpeg", ".png"})
VIDEOS = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv"})

# An hour's recording has fewer files, and no text of one is larger.
_MOST_FILES = 400_000
_MOST_BYTES = 32 << 30
_LARGEST_TEXT = 1 << 28
# Pictures and videos are compressed already; JSON and CSV shrink to a tenth, depth maps to a fifth.
_MOST_RATIO = 50
_FREE_BYTES = 1 << 26  # below this no ratio is too large
_CHUNK = 1 << 20


def inside(folder: Path, name: str, field: str) -> Path:
    """The file ``name`` of ``folder``; InvalidValueError, calling it ``field``, when that is anywhere else."""
    path = folder / name.replace("\\", "/")
    if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidValueError(field, name, f"a file inside {folder}")
    return path


def read_text(file: Path) -> str:
    """A text file's contents. CaptureError when it is missing, too large or not text."""
    if not file.is_file():
        raise CaptureError(file, "missing")
    if file.stat().st_size > _LARGEST_TEXT:
        raise CaptureError(file, f"{file.stat().st_size} bytes, more than the {_LARGEST_TEXT} that are read")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise CaptureError(file, "not a text file") from None


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. CaptureError when there is none."""
    try:
        document = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise CaptureError(file, f"not JSON ({error})") from None
    if not isinstance(document, dict):
        raise CaptureError(file, "not a JSON object")
    return document


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def picture_size(file: Path) -> tuple[int, int]:
    """Width and height as stored. CaptureError when it is no picture."""
    image = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise CaptureError(file, "not a readable picture")
    return image.shape[1], image.shape[0]


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """The folder or file to read: ``source`` itself, or, of an archive, a temporary folder with what is in it."""
    if not source.exists():
        raise CaptureError(source, "missing")
    if source.is_dir() or not zipfile.is_zipfile(source):
        if source.suffix.lower() in (".zip", ".r3d"):
            raise CaptureError(source, "not a zip archive, or a truncated one")
        yield source
        return
    with TemporaryDirectory(prefix="nearpose-import-") as name:
        folder = Path(name)
        try:
            _extract(source, folder)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise CaptureError(source, f"the archive cannot be read ({error})") from None
        yield _single(folder)


def _single(folder: Path) -> Path:
    """The folder in an archive that holds nothing else, or its only video."""
    inner = [path for path in folder.iterdir() if path.name != "__MACOSX"]
    if len(inner) != 1:
        return folder
    if inner[0].is_dir():
        return _single(inner[0])
    return inner[0] if inner[0].suffix.lower() in VIDEOS else folder


def _extract(source: Path, folder: Path) -> None:
    """Writes the archive's files into ``folder``, counting what really comes out: headers may lie."""
    budget = min(_MOST_BYTES, max(_FREE_BYTES, _MOST_RATIO * source.stat().st_size))
    with zipfile.ZipFile(source) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > _MOST_FILES:
            raise CaptureError(source, f"{len(members)} files in it, more than {_MOST_FILES}")
        for member in members:
            budget = _extract_one(archive, member, folder, budget, source)


def _extract_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, budget: int, source: Path) -> int:
    """Writes one file; returns how many bytes may still follow."""
    if PurePosixPath(member.filename).is_absolute():
        raise InvalidValueError(f"{source}: file name", member.filename, "a file inside the archive")
    target = inside(folder, member.filename, f"{source}: file name")
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as packed, target.open("wb") as unpacked:
        while data := packed.read(_CHUNK):
            budget -= len(data)
            if budget < 0:
                size, bound = source.stat().st_size, f"at most {_MOST_RATIO} times the archive's size"
                raise InvalidValueError(f"{source}: unpacked size", f"more than {_MOST_RATIO} x {size}", bound)
            unpacked.write(data)
    return budget
