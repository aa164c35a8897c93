"""An index with captures added or removed: a new version in seconds, for nothing that it holds is embedded again.

What such a version takes over from the one before it says itself (``index.history``): what confidences and matches are
worth is told anew only when the index has grown or shrunk by half since, and the map's frames stay where they are.
``rebuild`` makes everything anew.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.capture import CAPTURE_FILE
from index.confidence import Calibration
from index.encoder import open_encoder
from index.history import History
from index.layout import Layout
from index.recognition import Recognition
from index.schema import ArtifactError, InvalidValueError
from index.search import FrameIndex
from index.store import Content, IndexVersion, OutdatedError, current_version, open_index, read_manifest, write_version
from index.table import INDEXED_SCHEMA
from index.vectors import Previous
from trainer.build import BuildConfig, calibrations, digests, origins, thumbnails
from trainer.captures import CaptureError, Source, list_sources
from trainer.captures.folder import CaptureFolder
from trainer.frames import FRAMES_SCHEMA, Frames
from trainer.inference import embed_frames
from trainer.ingest import IngestConfig, SourceReport, ingest_sources, part_of, source_digest
from trainer.listing import listing_digest

logger = logging.getLogger(__name__)

_GROWTH = 1.5  # from how much larger (or smaller) an index is calibrated again
_TRIES = 5  # when others write versions at the same time
_POLL_S = 2.0
Result = TypeVar("Result")


@dataclass(frozen=True)
class Change:
    """What became of captures that were to be added.

    Attributes:
        version: the new version's name; None where nothing changed.
        added: sources that are now in the index, or anew.
        withdrawn: sources that no longer are, for nothing of them is accepted or of a wanted split any more.
        frames: how many were added.
        kept: how many sources were there already, unchanged.
        waiting: sources of which nothing is accepted, or nothing of a wanted split.
        left_out: sources that were removed before, and have not changed.
        faults: why others could not be read.
    """

    version: str | None
    added: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    frames: int = 0
    kept: int = 0
    waiting: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def text(self) -> str:
        """As lines to print."""
        lines = [f"added {self.frames} frames of {', '.join(self.added)}"] if self.added else ["nothing to add"]
        told = {
            "withdrawn": self.withdrawn,
            "not accepted, or of a split that is not indexed": self.waiting,
            "removed before, and not changed since": self.left_out,
            "not read": self.faults,
        }
        lines += [f"{what}: {', '.join(names)}" for what, names in told.items() if names]
        lines += [f"{self.kept} there already"] if self.kept else []
        return "\n  ".join([*lines, f"version {self.version}"] if self.version else lines)


def add(captures: Path, index: Path, config: BuildConfig | None = None) -> Change:
    """Adds the captures that the index does not hold as they are now, and switches to the new version.

    Args:
        captures: a folder of captures, or one with a capture.json, which is added even if it was removed before.
        index: ``<run>/index``; what is read goes to ``<run>/frames``, where a rebuild finds it.
        config: of the build; what is calibrated anew is so by it.

    Raises:
        ArtifactError: there is no index, or it cannot be written; the current version stays.
        CaptureError: there are no captures, or the one that was named cannot be read.
    """
    return _until_current(lambda: _add(captures, index, config or BuildConfig()))


def remove(name: str, index: Path, config: BuildConfig | None = None) -> tuple[str, int]:
    """Removes the frames of an object, or of a capture; returns the new version's name and their number.

    ``add`` of the folder that the capture is in does not bring it back, but a rebuild does.

    Raises:
        InvalidValueError: neither is in the index, or nothing else is.
    """
    return _until_current(lambda: _remove(name, index, config or BuildConfig()))


def watch(captures: Path, index: Path, config: BuildConfig | None = None) -> Iterator[Change]:
    """``add`` without end, as captures come, change and are accepted; yields what changed or is newly wrong.

    Raises as ``add`` does, but that captures may be still to come, or to be put right.
    """
    told: tuple[str, ...] = ()
    before = done = None
    while True:
        now = (listing_digest(captures), current_version(index))
        if now == before != done:  # nobody is still writing
            change = _added_so_far(captures, index, config)
            done = (now[0], current_version(index))
            if change.version or change.faults != told:
                yield change
            told = change.faults
        before = now
        time.sleep(_POLL_S)


def _added_so_far(captures: Path, index: Path, config: BuildConfig | None) -> Change:
    try:
        return add(captures, index, config)
    except CaptureError as error:
        if not captures.is_dir():
            raise
        return Change(None, faults=(str(error),))


def _until_current(action: Callable[[], Result]) -> Result:
    """The result of an ``action`` that starts from the current version, again when that has changed meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return action()
        except OutdatedError as error:
            logger.info("%s: once more", error)
    return action()


@dataclass(frozen=True, eq=False)
class _Listed:
    """The sources of a folder, by what is to become of them; ``asked_for``: it is itself the one capture."""

    asked_for: bool
    changed: list[Source] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def _listed(captures: Path, history: History, config: IngestConfig, splits: Collection[str]) -> _Listed:
    listed = _Listed((captures / CAPTURE_FILE).is_file())
    for source in list_sources(captures, config.format, config.fps, config.ucf101_split):
        known, digest = history.sources.get(source.key), source_digest(source, config)
        if digest == known and not (listed.asked_for and source.key in history.left_out):
            listed.kept.append(source.key)
        elif isinstance(source, CaptureFolder) and not source.offers(splits):
            (listed.waiting if known is None else listed.withdrawn).append(source.key)
        elif history.left_out.get(source.key) == digest and not listed.asked_for:
            listed.left_out.append(source.key)
        else:
            listed.changed.append(source)
    return listed


def _add(captures: Path, index: Path, config: BuildConfig) -> Change:
    base = current_version(index)
    history, folder = _history(index / "versions" / base), index.parent / "frames"
    listed = _listed(captures, history, _ingest_config(folder), config.splits)
    reports = _ingested(captures, listed, folder)
    read = [report.key for report in reports if not report.failed]
    fresh = _read(folder, read, config.splits)
    added = set(origins(fresh)["source"].to_pylist())
    gone = {*listed.withdrawn, *read} - added
    change = Change(
        None,
        added=tuple(sorted(added)),
        withdrawn=tuple(sorted(gone & set(history.sources))),
        frames=len(fresh),
        kept=len(listed.kept),
        waiting=tuple(sorted({*listed.waiting, *gone} - set(history.sources))),
        left_out=tuple(listed.left_out),
        faults=tuple(report.error for report in reports if report.error),
    )
    if not change.added and not change.withdrawn:
        return change
    version = open_index(index, base)
    keep = ~(_rows(version, "source", added | gone) | _rows(version, "sequence", set(fresh.sequence.tolist())))
    sources = _without(history.sources, gone) | digests(fresh)
    history = replace(history, sources=sources, left_out=_without(history.left_out, added))
    return replace(change, version=_write(index, version, keep, fresh, history, config))


def _ingested(captures: Path, listed: _Listed, folder: Path) -> list[SourceReport]:
    if not listed.changed:
        return []
    config = _ingest_config(folder)
    reports = ingest_sources(listed.changed, folder, replace(config, workers=min(config.workers, len(listed.changed))))
    if listed.asked_for and reports[0].failed:
        raise CaptureError(captures, str(reports[0].error))
    return reports


def _remove(name: str, index: Path, config: BuildConfig) -> tuple[str, int]:
    version = open_index(index)
    history = _history(version.path)
    found = np.any([_rows(version, column, {name}) for column in ("object_id", "sequence", "source")], axis=0)
    if not found.any():
        raise InvalidValueError("name", name, f"an object or a capture that {index} holds")
    sources = np.array(version.table["source"].to_pylist())
    touched = set(sources[found].tolist())
    history = replace(
        history,
        sources=_without(history.sources, touched - set(sources[~found].tolist())),
        left_out={**history.left_out, **{key: history.sources.get(key, "") for key in touched}},
    )
    return _write(index, version, ~found, None, history, config), int(found.sum())


def _history(version: Path) -> History:
    if (history := History.from_manifest(read_manifest(version).get("history"))) is None:
        reason = "does not say which captures its frames are of, for an earlier nearpose wrote it: rebuild it once"
        raise ArtifactError(version, reason)
    return history


def _ingest_config(folder: Path) -> IngestConfig:
    """As the run's frames were ingested; the defaults where there are none."""
    report = folder / "report.json"
    return IngestConfig(**json.loads(report.read_text())["config"]) if report.is_file() else IngestConfig()


def _read(folder: Path, keys: Sequence[str], splits: Sequence[str]) -> Frames:
    """The frames of the named sources and splits."""
    tables = [FRAMES_SCHEMA.empty_table(), *(part_of(folder, key) for key in keys)]
    frames = Frames(folder, pa.concat_tables(tables).combine_chunks())
    return frames.select(np.isin(frames.split, splits))


def _rows(version: IndexVersion, column: str, names: set[str]) -> NDArray[np.bool_]:
    """(n,) which rows have one of the names."""
    return np.isin(version.table[column].to_pylist(), sorted(names))


def _without(mapping: Mapping[str, str], names: set[str]) -> dict[str, str]:
    return {key: value for key, value in mapping.items() if key not in names}


def _write(
    root: Path,
    version: IndexVersion,
    keep: NDArray[np.bool_],
    fresh: Frames | None,
    history: History,
    config: BuildConfig,
) -> str:
    """A version of the kept rows (n,) of another, and of fresh frames."""
    rows, start = np.flatnonzero(keep), time.monotonic()
    if not len(rows) and not fresh:
        raise InvalidValueError("frames", "none that stay", "at least one: no index is empty")
    vectors = np.asarray(version.vectors[rows], np.float32)
    table = version.table.select(INDEXED_SCHEMA.names).take(rows).cast(INDEXED_SCHEMA)
    pictures: Iterator[bytes] = (version.thumbnail(int(row)) for row in rows)
    if fresh:
        embedded = embed_frames(open_encoder(version.encoder_path, config.device), fresh)
        vectors, table = np.concatenate([vectors, embedded]), pa.concat_tables([table, origins(fresh)])
        pictures = itertools.chain(pictures, thumbnails(fresh, config.thumbnail_side))
    index = FrameIndex(vectors, table.combine_chunks())
    index.identity_map = version.identity_map
    calibration, recognition, history = _worth(index, version, history, config)
    places = _placed(version, rows, index)
    content = Content(
        vectors,
        table,
        pictures,
        version.encoder_path,
        version.manifest["encoder_digest"],
        calibration,
        recognition,
        places,
        replace(history, laid_out_in=None if places is None else history.laid_out_in or version.version),
        version.search_config,
        Previous(version.path, np.r_[rows, np.full(len(table) - len(rows), -1)]),
    )
    name = write_version(root, content, config.keep, base=version.version)
    logger.info("index version %s: %d frames, in %.1f s", name, len(index), time.monotonic() - start)
    return name


def _worth(
    index: FrameIndex, version: IndexVersion, history: History, config: BuildConfig
) -> tuple[Calibration | None, Sequence[Recognition], History]:
    """What the index's answers are worth: as in the version before, or anew when it is of another size by now."""
    if history.calibrated_frames / _GROWTH < len(index) < history.calibrated_frames * _GROWTH:
        calibrated = version.calibration if version.calibration.frames else None
        return calibrated, version.recognition, replace(history, calibrated_in=history.calibrated_in or version.version)
    logger.info("calibrating for %d frames: it was for %d", len(index), history.calibrated_frames)
    history = replace(history, calibrated_frames=len(index), calibrated_in=None)
    return *calibrations(index, config), history


def _placed(version: IndexVersion, rows: NDArray[np.intp], index: FrameIndex) -> Layout | None:
    """The map: kept frames stay where they are, each of the others is put where its nearest one of those is."""
    if version.layout is None or not len(rows):
        return None
    places = version.layout[rows]
    kept = FrameIndex(index.vectors[: len(rows)], index.table.slice(0, len(rows)))
    fresh = np.asarray(index.vectors[len(rows) :], np.float32)
    return np.concatenate([places, places[kept.search(fresh, 1)[1][:, 0]]]) if len(fresh) else places
