"""The current version of the index, kept open and exchanged while requests run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from index.encoder import Encoder
from index.predict import Predictor
from index.schema import ArtifactError, NearposeError
from index.store import IndexVersion, current_version, open_index
from service.batching import BatchedPredictor

logger = logging.getLogger(__name__)

CURRENT = "CURRENT"
_RETRY_S = 30.0  # a version that could not be opened may have failed for want of memory: it is tried again


class NotReadyError(NearposeError):
    """No version of the index is open yet."""


@dataclass(frozen=True)
class Failure:
    """A version that could not be opened, or ``CURRENT`` itself. ``reason`` names no file or folder of the server."""

    version: str
    reason: str


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One version, open: all that answering takes."""

    index: IndexVersion
    predictor: Predictor


class LiveIndex:
    """Watches an index folder and holds what answers requests: one version's index with its encoder.

    A request takes ``snapshot`` once and stays with it, so that an exchange never shows in the middle of an answer.
    A version that cannot be opened is logged once and kept in ``failure``; the one before it goes on answering.

    Args:
        root: the folder that holds ``CURRENT``; it may not exist yet.
        open_encoder: opens a version's encoder; runs in the watching thread.
        poll_s: seconds between two looks at ``CURRENT``.
    """

    def __init__(self, root: Path, open_encoder: Callable[[Path], Encoder], poll_s: float) -> None:
        self._root, self._open_encoder, self._poll_s = root, open_encoder, poll_s
        self._snapshot: Snapshot | None = None
        self._failed_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-index", daemon=True)
        self.failure: Failure | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The open version. Raises NotReadyError while there is none."""
        if self._snapshot is None:
            reason = f"{self.failure.version}: {self.failure.reason}" if self.failure else "it is being opened"
            raise NotReadyError(f"no index is loaded ({reason})")
        return self._snapshot

    def start(self) -> None:
        """Begins to watch. The first version is opened in the background, too."""
        self._thread.start()

    def close(self) -> None:
        """Stops watching. A version that is being opened is waited for, a few seconds at most."""
        self._stop.set()
        self._thread.join(timeout=5)

    def refresh(self) -> None:
        """Opens the current version, if it is not the one that is open."""
        version = CURRENT
        try:
            version = current_version(self._root)
            if not self._is_open(version):
                if self._failed_lately(version):
                    return
                self._snapshot = self._open(version)
                logger.info("index version %s is open: %d frames", version, len(self._snapshot.index))
            self.failure = None
        except Exception as error:  # whatever it is, the version before must go on answering
            self._remember(Failure(version, _reason(error)), error)

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._poll_s)

    def _is_open(self, version: str) -> bool:
        return self._snapshot is not None and self._snapshot.index.version == version

    def _failed_lately(self, version: str) -> bool:
        failed = self.failure is not None and self.failure.version == version
        return failed and time.monotonic() - self._failed_at < _RETRY_S

    def _open(self, version: str) -> Snapshot:
        index = open_index(self._root, version)
        predictor = BatchedPredictor(self._encoder_of(index), index)
        predictor.warm_up()
        return Snapshot(index, predictor)

    def _encoder_of(self, index: IndexVersion) -> Encoder:
        """The version's encoder; the open one where it is the same, which spares its loading and its memory."""
        if self._snapshot is not None and self._snapshot.index.encoder_digest == index.encoder_digest:
            return self._snapshot.predictor.encoder
        return self._open_encoder(index.encoder_path)

    def _remember(self, failure: Failure, error: Exception) -> None:
        if failure != self.failure:
            unforeseen = None if isinstance(error, ArtifactError) else error
            logger.warning("index version %s cannot be opened: %s", failure.version, error, exc_info=unforeseen)
        self.failure, self._failed_at = failure, time.monotonic()


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, ArtifactError) else type(error).__name__
