"""What lies where in Objectron's public bucket, and what becomes of it here.

::

    <bucket>/v1/index/<class>_annotations_{train,test}     one `<class>/batch-<i>/<j>` a line
    <bucket>/videos/<class>/batch-<i>/<j>/video.MOV
    <bucket>/annotations/<class>/batch-<i>/<j>.pbdata
    <bucket>/v1/sequences/<class>/<class>_{train,test}*    tf.record shards of SequenceExamples
    <bucket>?list-type=2&prefix=                           the names below a prefix, as XML, a page at a time
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote
from xml.etree import ElementTree

from trainer.captures.kept import SUFFIX, keep_video
from trainer.captures.objectron import read_annotations
from trainer.captures.shot import CaptureError
from trainer.captures.tfrecord import thinned_records
from trainer.fetch.download import DownloadError, Server
from trainer.ingest import IngestConfig

BUCKET = "https://storage.googleapis.com/objectron"
CATEGORIES = ("bike", "book", "bottle", "camera", "cereal_box", "chair", "cup", "laptop", "shoe")
SPLITS = ("train", "test")
WORK = ".fetch"  # what is not complete yet; its names are none that a reader takes for a capture


class Item(Protocol):
    """One large file of the bucket, of which something smaller is kept."""

    @property
    def key(self) -> str:
        """Its name in the bucket."""

    @property
    def kept(self) -> Path:
        """Where what is kept of it lies."""

    def there(self) -> bool:
        """Whether an earlier run, or somebody else, has brought it."""

    def prepare(self, server: Server, bucket: str, announce: Callable[[int], None]) -> None:
        """Brings the small file that it needs. ``announce`` is told its size. Raises DownloadError, CaptureError."""

    def beside(self) -> int:
        """The bytes of that small file."""

    def reduced(self, part: Path) -> bytes:
        """What is kept of the file in ``part``. Raises CaptureError when it cannot be read."""


@dataclass(frozen=True)
class VideoItem:
    """A video with its annotation. Its pictures at a few frames a second are kept."""

    captures: Path
    sequence: str
    keep: IngestConfig

    @property
    def key(self) -> str:
        return f"videos/{self.sequence}/video.MOV"

    @property
    def kept(self) -> Path:
        return self.captures / "videos" / self.sequence / f"video{SUFFIX}"

    @property
    def annotation(self) -> Path:
        return self.captures / "annotations" / f"{self.sequence}.pbdata"

    def there(self) -> bool:
        return self.annotation.exists() and any(self.kept.parent.glob("video.*"))

    def prepare(self, server: Server, bucket: str, announce: Callable[[int], None]) -> None:
        if self.annotation.exists():
            return
        part = self._annotation_part
        server.download(url_of(bucket, f"annotations/{self.sequence}.pbdata"), part, announce)
        try:
            read_annotations(part)  # before a large video is loaded for nothing
        except CaptureError as error:
            part.unlink()
            raise CaptureError(f"annotations/{self.sequence}.pbdata", error.reason) from None
        place(part, self.annotation)

    def beside(self) -> int:
        return size_of(self.annotation) + size_of(self._annotation_part)

    @property
    def _annotation_part(self) -> Path:
        return part_of(self.captures, f"annotations/{self.sequence}.pbdata")

    def reduced(self, part: Path) -> bytes:
        return keep_video(part, self.keep.fps, self.keep.max_side, self.keep.jpeg_quality)


@dataclass(frozen=True)
class ShardItem:
    """A tf.record shard of sequences, of which a few frames a second are kept."""

    captures: Path
    key: str
    keep: IngestConfig

    @property
    def kept(self) -> Path:
        return self.captures / "sequences" / self.key.removeprefix("v1/sequences/")

    def there(self) -> bool:
        return self.kept.exists()

    def prepare(self, server: Server, bucket: str, announce: Callable[[int], None]) -> None:
        """It needs nothing beside itself."""

    def beside(self) -> int:
        return 0

    def reduced(self, part: Path) -> bytes:
        return thinned_records(part, self.keep.fps)


def url_of(bucket: str, key: str) -> str:
    """Where a file of the bucket is."""
    return f"{bucket.rstrip('/')}/{quote(key)}"


def part_of(captures: Path, key: str) -> Path:
    """Where a file of the bucket grows."""
    return captures / WORK / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.part"


def place(part: Path, path: Path) -> None:
    """Gives a complete file its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part.replace(path)


def write_whole(path: Path, part: Path, data: bytes) -> None:
    """All of the file or none of it."""
    part.write_bytes(data)
    place(part, path)


def size_of(path: Path) -> int:
    """Bytes; 0 where there is no file."""
    return path.stat().st_size if path.exists() else 0


def video_items(
    server: Server, bucket: str, captures: Path, category: str, keep: IngestConfig
) -> list[list[VideoItem]]:
    """The videos of a category as its lists name them: those of ``train``, then those of ``test``.

    The lists are left in ``<captures>/index``, where the reader looks for them.
    """
    found = []
    for split in SPLITS:
        name = f"{category}_annotations_{split}"
        path = captures / "index" / name
        if not path.exists():
            part = part_of(captures, f"v1/index/{name}")
            server.download(url_of(bucket, f"v1/index/{name}"), part)
            _listed(url_of(bucket, f"v1/index/{name}"), category, part)
            place(part, path)
        found.append([VideoItem(captures, sequence, keep) for sequence in _listed(str(path), category, path)])
    return found


def _listed(source: str, category: str, file: Path) -> list[str]:
    lines = file.read_text(errors="replace").split()
    strange = [line for line in lines if not re.fullmatch(rf"{re.escape(category)}/batch-\d+/\d+", line)]
    if strange or not lines:
        file.unlink()
        bad = repr(strange[0][:60]) if strange else "nothing"
        raise DownloadError(source, f"holds {bad}, must hold lines like {category}/batch-1/2")
    return lines


def shard_items(
    server: Server, bucket: str, captures: Path, category: str, keep: IngestConfig
) -> list[list[ShardItem]]:
    """The shards of a category's sequences: those of ``train``, then those of ``test``."""
    keys = _keys_below(server, bucket, f"v1/sequences/{category}/")
    of_split = [[key for key in keys if f"/{category}_{split}" in key] for split in SPLITS]
    if not any(of_split):
        raise DownloadError(bucket, f"lists no {category}_train* or {category}_test* below v1/sequences/{category}/")
    return [[ShardItem(captures, key, keep) for key in of_one] for of_one in of_split]


def _keys_below(server: Server, bucket: str, prefix: str) -> list[str]:
    keys: list[str] = []
    query = {"list-type": "2", "prefix": prefix}
    while True:
        page = _listing(bucket, server.text(bucket, **query))
        keys += [key.text or "" for key in page.iterfind("{*}Contents/{*}Key")]
        if (token := page.findtext("{*}NextContinuationToken")) is None:
            return sorted(keys)
        query["continuation-token"] = token


def _listing(bucket: str, text: str) -> ElementTree.Element:
    try:
        page = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DownloadError(bucket, f"its listing is not XML ({error})") from None
    if not page.tag.endswith("ListBucketResult"):
        raise DownloadError(bucket, f"its listing is a {page.tag}")
    return page
