"""A version in Milvus as the service reads it: searched as ``FrameIndex`` is."""

from __future__ import annotations

import copy
import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Generic, TypeVar

import numpy as np
from pymilvus import MilvusClient

from index.confidence import Calibration
from index.contents import Census, Outline
from index.identity_map import read_identity_map
from index.milvus.collection import NAMES, Collection, Files, check_count, collection_names
from index.recognition import Recognition
from index.schema import CorruptArtifactError, Frame, InvalidValueError
from index.search import Rows, Vectors
from index.stores import Address
from index.table import frame_from_row

MOST_NEIGHBOURS = 16_384  # Milvus's own limit to a search
_METADATA = [*NAMES, "frame"]
_KEPT = 65_536  # frames that were read and are kept

T = TypeVar("T")


class MilvusVersion:
    """A version in Milvus, opened: loaded, and as many frames as it should have. Searched as ``FrameIndex``.

    What was found is kept, so that reading the frames of neighbours asks Milvus nothing more.
    """

    def __init__(self, client: MilvusClient, address: Address, version: str) -> None:
        self.version, self._where, self._field = version, f"{address}/{version}", "vector"
        self._rows = Collection(client, address, address.collection(version))
        self._rows.load()
        self._files = Files(client, address, version)
        self.manifest: Mapping[str, Any] = self._files.manifest()
        check_count(client, address, collection_names(address, version), self.manifest)
        self.census = Census(self._files.table("census.parquet"))
        self.encoder_digest: str = self.manifest["encoder_digest"]
        self.identity_map = read_identity_map(self.encoder_path)
        self.recognition = [Recognition.from_manifest(value) for value in self.manifest["recognition"]]
        self.calibration = Calibration.from_manifest(self.manifest["calibration"])
        self.dimension: int = self.manifest["dimension"]
        self._frames, self._objects = _Kept[Frame](_KEPT), _Kept[str](_KEPT)

    def __len__(self) -> int:
        return int(self.manifest["frames"])

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that occur, sorted."""
        return self.census.categories

    @property
    def objects(self) -> tuple[str, ...]:
        """The identities that occur, sorted."""
        return self.census.objects

    def frames_of(self, object_id: str) -> int:
        """How many frames show an object."""
        return self.census.frames_of(object_id)

    @cached_property
    def encoder_path(self) -> Path:
        """A copy of the encoder's artefact directory, which is there as long as this object is."""
        folder = Path(mkdtemp(prefix="nearpose-encoder-"))
        weakref.finalize(self, rmtree, folder, ignore_errors=True)
        for name in (name for name in self.manifest["files"] if name.startswith("encoder/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self._files.read(name))
        return folder / "encoder"

    @cached_property
    def outline(self) -> Outline:
        """At most 50,000 of its frames, laid out in the plane when it was written."""
        table = self._files.table("outline.parquet")
        layout = np.stack([table[axis].to_numpy() for axis in ("x", "y")], axis=1)
        return Outline(table.drop_columns(["x", "y"]), layout, self.manifest["layout"])

    def thumbnail(self, row: int) -> bytes:
        """The JPEG of a frame."""
        return self._files.read(f"thumbnails/{row}.jpg")

    @cached_property
    def by_identity(self) -> MilvusVersion:
        """The same frames by vectors that tell objects apart; these where the encoder has no identity map."""
        if self.identity_map is None:
            return self
        same = copy.copy(self)
        same._field, same.dimension, same.identity_map = "identity", len(self.identity_map), None
        return same

    def check_category(self, category: str | None) -> None:
        """Raises InvalidValueError for a category that is not in the index; None is none in particular."""
        if category is not None and category not in self.categories:
            raise InvalidValueError("category", category, f"one of {', '.join(self.categories)}")

    def row_of(self, frame_id: str) -> int:
        """The row of a frame. Raises KeyError when it is not indexed."""
        if not frame_id.isprintable():  # none is written, and Milvus could not read it
            raise KeyError(frame_id)
        found = self._rows.ask("query", filter=f"id == {_literal(frame_id)}", output_fields=["row"])
        if not found:
            raise KeyError(frame_id)
        return int(found[0]["row"])

    def object_of(self, row: int) -> str:
        """The identity that the frame in ``row`` shows."""
        known = self._objects.get(row)
        return known if known is not None else self.frame(row).object_id

    def frame(self, row: int) -> Frame:
        """The frame in ``row``."""
        known = self._frames.get(row)
        return known if known is not None else self._keep(row, self._get(row, _METADATA))

    def vector(self, row: int) -> Vectors:
        """The vector of the frame in ``row``, (d,)."""
        return np.asarray(self._get(row, [self._field])[self._field], np.float32)

    def search(
        self, vectors: Vectors, k: int, category: str | None = None, exclude_object: str | None = None
    ) -> tuple[Vectors, Rows]:
        """As ``FrameIndex.search``; of frames that are equally similar, the one that was indexed first comes first."""
        if not 1 <= k <= MOST_NEIGHBOURS:
            raise InvalidValueError("k", k, f"from 1 to {MOST_NEIGHBOURS}")
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InvalidValueError("vectors", vectors.shape, f"(n, {self.dimension})")
        self.check_category(category)
        similarities, rows = np.full((len(vectors), k), -np.inf, np.float32), np.full((len(vectors), k), -1, np.int64)
        for query, hits in enumerate(self._nearest(vectors, k, _filter(category, exclude_object))):
            hits.sort(key=lambda hit: (-hit["distance"], hit["row"]))
            similarities[query, : len(hits)] = [hit["distance"] for hit in hits]
            rows[query, : len(hits)] = [hit["row"] for hit in hits]
            self._keep_found(hits)
        return similarities, rows

    def _nearest(self, vectors: Vectors, k: int, wanted: str) -> list[list[dict[str, Any]]]:
        if len(vectors) == 0:
            return []
        found = self._rows.ask(
            "search",
            data=list(np.ascontiguousarray(vectors, np.float32)),
            anns_field=self._field,
            limit=min(k, len(self)),
            filter=wanted,
            search_params={"metric_type": "IP"},
            # Of an object's many frames few are looked at: those are read when they are.
            output_fields=_METADATA if self._field == "vector" else ["object_id"],
        )
        return [list(hits) for hits in found]

    def _keep_found(self, hits: Sequence[Mapping[str, Any]]) -> None:
        for hit in hits:
            self._objects.put(hit["row"], hit["entity"]["object_id"])
            if "frame" in hit["entity"] and self._frames.get(hit["row"]) is None:
                self._keep(hit["row"], hit["entity"])

    def _keep(self, row: int, entity: Mapping[str, Any]) -> Frame:
        frame = frame_from_row({**entity["frame"], **{name: entity[name] for name in NAMES}})
        self._frames.put(row, frame)
        return frame

    def _get(self, row: int, fields: list[str]) -> dict[str, Any]:
        found = self._rows.ask("get", ids=[int(row)], output_fields=fields)
        if not found:
            raise CorruptArtifactError(self._where, f"has no row {row}")
        return dict(found[0])


class _Kept(Generic[T]):
    """The last ``most`` values that were put."""

    def __init__(self, most: int) -> None:
        self._values: dict[int, T] = {}
        self._most, self._lock = most, threading.Lock()

    def get(self, key: int) -> T | None:
        return self._values.get(key)

    def put(self, key: int, value: T) -> None:
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._most:
                del self._values[next(iter(self._values))]


def _filter(category: str | None, exclude_object: str | None) -> str:
    parts = [] if category is None else [f"category == {_literal(category)}"]
    if exclude_object is not None:
        parts.append(f"object_id != {_literal(exclude_object)}")
    return " and ".join(parts)


def _literal(text: str) -> str:
    """Text as a string of Milvus's expressions."""
    return json.dumps(text, ensure_ascii=False)
