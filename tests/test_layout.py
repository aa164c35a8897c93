"""The map of an index: layouts, and where in its video a frame is."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from index.layout import positions_in_sequence, principal_plane
from index.schema import CorruptArtifactError
from index.search import FrameIndex
from index.store import open_index, read_manifest, write_index
from tests.scenes import standing_frame
from tests.test_store import bare_encoder
from trainer.layout import layout


def clustered(clusters: int, each: int, dimension: int = 24, seed: int = 0):
    """Unit vectors around a few directions, and which each belongs to."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dimension))
    vectors = np.repeat(centres, each, axis=0) + 0.2 * rng.normal(size=(clusters * each, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.repeat(np.arange(clusters), each)


def index_of(vectors) -> FrameIndex:
    return FrameIndex.from_frames(vectors, [standing_frame(id=f"a_{i:05d}") for i in range(len(vectors))])


def nearest(places) -> np.ndarray:
    """(n,) the nearest other point of each."""
    away = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(away, np.inf)
    return away.argmin(axis=1)


def test_the_principal_plane_keeps_the_two_largest_spreads():
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    points = rng.normal(size=(200, 5)) * [0.1, 7, 0.2, 2, 0.1] @ turn
    places = principal_plane(points.astype(np.float32))
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    expected = (points - points.mean(axis=0)) @ axes[:2].T
    assert np.allclose(np.abs(places), np.abs(expected), atol=1e-3)
    assert np.array_equal(places, principal_plane(points.astype(np.float32)))


def test_one_dimension_is_a_line():
    places = principal_plane(np.array([[1], [-1], [1]], np.float32))
    assert np.array_equal(places[:, 1], [0, 0, 0])
    assert np.ptp(places[:, 0]) == pytest.approx(2)


def test_frames_that_are_alike_lie_together_and_always_the_same():
    vectors, cluster = clustered(6, 20)
    places = layout(index_of(vectors), most=1000)
    assert (places.shape, places.dtype) == ((120, 2), np.float32)
    assert (cluster[nearest(places)] == cluster).mean() > 0.95
    assert np.array_equal(places, layout(index_of(vectors), most=1000))


def test_frames_over_the_limit_lie_where_their_nearest_is():
    vectors, cluster = clustered(6, 20)
    places = layout(index_of(vectors), most=40)
    distinct, number = np.unique(places, axis=0, return_inverse=True)
    assert len(distinct) == 40
    for place in range(40):
        assert len(set(cluster[number == place])) == 1


def test_a_few_frames_are_laid_out_too():
    vectors, _ = clustered(2, 2)
    assert np.array_equal(layout(index_of(vectors), most=1000), principal_plane(vectors))


def test_positions_run_through_each_video():
    ids = ["a_00010", "a_00014", "a_00012", "b_00003", "b_00003.1", "b_00005.1", "no number", "x/7", "x/9"]
    assert positions_in_sequence(ids).tolist() == [0, 1, 0.5, 0, 0, 1, 0, 0, 1]


@pytest.fixture
def written(tmp_path):
    """Writes a version of four frames, with a layout where one is given."""

    def write(places=None):
        vectors, _ = clustered(2, 2)
        encoder = bare_encoder(tmp_path / "encoder")
        frames = [standing_frame(id=f"a_{i}") for i in range(4)]
        write_index(tmp_path / "index", vectors, frames, [b"jpeg"] * 4, encoder, "digest", layout=places)
        return tmp_path / "index"

    return write


def test_a_version_keeps_its_layout_under_a_checksum(written):
    places = np.arange(8, dtype=np.float32).reshape(4, 2)
    root = written(places)
    version = open_index(root)
    assert np.array_equal(version.layout, places)
    assert "map.npy" in read_manifest(version.path)["files"]
    (version.path / "map.npy").write_bytes(b"x" * (version.path / "map.npy").stat().st_size)
    with pytest.raises(CorruptArtifactError, match=r"map\.npy"):
        open_index(root)


def test_a_version_without_a_layout_is_as_good(written):
    version = open_index(written())
    assert version.layout is None
    assert not (version.path / "map.npy").exists()


def test_a_layout_of_another_index_is_refused_before_it_is_current(written, tmp_path):
    with pytest.raises(CorruptArtifactError, match=r"must be \(4, 2\)"):
        written(np.zeros((3, 2), np.float32))
    assert not (tmp_path / "index" / "CURRENT").exists()


def test_a_version_that_is_removed_while_it_is_open_keeps_its_layout(written):
    places = np.arange(8, dtype=np.float32).reshape(4, 2)
    version = open_index(written(places))
    shutil.rmtree(version.path)
    assert np.array_equal(version.outline.layout, places)


def test_the_build_writes_a_layout(small_run):
    version = open_index(small_run.index)
    assert version.layout is not None
    assert version.layout.shape == (len(version), 2)
    assert json.loads((version.path / "manifest.json").read_text())["files"]["map.npy"]["bytes"] > 0
