"""The run: a few files at a time, each loaded, reduced and deleted."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from index.schema import ArtifactError, InvalidValueError, NearposeError
from trainer.captures.shot import CaptureError
from trainer.fetch.bucket import Item, part_of, size_of, url_of, write_whole
from trainer.fetch.budget import DiskBudget, DiskFullError
from trainer.fetch.download import DownloadError, Server
from trainer.fetch.plan import FetchConfig, Plan, make_plan

REPORT = "fetch.json"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MANY_IN_A_ROW = 10  # failures, after which the fault is not the single file's


@dataclass(frozen=True)
class Outcome:
    """What became of an item."""

    key: str
    size: int = 0  # bytes received and verified
    kept: int = 0  # bytes that are left of them
    checksums: tuple[str, ...] = ()  # that it was compared with, beside its length
    error: str | None = None


def fetch(captures: Path, config: FetchConfig, announce: Callable[[str], object] = print) -> Path:
    """Fetches what ``config`` asks for and is not there into ``captures``, which is returned.

    ``announce`` is given the plan first. Failures are collected in ``<captures>/fetch.json``; the next run tries them
    again. Raises DownloadError when the lists cannot be had or everything fails, DiskFullError when the budget is used
    up or the disk is full.
    """
    with _plan(captures, config) as (plan, server):
        announce(plan.text())
        _Run(captures, config, plan, server).all()
    return captures


def plan_of(captures: Path, config: FetchConfig) -> Plan:
    """What ``fetch`` would do. Only the lists of what there is are fetched."""
    with _plan(captures, config) as (plan, _):
        return plan


@contextlib.contextmanager
def _plan(captures: Path, config: FetchConfig) -> Iterator[tuple[Plan, Server]]:
    captures.mkdir(parents=True, exist_ok=True)
    _claim(captures / REPORT, config.outcome())
    server = Server(config.patience, config.jobs)
    try:
        yield make_plan(captures, config, server), server
    except OSError as error:
        raise _unwritable(captures, error) from error
    finally:
        server.close()


def _unwritable(captures: Path, error: OSError) -> NearposeError:
    told = f"{captures}: {error.strerror or error}; the same command goes on from here"
    return DiskFullError(told) if error.errno in _FULL else ArtifactError(captures, str(error))


def summary(captures: Path) -> str:
    """What the last run brought, as lines to print."""
    report = json.loads((captures / REPORT).read_text())
    lines = [
        f"fetched {report['fetched']} files, {report['bytes'] / 1e9:.3g} GB, of which {report['kept'] / 1e9:.3g} GB "
        f"are kept; {report['there']} were there, {report['left']} are left"
    ]
    lines += [f"  {report['unverified']} by their length alone: no checksum was given"] if report["unverified"] else []
    lines += [f"  {key}: {error}" for key, error in itertools.islice(report["failed"].items(), 10)]
    if report["failed"]:
        lines.append(f"{len(report['failed'])} failed: see {captures / REPORT}; the same command tries them again")
    return "\n".join(lines)


class _Run:
    """One run's state: what its threads share."""

    def __init__(self, captures: Path, config: FetchConfig, plan: Plan, server: Server) -> None:
        self._captures, self._config, self._plan, self._server = captures, config, plan, server
        parts = {item.key: size_of(part_of(captures, item.key)) for item in plan.items}
        self._received = sum(parts.values())
        self._budget = DiskBudget(plan.limit, {"": plan.used - self._received} | parts)

    def all(self) -> None:
        """Fetches every item; the report is written also when the run ends early."""
        outcomes: list[Outcome] = []
        try:
            with contextlib.closing(self._outcomes()) as arriving:  # closed, it stops the threads
                for outcome in arriving:
                    outcomes.append(outcome)
                    self._check_that_some_succeed(outcomes)
        finally:
            self._report(outcomes)

    def _outcomes(self) -> Generator[Outcome, None, None]:
        plan = self._plan
        with (
            tqdm(total=len(plan.items), desc="fetch", unit="file") as files,
            tqdm(
                total=plan.bytes, desc="bytes", unit="B", unit_scale=True, initial=self._received, position=1
            ) as self._bytes,
            self._threads() as pool,
        ):
            for task in as_completed([pool.submit(self._one, item) for item in plan.items]):
                files.update()
                yield task.result()

    @contextlib.contextmanager
    def _threads(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that end soon when the run does, however it ends."""
        pool = ThreadPoolExecutor(self._config.jobs)
        try:
            yield pool
        except BaseException:
            self._server.stopped.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _one(self, item: Item) -> Outcome:
        part = part_of(self._captures, item.key)
        try:
            return self._brought(item, part)
        except (DownloadError, CaptureError) as error:
            return Outcome(item.key, error=str(error))
        finally:
            self._budget.settle(item.key, size_of(item.kept) + size_of(part))

    def _brought(self, item: Item, part: Path) -> Outcome:
        url = url_of(self._config.url, item.key)
        self._prepare(item)
        # Asked for beforehand, so that no connection is held while there is no room.
        self._promise(item, self._server.size(url))
        checksums = self._server.download(url, part, lambda size: self._promise(item, size), self._bytes.update)
        size, reduced = size_of(part), self._reduced(item, part)
        part.unlink()
        self._promise(item, len(reduced))
        # By another name: half of it must not be taken for half of the file.
        write_whole(item.kept, part.with_suffix(".kept"), reduced)
        return Outcome(item.key, size, len(reduced), checksums)

    def _prepare(self, item: Item) -> None:
        beside = f"beside {item.key}"
        try:
            item.prepare(self._server, self._config.url, lambda size: self._budget.promise(beside, size))
        finally:
            self._budget.settle(beside, item.beside())

    def _promise(self, item: Item, size: int) -> None:
        self._budget.promise(item.key, size)

    @staticmethod
    def _reduced(item: Item, part: Path) -> bytes:
        """A file that cannot be read is removed: its bytes are the bucket's, and would not change."""
        try:
            return item.reduced(part)
        except CaptureError:
            part.unlink()
            raise

    def _check_that_some_succeed(self, outcomes: list[Outcome]) -> None:
        """Raises DownloadError when the fault can hardly be the single file's."""
        last = outcomes[-_MANY_IN_A_ROW:]
        enough = len(last) == _MANY_IN_A_ROW or len(outcomes) == len(self._plan.items)
        if enough and all(outcome.error for outcome in last):
            raise DownloadError(self._config.url, f"{len(last)} files in a row failed; the last: {last[-1].error}")

    def _report(self, outcomes: list[Outcome]) -> None:
        good = [outcome for outcome in outcomes if outcome.error is None]
        report = {
            "config": self._config.outcome(),
            "fetched": len(good),
            "there": self._plan.there,
            "left": len(self._plan.items) - len(good),
            "bytes": sum(outcome.size for outcome in good),
            "kept": sum(outcome.kept for outcome in good),
            "unverified": sum(not outcome.checksums for outcome in good),
            "failed": {outcome.key: outcome.error for outcome in outcomes if outcome.error},
        }
        _write_report(self._captures / REPORT, report)


def _claim(file: Path, config: dict[str, Any]) -> None:
    """Raises InvalidValueError when the folder's captures were fetched with other settings."""
    if not file.exists():
        _write_report(file, {"config": config})
        return
    before = json.loads(file.read_text())["config"]
    for name, value in config.items():
        if before[name] != value:
            raise InvalidValueError(f"fetch.{name}", value, f"{before[name]!r}, as before in {file.parent}")


def _write_report(file: Path, report: dict[str, Any]) -> None:
    write_whole(file, file.with_name(f"{file.name}.part"), (json.dumps(report, indent=1) + "\n").encode())
