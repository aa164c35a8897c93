"""Ingest and embedding by Ray: on this machine, or on all of a cluster's.

A video is a task. What a task has finished is a file of its own, complete before it counts: Ray does a task again whose
worker died, and a run that was stopped goes on where it was, without anything lost or doubled. Frames and vectors go to
a folder that every machine sees (a shared file system); captures may be at any URL that fsspec reads. Every machine has
nearpose installed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from index.encoder import Encoder, open_encoder
from trainer.captures import CaptureError, Source
from trainer.captures.tfrecord import START, told_by_start
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.ingest import IngestConfig, SourceReport, finished_source, ingest_source, sources_of, start_worker

# Files that say which videos there are: they are fetched before any video is.
_LISTS = {".json", ".csv", ".txt"}
_LIST_FOLDERS = {"index", "ucfTrainTestlist"}
_REMOVAL_S = 30.0  # a machine that is lost takes what it has fetched with it


@dataclass(frozen=True)
class RayConfig:
    """Which machines, and how much of them."""

    address: str | None = None  # of a cluster (auto, host:port, ray://host:port); None: this machine alone
    workers: int | None = None  # at the same time; None: one for every core, or every GPU
    object_store_mb: int = 256  # of this machine, where it is alone: tasks hand over only reports
    cpus: float = 1.0  # that a task takes

    def connect(self) -> None:
        """Starts Ray or joins the cluster, unless this process is part of one."""
        if ray.is_initialized():
            return
        quiet = {"logging_level": logging.WARNING, "log_to_driver": False}
        if self.address is not None:
            ray.init(address=self.address, **quiet)
            return
        size = self.object_store_mb * 2**20
        ray.init(num_cpus=self.workers, object_store_memory=size, include_dashboard=False, **quiet)


def ray_reading(
    ray_config: RayConfig, captures: str, out: Path, config: IngestConfig
) -> tuple[int, Iterator[SourceReport]]:
    """Reads sources by Ray: a ``trainer.ingest.Reading`` once ``ray_config`` is given.

    Raises CaptureError where there is nothing to read, or where a URL cannot be read.
    """
    remote = _Remote.of(captures) if "://" in captures else None
    sources = sources_of(remote.outline() if remote else Path(captures), config)
    return len(sources), _reports(ray_config, sources, remote, out.resolve(), config)


def _reports(
    ray_config: RayConfig, sources: Sequence[Source], remote: _Remote | None, out: Path, config: IngestConfig
) -> Iterator[SourceReport]:
    """First those of sources that are done, then the others'; then what was fetched is gone everywhere."""
    left = []
    with remote or nullcontext():
        for number, source in enumerate(sources):
            if (report := finished_source(source, out, config)) is not None:
                yield report
            else:
                left.append({"number": number})
        if left:
            files = {item["number"]: tuple(sources[item["number"]].files()) for item in left} if remote else {}
            task = partial(_read, sources=sources, files=files, remote=remote, out=out, config=config)
            for row in _rows(ray_config, left).map(task, num_cpus=ray_config.cpus).iter_rows():
                yield SourceReport(**json.loads(row["report"]))


def _rows(ray_config: RayConfig, items: list[dict[str, Any]]) -> Any:
    """A dataset of a block an item: each is a task of its own."""
    ray_config.connect()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # ours counts sources
    context.execution_options.preserve_order = False
    return ray.data.from_items(items, override_num_blocks=len(items))


def _read(
    row: dict[str, Any],
    sources: Sequence[Source],
    files: dict[int, tuple[Path, ...]],
    remote: _Remote | None,
    out: Path,
    config: IngestConfig,
) -> dict[str, Any]:
    """One source, in a process of Ray's."""
    start_worker()
    number = int(row["number"])
    with remote.fetched(files[number]) if remote else nullcontext():
        report = ingest_source(sources[number], out, config)
    return {"report": json.dumps(asdict(report))}  # as a row, what was dropped would be a column a reason


@dataclass(frozen=True)
class _Remote:
    """Captures at a URL, as files that lie at the same place on every machine, for as long as they are needed.

    Sources name files; those of a URL get the sizes and times that they have there, so that a source's digest says
    whether it has changed, before and after it is fetched. Where a source lies is no part of its digest, but its
    folder's name may be: ``root`` has the same in every run. What it lies in is new in every run, and its owner's
    alone: whoever knows a name may have put something else there before.
    """

    url: str
    root: Path

    @classmethod
    def of(cls, url: str) -> _Remote:
        name = f"nearpose-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
        made = cls(url.rstrip("/"), Path(tempfile.mkdtemp(prefix="nearpose-captures-"), name))
        weakref.finalize(made, shutil.rmtree, made.root.parent, ignore_errors=True)  # of an error, or nobody reads on
        return made

    def __enter__(self) -> _Remote:
        return self

    def __exit__(self, *_: object) -> None:
        """Removes it, on every machine of the cluster."""
        shutil.rmtree(self.root.parent, ignore_errors=True)
        if ray.is_initialized():
            remove = ray.remote(num_cpus=0)(_remove)
            nodes = [
                NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes() if node["Alive"]
            ]
            tasks = [remove.options(scheduling_strategy=node).remote(self.root.parent) for node in nodes]
            ray.wait(tasks, num_returns=len(tasks), timeout=_REMOVAL_S)

    def outline(self) -> Path:
        """All of its files, empty but for those that list others, and for the starts that say what a file is."""
        system, base = self._opened()
        try:
            found = system.find(base, detail=True)
        except (OSError, ValueError) as error:
            raise CaptureError(self.url, f"cannot be listed ({error})") from error
        for name, told in tqdm(sorted(found.items()), desc="list", unit="file"):
            path = self.root / PurePosixPath(name).relative_to(PurePosixPath(base))
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in _LISTS or path.parent.name in _LIST_FOLDERS:
                system.get_file(name, str(path))
            else:
                with path.open("wb") as file:
                    if told_by_start(path):
                        file.write(system.cat_file(name, start=0, end=START)[:START])
                    file.truncate(told.get("size") or system.size(name) or 0)  # takes no room
            _date(path, _modified(told))
        if not self.root.is_dir():
            raise CaptureError(self.url, "no files found")
        return self.root

    @contextmanager
    def fetched(self, files: Sequence[Path]) -> Iterator[None]:
        """Files of ``outline`` are all there; afterwards lists alone, which other sources may need."""
        try:
            self._fetch(files)
            yield
        finally:
            for path in (path for path in files if path.suffix not in _LISTS):
                path.unlink(missing_ok=True)

    def _fetch(self, files: Sequence[Path]) -> None:
        system, base = self._opened()
        self.root.parent.mkdir(mode=0o700, exist_ok=True)  # on another machine than the one that made its name
        for path in files:
            name = f"{base}/{path.relative_to(self.root).as_posix()}"
            path.parent.mkdir(parents=True, exist_ok=True)
            partial_file = path.with_name(f"{path.name}.{os.getpid()}.partial")
            system.get_file(name, str(partial_file))
            _date(partial_file, _modified(system.info(name)))
            partial_file.replace(path)

    def _opened(self) -> tuple[Any, str]:
        try:
            system, base = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:  # ImportError: its message says what to install
            raise CaptureError(self.url, f"cannot be read: {error}") from error
        return system, base.rstrip("/")


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _modified(told: dict[str, Any]) -> float:
    """When a file was changed, seconds; 0 where its file system does not say."""
    for name in ("mtime", "LastModified", "last_modified", "updated"):
        value = told.get(name)
        if isinstance(value, datetime.datetime):
            return value.timestamp()
        if isinstance(value, str):
            return datetime.datetime.fromisoformat(value).timestamp()
        if value is not None:
            return float(value)
    return 0.0


def _date(path: Path, seconds: float) -> None:
    os.utime(path, (seconds, seconds))


def embed_by_ray(ray_config: RayConfig, encoder: Path, frames: Frames, device: str = "auto") -> NDArray[np.float32]:
    """(n, d) as ``trainer.inference.embed_frames``: a task a video, in actors that keep the encoder, on GPUs if any.

    Vectors of videos that are done lie in ``<frames>/vectors/<encoder's digest>/``.
    """
    runtime = open_encoder(encoder, device)
    folder = frames.path.resolve() / "vectors" / runtime.digest.replace("/", "_").replace(":", "_")
    folder.mkdir(parents=True, exist_ok=True)
    rows = _rows_by_shard(frames)
    left = [{"shard": shard} for shard, of in rows.items() if _vectors(folder, shard, frames, of) is None]
    with tqdm(total=len(rows), initial=len(rows) - len(left), desc="embed", unit="source") as bar:
        for _ in _embedded(ray_config, left, encoder, frames, rows, folder, device):
            bar.update()
    vectors = np.empty((len(frames), runtime.dimension), np.float32)
    for shard, of in rows.items():
        found = _vectors(folder, shard, frames, of)
        assert found is not None
        vectors[of] = found
    return vectors


def _embedded(
    ray_config: RayConfig,
    left: list[dict[str, Any]],
    encoder: Path,
    frames: Frames,
    rows: dict[str, NDArray[np.int64]],
    folder: Path,
    device: str,
) -> Iterator[Any]:
    if not left:
        return
    dataset = _rows(ray_config, left)
    gpus = int(ray.cluster_resources().get("GPU", 0)) if device in ("auto", "cuda") else 0
    size = ray_config.workers or gpus or int(ray.cluster_resources().get("CPU", 1))
    yield from dataset.map(
        _Embedder,
        fn_constructor_args=(encoder.resolve(), frames, rows, folder, device),
        compute=ray.data.ActorPoolStrategy(size=min(size, len(left))),
        num_cpus=ray_config.cpus,
        num_gpus=1 if gpus else 0,
    ).iter_rows()


class _Embedder:
    """An encoder in a process of Ray's, which keeps it for all its tasks."""

    def __init__(
        self, encoder: Path, frames: Frames, rows: dict[str, NDArray[np.int64]], folder: Path, device: str
    ) -> None:
        start_worker()
        self._encoder: Encoder = open_encoder(encoder, device)
        self._frames = Frames(frames.path.resolve(), frames.table)
        self._rows, self._folder = rows, folder

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = str(row["shard"])
        rows = self._rows[shard]
        vectors = embed_frames(self._encoder, self._frames.select(rows), shard)
        _keep(self._folder, shard, _digest(self._frames, rows), vectors)
        return {"shard": shard}


def _rows_by_shard(frames: Frames) -> dict[str, NDArray[np.int64]]:
    names = np.array(frames.table["shard"].to_pylist(), dtype=np.str_)
    found, first = np.unique(names[order := np.argsort(names, kind="stable")], return_index=True)
    return dict(zip(found.tolist(), np.split(order, first[1:]), strict=True))


def _digest(frames: Frames, rows: NDArray[np.int64]) -> str:
    """What the vectors of ``rows`` depend on, beside the encoder: which rectangle of which picture each is of."""
    chosen = frames.table.select(["id", "rect", "offset", "length"]).take(rows)
    return hashlib.sha256(repr(chosen.to_pylist()).encode()).hexdigest()


def _vectors(folder: Path, shard: str, frames: Frames, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Those of an earlier task of the same rows, or None."""
    try:
        with np.load(folder / f"{Path(shard).name}.npz", allow_pickle=False) as kept:
            return kept["vectors"] if str(kept["digest"]) == _digest(frames, rows) else None
    except FileNotFoundError:
        return None


def _keep(folder: Path, shard: str, digest: str, vectors: NDArray[np.float32]) -> None:
    path = folder / f"{Path(shard).name}.npz"
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        np.savez(file, vectors=vectors, digest=digest)
    draft.replace(path)
