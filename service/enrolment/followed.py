"""The file of what users enrolled, opened and watched, and its frames in memory, as the open encoder sees them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from index.encoder import Encoder
from index.growing import GrowingIndex, GrownFrames
from index.schema import ArtifactError, NearposeError
from index.search import Vectors
from service.enrolment.file import EnrolmentUnavailableError
from service.enrolment.keep import embed
from service.enrolment.records import Stored
from service.enrolment.store import EnrolmentStore

logger = logging.getLogger(__name__)

_MISSING = "enrolment: what users enrolled cannot be read at present; frames of theirs may be missing"
_RETRY_S = 30.0
_BATCH = 256


class Enrolment:
    """Opens the file, and does without it while it cannot be used: then the index alone answers.

    Args:
        path: the file; it is made where there is none.
        max_bytes: how large all that is kept may become; 0 does without enrolment.

    Attributes:
        failure: why there is no file; it names no file or folder of the server.
        warnings: what an answer must say of that.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._store: EnrolmentStore | None = None
        self._failed_at = 0.0
        self.failure: str | None = None
        self.warnings: tuple[str, ...] = ()

    @property
    def store(self) -> EnrolmentStore:
        """The open file. Raises EnrolmentUnavailableError, saying why, while there is none."""
        if self._store is None:
            raise EnrolmentUnavailableError(f"enrolment is off: {self.failure or 'it is being opened'}")
        return self._store

    @contextlib.contextmanager
    def using(self) -> Iterator[EnrolmentStore]:
        """The open file, which is given up where it turns out to be damaged. Raises EnrolmentUnavailableError."""
        store = self.store
        try:
            yield store
        except ArtifactError as error:
            if error.path != self._path:  # of the index, which a frame was looked up in meanwhile
                raise
            self.fail(error)
            raise EnrolmentUnavailableError(f"enrolment is off: {self.failure}") from error

    @property
    def note(self) -> str | None:
        """What the open file does not let be done; None where it lets all, or there is none."""
        return self._store.note if self._store is not None else None

    @property
    def accepts(self) -> bool:
        """Whether frames can be enrolled."""
        return self._store is not None and self._store.writable

    def open(self) -> bool:
        """Opens the file if it is not open and did not fail lately. Whether it has been opened just now."""
        if self._store is not None or (self.failure and time.monotonic() - self._failed_at < _RETRY_S):
            return False
        if not self._max_bytes:
            self.failure = "the service is set to keep nothing"
            return False
        try:
            self._store = EnrolmentStore(self._path, self._max_bytes)
        except Exception as error:  # whatever it is, the index must go on answering
            self.fail(error)
            return False
        if self.note:
            logger.warning("enrolment (%s): %s", self._path, self.note)
        self.failure, self.warnings = None, ()
        return True

    def fail(self, error: Exception) -> None:
        """Gives the file up for a while because of ``error``, which is logged where it is a new one."""
        self._store, self._failed_at = None, time.monotonic()
        foreseen = isinstance(error, NearposeError)
        reason = error.reason if isinstance(error, ArtifactError) else str(error) if foreseen else type(error).__name__
        if reason != self.failure:
            logger.warning("enrolment is off (%s): %s", self._path, error, exc_info=None if foreseen else error)
        self.failure = reason
        if not isinstance(error, EnrolmentUnavailableError):
            self.warnings = (_MISSING,)

    def close(self) -> None:
        """Closes the file."""
        if self._store is not None:
            self._store.close()


class Followed:
    """The enrolled frames, with the vectors of one encoder; what any process commits is there at the next look.

    A frame that has no vector of this encoder yet is embedded before anything is answered: none is ever missing.

    Args:
        enrolment: the file.
        encoder: that of the open version of the index.
        identity_map: the encoder's, where it has one.
    """

    def __init__(self, enrolment: Enrolment, encoder: Encoder, identity_map: Vectors | None = None) -> None:
        self._enrolment, self._encoder, self._identity_map = enrolment, encoder, identity_map
        self._lock = threading.Lock()
        self._store: EnrolmentStore | None = None
        self._version, self._deletions = -1, 0
        self._seqs: list[int] = []
        self._index = GrowingIndex(encoder.dimension, identity_map)
        self._view = self._index.view()

    def prepare(self) -> None:
        """Embeds, and keeps the vectors of, all that has none of this encoder yet, then loads everything."""
        if self._enrolment.failure is None:
            try:
                self._embed_all(self._enrolment.store)
            except NearposeError as error:  # they are made once more when the frames are loaded
                logger.warning("enrolment: vectors of a new encoder could not be kept: %s", error)
        self.current()

    def current(self) -> GrownFrames:
        """All that is enrolled now; what was last known while the file cannot be used."""
        with self._lock:
            if self._enrolment.failure is None:
                try:
                    self._catch_up(self._enrolment.store)
                except Exception as error:  # whatever it is, the index must go on answering
                    self._enrolment.fail(error)
            return self._view

    def _catch_up(self, store: EnrolmentStore) -> None:
        if store is not self._store:
            self._reset(store)
        if (version := store.data_version()) != self._version:
            self._load(store)
            self._version = version

    def _reset(self, store: EnrolmentStore) -> None:
        """Begins anew with a file. What was known stays in view until the file has been read."""
        self._store, self._version = store, -1
        self._deletions, self._seqs = 0, []
        self._index = GrowingIndex(self._encoder.dimension, self._identity_map)

    def _load(self, store: EnrolmentStore) -> None:
        after = self._seqs[-1] if self._seqs else 0
        changes = store.changes(self._encoder.digest, after, self._deletions)
        vectors = self._vectors(store, changes.frames)
        if changes.alive is not None:
            rows = [row for row, seq in enumerate(self._seqs) if seq in changes.alive]
            self._index, self._seqs = self._index.keeping(rows), [self._seqs[row] for row in rows]
            self._deletions = changes.deletions
        there = [stored for stored in changes.frames if stored.seq in vectors]
        if there:
            self._index.append([s.frame for s in there], np.stack([vectors[s.seq] for s in there]))
            self._seqs += [s.seq for s in there]
        self._view = self._index.view()

    def _vectors(self, store: EnrolmentStore, frames: Sequence[Stored]) -> dict[int, Vectors]:
        """Of each frame that is still there. Those that the file lacks are made, to be kept at the next start."""
        missing = [stored.seq for stored in frames if stored.vector is None]
        vectors = {stored.seq: stored.vector for stored in frames if stored.vector is not None}
        for start in range(0, len(missing), _BATCH):
            vectors |= self._embedded(store, missing[start : start + _BATCH])
        return vectors

    def _embed_all(self, store: EnrolmentStore) -> None:
        while missing := store.missing(self._encoder.digest, _BATCH):
            made = self._embedded(store, missing)
            if not (made and store.writable):
                return
            store.save_vectors(self._encoder.digest, list(made.items()))

    def _embedded(self, store: EnrolmentStore, seqs: Sequence[int]) -> dict[int, Vectors]:
        found = {seq: kept for seq in seqs if (kept := store.picture(seq)) is not None}
        if not found:
            return {}
        return dict(zip(found, embed(self._encoder, list(found.values())), strict=True))
