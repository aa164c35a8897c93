"""The versions of an index in Milvus: which there are, which is current, how one more is written."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from pymilvus import MilvusClient

from index.milvus.collection import TIMEOUT_S, Files, check_count, collection_names, refusals
from index.milvus.draft import Draft
from index.milvus.lease import writing
from index.milvus.version import MilvusVersion
from index.schema import ArtifactError, CorruptArtifactError, ForeignArtifactError, InvalidValueError
from index.store import Content
from index.stores import Address

_ABANDONED = timedelta(days=7)  # since a draft was begun: whoever wrote it is dead


class MilvusStore:
    """The versions of an index in Milvus. Described at ``index.stores.Store``.

    Raises UnavailableError, which every method may, where Milvus does not answer or refuses.
    """

    def __init__(self, address: Address, vector_index: str = "FLAT") -> None:
        self.address, self._vector_index = address, vector_index
        with refusals(address):
            self._client = MilvusClient(address.uri, token=os.environ.get("MILVUS_TOKEN", ""), timeout=TIMEOUT_S)

    def current(self) -> str:
        with refusals(self.address):
            if self.address.name not in self._client.list_aliases(timeout=TIMEOUT_S)["aliases"]:
                raise CorruptArtifactError(str(self.address), "missing: no index has been built here")
            named = self._client.describe_alias(self.address.name, timeout=TIMEOUT_S)["collection_name"]
        version = self.address.version(named)
        if version is None:
            raise ForeignArtifactError(str(self.address), f"the alias names {named!r}, which is no version of an index")
        return version

    def versions(self) -> list[str]:
        return sorted(version for name in self._collections() if (version := self.address.version(name)))

    def manifest(self, version: str) -> dict[str, Any]:
        return Files(self._client, self.address, version).manifest()

    def open(self, version: str | None = None, device: str = "auto") -> MilvusVersion:
        return MilvusVersion(self._client, self.address, version or self.current())

    def verify(self, version: str) -> None:
        """Counts rows and pieces; checks the checksum of every file but thumbnails. Vectors are Milvus's to keep."""
        files = Files(self._client, self.address, version)
        manifest = files.manifest()
        check_count(self._client, self.address, collection_names(self.address, version), manifest)
        for name, expected in manifest["files"].items():
            if hashlib.sha256(files.read(name)).hexdigest() != expected["sha256"]:
                raise CorruptArtifactError(f"{self.address}/{version}/{name}", "its checksum differs: it was altered")

    def rollback(self, version: str | None = None) -> str:
        with refusals(self.address), writing(self._client, self.address) as lease:
            names = self.versions()
            if version is None:
                version = self._before_current(names)
            if version not in names:
                raise InvalidValueError("version", version, f"one of {', '.join(names)}")
            self.verify(version)
            lease.check()
            self._switch(version)
        return version

    def write(self, content: Content, keep: int = 5) -> str:
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z"
        with refusals(self.address), writing(self._client, self.address) as lease:
            self._remove_abandoned()
            try:
                Draft(self._client, self.address, version, self._vector_index).fill(content)
                lease.check()
            except BaseException:
                self._remove(version)
                raise
            before = self._current_or_none()
            self._switch(version)
            self._tidy(keep, {version, before})
        return version

    def _before_current(self, names: list[str]) -> str:
        older = names[: names.index(self.current())]
        if not older:
            raise ArtifactError(str(self.address), "there is no version before the current one")
        return older[-1]

    def _switch(self, version: str) -> None:
        change = self._client.create_alias if self._current_or_none() is None else self._client.alter_alias
        with refusals(self.address):
            change(self.address.collection(version), self.address.name, timeout=TIMEOUT_S)

    def _current_or_none(self) -> str | None:
        try:
            return self.current()
        except CorruptArtifactError:
            return None

    def _tidy(self, keep: int, used: set[str | None]) -> None:
        """Drops versions that are too old; of those that are kept for rollback none stays in Milvus's memory."""
        names = self.versions()
        for name in set(names[:-keep]) - used:
            self._remove(name)
        for name in set(names[-keep:]) - used:
            for collection in collection_names(self.address, name):
                self._client.release_collection(collection, timeout=TIMEOUT_S)

    def _remove(self, version: str) -> None:
        """Drops a version, complete or not: its frames first, with which it ceases to be one."""
        frames, files = collection_names(self.address, version)
        there = self._collections()
        for name in (frames, f"{frames}_draft", files):
            if name in there:
                self._client.drop_collection(name, timeout=TIMEOUT_S)

    def _remove_abandoned(self) -> None:
        """Drops what writers that died have left behind."""
        complete, oldest = set(self.versions()), f"{datetime.now(UTC) - _ABANDONED:%Y%m%dT%H%M%S.%f}Z"
        for name in self._collections():
            version = self.address.version(name.removesuffix("_draft").removesuffix("_files"))
            if version is not None and version not in complete and version < oldest:
                self._remove(version)

    def _collections(self) -> list[str]:
        with refusals(self.address):
            return list(self._client.list_collections(timeout=TIMEOUT_S))
