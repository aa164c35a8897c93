"""A version that is being written, which has its own name only once it is complete."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymilvus import DataType, MilvusClient
from tqdm import tqdm

from index.contents import Census, Method, Outline
from index.identity_map import read_identity_map, to_identities
from index.milvus.collection import (
    AT_ONCE,
    LOADING_S,
    NAMES,
    PIECE,
    TIMEOUT_S,
    check_count,
    collection_names,
    pieces_in,
)
from index.schema import InvalidValueError
from index.search import Vectors
from index.store import Content, manifest_of
from index.stores import Address

_LONGEST_NAME = 1024  # bytes of an id, a category or an object's name
_OUTLINED = 50_000  # frames at most


class Draft:
    """A version that is being written."""

    def __init__(self, client: MilvusClient, address: Address, version: str, vector_index: str) -> None:
        self._client, self._address, self._version, self._vector_index = client, address, version, vector_index
        self._frames, self._files = collection_names(address, version)
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
            self._client.flush(name, timeout=LOADING_S)
            self._client.load_collection(name, timeout=LOADING_S)
        check_count(self._client, self._address, (f"{self._frames}_draft", self._files), manifest)
        self._client.rename_collection(f"{self._frames}_draft", self._frames, timeout=TIMEOUT_S)

    def _insert_frames(self, content: Content) -> None:
        identity_map = read_identity_map(content.encoder)
        fields = {"vector": content.vectors.shape[1]}
        if identity_map is not None:
            fields["identity"] = len(identity_map)
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        for name in NAMES:
            schema.add_field(name, DataType.VARCHAR, max_length=_LONGEST_NAME)
        schema.add_field("frame", DataType.JSON)
        for name, dimension in fields.items():
            schema.add_field(name, DataType.FLOAT_VECTOR, dim=dimension)
        indexes = self._client.prepare_index_params()
        for name in fields:
            indexes.add_index(name, index_type=self._vector_index, metric_type="IP")
        for name in NAMES:
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
        for number in range(pieces_in(data)):
            piece = base64.b85encode(data[number * PIECE : (number + 1) * PIECE]).decode()
            self._pieces += 1
            yield {"key": f"{name}#{number}", "pieces": pieces_in(data), "data": piece, "none": [0.0, 0.0]}

    def _insert(self, collection: str, rows: Iterable[dict[str, Any]], total: int | None, what: str) -> None:
        rows = iter(rows)
        with tqdm(total=total, desc=f"milvus: {what}", unit="row") as bar:
            while batch := list(islice(rows, AT_ONCE)):
                self._client.insert(collection, batch, timeout=LOADING_S)
                bar.update(len(batch))


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
    for start in range(0, len(content.table), AT_ONCE):
        vectors = np.ascontiguousarray(content.vectors[start : start + AT_ONCE], np.float32)
        identities = to_identities(identity_map, vectors)
        for number, row in enumerate(content.table.slice(start, AT_ONCE).to_pylist()):
            names = {name: _checked_name(name, row.pop(name)) for name in NAMES}
            found = {"row": start + number, **names, "frame": row, "vector": vectors[number]}
            yield found if identity_map is None else found | {"identity": identities[number]}


def _checked_name(field: str, value: str) -> str:
    if not value.isprintable() or len(value.encode()) > _LONGEST_NAME:
        raise InvalidValueError(field, value, f"printable, and of at most {_LONGEST_NAME} bytes, to be kept in Milvus")
    return value
