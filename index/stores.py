"""Where an index is: in a folder (``index.store``), or in Milvus (``index.milvus``). Both keep versions alike."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from index import store
from index.contents import Census, Outline
from index.joined import Calibrated
from index.schema import InvalidValueError
from index.store import Content

MILVUS = "milvus:"
Location = str | os.PathLike[str]  # of an index: a folder, or milvus:<file.db or URL>[#name]


@dataclass(frozen=True)
class Address:
    """Which index of which Milvus: ``milvus:<file.db or URL>[#name]``. The environment's MILVUS_TOKEN is its token."""

    uri: str
    name: str = "nearpose"

    def __post_init__(self) -> None:
        if not re.match(r"https?://.", self.uri) and not self.uri.endswith(".db"):
            raise InvalidValueError("index", f"milvus:{self.uri}", "milvus: and a file that ends in .db, or a URL")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,99}", self.name):
            raise InvalidValueError("index", f"#{self.name}", "# and a letter, then letters, digits and _")
        if self.name.endswith("_writer"):  # the alias of whoever writes to an index: see index.milvus.lease
            raise InvalidValueError("index", f"#{self.name}", "a name that does not end in _writer")

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads what ``str`` writes; the name may be left out."""
        uri, _, name = text.removeprefix(MILVUS).partition("#")
        return cls(uri, name or cls.name)

    def __str__(self) -> str:
        return f"milvus:{self.uri}#{self.name}"

    def collection(self, version: str) -> str:
        """The name of a version's collection of frames."""
        return f"{self.name}_{version.replace('.', '_')}"

    def version(self, collection: str) -> str | None:
        """The version whose frames a collection holds; None where it is no complete version of this index."""
        found = re.fullmatch(rf"{self.name}_(\d{{8}}T\d{{6}})_(\d{{6}}Z)", collection)
        return f"{found[1]}.{found[2]}" if found else None


class Version(Calibrated, Protocol):
    """A version, opened: all that answering takes. Its counts are its own: nothing is enrolled in it."""

    @property
    def version(self) -> str: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...
    @property
    def encoder_path(self) -> Path: ...
    @property
    def census(self) -> Census: ...
    @property
    def outline(self) -> Outline: ...
    def thumbnail(self, row: int) -> bytes: ...


class Store(Protocol):
    """The versions of an index, one of which is current."""

    def current(self) -> str:
        """The current version's name; cheap enough to poll. Raises CorruptArtifactError where there is none."""

    def versions(self) -> list[str]:
        """The names of all complete versions, oldest first."""

    def manifest(self, version: str) -> dict[str, Any]:
        """What a version says of itself."""

    def open(self, version: str | None = None, device: str = "auto") -> Version:
        """Opens a version, by default the current one, after checking that it is complete; ``device`` searches it."""

    def write(self, content: Content, keep: int = 5) -> str:
        """Writes a version and makes it current; ``keep`` are kept, this one included. Returns its name.

        One at a time writes: in a folder the others wait, in Milvus they are refused with UnavailableError.
        """

    def rollback(self, version: str | None = None) -> str:
        """Makes a version current, by default the one before the current one, after checking it; returns its name."""

    def verify(self, version: str) -> None:
        """Checks a version as far as it can be. Raises CorruptArtifactError."""


class Folder:
    """A store in a folder, on one machine or a shared file system: see ``index.store``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def current(self) -> str:
        return store.current_version(self.root)

    def versions(self) -> list[str]:
        return store.versions(self.root)

    def manifest(self, version: str) -> dict[str, Any]:
        return store.read_manifest(self.root / "versions" / version)

    def open(self, version: str | None = None, device: str = "auto") -> Version:
        return store.open_index(self.root, version, device)

    def write(self, content: Content, keep: int = 5) -> str:
        return store.write_version(self.root, content, keep)

    def rollback(self, version: str | None = None) -> str:
        return store.rollback(self.root, version)

    def verify(self, version: str) -> None:
        store.verify_version(self.root / "versions" / version)


def is_milvus(location: Location) -> bool:
    """Whether an index is in Milvus, not in a folder."""
    return os.fspath(location).startswith(MILVUS)


def store_at(location: Location, milvus_index: str = "FLAT") -> Store:
    """The store at a location; nothing needs to be there yet.

    Args:
        location: a folder; or ``milvus:`` and a file that ends in .db (Milvus inside this process), or the URL of a
            Milvus. Its collections' names begin with what stands behind a ``#``, by default nearpose.
        milvus_index: how Milvus indexes the vectors of a version that is written: FLAT is exact.

    Raises:
        InvalidValueError: no such location can be.
        UnavailableError: Milvus does not answer.
    """
    if not is_milvus(location):
        return Folder(Path(location))
    address = Address.parse(os.fspath(location))
    try:
        from index.milvus import MilvusStore
    except ImportError as error:
        raise InvalidValueError("index", str(address), "a folder, or pip install 'nearpose[milvus]'") from error
    return MilvusStore(address, milvus_index)
