"""Shards: what goes in comes out, by any tar program, and damage is named."""

from __future__ import annotations

import contextlib
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.schema import CorruptArtifactError
from index.shards import _OPEN_SHARDS, ShardWriter, read_shard


def write(path: Path, *payloads: bytes) -> list[tuple[int, int]]:
    with ShardWriter(path) as writer:
        return [writer.append(f"{k}.jpg", payload) for k, payload in enumerate(payloads)]


@given(st.lists(st.binary(max_size=2000), max_size=6))
def test_payloads_come_back(tmp_path_factory, payloads: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("shards") / "a.tar"
    places = write(path, *payloads)
    assert [read_shard(path, *place) for place in places] == payloads
    with tarfile.open(path) as archive:
        assert [archive.extractfile(member).read() for member in archive] == payloads


def test_long_names_do_not_move_the_payload(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.tar") as writer:
        place = writer.append("é" * 300 + ".jpg", b"payload")
    assert read_shard(tmp_path / "a.tar", *place) == b"payload"


def test_the_same_payloads_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", b"one", b"two")
    write(tmp_path / "b.tar", b"one", b"two")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_shard_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "a.tar")
    with contextlib.suppress(KeyboardInterrupt), writer:
        writer.append("0.jpg", b"payload")
        assert not (tmp_path / "a.tar").exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [(512, 10_000_000), (10_000_000, 1), (-1, 4), (512, -4)])
def test_a_place_outside_the_file_names_it(tmp_path: Path, place: tuple[int, int]) -> None:
    write(tmp_path / "a.tar", b"payload")
    with pytest.raises(CorruptArtifactError, match=r"a\.tar: truncated: bytes .* asked of a file of \d+"):
        read_shard(tmp_path / "a.tar", *place)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifactError, match=r"gone\.tar: missing"):
        read_shard(tmp_path / "gone.tar", 0, 1)


def test_a_shard_cut_while_it_is_mapped_is_noticed(tmp_path: Path) -> None:
    places = write(tmp_path / "a.tar", b"x" * 5000, b"y" * 5000)
    assert read_shard(tmp_path / "a.tar", *places[1]) == b"y" * 5000
    os.truncate(tmp_path / "a.tar", 6000)
    with pytest.raises(CorruptArtifactError, match="truncated"):
        read_shard(tmp_path / "a.tar", *places[1])


def test_a_shard_written_again_is_read_again(tmp_path: Path) -> None:
    for payload in (b"first", b"other"):
        (place,) = write(tmp_path / "a.tar", payload)
        assert read_shard(tmp_path / "a.tar", *place) == payload


def test_many_shards_do_not_keep_many_files_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for k in range(_OPEN_SHARDS + 40):
        (place,) = write(tmp_path / f"{k}.tar", bytes([k]))
        assert read_shard(tmp_path / f"{k}.tar", *place) == bytes([k])
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + _OPEN_SHARDS
