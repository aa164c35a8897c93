"""Files and folders that are still there after a crash."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Waits until a file's content, or which names a folder holds, is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system lets a folder be synced
            raise
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """The same of a folder and everything in it."""
    for path in (*folder.rglob("*"), folder):
        sync(path)
