"""What a run is about to fetch: which files, how large, for how long."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from index.schema import InvalidValueError
from trainer.fetch.bucket import BUCKET, CATEGORIES, Item, shard_items, url_of, video_items
from trainer.fetch.download import DownloadError, Patience, Server
from trainer.ingest import IngestConfig

FORMATS: dict[str, Callable[..., Sequence[Sequence[Item]]]] = {"videos": video_items, "tfrecord": shard_items}
_FREE_SHARE = 0.9  # of the free disk, where no budget is given
_SAMPLED = 40  # files whose size is asked for, to plan by
_PROBED = 16 << 20  # bytes of the first file, to measure the rate by


@dataclass(frozen=True)
class FetchConfig:
    """What to fetch, and how gently."""

    categories: tuple[str, ...] = CATEGORIES
    limit: int | None = None  # videos (or shards) a category; the same ones come first, whatever the limit
    format: str = "videos"  # videos | tfrecord
    url: str = BUCKET
    jobs: int = 4  # files at a time, a connection each
    disk_gb: float | None = None  # that the captures may fill, those there included; None: 0.9 of what is free
    keep: IngestConfig = field(default_factory=IngestConfig)  # how often, how large: what ``ingest`` will take
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        for category in self.categories:
            if category not in CATEGORIES:
                raise InvalidValueError("fetch.categories", category, f"among {', '.join(CATEGORIES)}")
        bounds = {
            "categories": (bool(self.categories), "at least one"),
            "limit": (self.limit is None or self.limit >= 1, "at least 1"),
            "format": (self.format in FORMATS, f"one of {', '.join(FORMATS)}"),
            "url": (self.url.startswith(("https://", "http://")), "an address of the web"),
            "jobs": (1 <= self.jobs <= 32, "from 1 to 32"),
            "disk_gb": (self.disk_gb is None or self.disk_gb > 0, "positive"),
        }
        for name, (good, bound) in bounds.items():
            if not good:
                raise InvalidValueError(f"fetch.{name}", getattr(self, name), bound)

    def outcome(self) -> dict[str, Any]:
        """The settings that a folder of captures keeps for good."""
        keep = {name: getattr(self.keep, name) for name in ("fps", "max_side", "jpeg_quality")}
        return {"url": self.url.rstrip("/"), "format": self.format, **keep}


@dataclass(frozen=True)
class Plan:
    """What a run is about to do."""

    items: tuple[Item, ...]  # that are not there
    there: int
    known: int  # files whose size was asked for
    bytes: int  # of all items; an estimate where ``known`` is smaller
    rate: float  # bytes a second of one connection, as just measured
    jobs: int
    limit: int  # bytes that the captures may fill
    used: int  # bytes that they fill

    def text(self) -> str:
        """The plan as lines to print."""
        about = "" if self.known == len(self.items) else f", estimated from {self.known} of them"
        lines = [
            f"to fetch: {len(self.items)} files, {self.bytes / 1e9:.3g} GB{about}; {self.there} are there",
            f"disk: {self.used / 1e9:.3g} of {self.limit / 1e9:.3g} GB used; of a file only frames are kept",
        ]
        if self.rate:
            hours = self.bytes / self.rate / 3600
            lines.append(
                f"time: {hours:.2g} hours at the {self.rate / 1e6:.3g} MB/s of one connection, "
                f"{hours / self.jobs:.2g} if {self.jobs} bring as much each; decoding comes on top where cores are few"
            )
        return "\n".join(lines)


def make_plan(captures: Path, config: FetchConfig, server: Server) -> Plan:
    """Asks the bucket for its lists, some sizes and a first piece. Raises DownloadError where it has no lists."""
    chosen = [item for category in config.categories for item in _chosen(captures, category, config, server)]
    wanted = {item.key: item for item in chosen}.values()  # each once, however often it is listed: two would meet
    items = tuple(item for item in wanted if not item.there())
    sizes = _sizes(items, config.url, server)
    used = sum(file.stat().st_size for file in captures.rglob("*") if file.is_file())
    return Plan(
        items=items,
        there=len(wanted) - len(items),
        known=len(sizes),
        bytes=round(sum(sizes) / max(1, len(sizes)) * len(items)),
        rate=server.rate(url_of(config.url, items[0].key), _PROBED) if items else 0.0,
        jobs=config.jobs,
        limit=used + round(_FREE_SHARE * shutil.disk_usage(captures).free)
        if config.disk_gb is None
        else round(config.disk_gb * 1e9),
        used=used,
    )


def _chosen(captures: Path, category: str, config: FetchConfig, server: Server) -> list[Item]:
    """A category's files, its splits in proportion; a larger limit adds to those of a smaller one."""
    train, test = FORMATS[config.format](server, config.url, captures, category, config.keep)
    if config.limit is None:
        return [*train, *test]
    tests = round(config.limit * len(test) / (len(train) + len(test)))
    return [*_mixed(train)[: config.limit - tests], *_mixed(test)[:tests]]


def _mixed(items: Sequence[Item]) -> list[Item]:
    """In an order that is random but always the same: neighbours in a list are of one place and time."""
    return sorted(items, key=lambda item: hashlib.sha256(item.key.encode()).digest())


def _sizes(items: Sequence[Item], bucket: str, server: Server) -> list[int]:
    """The bytes of some of the files, evenly over all; without those that the bucket does not have."""
    sizes = []
    for item in items[:: max(1, -(-len(items) // _SAMPLED))]:
        try:
            sizes.append(server.size(url_of(bucket, item.key)))
        except DownloadError:
            continue  # reported when it is to be fetched
    return sizes
