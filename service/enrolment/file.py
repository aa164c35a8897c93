"""The file of what users enrolled, as a file: made whole, checked before it is trusted, opened durably, errors told.

SQLite up to 3.51.2 can lose committed rows where one process checkpoints the log while another restarts it
(https://sqlite.org/wal.html#walresetbug), and the SQLite is the one that Python came with. So commits, and the
checkpoints that they bring about, also hold a lock file: no two of them ever run at the same time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock

from index.durable import sync
from index.schema import ArtifactError, CorruptArtifactError, ForeignArtifactError, NearposeError
from service.workers import OverloadedError

_APPLICATION_ID = 0x6E706F65  # "npoe"; SQLite keeps it, and the version of the schema, in the file's header
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE frames (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so that a reader need only ask for what is above it
    id TEXT NOT NULL UNIQUE,
    object TEXT NOT NULL,
    category TEXT NOT NULL,
    content TEXT NOT NULL,                  -- JSON: camera, plane, rect and box, as index.table has them
    created TEXT NOT NULL,
    key TEXT UNIQUE,                        -- the client's, where it gave one, with what it asked and was told
    request BLOB,
    receipt TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX frames_by_object ON frames (object, seq);
CREATE TABLE pictures (
    seq INTEGER PRIMARY KEY REFERENCES frames ON DELETE CASCADE,
    jpeg BLOB NOT NULL,
    rect TEXT NOT NULL,                     -- JSON: where the object is in it
    thumbnail BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE vectors (
    digest TEXT NOT NULL,                   -- the encoder's
    seq INTEGER NOT NULL REFERENCES frames ON DELETE CASCADE,
    vector BLOB NOT NULL,                   -- little-endian float32
    checksum INTEGER NOT NULL,
    PRIMARY KEY (digest, seq)
) STRICT;
CREATE INDEX vectors_by_frame ON vectors (seq);
CREATE TABLE state (deletions INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (0);
"""
# What each writing connection is told. A restored copy may not be in WAL mode; secure_delete: removed means gone.
_SETTINGS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",
    "journal_size_limit = 16777216",
)
_FULL = "the disk is full, or cannot be written to"
_CLOSED = "the file of what is enrolled cannot be opened or written to"
BUSY_S = 10.0
_READ_ONLY = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_UNREADABLE = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)


class EnrolmentUnavailableError(NearposeError):
    """Nothing can be enrolled or removed here; the message says why, without the server's paths."""

    headers = {"Retry-After": "30"}  # noqa: RUF012


class StorageFullError(NearposeError):
    """There is no room: the disk is full, or what is kept has reached its bound."""


def create(path: Path) -> None:
    """Makes an empty file, whole or not at all; one that another process has made meanwhile stays."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise CorruptArtifactError(path, "missing, although its log (-wal) is there")
    draft = path.with_name(f".{path.name}.draft-{uuid.uuid4().hex}")
    try:
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            header = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_SCHEMA_VERSION};"
            db.executescript(f"BEGIN; {_SCHEMA} {header} COMMIT;")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        sync(path.parent)
    except (OSError, sqlite3.OperationalError) as error:
        raise EnrolmentUnavailableError("there is no file of what is enrolled, and none can be made here") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def verify(path: Path) -> None:
    """Reads the whole file before anything may write to it: writing to a damaged one could end what is left of it."""
    if path.stat().st_size == 0:
        raise CorruptArtifactError(path, "truncated: it is empty")
    db, _ = reader(path)
    with contextlib.closing(db):
        if pragma(db, "application_id") != _APPLICATION_ID:
            raise ForeignArtifactError(path, "not a file of enrolled frames")
        if (version := pragma(db, "user_version")) != _SCHEMA_VERSION:
            raise ForeignArtifactError(path, f"has version {version}; this nearpose reads {_SCHEMA_VERSION}")
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise CorruptArtifactError(path, f"damaged: {found}")


def reader(path: Path) -> tuple[sqlite3.Connection, bool]:
    """A connection that reads, and whether it sees only what is there now: where nothing can be written beside it."""
    db = _connected(path, "mode=ro")
    log = path.with_name(path.name + "-wal")
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.OperationalError:
        db.close()
        if log.exists() and log.stat().st_size:
            raise
        # Nobody of this machine has it open, and the folder lets nobody: it is taken for one that does not change.
        return _connected(path, "immutable=1"), True
    return db, False


def writer(path: Path) -> sqlite3.Connection | None:
    """A connection that makes every commit durable, or None where the file is read-only."""
    db = _connected(path, "mode=rw")
    try:
        for setting in _SETTINGS:
            db.execute(f"PRAGMA {setting}").fetchall()
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF in _READ_ONLY:
            return None
        raise
    return db


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    url = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(url, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=True)


@contextlib.contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Several reads of one state of the file."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


@contextlib.contextmanager
def refusals(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except filelock.Timeout:
        raise OverloadedError("too many frames are being enrolled at once") from None
    except sqlite3.DatabaseError as error:
        raise _refusal(path, error) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StorageFullError(_FULL) if full else EnrolmentUnavailableError(_CLOSED)) from error


def _refusal(path: Path, error: sqlite3.DatabaseError) -> NearposeError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return OverloadedError("too many frames are being enrolled at once")
    if getattr(error, "sqlite_errorcode", 0) in _UNREADABLE:
        return CorruptArtifactError(path, f"unreadable: {error}")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return StorageFullError(_FULL)
    if code in _READ_ONLY:
        return EnrolmentUnavailableError(_CLOSED)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptArtifactError(path, f"damaged: {error}")
    return ArtifactError(path, f"cannot be used: {error}")


def pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def write_lock(path: Path) -> filelock.BaseFileLock:
    """What every process holds while it commits; the system lets go of it when a process dies."""
    return filelock.FileLock(f"{path}.lock", BUSY_S, thread_local=False, poll_interval=0.002)
