"""By what a change of files is seen: their names, sizes and times."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def listing_digest(folder: Path) -> str:
    """Changes when a file below ``folder``, also behind a link, comes, goes, or changes in size or time."""
    lines = [f"{file.relative_to(folder)} {size_and_time(file)}" for file in sorted(_files_below(folder))]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def size_and_time(file: Path) -> tuple[int, int]:
    """Bytes, and nanoseconds of the last change; zeros where there is no such file."""
    try:
        status = file.stat()
    except OSError:  # also where others are replacing it right now
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Also where links lead, but not round in circles. ``above``: the folders that it is in, links resolved."""
    here = folder.resolve()
    if here in above:
        return
    with contextlib.suppress(OSError):  # others may be removing it right now
        for entry in os.scandir(folder):
            if entry.is_dir():
                yield from _files_below(folder / entry.name, (*above, here))
            else:
                yield folder / entry.name
