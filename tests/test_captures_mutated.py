"""No capture file, however wrong, brings out anything but a clear error, or leaves anything half written."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from index.schema import NearposeError
from index.shards import read_shard
from tests.captures_mutated import POSES, capture_json, pbdata
from tests.captures_scene import SEQUENCE, capture_document, write_folder, write_objectron
from trainer.captures import Source, list_sources
from trainer.ingest import IngestConfig, SourceReport, ingest_source

CONFIG = IngestConfig(workers=1, fps=30.0)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A capture folder, whose capture.json each example replaces."""
    root = tmp_path_factory.mktemp("folder")
    write_folder(root / "mug", capture_document(POSES), POSES)
    return root


@pytest.fixture(scope="module")
def objectron(tmp_path_factory) -> Path:
    """A video with an annotation, which each example replaces."""
    return write_objectron(tmp_path_factory.mktemp("objectron"), POSES)


def assert_whole(out: Path, report: SourceReport) -> None:
    """What a source left behind is complete: every row's picture is there, or there is nothing at all."""
    shards, parts = (sorted((out / name).iterdir()) for name in ("shards", "parts"))
    if report.failed:
        assert (shards, parts) == ([], [])
        return
    table = pq.read_table(parts[0])
    assert len(table) == report.kept
    for row in table.to_pylist():
        with Image.open(io.BytesIO(read_shard(out / row["shard"], row["offset"], row["length"]))) as picture:
            picture.load()
    assert not [path for path in out.rglob("*") if path.is_file() and path not in (*shards, *parts)]


def ingested(root: Path, out: Path) -> SourceReport | None:
    """The report of the only source of ``root``; None where none is seen."""
    for name in ("shards", "parts"):
        (out / name).mkdir(parents=True)
    (source,) = list_sources(root, fps=CONFIG.fps)
    report = ingest_source(source, out, CONFIG)
    assert_whole(out, report)
    check_errors(source)
    return report


def check_errors(source: Source) -> None:
    """Reading fails in one way alone, and names a file."""
    fault = None
    try:
        for _ in source.read():
            pass
    except NearposeError as error:
        fault = str(error)
    assert fault is None or any(str(file) in fault for file in source.files()), fault


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=seeds)
def test_any_capture_json(folder, tmp_path_factory, seed):
    (folder / "mug" / "capture.json").write_bytes(capture_json(Random(seed)))
    ingested(folder, tmp_path_factory.mktemp("out"))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=seeds)
def test_any_pbdata(objectron, tmp_path_factory, seed):
    (objectron / "annotations" / f"{SEQUENCE}.pbdata").write_bytes(pbdata(Random(seed)))
    ingested(objectron, tmp_path_factory.mktemp("out"))


def test_the_sound_files_are_read_to_their_end(folder, objectron, tmp_path):
    write_folder(folder / "mug", capture_document(POSES), POSES)
    write_objectron(objectron, POSES)
    for root in (folder, objectron):
        report = ingested(root, tmp_path / root.name)
        assert (report.kept, report.error) == (len(POSES), None)
