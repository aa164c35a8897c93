"""The current version of the index, kept open and exchanged while requests run."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from index.encoder import Encoder
from index.growing import GrownFrames
from index.joined import Calibrated, JoinedIndex
from index.predict import Predictor
from index.schema import ArtifactError, NearposeError
from index.stores import Location, Store, Version, store_at
from service.batching import BatchedPredictor
from service.enrolment.catalogue import Catalogue
from service.enrolment.followed import Enrolment, Followed

logger = logging.getLogger(__name__)

CURRENT = "CURRENT"
_RETRY_S = 30.0  # a version that could not be opened may have failed for want of memory: it is tried again


class NotReadyError(NearposeError):
    """No version of the index is open yet."""


class DrainingError(NearposeError):
    """The server is about to stop; it still answers, but no more requests should be sent to it."""


@dataclass(frozen=True)
class Failure:
    """A version that could not be opened, or ``CURRENT`` itself. ``reason`` names no file or folder of the server."""

    version: str
    reason: str


class JoinedVersion(JoinedIndex):
    """A version of the index, and what was enrolled beside it."""

    def __init__(self, base: Version, enrolled: GrownFrames, thumbnail: Callable[[str], bytes]) -> None:
        super().__init__(base, enrolled)
        self._base, self.enrolled, self._thumbnail = base, enrolled, thumbnail

    @property
    def version(self) -> str:
        """The name of the version of the index."""
        return self._base.version

    def thumbnail(self, row: int) -> bytes:
        """The JPEG of a frame. Raises KeyError for an enrolled frame that has been removed meanwhile."""
        part, row = self.part_of(row)
        return self._base.thumbnail(row) if part == 0 else self._thumbnail(self.enrolled.frame(row).id)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One version, open, with what is enrolled: all that answering takes.

    Attributes:
        catalogue: the objects of the version alone.
        followed: what is enrolled; None where nothing can be.
        warnings: what every answer must say.
    """

    index: Version | JoinedVersion
    predictor: Predictor
    catalogue: Catalogue
    followed: Followed | None = None
    warnings: tuple[str, ...] = ()


class LiveIndex:
    """Watches an index and holds what answers requests: one version's index with its encoder.

    A request takes ``snapshot`` once and stays with it, so that an exchange never shows in the middle of an answer.
    A version that cannot be opened is logged once and kept in ``failure``; the one before it goes on answering.

    Args:
        location: of the index: see ``index.stores``; there may be none yet.
        open_encoder: opens a version's encoder; runs in the watching thread.
        poll_s: seconds between two looks at ``CURRENT``.
        observe_batch: is told how many crops were looked up together, each time.
        enrolment: what users enrolled is searched with every version, as soon as it is enrolled.
    """

    def __init__(
        self,
        location: Location,
        open_encoder: Callable[[Path], Encoder],
        poll_s: float,
        observe_batch: Callable[[int], None] = lambda size: None,
        enrolment: Enrolment | None = None,
        device: str = "auto",
    ) -> None:
        self._location, self._open_encoder, self._poll_s, self._enrolment = location, open_encoder, poll_s, enrolment
        self._observe_batch, self._device = observe_batch, device
        self._snapshot: Snapshot | None = None
        self._joined: tuple[tuple[Snapshot, GrownFrames, tuple[str, ...]], Snapshot] | None = None
        self._failed_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-index", daemon=True)
        self.failure: Failure | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The open version, with all that is enrolled by now. Raises NotReadyError while there is none."""
        opened = self._snapshot
        if opened is None:
            reason = f"{self.failure.version}: {self.failure.reason}" if self.failure else "it is being opened"
            raise NotReadyError(f"no index is loaded ({reason})")
        if self._enrolment is None or opened.followed is None:
            return opened
        return self._with_enrolled(opened, self._enrolment, opened.followed)

    @property
    def opened(self) -> Version | None:
        """The open version's index, without what is enrolled; None while there is none."""
        index = self._snapshot.index if self._snapshot else None
        assert not isinstance(index, JoinedVersion)
        return index

    @property
    def enrolled(self) -> int:
        """How many enrolled frames are searched with it."""
        followed = self._snapshot.followed if self._snapshot else None
        return len(followed.current()) if followed else 0

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
            version = self._store.current()
            self._open_enrolment()
            if not self._is_open(version):
                if self._failed_lately(version):
                    return
                self._snapshot = self._open(version)
                _settle()
                logger.info("index version %s is open: %d frames", version, len(self._snapshot.index))
            self.failure = None
        except Exception as error:  # whatever it is, the version before must go on answering
            self._remember(Failure(version, _reason(error)), error)

    @cached_property
    def _store(self) -> Store:
        return store_at(self._location)  # when it is first needed: a Milvus may be later than the service

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
        index = self._store.open(version, self._device)
        predictor = self._predictor(self._encoder_of(index), index)
        predictor.warm_up()
        followed = self._followed_with(predictor.encoder, index) if self._enrolment else None
        return Snapshot(index, predictor, Catalogue(index.census), followed)

    def _open_enrolment(self) -> None:
        """Opens what is enrolled, where it is not; frees it of the vectors of encoders that no version has any more."""
        if self._enrolment is None or not self._enrolment.open():
            return
        names = self._store.versions()
        with contextlib.suppress(NearposeError):
            self._enrolment.store.forget_vectors({self._store.manifest(name)["encoder_digest"] for name in names})

    def _followed_with(self, encoder: Encoder, index: Version) -> Followed | None:
        """What is enrolled as ``encoder`` sees it, all of it embedded; the open one where the encoder is the same."""
        assert self._enrolment is not None
        if self._snapshot is not None and self._snapshot.predictor.encoder is encoder:
            return self._snapshot.followed
        followed = Followed(self._enrolment, encoder, index.identity_map)
        followed.prepare()
        return followed

    def _with_enrolled(self, opened: Snapshot, enrolment: Enrolment, followed: Followed) -> Snapshot:
        """``opened`` with all that is enrolled; the same one as long as that is the same."""
        key = (opened, followed.current(), enrolment.warnings)
        known = self._joined
        if known is None or known[0] != key:
            known = self._joined = (key, self._join(*key))
        return known[1]

    def _encoder_of(self, index: Version) -> Encoder:
        """The version's encoder; the open one where it is the same, which spares its loading and its memory."""
        if self._snapshot is not None and self._snapshot.index.encoder_digest == index.encoder_digest:
            return self._snapshot.predictor.encoder
        return self._open_encoder(index.encoder_path)

    def _predictor(self, encoder: Encoder, index: Calibrated) -> Predictor:
        return BatchedPredictor(encoder, index, self._observe_batch)

    def _join(self, opened: Snapshot, frames: GrownFrames, warnings: tuple[str, ...]) -> Snapshot:
        if len(frames) == 0:
            return replace(opened, warnings=warnings) if warnings else opened
        assert not isinstance(opened.index, JoinedVersion)
        index = JoinedVersion(opened.index, frames, self._enrolled_thumbnail)
        return replace(
            opened, index=index, predictor=self._predictor(opened.predictor.encoder, index), warnings=warnings
        )

    def _enrolled_thumbnail(self, frame: str) -> bytes:
        assert self._enrolment is not None
        with self._enrolment.using() as store:
            return store.thumbnail(frame)

    def _remember(self, failure: Failure, error: Exception) -> None:
        if failure != self.failure:
            unforeseen = None if isinstance(error, ArtifactError) else error
            logger.warning("index version %s cannot be opened: %s", failure.version, error, exc_info=unforeseen)
        self.failure, self._failed_at = failure, time.monotonic()


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, ArtifactError) else type(error).__name__


def _settle() -> None:
    """Takes what is there out of the garbage collector's rounds until the next version.

    A full round over modules and index stops all threads for a tenth of a second, and comes every few hundred requests.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
