"""An index in a folder and one in Milvus: the same versions, the same answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from index.__main__ import main
from index.growing import GrowingIndex
from index.history import History
from index.identity_map import to_identities
from index.joined import JoinedIndex
from index.recognition import SHIPPED
from index.schema import ArtifactError, CorruptArtifactError, InvalidValueError
from index.search import FrameIndex
from index.store import Content
from index.stores import store_at
from index.table import row_from_frame, table_from_frames
from tests.test_store import CATEGORIES, bare_encoder, some_frames, unit_vectors


@pytest.fixture(params=["folder", "milvus"])
def location(request, tmp_path):
    if request.param == "folder":
        yield str(tmp_path / "index")
        return
    pytest.importorskip("milvus_lite")
    from tests.milvus import embedded

    with embedded(tmp_path / "index.db") as place:
        yield place


@pytest.fixture
def encoder(tmp_path):
    folder = bare_encoder(tmp_path / "encoder")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "weights.bin").write_bytes(np.random.default_rng(0).bytes(200_000))  # of several pieces
    return folder


def content(encoder, n=20, seed=0, frames=None, vectors=None, **parts):
    frames = some_frames(n) if frames is None else frames
    vectors = unit_vectors(n, seed=seed) if vectors is None else vectors
    thumbnails = [f"jpeg {seed} {i}".encode() for i in range(n)]
    return Content(vectors, table_from_frames(frames), thumbnails, encoder, "digest", **parts)


def written(location, *args, keep=5, **parts):
    return store_at(location).write(content(*args, **parts), keep)


@pytest.mark.parametrize("category", [None, "chair"])
@pytest.mark.parametrize("exclude", [None, "object-3", 'no "such\\ object'])
def test_search_is_brute_force(location, encoder, category, exclude):
    written(location, encoder, 200)
    index, xb, xq, frames = store_at(location).open(), unit_vectors(200), unit_vectors(9, seed=1), some_frames(200)
    D, I = index.search(xq, 12, category, exclude)  # noqa: E741
    allowed = [i for i, f in enumerate(frames) if category in (None, f.category) and exclude != f.object_id]
    scores = xq @ xb[allowed].T
    assert np.array_equal(I, np.array(allowed)[np.argsort(-scores, axis=1)[:, :12]])
    assert np.allclose(D, -np.sort(-scores, axis=1)[:, :12], atol=1e-6)
    assert (D.dtype, I.dtype) == (np.float32, np.int64)


def test_rows_are_minus_one_where_there_are_fewer_than_k(location, encoder):
    written(location, encoder, 6)
    index = store_at(location).open()
    D, I = index.search(unit_vectors(1), 5, category="cup")  # noqa: E741
    assert (I[0, 2:] == -1).all()
    assert (I[0, :2] >= 0).all()
    assert (D[0, 2:] == -np.inf).all()
    assert index.search(unit_vectors(1), 50)[1].shape == (1, 50)
    assert index.search(np.empty((0, 16), np.float32), 5)[0].shape == (0, 5)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"k": 0}, "k"), ({"category": "boat"}, "category"), ({"vectors": unit_vectors(1, 8)}, "vectors")],
)
def test_search_refuses(location, encoder, change, field):
    written(location, encoder, 6)
    with pytest.raises(InvalidValueError) as caught:
        store_at(location).open().search(**({"vectors": unit_vectors(1), "k": 3} | change))
    assert caught.value.field == field


def test_equals_always_come_in_the_same_order(location, encoder):
    same = np.tile(unit_vectors(1), (20, 1))
    written(location, encoder, vectors=same)
    found = [store_at(location).open().search(same[:1], 20)[1][0].tolist() for _ in range(3)]
    assert sorted(found[0]) == list(range(20))
    assert found[0] == found[1] == found[2]


def test_what_is_written_is_what_is_opened(location, encoder):
    frames = some_frames(20)
    layout = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    name = written(location, encoder, recognition=SHIPPED, layout=layout)
    store = store_at(location)
    opened = store.open()
    assert opened.version == name == store.current()
    assert (len(opened), opened.dimension, opened.encoder_digest) == (20, 16, "digest")
    assert tuple(opened.recognition) == SHIPPED
    assert np.array_equal(np.stack([opened.vector(row) for row in range(20)]), unit_vectors(20))
    assert [row_from_frame(opened.frame(row)) for row in range(20)] == [row_from_frame(frame) for frame in frames]
    assert [opened.row_of(frame.id) for frame in frames] == list(range(20))
    assert [opened.object_of(row) for row in range(20)] == [frame.object_id for frame in frames]
    assert [opened.frames_of(f"object-{i}") for i in range(8)] == [3, 3, 3, 3, 3, 3, 2, 0]
    assert (opened.categories, opened.objects) == (tuple(sorted(CATEGORIES)), tuple(f"object-{i}" for i in range(7)))
    assert opened.thumbnail(7) == b"jpeg 0 7"
    for path in (p for p in encoder.rglob("*") if p.is_file()):
        assert (opened.encoder_path / path.relative_to(encoder)).read_bytes() == path.read_bytes()
    assert np.array_equal(opened.outline.layout, layout)
    assert (opened.outline.method, opened.outline.table["id"].to_pylist()) == ("t-sne", [f.id for f in frames])
    with pytest.raises(KeyError):
        opened.row_of("v/20")


def test_a_version_may_be_of_many_captures(location, encoder):
    history = History({f"capture-{i}": "0" * 64 for i in range(3000)})  # 200 kB of manifest
    name = written(location, encoder, history=history)
    store = store_at(location)
    assert len(store.open()) == 20
    store.verify(name)
    assert store.manifest(name)["history"]["sources"] == history.sources


@pytest.mark.parametrize("name", ['a"b', "a\\b", "it's", "ü/日本 x", "{x}", "a%b_c", '\\"', 'x"] or 1==1', "😀", "#0"])
def test_names_may_be_anything_that_can_be_read(location, encoder, name):
    odd = dataclasses.replace(some_frames(1)[0], id=name, category=name, object_id=name)
    written(location, encoder, 20, frames=[odd, *some_frames(20)[1:]])
    index = store_at(location).open()
    assert index.row_of(name) == 0
    assert index.search(unit_vectors(20), 1, category=name)[1].ravel().tolist() == [0] * 20
    assert (index.search(unit_vectors(20), 19, exclude_object=name)[1] > 0).all()
    with pytest.raises(KeyError):
        index.row_of(f"{name}\n")


def test_identities_are_those_of_the_encoders_map(location, encoder):
    identity_map = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    np.save(encoder / "identity.npy", identity_map)
    written(location, encoder)
    index, memory = store_at(location).open(), FrameIndex.from_frames(unit_vectors(20), some_frames(20))
    memory.identity_map = identity_map
    assert np.allclose(index.by_identity.vector(3), to_identities(identity_map, unit_vectors(20))[3], atol=1e-6)
    asked = to_identities(identity_map, unit_vectors(3, seed=1))
    found, expected = (of.by_identity.search(asked, 5, "cup") for of in (index, memory))
    assert np.array_equal(found[1], expected[1])
    assert np.allclose(found[0], expected[0], atol=1e-6)
    assert [index.by_identity.object_of(row) for row in found[1][0].tolist()] == [
        memory.object_of(row) for row in found[1][0].tolist()
    ]


def test_it_joins_with_what_users_enrol(location, encoder):
    frames, vectors = some_frames(30), unit_vectors(30)
    written(location, encoder, 20, frames=frames[:20], vectors=vectors[:20])
    enrolled = GrowingIndex(16)
    enrolled.append(frames[20:], vectors[20:])
    joined = JoinedIndex(store_at(location).open(), enrolled.view())
    whole = FrameIndex.from_frames(vectors, frames)
    for category, exclude in ((None, None), ("cup", None), (None, "object-2")):
        found, expected = (of.search(unit_vectors(4, seed=2), 9, category, exclude) for of in (joined, whole))
        assert np.array_equal(found[1], expected[1])
        assert np.allclose(found[0], expected[0], atol=1e-6)
    assert joined.frame(25).id == frames[25].id
    assert joined.frames_of("object-1") == whole.frames_of("object-1")


def test_a_new_version_is_switched_to_and_can_be_rolled_back(location, encoder):
    store = store_at(location)
    first, second, third = (written(location, encoder, seed=seed) for seed in range(3))
    assert store.current() == third
    assert store.versions() == [first, second, third]
    assert store.rollback() == second == store.current()
    assert np.array_equal(store.open().vector(0), unit_vectors(20, seed=1)[0])
    assert store.rollback(third) == third
    assert store.rollback(first) == first
    with pytest.raises(ArtifactError, match="no version before"):
        store.rollback()
    with pytest.raises(InvalidValueError, match="version"):
        store.rollback("20000101T000000Z")


def test_an_open_version_stays_what_it_is(location, encoder):
    store = store_at(location)
    written(location, encoder)
    opened = store.open()
    for seed in (1, 2):
        written(location, encoder, seed=seed, keep=3)
    assert np.array_equal(opened.search(unit_vectors(20), 1)[1][:, 0], range(20))
    assert opened.thumbnail(3) == b"jpeg 0 3"


def test_only_the_newest_versions_are_kept(location, encoder):
    names = [written(location, encoder, 3, seed, keep=2) for seed in range(4)]
    assert store_at(location).versions() == names[-2:]


def test_where_nothing_is_built_nothing_is_current(location):
    with pytest.raises(CorruptArtifactError, match="no index has been built"):
        store_at(location).current()
    assert store_at(location).versions() == []


def test_a_failed_build_leaves_the_old_version_and_no_litter(location, encoder):
    store, name = store_at(location), written(location, encoder)
    few = Content(unit_vectors(3), table_from_frames(some_frames(3)), [b"only one"], encoder, "digest")
    with pytest.raises(ValueError, match="argument"):
        store.write(few)
    assert (store.current(), store.versions()) == (name, [name])
    if location.startswith("milvus:"):
        assert len(store._collections()) == 2


def test_commands(location, encoder, capsys):
    first, second = (written(location, encoder, seed=seed) for seed in range(2))
    assert main(["info", "--index", location]) == 0
    told = capsys.readouterr().out
    assert f"* {second}" in told
    assert "20 frames  7 objects" in told
    assert main(["verify", "--index", location]) == 0
    assert capsys.readouterr().out == f"{first}: ok\n{second}: ok\n"
    assert main(["rollback", "--index", location]) == 0
    assert store_at(location).current() == first


def test_the_trainer_builds_into_it(location, small_run):
    from trainer.build import build

    assert build(small_run.frames, small_run.encoder, location) == store_at(location).current()
    built, expected = store_at(location).open(), store_at(small_run.index).open()
    rows = range(0, len(expected), 7)
    queries = np.stack([expected.vector(row) for row in rows])
    found, wanted = (index.search(queries, 5)[0] for index in (built, expected))
    assert np.allclose(found, wanted, atol=1e-6)  # rows differ where an untrained encoder sees no difference
    assert [built.thumbnail(row) for row in rows] == [expected.thumbnail(row) for row in rows]
    assert built.calibration == expected.calibration
    assert (built.categories, built.objects) == (expected.categories, expected.objects)
