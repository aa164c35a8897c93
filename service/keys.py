"""API keys: a file of lines ``name:sha256[:requests_per_minute]``, read again when it changes.

The file has the keys' hashes alone. A fast hash does, for a key is 32 random bytes and not a password: there is nothing
to guess from. A name may have several lines, so that a key can be exchanged without a moment without one.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from index.schema import InvalidValueError, NearposeError

logger = logging.getLogger(__name__)

_PREFIX = "np_"  # tells scanners of leaked secrets, and people, what it is
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """Who may ask. ``digest`` is the SHA-256 of the key, in hex; ``per_minute`` None: as everyone."""

    name: str
    digest: str
    per_minute: int | None = None


def new_key(name: str, per_minute: int | None = None) -> tuple[str, str]:
    """A new secret key for ``name``, and its line for the file. Raises InvalidValueError."""
    _check_name(name, "name")
    secret = _PREFIX + secrets.token_urlsafe(32)
    line = f"{name}:{_digest(secret)}" + ("" if per_minute is None else f":{per_minute}")
    _key(line, "key")
    return secret, line


class KeyFile:
    """The keys of a file, as it is now.

    A file that has become unreadable or wrong leaves the keys that were read before in force, and is logged once: no
    slip of an editor may lock everyone out or let anyone in.

    Raises:
        InvalidValueError: it is not such a file at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, _stamp(path)
        self._keys = _read(path)

    def find(self, secret: str) -> Key | None:
        """The key that ``secret`` is, or None. Takes as long for a wrong one as for a right one."""
        self._refresh()
        digest, found = _digest(secret), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = _read(self._path)
            logger.info("API keys read again: %d", len(self._keys))
        except NearposeError as error:
            logger.error("API keys not read again, those before stay in force: %s", error)  # noqa: TRY400


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> tuple[Key, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValueError("api_keys", str(path), f"a readable file ({type(error).__name__})") from None
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    return tuple(_key(line, f"api_keys line {number}") for number, line in numbered if line and line[0] != "#")


def _key(line: str, field: str) -> Key:
    name, _, rest = line.partition(":")
    digest, limited, per_minute = rest.partition(":")
    _check_name(name, f"{field}, name")
    if not _DIGEST.fullmatch(digest):  # not repeated: it may be a key in the clear
        raise InvalidValueError(f"{field}, sha256", f"{len(digest)} characters", "64 hexadecimal digits, lower case")
    if not limited:
        return Key(name, digest)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", per_minute):
        raise InvalidValueError(f"{field}, requests_per_minute", per_minute[:16], "a whole number from 1 to 999999999")
    return Key(name, digest, int(per_minute))


def _check_name(name: str, field: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidValueError(field, name[:64], "1 to 64 of A-Z a-z 0-9 . _ -")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
