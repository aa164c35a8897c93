"""Captures in, frames out: read, shrink, drop what cannot be learned from, count it, write shards and one table.

Every source (a video, a record file, a capture folder) is written on its own, and is complete before it counts: a run
that was stopped goes on where it was, and a run over grown captures reads only what is new.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import cv2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from loky import cpu_count
from tqdm import tqdm

from index.picture import encode_jpeg
from index.schema import InvalidValueError, NearposeError
from index.shards import ShardWriter
from index.table import row_from_frame
from trainer.alone import alone
from trainer.captures import CaptureError, Shot, Source, list_sources
from trainer.captures.quality import shrunk, without_blurred
from trainer.frames import FRAMES_SCHEMA, write_table
from trainer.listing import size_and_time

logger = logging.getLogger(__name__)

# Part of every digest: raise it when readers or filters change what they make of the same files.
_VERSION = 1
_METADATA_KEY = b"nearpose.source"
_NO_UNIT = "its scale is unknown: boxes that come from it are in a unit of its own, not in metres"


@dataclass(frozen=True)
class IngestConfig:
    """How captures become frames.

    The published blur filter (for bikes alone) compares a picture with the last sharp ones before it; this one with
    the median of its object in its sequence, so that a plain object is not taken for a blurred one. On full turns of 70
    real objects no sharp picture fell below 0.28 of its median; motion over 4 % of the crop's width left 0.02 to 0.24.
    """

    fps: float = 5.0  # the paper's: neighbours in a track then show visibly different views
    max_side: int = 640  # the size of Objectron's own records
    jpeg_quality: int = 90  # that of the published extraction
    blur_ratio: float = 0.2  # least sharpness, as a share of that median
    blur_floor: float = 1.0  # least sharpness of all, grey levels squared: below it there is nothing to see
    format: str | None = None  # None: the captures show it
    ucf101_split: int = 1
    workers: int = field(default_factory=cpu_count)

    def __post_init__(self) -> None:
        bounds = {
            "fps": (self.fps > 0, "positive"),
            "max_side": (self.max_side >= 16, "at least 16 pixels"),
            "jpeg_quality": (1 <= self.jpeg_quality <= 100, "from 1 to 100"),
            "blur_ratio": (0 <= self.blur_ratio < 1, "from 0 to below 1"),
            "blur_floor": (self.blur_floor >= 0, "zero or more"),
            "workers": (self.workers >= 1, "at least 1"),
        }
        for name, (good, bound) in bounds.items():
            if not good:
                raise InvalidValueError(f"ingest.{name}", getattr(self, name), bound)

    def outcome(self) -> dict[str, Any]:
        """The settings that change what is written."""
        return {name: value for name, value in asdict(self).items() if name != "workers"}


@dataclass(frozen=True)
class SourceReport:
    """What became of a source: rows kept, rows dropped by reason, why it could not be read, or not to its end, and what
    whoever uses its rows should know."""

    key: str
    kept: int
    dropped: dict[str, int]
    error: str | None = None
    warning: str | None = None

    @property
    def failed(self) -> bool:
        """Whether nothing of the source could be read."""
        return self.error is not None and not self.kept and not self.dropped


class Reading(Protocol):
    """Who reads sources: see ``read_here`` and ``trainer.cluster``."""

    def __call__(self, captures: str, out: Path, config: IngestConfig) -> tuple[int, Iterator[SourceReport]]:
        """How many sources there are, and the report of each as soon as its shard and part are there."""


def ingest(captures: Path | str, out: Path, config: IngestConfig | None = None, reading: Reading | None = None) -> Path:
    """Read every capture below ``captures`` and write the frames artefact to ``out``, which is returned.

    ``reading`` does the work; by default this machine's processes.

    Sources that an earlier run has finished, with the same settings and unchanged files, are not read again. Raises
    CaptureError when there is nothing to read, when no source can be read, or when no frame of them can be kept.
    """
    out, config = Path(out), config or IngestConfig()
    with _alone_in(out):
        reports = _all(*(reading or read_here)(str(captures), out, config))
        _check_something_kept(str(captures), reports)
        table = _write_table(out, [report.key for report in reports if not report.failed])
        _write_report(out, config, reports, table)
    return out


def ingest_sources(sources: Sequence[Source], out: Path, config: IngestConfig) -> list[SourceReport]:
    """``ingest_source`` of each, several at a time; by name."""
    with _alone_in(out):
        return _all(len(sources), _mapped(sources, out, config))


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    for folder in ("shards", "parts"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    with alone(out):  # others write the same shards, or remove what is not theirs
        yield


def _all(count: int, reports: Iterator[SourceReport]) -> list[SourceReport]:
    return sorted(_watched(count, reports), key=lambda report: report.key)


def part_of(out: Path, key: str) -> pa.Table:
    """The rows (FRAMES_SCHEMA) of a source that was ingested."""
    return pq.read_table(_files(out, key)[1], schema=FRAMES_SCHEMA)


def sources_by_shard(out: Path, shards: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The name and digest of the source of each of the shards, as rows name them; without those whose part is gone."""
    found = {}
    for shard in sorted(set(shards)):
        if (stored := _stored((out / "parts" / Path(shard).name).with_suffix(".parquet"))) is not None:
            found[shard] = (stored["report"]["key"], stored["digest"])
    return found


def summary(out: Path) -> str:
    """What an ingest run kept and dropped, as lines to print."""
    report = json.loads((Path(out) / "report.json").read_text())
    lines = ["kept " + ", ".join(f"{count} {name}" for name, count in report["kept"].items())]
    lines += [f"  dropped {count:6d}  {reason}" for reason, count in report["dropped"].items()]
    faults = [source["error"] for source in report["sources"] if source["error"]]
    lines += [f"  {source['key']}: {source['warning']}" for source in report["sources"] if source["warning"]]
    lines += [f"  {fault}" for fault in faults[:10]]
    if len(faults) > 10:
        lines.append(f"  and {len(faults) - 10} more faults: see {Path(out) / 'report.json'}")
    return "\n".join(lines)


def ingest_source(source: Source, out: Path, config: IngestConfig) -> SourceReport:
    """Write the shard and the part of one source, unless they are there already.

    A fault of the source ends up in the report; what was read before it is kept.
    """
    if (finished := finished_source(source, out, config)) is not None:
        return finished
    shard, part = _files(out, source.key)
    digest = source_digest(source, config)
    rows: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    faults: list[str] = []
    warning = None
    with ShardWriter(shard) as writer:
        for _, shots in itertools.groupby(_until_fault(source, faults), lambda shot: shot.sequence):
            small = [shrunk(shot, config.max_side) for shot in shots]
            for shot in without_blurred(small, config.blur_ratio, config.blur_floor):
                warning = warning if shot.metric else _NO_UNIT
                dropped.update(reason.value for reason in shot.rejected)
                rows += _write_shot(shot, writer, config.jpeg_quality)
        if shard.exists() or part.exists():  # about to be replaced: the part and the table that point into it go before
            part.unlink(missing_ok=True)
            (out / "frames.parquet").unlink(missing_ok=True)
    report = SourceReport(source.key, len(rows), dict(dropped), faults[0] if faults else None, warning)
    if report.failed:
        shard.unlink()
    else:
        _write_part(part, rows, digest, report)
    return report


def finished_source(source: Source, out: Path, config: IngestConfig) -> SourceReport | None:
    """The report of an earlier run that read the same with the same settings, or None."""
    return _finished(*_files(out, source.key), source_digest(source, config))


def _until_fault(source: Source, faults: list[str]) -> Iterator[Shot]:
    """The shots of a source; instead of an error at its end, a line in ``faults``."""
    try:
        yield from source.read()
    except (NearposeError, OSError, cv2.error) as error:
        faults.append(str(error))


def _write_shot(shot: Shot, writer: ShardWriter, quality: int) -> list[dict[str, Any]]:
    if not shot.frames or shot.image is None:
        return []
    offset, length = writer.append(f"{shot.frames[0].id}.jpg", shot.jpeg or encode_jpeg(shot.image, quality))
    place = {"shard": f"shards/{writer.path.name}", "offset": offset, "length": length}
    extra = {"sequence": shot.sequence, "split": shot.split, "time_s": shot.time_s}
    return [row_from_frame(frame) | extra | place for frame in shot.frames]


def sources_of(captures: Path, config: IngestConfig) -> list[Source]:
    """All that there is to read. Raises CaptureError where that is nothing."""
    return list_sources(captures, config.format, fps=config.fps, ucf101_split=config.ucf101_split)


def read_here(captures: str, out: Path, config: IngestConfig) -> tuple[int, Iterator[SourceReport]]:
    """Reads in ``config.workers`` processes of this machine."""
    sources = sources_of(Path(captures), config)
    return len(sources), _mapped(sources, out, config)


def _watched(count: int, reports: Iterator[SourceReport]) -> Iterator[SourceReport]:
    totals = Counter(kept=0, dropped=0)
    with tqdm(total=count, desc="ingest", unit="source") as bar:
        for report in reports:
            totals.update(kept=report.kept, dropped=sum(report.dropped.values()))
            bar.set_postfix(totals, refresh=False)
            bar.update()
            if report.error:
                logger.warning("%s", report.error)
            if report.warning:
                logger.warning("%s: %s", report.key, report.warning)
            yield report


def _mapped(sources: Sequence[Source], out: Path, config: IngestConfig) -> Iterator[SourceReport]:
    if config.workers == 1:
        yield from (ingest_source(source, out, config) for source in sources)
        return
    # Spawned, not forked: OpenCV and Arrow run threads by now, and a forked child may find their locks taken.
    pool = ProcessPoolExecutor(config.workers, get_context("spawn"), start_worker)
    try:
        tasks = [pool.submit(ingest_source, source, out, config) for source in sources]
        yield from (task.result() for task in as_completed(tasks))
    except BrokenProcessPool:
        raise CaptureError(out, "a reading process died; what is finished is kept, run again to go on") from None
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """What a process that reads does first."""
    cv2.setNumThreads(1)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # we report a broken video ourselves, once


def _files(out: Path, key: str) -> tuple[Path, Path]:
    """The shard and the part of a source: readable names, told apart by a hash where the readable part is not."""
    name = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', key)[-80:]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    return out / "shards" / f"{name}.tar", out / "parts" / f"{name}.parquet"


def source_digest(source: Source, config: IngestConfig) -> str:
    """What the source's rows depend on: who it is, the settings, and the size and time of every file.

    Not where it lies: a folder of captures may be moved, or named another way.
    """
    named = {name: value.name if isinstance(value, Path) else repr(value) for name, value in vars(source).items()}
    stats = [(file.name, *size_and_time(file)) for file in source.files()]
    parts = [_VERSION, type(source).__name__, source.key, named, config.outcome(), stats]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _finished(shard: Path, part: Path, digest: str) -> SourceReport | None:
    """The report of an earlier run that read the same with the same settings, or None."""
    stored = _stored(part) if part.is_file() and shard.is_file() else None
    return SourceReport(**stored["report"]) if stored and stored["digest"] == digest else None


def _stored(part: Path) -> dict[str, Any] | None:
    """The digest and the report that a part was written with; None where it is none of ours."""
    try:
        stored: dict[str, Any] = json.loads(pq.read_schema(part).metadata[_METADATA_KEY])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None
    return stored


def _write_part(part: Path, rows: list[dict[str, Any]], digest: str, report: SourceReport) -> None:
    metadata = {_METADATA_KEY: json.dumps({"digest": digest, "report": asdict(report)})}
    table = pa.Table.from_pylist(rows, schema=FRAMES_SCHEMA).replace_schema_metadata(metadata)
    write_table(table, part)


def _check_something_kept(captures: str, reports: Sequence[SourceReport]) -> None:
    errors = [report.error for report in reports if report.failed]
    if len(errors) == len(reports):
        raise CaptureError(captures, f"none of {len(reports)} sources can be read; the first: {errors[0]}")
    if not any(report.kept for report in reports):
        raise CaptureError(captures, f"no frame can be kept; dropped: {_dropped(reports)}")


def _dropped(reports: Sequence[SourceReport]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report.dropped)
    return dict(total.most_common())


def _write_table(out: Path, keys: Sequence[str]) -> pa.Table:
    """``frames.parquet`` of the parts of ``keys``; shards and parts of other sources are removed."""
    files = [_files(out, key) for key in keys]
    table = pa.concat_tables([pq.read_table(part, schema=FRAMES_SCHEMA) for _, part in files])
    _check_ids(out, table)
    write_table(table, out / "frames.parquet")
    wanted = set(itertools.chain(*files))
    for file in itertools.chain((out / "shards").iterdir(), (out / "parts").iterdir()):
        if file not in wanted:
            file.unlink()
    return table


def _check_ids(out: Path, table: pa.Table) -> None:
    counts = pc.value_counts(table["id"])
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise CaptureError(out, f"two frames have the name {repeated[0]['values'].as_py()!r}: rename a capture")


def _write_report(out: Path, config: IngestConfig, reports: Sequence[SourceReport], table: pa.Table) -> None:
    names = {"objects": "object_id", "sequences": "sequence", "categories": "category"}
    kept = {"frames": table.num_rows} | {
        name: pc.count_distinct(table[column]).as_py() for name, column in names.items()
    }
    report = {
        "kept": kept,
        "dropped": _dropped(reports),
        "failed": sum(report.failed for report in reports),
        "config": asdict(config),
        "sources": [asdict(report) for report in reports],
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
