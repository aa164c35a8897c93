"""One file of a public bucket, by HTTPS: resumed, verified, and politely.

What was received stays in a ``.part`` file and is gone on with by a Range request, in this run or a later one. A file
counts when it has the length that the server announced and the checksums that it gave (``x-goog-hash``).
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol, TypeVar

import google_crc32c
import httpx2

from index.schema import NearposeError

Answer = TypeVar("Answer")

_CHUNK = 1 << 20  # bytes
_TOO_BUSY = {408, 429, 500, 502, 503, 504}
_LONGEST_WAIT_S = 3600.0  # a server that asks for more is asked again another day
_LONGEST_BACKOFF_S = 60.0
_AGENT = "nearpose-fetch (python-httpx2)"


class DownloadError(NearposeError):
    """A file that cannot be had now. Carries ``url`` and ``reason``."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}")


class StoppedError(NearposeError):
    """The run was told to end; what was received is kept."""


class _TryAgainError(Exception):
    """Not this time. ``after_s``: how long the server asks to wait."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        self.after_s = after_s
        super().__init__(reason)


@dataclass(frozen=True)
class Patience:
    """How a server is treated that is busy, or breaks off."""

    attempts: int = 6  # in a row that bring nothing new
    backoff_s: float = 1.0  # the first wait at most; doubled each time, and drawn at random below that
    timeout_s: float = 60.0  # without a byte


@dataclass
class Server:
    """A host that several threads load files from. When it asks for a pause, all of them wait."""

    patience: Patience = field(default_factory=Patience)
    connections: int = 4
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        limits = httpx2.Limits(max_connections=self.connections)
        # Bytes as they are stored, or neither length nor checksum would fit.
        headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
        timeout = httpx2.Timeout(self.patience.timeout_s, pool=None)
        self._client = httpx2.Client(limits=limits, headers=headers, timeout=timeout, follow_redirects=True)
        self._not_before, self._lock = 0.0, threading.Lock()

    @property
    def paused(self) -> bool:
        """Whether it has asked to be left alone for now."""
        return time.monotonic() < self._not_before

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def size(self, url: str) -> int:
        """The bytes of a file, by a HEAD request. Raises DownloadError."""

        def ask() -> int:
            response = self._client.head(url)
            _check_status(url, response)
            return _length(url, response)

        return self._persist(url, ask)

    def text(self, url: str, **query: str) -> str:
        """A small document. Raises DownloadError."""

        def ask() -> str:
            response = self._client.get(url, params=query or None)
            _check_status(url, response)
            return response.text

        return self._persist(url, ask)

    def rate(self, url: str, size: int) -> float:
        """Bytes a second, measured on the first ``size`` of a file; they are not kept. 0 when it cannot be had."""
        try:
            return self._persist(url, lambda: self._timed(url, size))
        except DownloadError:
            return 0.0

    def _timed(self, url: str, size: int) -> float:
        with self._client.stream("GET", url, headers={"Range": f"bytes=0-{size - 1}"}) as response:
            _check_status(url, response)
            start, count = time.monotonic(), 0
            for piece in response.iter_raw():
                count += len(piece)
                if count >= size:
                    break
            return count / max(1e-6, time.monotonic() - start)

    def download(
        self,
        url: str,
        part: Path,
        announce: Callable[[int], object] = lambda _: None,
        received: Callable[[int], object] = lambda _: None,
    ) -> tuple[str, ...]:
        """Makes ``part`` all of the file, going on where it ends, and returns the checksums that it was compared with.

        announce: called with the whole length in bytes before the first of them is written; what it raises is raised.
        received: called with the number of bytes of each piece. Raises DownloadError, StoppedError.
        """

        def attempt() -> tuple[str, ...]:
            return self._attempt(url, part, announce, received)

        return self._persist(url, attempt, lambda: _size(part))

    def _persist(self, url: str, attempt: Callable[[], Answer], progress: Callable[[], int] = lambda: 0) -> Answer:
        """``attempt``, again and again until it succeeds or brings nothing new ``patience.attempts`` times."""
        failed = 0
        while True:
            self._wait_for_our_turn()
            before = progress()
            try:
                return attempt()
            except httpx2.RequestError as error:
                fault = _TryAgainError(f"{type(error).__name__}: {error}")
            except _TryAgainError as error:
                fault = error
            failed = 1 if progress() > before else failed + 1
            if failed >= self.patience.attempts:
                raise DownloadError(url, f"{fault} ({failed} attempts)")
            self._pause(url, fault, failed)

    def _pause(self, url: str, fault: _TryAgainError, failed: int) -> None:
        """Waits as long as the server asks, and then all wait; or else for a random time that doubles."""
        if fault.after_s is not None:
            if fault.after_s > _LONGEST_WAIT_S:
                raise DownloadError(url, f"{fault}; the server asks to wait {fault.after_s:.0f} s")
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + fault.after_s)
        longest = min(_LONGEST_BACKOFF_S, self.patience.backoff_s * 2 ** (failed - 1))
        self._sleep(random.uniform(0, longest))

    def _wait_for_our_turn(self) -> None:
        self._sleep(self._not_before - time.monotonic())

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(max(0.0, seconds)):
            raise StoppedError("stopped")

    def _attempt(
        self, url: str, part: Path, announce: Callable[[int], object], received: Callable[[int], object]
    ) -> tuple[str, ...]:
        # The last byte is asked for again, so that there is an answer when the part is the whole file already.
        start = max(0, _size(part) - 1)
        with self._client.stream("GET", url, headers={"Range": f"bytes={start}-"} if start else {}) as response:
            if response.status_code == 416:
                part.unlink()
                raise _TryAgainError("what was received is longer than the file")
            _check_status(url, response)
            start, total = _span(url, response, start)
            announce(total)
            self._write(response, part, start, received)
            checksums = _checksums(response)
        if _size(part) != total:
            raise _TryAgainError(f"received {_size(part)} of {total} bytes")
        return _verified(part, checksums)

    def _write(self, response: httpx2.Response, part: Path, start: int, received: Callable[[int], object]) -> None:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            for piece in response.iter_raw():
                file.write(piece)
                received(len(piece))
                if self.stopped.is_set():
                    raise StoppedError("stopped")


def _check_status(url: str, response: httpx2.Response) -> None:
    if response.status_code in _TOO_BUSY:
        raise _TryAgainError(f"HTTP {response.status_code}", _retry_after(response))
    if response.status_code not in (200, 206):
        raise DownloadError(url, f"HTTP {response.status_code}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _TryAgainError("a page of HTML instead of the file")


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds, from a number of them or a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _span(url: str, response: httpx2.Response, asked: int) -> tuple[int, int]:
    """Where the answer's bytes begin in the file, ``asked`` or 0, and the file's length."""
    if response.status_code == 200:
        return 0, _length(url, response)
    told = response.headers.get("Content-Range", "")
    if (match := re.fullmatch(rf"bytes {asked}-\d+/(\d+)", told)) is None:
        raise DownloadError(url, f"Content-Range is {told!r}, not from byte {asked} on")
    return asked, int(match[1])


def _length(url: str, response: httpx2.Response) -> int:
    told = response.headers.get("Content-Length", "")
    if not told.isdigit():
        raise DownloadError(url, "the server does not say how long the file is")
    return int(told)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


_HASHES: dict[str, Callable[[], _Hash]] = {"md5": hashlib.md5, "crc32c": google_crc32c.Checksum}


def _checksums(response: httpx2.Response) -> dict[str, bytes]:
    """The checksums of the whole file, by name, as the server gives them: ``x-goog-hash: crc32c=...,md5=...``."""
    told = response.headers.get("x-goog-hash", "")
    given = (entry.strip().partition("=") for entry in told.split(","))
    try:
        return {name: base64.b64decode(value, validate=True) for name, _, value in given if name in _HASHES}
    except ValueError:
        raise _TryAgainError(f"x-goog-hash is {told!r}") from None


def _verified(part: Path, expected: dict[str, bytes]) -> tuple[str, ...]:
    """The names of the checksums that fit. Where one does not, ``part`` is removed and loaded again."""
    hashes = {name: _HASHES[name]() for name in expected}
    with part.open("rb") as file:
        while piece := file.read(_CHUNK):
            for checksum in hashes.values():
                checksum.update(piece)
    for name, checksum in hashes.items():
        if checksum.digest() != expected[name]:
            part.unlink()
            raise _TryAgainError(f"its {name} does not fit")
    return tuple(hashes)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
