"""One process at a time: whoever comes later waits."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Of all that are in such a ``with`` block for ``folder``, on this machine, one at a time is; the others wait.

    The lock is gone with the process that holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system has locks
            _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("%s: another process writes to it; waiting", folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
