"""What users enrolled, in one SQLite file: frames, their pictures, and their vectors for each encoder. Knows no HTTP.

What ``add`` has returned is on the disk (WAL, synchronous=FULL). Any number of processes may share the file; each sees
what the others commit. Every row carries a checksum, and a file that is damaged is refused and left as it is.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from index.schema import CorruptArtifactError, InvalidValueError
from index.search import Vectors
from index.table import frame_from_row, row_from_frame
from service.enrolment.file import (
    EnrolmentUnavailableError,
    StorageFullError,
    create,
    pragma,
    reader,
    refusals,
    snapshot,
    verify,
    write_lock,
    writer,
)
from service.enrolment.records import Changes, Enrolee, EnrolledFrame, EnrolledObject, Kept, Receipt, Stored

_LATEST = 100
_CONTENT = ("camera", "plane", "rect", "box")
_READ_ONLY = "the file is read-only: what it holds is searched, nothing can be added"
_FROZEN = (
    "the file's folder is read-only: what it held at the start is searched, nothing can be added, and what others "
    "write to it meanwhile is not seen before a restart"
)


class KeyReusedError(InvalidValueError):
    """An idempotency key that came with another request before."""


class UnknownObjectError(InvalidValueError):
    """An object, or a frame of it, of which nothing is enrolled."""


class EnrolmentStore:
    """The file, open. Safe to use from several threads.

    Args:
        path: the file; made where there is none.
        max_bytes: how large all that is kept may become.

    Raises:
        EnrolmentUnavailableError: there is no file and none can be made (a read-only folder).
        CorruptArtifactError, ForeignArtifactError: a file that is damaged, or not one of these. It is not touched.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._max_bytes = path, max_bytes
        if not path.exists():
            create(path)
        with refusals(path):
            verify(path)
            self._writer = writer(path)
            self._reader, self._frozen = reader(path)
        self._inode = path.stat().st_ino
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._lock = write_lock(path)

    @property
    def writable(self) -> bool:
        """Whether anything can be enrolled."""
        return self._writer is not None

    @property
    def note(self) -> str | None:
        """What cannot be done with the file, without its path; None where all can be."""
        if self._frozen:
            return _FROZEN
        return None if self.writable else _READ_ONLY

    def close(self) -> None:
        """Closes the file; the last process to do so also ends its log."""
        with self._reading, self._writing:
            self._reader.close()
            if self._writer is not None:
                self._writer.close()

    def data_version(self) -> int:
        """Another number whenever anything was committed to the file, by whatever process. Takes microseconds."""
        with self._read() as db:
            return int(db.execute("PRAGMA data_version").fetchone()[0])

    def changes(self, digest: str, after: int = 0, deletions: int = 0) -> Changes:
        """What a reader lacks that has seen the frames up to ``after`` and ``deletions`` removals.

        Raises CorruptArtifactError where a checksum does not hold.
        """
        with self._read() as db, snapshot(db):
            now = int(db.execute("SELECT deletions FROM state").fetchone()[0])
            alive = None if now == deletions else frozenset(seq for (seq,) in db.execute("SELECT seq FROM frames"))
            rows = db.execute(
                "SELECT f.seq, f.id, f.object, f.category, f.content, f.checksum, v.vector, v.checksum FROM frames f "
                "LEFT JOIN vectors v ON v.seq = f.seq AND v.digest = ? WHERE f.seq > ? ORDER BY f.seq",
                (digest, after),
            )
            return Changes(now, alive, [self._stored(row) for row in rows])

    def replayed(self, key: str, request: bytes) -> Receipt | None:
        """What this very request was told before; None where its key is new. Raises KeyReusedError."""
        with self._read() as db:
            return _replayed(db, key, request)

    def add(self, new: Enrolee) -> Receipt:
        """Enrols a frame, for good, or answers with the receipt of the request that did so under the same key.

        Raises:
            KeyReusedError: the key came with another request.
            InvalidValueError: the object is enrolled with another category.
            StorageFullError, EnrolmentUnavailableError, OverloadedError: nothing has been enrolled.
        """
        with self._write() as db:
            if new.key is not None and (receipt := _replayed(db, new.key, new.request)):
                return receipt
            category, count = _category(db, new), _count(db, new.frame.object_id) + 1
            self._check_room(db, len(new.kept.jpeg) + len(new.kept.thumbnail) + new.vector.nbytes)
            names = (new.frame.id, new.frame.object_id, category)
            receipt = Receipt(*names, enrolled=count, frames=new.indexed + count, warnings=new.warnings)
            _insert(db, new, receipt)
        return receipt

    def remove_object(self, object_id: str) -> None:
        """Removes all that is enrolled of an object. Raises UnknownObjectError."""
        self._remove("object = ?", (object_id,), UnknownObjectError("object", object_id, _KNOWN_OBJECT))

    def remove_frame(self, object_id: str, frame: str) -> None:
        """Removes one enrolled frame of an object. Raises UnknownObjectError."""
        unknown = UnknownObjectError("frame", frame, f"an enrolled frame of the object {object_id!r}")
        self._remove("object = ? AND id = ?", (object_id, frame), unknown)

    def object(self, object_id: str) -> EnrolledObject | None:
        """What is enrolled of an object, with its latest frames; None for nothing."""
        with self._read() as db, snapshot(db):
            count = _count(db, object_id)
            latest = db.execute(
                "SELECT id, created, content, category FROM frames WHERE object = ? ORDER BY seq DESC LIMIT ?",
                (object_id, _LATEST),
            ).fetchall()
        if not latest:
            return None
        frames = [
            EnrolledFrame(frame, created, json.loads(content)["box"] is not None)
            for frame, created, content, _ in latest
        ]
        return EnrolledObject(object_id, latest[0][3], count, frames)

    def objects(self, after: str, limit: int) -> list[EnrolledObject]:
        """The first ``limit`` objects whose ids come after ``after``, in the order of their ids."""
        columns = "object, min(category), count(*)"
        query = f"SELECT {columns} FROM frames WHERE object > ? GROUP BY object ORDER BY object LIMIT ?"
        with self._read() as db:
            return [EnrolledObject(*row) for row in db.execute(query, (after, limit))]

    def thumbnail(self, frame: str) -> bytes:
        """The JPEG of a frame. Raises KeyError when it is not, or no longer, there."""
        with self._read() as db:
            query = "SELECT thumbnail FROM pictures JOIN frames USING (seq) WHERE id = ?"
            row = db.execute(query, (frame,)).fetchone()
        if row is None:
            raise KeyError(frame)
        return bytes(row[0])

    def missing(self, digest: str, limit: int) -> list[int]:
        """Up to ``limit`` frames without a vector of an encoder, any of them: processes that share the work differ."""
        query = (
            "SELECT seq FROM frames f WHERE NOT EXISTS (SELECT 1 FROM vectors v WHERE v.seq = f.seq AND v.digest = ?) "
            "ORDER BY random() LIMIT ?"
        )
        with self._read() as db:
            return [seq for (seq,) in db.execute(query, (digest, limit))]

    def picture(self, seq: int) -> Kept | None:
        """What is kept of a frame's picture; None where the frame has been removed. Raises CorruptArtifactError."""
        with self._read() as db:
            query = "SELECT jpeg, rect, thumbnail, checksum FROM pictures WHERE seq = ?"
            row = db.execute(query, (seq,)).fetchone()
        if row is None:
            return None
        if _checksum(*row[:3]) != row[3]:
            raise CorruptArtifactError(self.path, f"the checksum of picture {seq} does not hold")
        x0, y0, x1, y1 = json.loads(row[1])
        return Kept(row[0], (x0, y0, x1, y1), row[2])

    def save_vectors(self, digest: str, vectors: Sequence[tuple[int, Vectors]]) -> None:
        """Keeps vectors (d,) of frames, of those that are still there and have none of this encoder yet."""
        rows = [(digest, seq, data := _bytes(vector), _checksum(data), seq) for seq, vector in vectors]
        query = "INSERT OR IGNORE INTO vectors SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM frames WHERE seq = ?)"
        with self._write() as db:
            db.executemany(query, rows)

    def forget_vectors(self, keep: set[str]) -> None:
        """Drops the vectors of every encoder whose digest is not among ``keep``."""
        with self._read() as db:
            kept = {digest for (digest,) in db.execute("SELECT DISTINCT digest FROM vectors")}
        if kept - keep:
            with self._write() as db:
                db.executemany("DELETE FROM vectors WHERE digest = ?", [(digest,) for digest in kept - keep])

    def _remove(self, condition: str, values: tuple[str, ...], unknown: Exception) -> None:
        with self._write() as db:
            if db.execute(f"DELETE FROM frames WHERE {condition}", values).rowcount == 0:
                raise unknown
            db.execute("UPDATE state SET deletions = deletions + 1")

    def _check_room(self, db: sqlite3.Connection, more: int) -> None:
        used = sum(pragma(db, name) * sign for name, sign in (("page_count", 1), ("freelist_count", -1)))
        if used * pragma(db, "page_size") + more > self._max_bytes:
            raise StorageFullError(f"what is enrolled takes {self._max_bytes} bytes, which is the limit")

    def _stored(self, row: tuple[Any, ...]) -> Stored:
        seq, frame_id, object_id, category, content, checksum, vector, vector_checksum = row
        if _checksum(frame_id, object_id, category, content) != checksum:
            raise CorruptArtifactError(self.path, f"the checksum of frame {seq} does not hold")
        if vector is not None and _checksum(vector) != vector_checksum:
            raise CorruptArtifactError(self.path, f"the checksum of the vector of frame {seq} does not hold")
        names = {"id": frame_id, "object_id": object_id, "category": category}
        frame = frame_from_row(json.loads(content) | names)
        return Stored(seq, frame, None if vector is None else np.frombuffer(vector, "<f4"))

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with refusals(self.path), self._reading:
            yield self._reader

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is done, and on the disk, or nothing."""
        if self._writer is None:
            raise EnrolmentUnavailableError("the file of what is enrolled cannot be written to")
        with refusals(self.path), self._writing, self._lock:
            self._check_in_place()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def _check_in_place(self) -> None:
        """A file that was moved away or replaced still takes all that is written to it, for nobody to find."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            raise CorruptArtifactError(self.path, "was removed or replaced while it was in use")


_KNOWN_OBJECT = "an object of which frames are enrolled"


def _replayed(db: sqlite3.Connection, key: str, request: bytes) -> Receipt | None:
    row = db.execute("SELECT request, receipt FROM frames WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    if row[0] != request:
        raise KeyReusedError("Idempotency-Key", key, "new: another request came with it before")
    told = json.loads(row[1])
    return Receipt(**told | {"warnings": tuple(told["warnings"])}, replayed=True)


def _category(db: sqlite3.Connection, new: Enrolee) -> str:
    """The category of a frame, checked to be that of its object."""
    row = db.execute("SELECT category FROM frames WHERE object = ? LIMIT 1", (new.frame.object_id,)).fetchone()
    if row is None or row[0] == new.frame.category:
        return new.frame.category
    if not new.guessed:
        raise InvalidValueError("category", new.frame.category, f"{row[0]}, as of the object's other frames")
    return str(row[0])


def _count(db: sqlite3.Connection, object_id: str) -> int:
    return int(db.execute("SELECT count(*) FROM frames WHERE object = ?", (object_id,)).fetchone()[0])


def _insert(db: sqlite3.Connection, new: Enrolee, receipt: Receipt) -> None:
    row = row_from_frame(new.frame)
    content = json.dumps({name: row[name] for name in _CONTENT})
    told = {name: value for name, value in asdict(receipt).items() if name != "replayed"}
    names = (receipt.frame, receipt.object, receipt.category, content)
    created = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    seq = db.execute(
        "INSERT INTO frames (id, object, category, content, created, key, request, receipt, checksum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*names, created, new.key, new.request, json.dumps(told), _checksum(*names)),
    ).lastrowid
    picture = (new.kept.jpeg, json.dumps(new.kept.rect), new.kept.thumbnail)
    db.execute("INSERT INTO pictures VALUES (?, ?, ?, ?, ?)", (seq, *picture, _checksum(*picture)))
    vector = _bytes(new.vector)
    db.execute("INSERT INTO vectors VALUES (?, ?, ?, ?)", (new.digest, seq, vector, _checksum(vector)))


def _bytes(vector: Vectors) -> bytes:
    return np.ascontiguousarray(vector, "<f4").tobytes()


def _checksum(*parts: str | bytes) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part.encode() if isinstance(part, str) else part, checksum)
    return checksum
