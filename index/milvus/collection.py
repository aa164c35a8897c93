"""A version's two collections as they are read, its files in pieces, and what Milvus refuses."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
from pymilvus import MilvusClient, MilvusException

from index.schema import CorruptArtifactError, ForeignArtifactError, UnavailableError
from index.store import FORMAT
from index.stores import Address

NAMES = ("id", "category", "object_id")  # what of a frame has a column of its own, to be asked for
AT_ONCE = 256  # rows in a message: 64 MB is the most that one may have
PIECE = 48_000  # bytes of a file in a row: a VARCHAR has at most 65,535, of which base 85 takes a fifth
TIMEOUT_S = 30.0
LOADING_S = 3600.0
FAILURES = (MilvusException, grpc.RpcError)  # the latter where an answer is late: pymilvus passes it on
_NOT_LOADED, _NO_FILE = 101, 1  # Milvus's codes
_ONE_PROCESS = "one process at a time may open a file; several share a server: milvus-lite server --help"


class Collection:
    """A collection that is read. It may be released meanwhile, to make room for newer ones: then it is loaded again."""

    def __init__(self, client: MilvusClient, address: Address, name: str) -> None:
        self._client, self._address, self._name = client, address, name

    def load(self) -> None:
        with refusals(self._address):
            self._client.load_collection(self._name, timeout=LOADING_S)

    def ask(self, what: str, **arguments: Any) -> Any:
        """What the client's method ``what`` says of it."""
        method = getattr(self._client, what)
        with refusals(self._address):
            try:
                return method(self._name, timeout=TIMEOUT_S, **arguments)
            except MilvusException as error:
                if error.code != _NOT_LOADED:
                    raise
            self.load()
            return method(self._name, timeout=TIMEOUT_S, **arguments)


class Files:
    """The files of a version, which are kept in pieces."""

    def __init__(self, client: MilvusClient, address: Address, version: str) -> None:
        self._where = f"{address}/{version}"
        self._pieces = Collection(client, address, collection_names(address, version)[1])

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
        return manifest | {"pieces": manifest["pieces"] + pieces_in(data)}

    def _read(self, name: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(numbers), AT_ONCE):
            keys = [f"{name}#{number}" for number in numbers[start : start + AT_ONCE]]
            found += self._pieces.ask("get", ids=keys, output_fields=["pieces", "data"])
        if len(found) != len(numbers):
            raise CorruptArtifactError(f"{self._where}/{name}", f"{len(numbers) - len(found)} pieces of it are missing")
        return found


def pieces_in(data: bytes) -> int:
    return max(1, -(-len(data) // PIECE))


@contextmanager
def refusals(address: Address) -> Iterator[None]:
    """What Milvus refuses, as an error of ours."""
    try:
        yield
    except MilvusException as error:
        hint = "" if error.code != _NO_FILE or not address.uri.endswith(".db") else f" ({_ONE_PROCESS})"
        where = urlsplit(address.uri).netloc or address.uri  # a reason is told to clients, which it is nothing to
        told = error.message.replace(where, "its address")
        raise UnavailableError(str(address), f"Milvus: {told}{hint}") from error
    except grpc.RpcError as error:
        raise UnavailableError(str(address), f"Milvus: {error.code().name}") from error


def collection_names(address: Address, version: str) -> tuple[str, str]:
    """The names of a version's collections: frames, and files."""
    frames = address.collection(version)
    return frames, f"{frames}_files"


def check_count(
    client: MilvusClient, address: Address, collections: tuple[str, str], manifest: Mapping[str, Any]
) -> None:
    for collection, wanted in zip(collections, (manifest["frames"], manifest["pieces"]), strict=True):
        rows = Collection(client, address, collection)
        found = rows.ask("query", filter="", output_fields=["count(*)"], consistency_level="Strong")
        if (count := found[0]["count(*)"]) != wanted:
            raise CorruptArtifactError(f"{address}/{collection}", f"has {count} rows, must have {wanted}")
