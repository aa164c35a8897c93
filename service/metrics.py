"""What Prometheus reads at ``/metrics``: how much is asked, how long each part takes, what is refused, which index.

An app has its own registry. Where several processes serve together, their parent enters ``shared_metrics`` before they
start: prometheus_client then keeps every process's numbers in files of one folder, and whichever process is asked
answers for all of them. The index's own figures and its failures are those of the process that answers.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.live import LiveIndex

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Metrics:
    """The numbers of one app. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._folder = os.environ.get(_FOLDER)
        self._index = _Index()
        if not self._folder:
            self._registry.register(self._index)
            ProcessCollector(registry=self._registry)
        self._define_traffic()
        self._define_queue()

    def _define_traffic(self) -> None:
        registry = self._registry
        self._requests = Counter(
            "nearpose_requests",
            "Requests answered; status 499: the client went away before.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "nearpose_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("route", "method"),
            registry=registry,
            buckets=_SECONDS,
        )
        self._stage_seconds = Histogram(
            "nearpose_stage_seconds",
            "Seconds that a query spent in a stage; total includes waiting.",
            ("stage",),
            registry=registry,
            buckets=_SECONDS,
        )
        self._rejected = Counter(
            "nearpose_rejected", "Requests refused, by kind of problem.", ("reason",), registry=registry
        )

    def _define_queue(self) -> None:
        registry = self._registry
        self._batch_size = Histogram(
            "nearpose_batch_size", "Crops that were embedded together.", registry=registry, buckets=_SIZES
        )
        self._waiting = Gauge(
            "nearpose_waiting", "Accepted queries in line.", registry=registry, multiprocess_mode="livesum"
        )
        self._in_flight = Gauge(
            "nearpose_in_flight",
            "Requests being answered, waiting ones included.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def follow(self, live: LiveIndex) -> None:
        """From now on the index's figures are those of ``live``."""
        self._index.live = live

    def started(self) -> None:
        """A request's head is there."""
        self._in_flight.inc()

    def answered(self, route: str, method: str, status: int, seconds: float, reason: str | None) -> None:
        """A request is done with. ``route`` is the template, not the path: there are only so many."""
        self._in_flight.dec()
        self._requests.labels(route, method, status).inc()
        self._request_seconds.labels(route, method).observe(seconds)
        if reason:
            self._rejected.labels(reason).inc()

    def observe_stages(self, milliseconds: Mapping[str, float]) -> None:
        """How long a query's stages took; a stage that it had not is 0 and left out."""
        for stage, spent in milliseconds.items():
            if spent > 0:
                self._stage_seconds.labels(stage).observe(spent / 1000)

    def observe_batch(self, size: int) -> None:
        """``size`` crops were embedded together."""
        self._batch_size.observe(size)

    def set_waiting(self, queries: int) -> None:
        """How many accepted queries wait in line now."""
        self._waiting.set(queries)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format (``prometheus_client.CONTENT_TYPE_LATEST``)."""
        return generate_latest(_Lean(self._shared(self._folder) if self._folder else self._registry))

    def _shared(self, folder: str) -> CollectorRegistry:
        registry = CollectorRegistry()
        live = _forget_dead(folder)
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        registry.register(self._index)
        registry.register(_Processes(live))
        return registry


class _Lean(Collector):
    """What ``collector`` has, without the moment at which each series began: twice the series, and nobody asks."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterable[Metric]:
        for metric in self._collector.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class _Index(Collector):
    """The index that is followed, looked at when Prometheus asks."""

    live: LiveIndex | None = None

    def collect(self) -> Iterable[Metric]:
        if self.live is None:
            return
        failed = self.live.failure is not None
        yield GaugeMetricFamily("nearpose_index_failed", "1 while the current version cannot be opened.", failed)
        index = self.live.opened
        if index is None:
            return
        yield GaugeMetricFamily("nearpose_enrolled_frames", "Frames that users enrolled.", self.live.enrolled)
        yield InfoMetricFamily("nearpose_index", "The index version that answers.", {"version": index.version})
        yield GaugeMetricFamily("nearpose_index_frames", "Frames in the index.", len(index))
        size = sum(file["bytes"] for file in index.manifest["files"].values())
        yield GaugeMetricFamily("nearpose_index_bytes", "Size of the index's files.", size)
        age = (datetime.now(UTC) - datetime.fromisoformat(index.manifest["created"])).total_seconds()
        yield GaugeMetricFamily("nearpose_index_age_seconds", "Seconds since the index was built.", age)


class _Processes(Collector):
    """prometheus_client's process metrics of each of several processes, told apart by a label ``pid``."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = sorted(pids)

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for pid in self._pids:
            for family in ProcessCollector(pid=functools.partial(int, pid), registry=None).collect():
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    merged.add_sample(sample.name, {**sample.labels, "pid": str(pid)}, sample.value)
        return families.values()


@contextlib.contextmanager
def shared_metrics() -> Iterator[None]:
    """While this lasts, processes that are started count together. For their parent, which serves nothing itself."""
    with tempfile.TemporaryDirectory(prefix="nearpose-metrics-") as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER]


def _forget_dead(folder: str) -> set[int]:
    """The processes that count in ``folder``; what a dead one had in flight or in line is dropped."""
    pids = {int(file.stem.rpartition("_")[2]) for file in Path(folder).glob("*.db")}
    live = {pid for pid in pids if _lives(pid)}
    for pid in pids - live:
        mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
    return live


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
