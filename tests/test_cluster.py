"""Ingest and embedding by Ray on this machine: the same as without it, whoever dies in the middle."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from index.encoder import open_encoder
from index.search import FrameIndex
from tests.captures_scene import orbit, sequence_example, write_records
from trainer.captures import CaptureError, Shot, Source, list_sources
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.ingest import IngestConfig, ingest

ray = pytest.importorskip("ray")
cluster = pytest.importorskip("trainer.cluster")

RAY = cluster.RayConfig(workers=1, object_store_mb=100)
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(scope="module", autouse=True)
def _one_ray():
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Mortal:
    """A source whose reader dies in the middle, the first time; then it reads as ``source`` does."""

    source: Source
    grave: Path

    @property
    def key(self) -> str:
        return self.source.key

    def files(self) -> tuple[Path, ...]:
        return self.source.files()

    def read(self) -> Iterator[Shot]:
        for number, shot in enumerate(self.source.read()):
            if number == 3 and not self.grave.exists():
                self.grave.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield shot


def assert_same(found: Path, expected: Path) -> None:
    """The same rows and the same pictures, whatever was read first."""
    one, other = Frames.open(found), Frames.open(expected)
    assert one.table.equals(other.table)
    assert [one.jpeg(row) for row in range(len(one))] == [other.jpeg(row) for row in range(len(other))]
    assert sorted(p.name for p in (found / "parts").iterdir()) == sorted(p.name for p in (expected / "parts").iterdir())


def read_by_ray(captures, out, **config):
    return ingest(captures, out, IngestConfig(**config), partial(cluster.ray_reading, RAY))


def test_frames_and_what_was_dropped_are_the_same(small_run, tmp_path):
    captures = shutil.copytree(small_run.captures, tmp_path / "captures")
    for name in ("carton-0/0001.png", "carton-0/0003.png", "plank-1/0002.png"):
        (captures / name).write_bytes(b"no picture")
    (captures / "tower-1" / "capture.json").write_text("{")
    here = ingest(captures, tmp_path / "here", IngestConfig(workers=1))
    found = read_by_ray(captures, tmp_path / "frames")
    assert_same(found, here)
    one, other = (json.loads((out / "report.json").read_text()) | {"config": None} for out in (found, here))
    assert one == other
    assert (one["dropped"], one["failed"]) == ({"picture unreadable": 3}, 1)


def test_a_reader_that_dies_loses_and_doubles_nothing(small_run, tmp_path, monkeypatch):
    real, graves = cluster.sources_of, tmp_path / "graves"
    graves.mkdir()
    monkeypatch.setattr(
        cluster,
        "sources_of",
        lambda path, config: [
            Mortal(source, graves / str(i)) if i % 5 == 0 else source for i, source in enumerate(real(path, config))
        ],
    )
    out = read_by_ray(small_run.captures, tmp_path / "frames")
    assert len(list(graves.iterdir())) == 3
    assert_same(out, small_run.frames)
    assert not list(out.rglob("*.partial"))


def test_a_run_that_was_stopped_goes_on(small_run, tmp_path):
    out = tmp_path / "frames"
    for folder in ("shards", "parts"):
        (out / folder).mkdir(parents=True)
    _, reports = cluster.ray_reading(RAY, str(small_run.captures), out, IngestConfig())
    done = {next(reports).key for _ in range(4)}
    reports.close()
    times = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert len(times) >= 4
    read_by_ray(small_run.captures, out)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(done) == 4
    assert_same(out, small_run.frames)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, of this process alone."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def test_nobody_can_know_where_captures_of_a_url_will_lie(tmp_path, temporary):
    (tmp_path / "captures" / "mug").mkdir(parents=True)
    (tmp_path / "captures" / "mug" / "capture.json").write_text("{}")
    url = f"file://{tmp_path}/captures"
    one, other = (cluster._Remote.of(url) for _ in range(2))
    guessed = temporary / one.root.name
    guessed.mkdir()
    (guessed / "mine").touch()
    assert [path.relative_to(one.root) for path in one.outline().rglob("*.json")] == [Path("mug/capture.json")]
    assert (guessed / "mine").exists()
    assert one.root.name == other.root.name  # a part of digests
    assert one.root.parent != other.root.parent
    assert one.root.parent.stat().st_mode & 0o077 == 0
    with one:
        pass
    del other
    assert list(temporary.iterdir()) == [guessed]


def test_nothing_stays_of_a_url_that_cannot_be_read(tmp_path, temporary):
    for url, reason in ((f"file://{tmp_path}/nothing", "no files found"), ("nothing://bucket", "cannot be read")):
        with pytest.raises(CaptureError, match=reason):
            cluster.ray_reading(RAY, url, tmp_path / "frames", IngestConfig())
    gc.collect()  # the errors held the frames that knew of it
    assert list(temporary.iterdir()) == []


def test_record_files_at_a_url_are_recognised(tmp_path, temporary):
    shard = tmp_path / "captures" / "cup" / "cup_test-00000-of-00001"
    write_records(shard, [sequence_example(orbit(3))])
    (tmp_path / "captures" / "cup" / "cup_train-notes").write_text("no records")
    (tmp_path / "captures" / "cup" / "cup_test-empty").touch()
    remote = cluster._Remote.of(f"file://{tmp_path}/captures")
    (source,) = list_sources(remote.outline())
    assert source.key == "cup/cup_test-00000-of-00001"
    with remote, remote.fetched(source.files()):
        assert list(source.read())


def test_captures_may_be_at_a_url(small_run, tmp_path, temporary):
    out = tmp_path / "frames"
    url = f"file://{small_run.captures}"
    assert_same(read_by_ray(url, out), small_run.frames)
    assert list(temporary.iterdir()) == []  # what was fetched is gone again
    parts = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    read_by_ray(url, out)
    assert {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()} == parts


def test_captures_may_be_behind_http(small_run, tmp_path):
    pytest.importorskip("aiohttp")
    handler = partial(SimpleHTTPRequestHandler, directory=str(small_run.captures))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert_same(read_by_ray(f"http://127.0.0.1:{server.server_port}/", tmp_path / "frames"), small_run.frames)
        finally:
            server.shutdown()


def test_vectors_are_the_same(small_run, tmp_path):
    frames = Frames.open(ingest(small_run.captures, tmp_path / "frames", IngestConfig(workers=1)))
    chosen = frames.select(frames.split != "test")
    expected = embed_frames(open_encoder(small_run.encoder), chosen)
    found = cluster.embed_by_ray(RAY, small_run.encoder, chosen)
    assert np.allclose(found, expected, atol=1e-6)
    rows = [FrameIndex(vectors, chosen.table).search(vectors, 5)[1] for vectors in (found, expected)]
    assert np.array_equal(rows[0], rows[1])
    kept = sorted(frames.path.glob("vectors/*/*.npz"))
    assert len(kept) == len(np.unique(chosen.sequence))
    times = [path.stat().st_mtime_ns for path in kept]
    assert np.array_equal(cluster.embed_by_ray(RAY, small_run.encoder, chosen), found)
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_an_embedder_that_dies_loses_and_doubles_nothing(small_run, tmp_path, monkeypatch):
    frames = Frames.open(ingest(small_run.captures, tmp_path / "frames", IngestConfig(workers=1)))
    grave = tmp_path / "grave"

    class Mortal(cluster._Embedder):
        def __call__(self, row):
            if len(list(self._folder.glob("*.npz"))) >= 4 and not grave.exists():
                grave.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(row)

    monkeypatch.setattr(cluster, "_Embedder", Mortal)
    found = cluster.embed_by_ray(RAY, small_run.encoder, frames)
    assert grave.exists()
    assert np.allclose(found, embed_frames(open_encoder(small_run.encoder), frames), atol=1e-6)


def test_the_commands(small_run, tmp_path, capsys):
    from trainer.__main__ import main

    assert main(["ingest", str(small_run.captures), str(tmp_path / "frames"), "--engine", "ray", "--workers", "1"]) == 0
    assert_same(tmp_path / "frames", small_run.frames)
    built = ["build", str(tmp_path / "frames"), str(small_run.encoder), str(tmp_path / "index"), "--engine", "ray"]
    assert main(built) == 0
    version = capsys.readouterr().out.strip()
    table = pq.read_table(tmp_path / "index" / "versions" / version / "frames.parquet")
    assert table["id"].equals(pq.read_table(next(small_run.index.glob("versions/*/frames.parquet")))["id"])
    assert main(["ingest", str(small_run.captures), str(tmp_path / "other"), "--address", "auto"]) == 1
    assert "address: got 'auto', must be left out, without --engine ray" in capsys.readouterr().err
