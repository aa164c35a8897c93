"""The index on disk: versions of vectors, frames, thumbnails, and the encoder that made the vectors.

Layout::

    <root>/CURRENT                      the current version's name; replaced by one atomic rename
    <root>/versions/<name>/
        vectors.npy                     (n, d) unit rows; float32, or float16 where candidates are searched first
        vectors.faiss                   those candidates, by FAISS: see index.kinds
        identities.npy, identities.faiss   the same of (n, e) identities, where the encoder has an identity map
        frames.parquet                  index.table's columns and ORIGIN's, thumbnail_offset, thumbnail_length
        thumbnails.tar                  one JPEG a frame
        map.npy                         (n, 2) float32, the vectors laid out in the plane; optional
        encoder/                        a copy of the encoder's artefact directory
        manifest.json                   format, counts, the encoder's digest, and size and sha256 of every file

A version is written beside, checked, then switched to. It holds its own encoder, so that index and encoder always
change together: whoever opens a version has everything that answering takes. Old versions stay for rollback.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from index.confidence import Calibration
from index.contents import Outline
from index.durable import sync, sync_all
from index.encoder import file_digest
from index.gpu import engine_on
from index.history import History
from index.identity_map import read_identity_map, to_identities
from index.kinds import Plan
from index.layout import Layout
from index.nearest import Vectors
from index.recall import SearchConfig
from index.recognition import FRAMES_SEEN, Recognition
from index.schema import (
    ArtifactError,
    CorruptArtifactError,
    ForeignArtifactError,
    Frame,
    InvalidValueError,
)
from index.search import FrameIndex
from index.shards import ShardWriter
from index.table import numbered, table_from_frames
from index.vectors import Previous, open_vectors, write_vectors

FORMAT = "nearpose-index-1"


class OutdatedError(ArtifactError):
    """Another version has become current meanwhile. Carries ``path`` and ``reason``."""


class IndexVersion(FrameIndex):
    """A version on disk, opened: its checksums hold, its vectors are mapped into memory."""

    def __init__(self, path: Path, device: str = "auto") -> None:
        self.path = path
        self.manifest = read_manifest(path)
        _check_files(path, self.manifest)
        self.plan = Plan.from_manifest(self.manifest.get("search"), self.manifest["dimension"])
        self.search_config = SearchConfig(**self.manifest.get("search_config", {}))
        vectors, engine = open_vectors(path, "vectors", self.plan)
        super().__init__(vectors, pq.read_table(path / "frames.parquet"), engine_on(device, engine))
        self.encoder_digest = self.manifest["encoder_digest"]
        self.identity_map = read_identity_map(self.encoder_path)
        if self.identity_map is not None:
            plan = Plan.from_manifest(self.manifest.get("identity_search"), len(self.identity_map))
            self.identities, engine = open_vectors(path, "identities", plan)
            self.identity_engine = engine_on(device, engine)
        self.recognition = [Recognition.from_manifest(value) for value in self.manifest.get("recognition") or []]
        self.calibration = Calibration.from_manifest(self.manifest.get("calibration"))
        self.history = History.from_manifest(self.manifest.get("history"))
        with (path / "thumbnails.tar").open("rb") as file:  # mapped: it may be removed while this version answers
            self._thumbnails = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.layout = _layout(path, len(self)) if "map.npy" in self.manifest["files"] else None

    @property
    def version(self) -> str:
        """The version's name."""
        return self.path.name

    @property
    def encoder_path(self) -> Path:
        """The artefact directory of the encoder that made the vectors."""
        return self.path / "encoder"

    @cached_property
    def outline(self) -> Outline:
        """All of its frames, laid out in the plane."""
        return Outline.of(self.table, self.vectors, self.layout)

    def thumbnail(self, row: int) -> bytes:
        """The JPEG of a frame."""
        offset, length = (self.table[f"thumbnail_{name}"][row].as_py() for name in ("offset", "length"))
        return self._thumbnails[offset : offset + length]


def _layout(path: Path, frames: int) -> Layout:
    """Mapped, as the thumbnails are: the version may be removed while it answers."""
    layout: Layout = np.load(path / "map.npy", mmap_mode="r", allow_pickle=False)
    if layout.shape != (frames, 2):
        raise CorruptArtifactError(path / "map.npy", f"has shape {layout.shape}, must be ({frames}, 2)")
    return layout


def current_version(root: Path) -> str:
    """The name of the current version; cheap enough to poll. Raises CorruptArtifactError when there is none."""
    try:
        name = (root / "CURRENT").read_text().strip()
    except FileNotFoundError:
        raise CorruptArtifactError(root / "CURRENT", "missing: no index has been built here") from None
    except OSError as error:
        raise CorruptArtifactError(root / "CURRENT", f"unreadable: {error.strerror}") from None
    if not name or Path(name).name != name or not (root / "versions" / name).is_dir():
        raise CorruptArtifactError(root / "CURRENT", f"names version {name!r}, which does not exist")
    return name


def versions(root: Path) -> list[str]:
    """The names of all complete versions, oldest first."""
    folder = root / "versions"
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.name[0] != "." and (p / "manifest.json").is_file())


def open_index(root: Path, version: str | None = None, device: str = "auto") -> IndexVersion:
    """Opens a version (the current one by default), after checking every file's size and checksum.

    Args:
        device: what searches it: auto (GPUs where FAISS sees any), cuda, or cpu.

    Raises:
        CorruptArtifactError: a file is missing, truncated or altered; the message names it.
        ForeignArtifactError: not an index of this format.
    """
    return IndexVersion(root / "versions" / (version or current_version(root)), device)


def rollback(root: Path, version: str | None = None) -> str:
    """Makes ``version`` current (by default the one before the current one) after checking it; returns its name."""
    _wanted(root, version)  # where there is no index, there is no folder to lock
    with _alone(root):  # a build that ends meanwhile switches, and might remove the version
        version = _wanted(root, version)
        verify_version(root / "versions" / version)
        _switch(root, version)
    return version


def _wanted(root: Path, version: str | None) -> str:
    """``version``, which must be there; None: the one before the current one."""
    names = versions(root)
    if version is None:
        older = names[: names.index(current_version(root))]
        if not older:
            raise ArtifactError(root, "there is no version before the current one")
        return older[-1]
    if version not in names:
        raise InvalidValueError("version", version, f"one of {', '.join(names)}")
    return version


def verify_version(path: Path) -> None:
    """Checks every file of a version against its manifest. Raises CorruptArtifactError naming the first bad one."""
    _check_files(path, read_manifest(path))


@dataclass(frozen=True, eq=False)
class Content:
    """What a version is written from.

    Attributes:
        vectors: (n, d) float32 with unit rows, of ``encoder``.
        table: n rows with the columns of ``index.table``, and perhaps those of ORIGIN; ids must differ.
        thumbnails: n JPEGs.
        encoder: the encoder's artefact directory; it is copied.
        calibration: of the boxes' confidence; None: the one that ships is used.
        recognition: from when on a match counts as known; empty: nothing is called known or unknown.
        layout: (n, 2) float32, the vectors laid out in the plane, to look at.
        history: which sources the frames are of; None: that is not known.
        search: by which kind it is searched, and how well that must find.
        previous: the version whose candidates are taken over, where there is one; see ``index.vectors``.
    """

    vectors: Vectors
    table: pa.Table
    thumbnails: Iterable[bytes]
    encoder: Path
    encoder_digest: str
    calibration: Calibration | None = None
    recognition: Sequence[Recognition] = ()
    layout: Layout | None = None
    history: History | None = None
    search: SearchConfig = field(default_factory=SearchConfig)
    previous: Previous | None = None

    def __post_init__(self) -> None:
        if len(pc.unique(self.table["id"])) != len(self.table):
            raise InvalidValueError("frames", f"{len(self.table)} frames", "frames with ids that differ")


def write_index(
    root: Path,
    vectors: Vectors,
    frames: Sequence[Frame],
    thumbnails: Iterable[bytes],
    encoder: Path,
    encoder_digest: str,
    keep: int = 5,
    calibration: Calibration | None = None,
    recognition: Sequence[Recognition] = (),
    layout: Layout | None = None,
    search: SearchConfig | None = None,
) -> str:
    """``write_version`` of n frames whose origin is not told; the other arguments are those of ``Content``."""
    table = table_from_frames(frames)
    content = Content(vectors, table, thumbnails, encoder, encoder_digest, calibration, recognition, layout)
    content = replace(content, search=search or content.search)
    return write_version(root, content, keep)


def write_version(root: Path, content: Content, keep: int = 5, base: str | None = None) -> str:
    """Writes a new version and makes it current; returns its name.

    Args:
        keep: how many versions to keep, this one included.
        base: the version that ``content`` was made from, which must be the current one still.

    Raises:
        OutdatedError: it is not; nothing is written.
        ArtifactError: it cannot be written; the current version stays.
    """
    folder = root / "versions"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(root):
        if base is not None and base != (current := current_version(root)):
            raise OutdatedError(root, f"version {current} has come while one was made from {base}")
        _remove_abandoned(folder)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z"
        with _draft_of(folder / name) as draft:
            _fill(draft, content)
            IndexVersion(draft, "cpu")
        _switch(root, name)
        _remove_old(folder, keep, name)
    return name


def _remove_old(folder: Path, keep: int, current: str) -> None:
    """Removes all but the last versions; never the current one, which is not the last where a clock was put back."""
    for old in (name for name in versions(folder.parent)[:-keep] if name != current):
        (folder / old).rename(folder / f".{old}.removed")  # at once: nobody ever sees half a version
        shutil.rmtree(folder / f".{old}.removed", ignore_errors=True)


@contextlib.contextmanager
def _draft_of(version: Path) -> Iterator[Path]:
    """A folder to write in, which becomes ``version`` when the ``with`` block ends, and is gone when that fails."""
    draft = version.with_name(f".{version.name}.draft-{os.getpid()}")
    draft.mkdir()
    lock = _locked(draft)
    try:
        yield draft
        sync_all(draft)
        draft.rename(version)
        sync(version.parent)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            root = version.parent.parent
            raise ArtifactError(root, f"no version can be written ({error}); is there room on the disk?") from error
        raise
    finally:
        os.close(lock)


def _fill(draft: Path, content: Content) -> None:
    """Writes every file of a version."""
    shutil.copytree(content.encoder, draft / "encoder")
    if content.layout is not None:
        np.save(draft / "map.npy", np.ascontiguousarray(content.layout, dtype=np.float32), allow_pickle=False)
    plans = _fill_vectors(draft, content)
    pq.write_table(_with_thumbnails(draft, content.table, content.thumbnails), draft / "frames.parquet")
    manifest = manifest_of(draft, content) | {name: plan.to_manifest() for name, plan in plans.items()}
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _fill_vectors(draft: Path, content: Content) -> dict[str, Plan]:
    """Writes vectors and identities; how each are searched, by the manifest's name for it."""
    _, objects = numbered(content.table["object_id"])
    plans = {"search": write_vectors(draft, "vectors", content.vectors, content.search, content.previous, objects)}
    if (identity_map := read_identity_map(content.encoder)) is not None:
        identities = to_identities(identity_map, content.vectors)
        wanted = replace(content.search, k=FRAMES_SEEN)
        plans["identity_search"] = write_vectors(draft, "identities", identities, wanted, content.previous)
    return plans


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Of all who write to an index, one at a time is in such a ``with`` block; the others wait."""
    lock = _locked(root)
    try:
        yield
    finally:
        os.close(lock)


def _locked(folder: Path) -> int:
    """A descriptor that locks ``folder`` for as long as it is open, which is at most as long as this process lives."""
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # not every file system has locks; then drafts of the dead stay
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _remove_abandoned(folder: Path) -> None:
    """Removes what processes that died have left behind: drafts of versions, and half of an old one."""
    for hidden in folder.glob(".*"):
        try:
            descriptor = os.open(hidden, os.O_RDONLY)
        except FileNotFoundError:  # another process has just finished it, or removed it
            continue
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(hidden, ignore_errors=True)
        os.close(descriptor)


def _with_thumbnails(draft: Path, table: pa.Table, thumbnails: Iterable[bytes]) -> pa.Table:
    ids = table["id"].to_pylist()
    with ShardWriter(draft / "thumbnails.tar") as shard:
        places = [shard.append(f"{frame_id}.jpg", jpeg) for frame_id, jpeg in zip(ids, thumbnails, strict=True)]
    for column, values in zip(("thumbnail_offset", "thumbnail_length"), zip(*places, strict=True), strict=True):
        table = table.append_column(column, pa.array(values, pa.int64()))
    return table


def manifest_of(draft: Path, content: Content) -> dict[str, Any]:
    """What a version says of itself, whose other files are in ``draft``."""
    files = sorted(p for p in draft.rglob("*") if p.is_file())
    table = content.table
    return {
        "format": FORMAT,
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "frames": len(table),
        "frames_with_box": len(table) - table["box"].null_count,
        "objects": len(pc.unique(table["object_id"])),
        "categories": sorted(pc.unique(table["category"]).to_pylist()),
        "dimension": int(content.vectors.shape[1]),
        "encoder_digest": content.encoder_digest,
        "files": {str(p.relative_to(draft)): {"bytes": p.stat().st_size, "sha256": file_digest(p)} for p in files},
        "calibration": content.calibration and asdict(content.calibration),
        "recognition": [asdict(r) for r in content.recognition],
        "history": content.history and asdict(content.history),
        "search_config": asdict(content.search),
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """A version's manifest. Raises CorruptArtifactError or ForeignArtifactError when it is not one."""
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text())
    except FileNotFoundError:
        raise CorruptArtifactError(file, "missing") from None
    except ValueError as error:
        raise CorruptArtifactError(file, f"not JSON ({error})") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ForeignArtifactError(file, f"format is {found!r}, this version reads {FORMAT!r}")
    return dict(manifest)


def _check_files(path: Path, manifest: dict[str, Any]) -> None:
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise CorruptArtifactError(file, "missing")
        if file.stat().st_size != expected["bytes"]:
            raise CorruptArtifactError(file, f"has {file.stat().st_size} bytes, its manifest says {expected['bytes']}")
        if file_digest(file) != expected["sha256"]:
            raise CorruptArtifactError(file, "its checksum differs from its manifest's: the content was altered")


def _switch(root: Path, name: str) -> None:
    draft = root / "versions" / name / "CURRENT.draft"
    draft.write_text(name + "\n")
    sync(draft)
    draft.replace(root / "CURRENT")
    sync(root)
