"""Many small files in one: an uncompressed tar that is written once and then read by offset.

A shard is an ordinary tar archive (``tar tf`` lists it). Who reads it by offset keeps ``(offset, length)`` of each
payload in a table beside it.
"""

from __future__ import annotations

import io
import mmap
import os
import tarfile
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from index.schema import CorruptArtifactError

# Every mapping holds a file descriptor, and processes are commonly allowed 1,024 of them.
_OPEN_SHARDS = 128


class ShardWriter:
    """Writes a shard under a temporary name, which becomes ``path`` when the ``with`` block ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(self.path.name + ".partial")

    def __enter__(self) -> ShardWriter:
        self._file = self._partial.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w")
        return self

    def append(self, name: str, data: bytes) -> tuple[int, int]:
        """Add a file and return the (offset, length) of its payload, bytes."""
        header = tarfile.TarInfo(name)
        header.size = len(data)
        self._tar.addfile(header, io.BytesIO(data))
        padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return self._file.tell() - padded, len(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()
        self._file.close()
        if kind is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink()


def read_shard(path: Path, offset: int, length: int) -> bytes:
    """The payload at ``offset``, ``length`` bytes, from a memory map that is kept for the next call.

    Raises CorruptArtifactError, naming the file, when it is missing or ends before ``offset + length``.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  a third of the time of Path.stat, once per picture
    except FileNotFoundError:
        raise CorruptArtifactError(path, "missing") from None
    if offset < 0 or length < 0 or offset + length > status.st_size:
        raise CorruptArtifactError(
            path, f"truncated: bytes {offset} to {offset + length} asked of a file of {status.st_size}"
        )
    if not length:
        return b""
    return _mapped(os.fspath(path), status.st_ino, status.st_mtime_ns, status.st_size)[offset : offset + length]


@lru_cache(maxsize=_OPEN_SHARDS)
def _mapped(path: str, inode: int, modified: int, size: int) -> mmap.mmap:
    """The file's memory map. All but ``path`` are there to tell a replaced file from the one that was mapped."""
    with open(path, "rb") as file:  # noqa: PTH123
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
