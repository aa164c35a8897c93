"""An index in Milvus: past one machine's memory, and for many services at once. Versions are those of ``index.store``.

A version is two collections; an alias names the current one, and is exchanged in one step::

    <name>                              alias of the current version's frames
    <name>_<version>                    a frame a row: row, id, category, object_id, frame (JSON: what else index.table
                                        has), vector (d) and, where the encoder has an identity map, identity (e)
    <name>_<version>_files              what else a version is: files in pieces, key -> data (base 85):
        manifest.json                   as index.store has it
        encoder/...                     the encoder's artefact directory
        census.parquet, outline.parquet     index.contents
        thumbnails/<row>.jpg

A version is written as ``<name>_<version>_draft``, counted, and renamed: under its own name it is complete. Whoever has
the address has everything: a service needs no folder beside it. One at a time writes: see ``index.milvus_lease``.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymilvus import DataType, MilvusClient, MilvusException
from tqdm import tqdm

from index.confidence import Calibration
from index.contents import Census, Method, Outline
from index.identity_map import read_identity_map, to_identities
from index.milvus_lease import writing
from index.recognition import Recognition
from index.schema import (
    ArtifactError,
    CorruptArtifactError,
    ForeignArtifactError,
    Frame,
    InvalidValueError,
    UnavailableError,
)
from index.search import Rows, Vectors
from index.store import FORMAT, Content, manifest_of
from index.stores import Address
from index.table import frame_from_row

MOST_NEIGHBOURS = 16_384  # Milvus's own limit to a search
_LONGEST_NAME = 1024  # bytes of an id, a category or an object's name
_PIECE = 48_000  # bytes of a file in a row: a VARCHAR has at most 65,535, of which base 85 takes a fifth
_ROWS = 256  # inserted at once: 64 MB is the most that a message may have
_OUTLINED = 50_000  # frames at most
_KEPT = 65_536  # frames that were read and are kept
_ABANDONED = timedelta(days=7)  # since a draft was begun: whoever wrote it is dead
_TIMEOUT_S = 30.0
_LOADING_S = 3600.0
_NOT_LOADED, _NO_FILE = 101, 1  # Milvus's codes
_ONE_PROCESS = "one process at a time may open a file; several share a server: milvus-lite server --help"

T = TypeVar("T")


class MilvusStore:
    """The versions of an index in Milvus. Described at ``index.stores.Store``.

    Raises UnavailableError, which every method may, where Milvus does not answer or refuses.
    """

    def __init__(self, address: Address, vector_index: str = "FLAT") -> None:
        self.address, self._vector_index = address, vector_index
        with _refusals(address):
            self._client = MilvusClient(address.uri, token=os.environ.get("MILVUS_TOKEN", ""), timeout=_TIMEOUT_S)

    def current(self) -> str:
        with _refusals(self.address):
            if self.address.name not in self._client.list_aliases(timeout=_TIMEOUT_S)["aliases"]:
                raise CorruptArtifactError(str(self.address), "missing: no index has been built here")
            named = self._client.describe_alias(self.address.name, timeout=_TIMEOUT_S)["collection_name"]
        version = self.address.version(named)
        if version is None:
            raise ForeignArtifactError(str(self.address), f"the alias names {named!r}, which is no version of an index")
        return version

    def versions(self) -> list[str]:
        return sorted(version for name in self._collections() if (version := self.address.version(name)))

    def manifest(self, version: str) -> dict[str, Any]:
        return _Files(self._client, self.address, version).manifest()

    def open(self, version: str | None = None, device: str = "auto") -> MilvusVersion:
        return MilvusVersion(self._client, self.address, version or self.current())

    def verify(self, version: str) -> None:
        """Counts rows and pieces; checks the checksum of every file but thumbnails. Vectors are Milvus's to keep."""
        files = _Files(self._client, self.address, version)
        manifest = files.manifest()
        _check_count(self._client, self.address, _both(self.address, version), manifest)
        for name, expected in manifest["files"].items():
            if hashlib.sha256(files.read(name)).hexdigest() != expected["sha256"]:
                raise CorruptArtifactError(f"{self.address}/{version}/{name}", "its checksum differs: it was altered")

    def rollback(self, version: str | None = None) -> str:
        names = self.versions()
        if version is None:
            older = names[: names.index(self.current())]
            if not older:
                raise ArtifactError(str(self.address), "there is no version before the current one")
            version = older[-1]
        if version not in names:
            raise InvalidValueError("version", version, f"one of {', '.join(names)}")
        self.verify(version)
        with _refusals(self.address), writing(self._client, self.address):
            self._switch(version)
        return version

    def write(self, content: Content, keep: int = 5) -> str:
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z"
        with _refusals(self.address), writing(self._client, self.address) as lease:
            self._remove_abandoned()
            try:
                _Draft(self._client, self.address, version, self._vector_index).fill(content)
                lease.check()
            except BaseException:
                self._remove(version)
                raise
            before = self._current_or_none()
            self._switch(version)
            self._tidy(keep, {version, before})
        return version

    def _switch(self, version: str) -> None:
        change = self._client.create_alias if self._current_or_none() is None else self._client.alter_alias
        with _refusals(self.address):
            change(self.address.collection(version), self.address.name, timeout=_TIMEOUT_S)

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
            for collection in _both(self.address, name):
                self._client.release_collection(collection, timeout=_TIMEOUT_S)

    def _remove(self, version: str) -> None:
        """Drops a version, complete or not: its frames first, with which it ceases to be one."""
        frames, files = _both(self.address, version)
        there = self._collections()
        for name in (frames, f"{frames}_draft", files):
            if name in there:
                self._client.drop_collection(name, timeout=_TIMEOUT_S)

    def _remove_abandoned(self) -> None:
        """Drops what writers that died have left behind."""
        complete, oldest = set(self.versions()), f"{datetime.now(UTC) - _ABANDONED:%Y%m%dT%H%M%S.%f}Z"
        for name in self._collections():
            version = self.address.version(name.removesuffix("_draft").removesuffix("_files"))
            if version is not None and version not in complete and version < oldest:
                self._remove(version)

    def _collections(self) -> list[str]:
        with _refusals(self.address):
            return list(self._client.list_collections(timeout=_TIMEOUT_S))


class MilvusVersion:
    """A version in Milvus, opened: loaded, and as many frames as it should have. Searched as ``FrameIndex``.

    What was found is kept, so that reading the frames of neighbours asks Milvus nothing more.
    """

    def __init__(self, client: MilvusClient, address: Address, version: str) -> None:
        self.version, self._where, self._field = version, f"{address}/{version}", "vector"
        self._rows = _Collection(client, address, address.collection(version))
        self._rows.load()
        self._files = _Files(client, address, version)
        self.manifest: Mapping[str, Any] = self._files.manifest()
        _check_count(client, address, _both(address, version), self.manifest)
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
        frame = frame_from_row({**entity["frame"], **{name: entity[name] for name in _NAMES}})
        self._frames.put(row, frame)
        return frame

    def _get(self, row: int, fields: list[str]) -> dict[str, Any]:
        found = self._rows.ask("get", ids=[int(row)], output_fields=fields)
        if not found:
            raise CorruptArtifactError(self._where, f"has no row {row}")
        return dict(found[0])


_NAMES = ["id", "category", "object_id"]
_METADATA = [*_NAMES, "frame"]


class _Draft:
    """A version that is being written."""

    def __init__(self, client: MilvusClient, address: Address, version: str, vector_index: str) -> None:
        self._client, self._address, self._version, self._vector_index = client, address, version, vector_index
        self._frames, self._files = _both(address, version)
        self._pieces = 0

    def fill(self, content: Content) -> None:
        """Writes all of it, counts it, and gives it its name."""
        with TemporaryDirectory(prefix="nearpose-draft-") as folder:
            files = Path(folder)
            method = _write_files(files, content)
            self._create_files()
            self._insert(self._files, self._thumbnails(content), len(content.table), "thumbnails")
            self._insert_frames(content)
            self._insert(self._files, self._pieces_of(files), None, "files")
            manifest = manifest_of(files, content) | {"layout": method, "pieces": self._pieces}
            self._insert(self._files, self._cut("manifest.json", json.dumps(manifest).encode()), None, "manifest")
            manifest["pieces"] = self._pieces  # its own are not in it, but are counted
        for name in (f"{self._frames}_draft", self._files):
            self._client.flush(name, timeout=_LOADING_S)
            self._client.load_collection(name, timeout=_LOADING_S)
        _check_count(self._client, self._address, (f"{self._frames}_draft", self._files), manifest)
        self._client.rename_collection(f"{self._frames}_draft", self._frames, timeout=_TIMEOUT_S)

    def _insert_frames(self, content: Content) -> None:
        identity_map = read_identity_map(content.encoder)
        fields = {"vector": content.vectors.shape[1]}
        if identity_map is not None:
            fields["identity"] = len(identity_map)
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        for name in _NAMES:
            schema.add_field(name, DataType.VARCHAR, max_length=_LONGEST_NAME)
        schema.add_field("frame", DataType.JSON)
        for name, dimension in fields.items():
            schema.add_field(name, DataType.FLOAT_VECTOR, dim=dimension)
        indexes = self._client.prepare_index_params()
        for name in fields:
            indexes.add_index(name, index_type=self._vector_index, metric_type="IP")
        for name in _NAMES:
            indexes.add_index(name, index_type="INVERTED")
        self._create(f"{self._frames}_draft", schema, indexes)
        self._insert(f"{self._frames}_draft", _rows(content, identity_map), len(content.table), "frames")

    def _create_files(self) -> None:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, max_length=_LONGEST_NAME, is_primary=True)
        schema.add_field("pieces", DataType.INT64)
        schema.add_field("data", DataType.VARCHAR, max_length=65_535)
        schema.add_field("none", DataType.FLOAT_VECTOR, dim=2)  # Milvus has no collection without a vector
        indexes = self._client.prepare_index_params()
        indexes.add_index("none", index_type="FLAT", metric_type="IP")
        self._create(self._files, schema, indexes, {"mmap.enabled": "true"})  # pictures are not for Milvus's memory

    def _create(self, name: str, schema: Any, indexes: Any, properties: dict[str, str] | None = None) -> None:
        self._client.create_collection(name, schema=schema, properties=properties)
        self._client.create_index(name, indexes, sync=False)  # loading waits for them, when all rows are there

    def _thumbnails(self, content: Content) -> Iterator[dict[str, Any]]:
        for row, (_, jpeg) in enumerate(zip(range(len(content.table)), content.thumbnails, strict=True)):
            yield from self._cut(f"thumbnails/{row}.jpg", jpeg)

    def _pieces_of(self, folder: Path) -> Iterator[dict[str, Any]]:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            yield from self._cut(str(path.relative_to(folder)), path.read_bytes())

    def _cut(self, name: str, data: bytes) -> Iterator[dict[str, Any]]:
        for number in range(_pieces_in(data)):
            piece = base64.b85encode(data[number * _PIECE : (number + 1) * _PIECE]).decode()
            self._pieces += 1
            yield {"key": f"{name}#{number}", "pieces": _pieces_in(data), "data": piece, "none": [0.0, 0.0]}

    def _insert(self, collection: str, rows: Iterable[dict[str, Any]], total: int | None, what: str) -> None:
        rows = iter(rows)
        with tqdm(total=total, desc=f"milvus: {what}", unit="row") as bar:
            while batch := list(islice(rows, _ROWS)):
                self._client.insert(collection, batch, timeout=_LOADING_S)
                bar.update(len(batch))


class _Collection:
    """A collection that is read. It may be released meanwhile, to make room for newer ones: then it is loaded again."""

    def __init__(self, client: MilvusClient, address: Address, name: str) -> None:
        self._client, self._address, self._name = client, address, name

    def load(self) -> None:
        with _refusals(self._address):
            self._client.load_collection(self._name, timeout=_LOADING_S)

    def ask(self, what: str, **arguments: Any) -> Any:
        """What the client's method ``what`` says of it."""
        method = getattr(self._client, what)
        with _refusals(self._address):
            try:
                return method(self._name, timeout=_TIMEOUT_S, **arguments)
            except MilvusException as error:
                if error.code != _NOT_LOADED:
                    raise
            self.load()
            return method(self._name, timeout=_TIMEOUT_S, **arguments)


class _Files:
    """The files of a version, which are kept in pieces."""

    def __init__(self, client: MilvusClient, address: Address, version: str) -> None:
        self._where = f"{address}/{version}"
        self._pieces = _Collection(client, address, _both(address, version)[1])

    def read(self, name: str) -> bytes:
        """Raises CorruptArtifactError where a piece of it is missing."""
        first = self._read(name, [0])[0]
        rest = range(1, first["pieces"])
        found = {piece["key"]: piece["data"] for piece in (self._read(name, rest) if rest else [])}
        return b"".join(
            base64.b85decode(data) for data in (first["data"], *(found[f"{name}#{number}"] for number in rest))
        )

    def table(self, name: str) -> pa.Table:
        return pq.read_table(io.BytesIO(self.read(name)))

    def manifest(self) -> dict[str, Any]:
        """Raises ForeignArtifactError where it is that of another format."""
        self._pieces.load()
        data = self.read("manifest.json")
        manifest: dict[str, Any] = json.loads(data)
        if manifest.get("format") != FORMAT:
            raise ForeignArtifactError(self._where, f"format is {manifest.get('format')!r}, this reads {FORMAT!r}")
        return manifest | {"pieces": manifest["pieces"] + _pieces_in(data)}

    def _read(self, name: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(numbers), _ROWS):
            keys = [f"{name}#{number}" for number in numbers[start : start + _ROWS]]
            found += self._pieces.ask("get", ids=keys, output_fields=["pieces", "data"])
        if len(found) != len(numbers):
            raise CorruptArtifactError(f"{self._where}/{name}", f"{len(numbers) - len(found)} pieces of it are missing")
        return found


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


def _pieces_in(data: bytes) -> int:
    return max(1, -(-len(data) // _PIECE))


@contextmanager
def _refusals(address: Address) -> Iterator[None]:
    """What Milvus refuses, as an error of ours."""
    try:
        yield
    except MilvusException as error:
        hint = "" if error.code != _NO_FILE or not address.uri.endswith(".db") else f" ({_ONE_PROCESS})"
        where = urlsplit(address.uri).netloc or address.uri  # a reason is told to clients, which it is nothing to
        told = error.message.replace(where, "its address")
        raise UnavailableError(str(address), f"Milvus: {told}{hint}") from error


def _both(address: Address, version: str) -> tuple[str, str]:
    """The names of a version's collections: frames, and files."""
    frames = address.collection(version)
    return frames, f"{frames}_files"


def _check_count(
    client: MilvusClient, address: Address, collections: tuple[str, str], manifest: Mapping[str, Any]
) -> None:
    for collection, wanted in zip(collections, (manifest["frames"], manifest["pieces"]), strict=True):
        rows = _Collection(client, address, collection)
        found = rows.ask("query", filter="", output_fields=["count(*)"], consistency_level="Strong")
        if (count := found[0]["count(*)"]) != wanted:
            raise CorruptArtifactError(f"{address}/{collection}", f"has {count} rows, must have {wanted}")


def _write_files(folder: Path, content: Content) -> Method:
    """Writes all files of a version but thumbnails and manifest; returns how its frames were laid out."""
    copytree(content.encoder, folder / "encoder")
    pq.write_table(Census.of(content.table).table, folder / "census.parquet")
    outline = Outline.of(content.table, content.vectors, content.layout).every(-(-len(content.table) // _OUTLINED))
    table = outline.table
    for axis, values in zip(("x", "y"), outline.layout.T, strict=True):
        table = table.append_column(axis, pa.array(values, pa.float32()))
    pq.write_table(table, folder / "outline.parquet")
    return outline.method


def _rows(content: Content, identity_map: Vectors | None) -> Iterator[dict[str, Any]]:
    """The frames as Milvus takes them."""
    for start in range(0, len(content.table), _ROWS):
        vectors = np.ascontiguousarray(content.vectors[start : start + _ROWS], np.float32)
        identities = to_identities(identity_map, vectors)
        for number, row in enumerate(content.table.slice(start, _ROWS).to_pylist()):
            names = {name: _checked_name(name, row.pop(name)) for name in _NAMES}
            found = {"row": start + number, **names, "frame": row, "vector": vectors[number]}
            yield found if identity_map is None else found | {"identity": identities[number]}


def _checked_name(field: str, value: str) -> str:
    if not value.isprintable() or len(value.encode()) > _LONGEST_NAME:
        raise InvalidValueError(field, value, f"printable, and of at most {_LONGEST_NAME} bytes, to be kept in Milvus")
    return value


def _filter(category: str | None, exclude_object: str | None) -> str:
    parts = [] if category is None else [f"category == {_literal(category)}"]
    if exclude_object is not None:
        parts.append(f"object_id != {_literal(exclude_object)}")
    return " and ".join(parts)


def _literal(text: str) -> str:
    """Text as a string of Milvus's expressions."""
    return json.dumps(text, ensure_ascii=False)
