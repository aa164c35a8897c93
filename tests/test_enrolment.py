"""The file of what users enrolled: what is in it stays, and what is not whole is refused and left alone."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.schema import Box, CorruptArtifactError, ForeignArtifactError, Frame, InvalidValueError, View
from index.table import row_from_frame
from service.enrolment.file import EnrolmentUnavailableError, StorageFullError
from service.enrolment.records import Enrolee, Kept
from service.enrolment.store import EnrolmentStore, KeyReusedError, UnknownObjectError
from tests.scenes import standing_frame

LARGE = 2**30
VECTOR = np.linspace(-1, 1, 48).astype(np.float32)
DIGEST = "colours-1"
PICTURE = bytes(range(256)) * 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "enrolled.sqlite"


@pytest.fixture
def store(path):
    with contextlib.closing(EnrolmentStore(path, LARGE)) as store:
        yield store


def enrolee(name: str, object_id: str = "mug", category: str = "cup", **changes) -> Enrolee:
    frame = standing_frame(id=name, object_id=object_id, category=category)
    kept = Kept(b"jpeg of " + name.encode(), (1.5, 2.0, 30.25, 40.0), b"thumbnail of " + name.encode())
    return replace(Enrolee(frame, kept, VECTOR, DIGEST), **changes)


def ids(changes) -> list[str]:
    return [stored.frame.id for stored in changes.frames]


def test_what_was_added_is_there_in_another_process_and_after_a_restart(path, store):
    new = enrolee("a", key="k", request=b"r", warnings=("w",), indexed=4)
    receipt = store.add(new)
    assert (receipt.frame, receipt.object, receipt.category) == ("a", "mug", "cup")
    assert (receipt.enrolled, receipt.frames, receipt.warnings, receipt.replayed) == (1, 5, ("w",), False)
    with contextlib.closing(EnrolmentStore(path, LARGE)) as other:
        (stored,) = other.changes(DIGEST).frames
        assert row_from_frame(stored.frame) == row_from_frame(new.frame)
        assert stored.vector.tolist() == VECTOR.tolist()
        assert other.picture(stored.seq) == new.kept
        assert other.thumbnail("a") == new.kept.thumbnail
        assert other.replayed("k", b"r") == receipt


def test_commits_are_made_durable(path, store):
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_numbers_come_back_to_the_bit(store):
    @settings(deadline=None)
    @given(
        corner=st.tuples(st.floats(0, 200), st.floats(0, 200)),
        size=st.tuples(*[st.floats(0.01, 10)] * 3),
    )
    def check(corner, size):
        posed = standing_frame()
        box = Box(posed.box.rotation, posed.box.center, np.array(size))
        view = View(posed.view.camera, posed.view.plane, (*corner, corner[0] + 100.5, corner[1] + 99.25))
        frame = Frame(uuid.uuid4().hex, "cup", "mug", view, box)
        before = store.changes(DIGEST).frames
        store.add(enrolee(frame.id, frame=frame))
        (stored,) = store.changes(DIGEST, after=before[-1].seq if before else 0).frames
        assert row_from_frame(stored.frame) == row_from_frame(frame)
        store.remove_frame("mug", frame.id)

    check()


def test_a_reader_is_told_what_is_new(store):
    versions = [store.data_version()]
    store.add(enrolee("a"))
    versions.append(store.data_version())
    first = store.changes(DIGEST)
    store.add(enrolee("b", object_id="jug"))
    versions.append(store.data_version())
    second = store.changes(DIGEST, first.frames[-1].seq, first.deletions)
    assert (ids(first), ids(second), second.alive) == (["a"], ["b"], None)
    store.remove_object("mug")
    versions.append(store.data_version())
    third = store.changes(DIGEST, second.frames[-1].seq, second.deletions)
    assert (ids(third), third.alive) == ([], {second.frames[-1].seq})
    assert len(set(versions)) == 4
    assert store.data_version() == versions[-1]


def test_a_removed_last_frame_does_not_hide_the_next(store):
    for name in "ab":
        store.add(enrolee(name))
    before = store.changes(DIGEST)
    store.remove_frame("mug", "b")
    store.add(enrolee("c"))
    assert ids(store.changes(DIGEST, before.frames[-1].seq, before.deletions)) == ["c"]


def test_removing_leaves_nothing_of_it(path, store):
    store.add(enrolee("a", key="k", request=b"r"))
    store.add(enrolee("b"))
    store.remove_frame("mug", "a")
    assert store.replayed("k", b"r") is None
    with pytest.raises(KeyError):
        store.thumbnail("a")
    for call in (lambda: store.remove_frame("mug", "a"), lambda: store.remove_frame("jug", "b")):
        with pytest.raises(UnknownObjectError, match="frame: got"):
            call()
    store.remove_object("mug")
    with pytest.raises(UnknownObjectError, match="object: got 'mug'"):
        store.remove_object("mug")
    assert [store.object("mug"), store.objects("", 9), store.missing("other", 9)] == [None, [], []]
    store.close()
    assert b"jpeg of" not in path.read_bytes()


def test_objects_are_counted_and_paged(store):
    for number, name in enumerate(("b", "a", "c", "a", "d/e")):
        store.add(enrolee(f"f{number}", object_id=name))
    assert [(o.object, o.enrolled) for o in store.objects("", 9)] == [("a", 2), ("b", 1), ("c", 1), ("d/e", 1)]
    assert [o.object for o in store.objects("a", 2)] == ["b", "c"]
    found = store.object("a")
    assert (found.enrolled, [f.id for f in found.latest], found.latest[0].has_box) == (2, ["f3", "f1"], True)


def test_an_object_has_one_category(store):
    store.add(enrolee("a"))
    with pytest.raises(InvalidValueError, match="category: got 'shoe', must be cup"):
        store.add(enrolee("b", category="shoe"))
    assert store.add(enrolee("c", category="shoe", guessed=True)).category == "cup"


def test_a_key_enrols_once(store):
    first = store.add(enrolee("a", key="k", request=b"r"))
    again = store.add(enrolee("b", key="k", request=b"r"))
    assert (again, again.replayed) == (first, True)
    with pytest.raises(KeyReusedError, match="Idempotency-Key: got 'k', must be new"):
        store.add(enrolee("c", key="k", request=b"another"))
    assert ids(store.changes(DIGEST)) == ["a"]


def test_a_key_enrols_once_in_a_race_of_processes_and_threads(path, store):
    stores = [store, EnrolmentStore(path, LARGE), EnrolmentStore(path, LARGE)]
    start = threading.Barrier(6)

    def post(number: int):
        start.wait()
        return stores[number % 3].add(enrolee(f"f{number}", key="k", request=b"r"))

    with ThreadPoolExecutor(6) as pool:
        receipts = list(pool.map(post, range(6)))
    assert len({receipt.frame for receipt in receipts}) == 1
    assert sorted(receipt.replayed for receipt in receipts) == [False] + [True] * 5
    assert len(store.changes(DIGEST).frames) == 1
    for other in stores[1:]:
        other.close()


def test_a_file_that_several_make_at_once_is_one(path):
    start = threading.Barrier(6)

    def make(number: int) -> None:
        start.wait()
        with contextlib.closing(EnrolmentStore(path, LARGE)) as store:
            store.add(enrolee(f"f{number}"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(6)))
    with contextlib.closing(EnrolmentStore(path, LARGE)) as store:
        assert len(store.changes(DIGEST).frames) == 6
    assert [p.name for p in path.parent.iterdir() if "draft" in p.name] == []


def test_many_writers_lose_nothing(path, store):
    stores = [store, EnrolmentStore(path, LARGE), EnrolmentStore(path, LARGE)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: stores[n % 3].add(enrolee(f"f{n}", object_id=f"o{n % 5}")), range(60)))
    assert sorted(ids(store.changes(DIGEST))) == sorted(f"f{n}" for n in range(60))
    assert sum(o.enrolled for o in stores[1].objects("", 9)) == 60
    for other in stores[1:]:
        other.close()


def test_vectors_are_kept_for_each_encoder(store):
    for name in "abc":
        store.add(enrolee(name))
    seqs = sorted(store.missing("second", 9))
    assert len(seqs) == 3
    assert store.missing(DIGEST, 9) == []
    store.save_vectors("second", [(seq, VECTOR * seq) for seq in (*seqs[:2], 999)])
    store.save_vectors("second", [(seqs[0], VECTOR * 77)])
    found = store.changes("second").frames
    assert [None if s.vector is None else s.vector.tolist() for s in found] == [
        VECTOR.tolist(),
        (VECTOR * 2).tolist(),
        None,
    ]
    store.forget_vectors({"second"})
    assert len(store.missing(DIGEST, 9)) == 3
    assert store.missing("second", 9) == seqs[2:]


def test_the_bound_is_told_and_nothing_is_written(path):
    with contextlib.closing(EnrolmentStore(path, 100_000)) as store:
        large = Kept(b"x" * 30_000, (0, 0, 1, 1), b"t")
        store.add(enrolee("a", kept=large))
        with pytest.raises(StorageFullError, match="takes 100000 bytes, which is the limit"):
            store.add(enrolee("b", kept=large))
        assert ids(store.changes(DIGEST)) == ["a"]
        store.remove_object("mug")
        store.add(enrolee("c", kept=large))


def test_a_full_disk_is_told_and_the_file_stays_whole(path, store):
    store.add(enrolee("a"))
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFullError, match="disk is full"):
        store.add(enrolee("b", kept=Kept(b"x" * 200_000, (0, 0, 1, 1), b"t")))
    assert ids(store.changes(DIGEST)) == ["a"]
    store._writer.execute("PRAGMA max_page_count = 1000000")
    store.add(enrolee("c"))
    with contextlib.closing(EnrolmentStore(path, LARGE)) as other:
        assert ids(other.changes(DIGEST)) == ["a", "c"]


def test_a_copy_made_while_it_is_in_use_is_whole_and_durable_again(path, store, tmp_path):
    """As docs/enrolment.md says to make one."""
    store.add(enrolee("a"))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("VACUUM INTO ?", (str(tmp_path / "copy.sqlite"),))
    store.add(enrolee("b"))
    with contextlib.closing(EnrolmentStore(tmp_path / "copy.sqlite", LARGE)) as copy:
        copy.add(enrolee("c"))
        assert ids(copy.changes(DIGEST)) == ["a", "c"]
        test_commits_are_made_durable(tmp_path, copy)


def filled(path) -> bytes:
    with contextlib.closing(EnrolmentStore(path, LARGE)) as store:
        for number in range(20):
            store.add(enrolee(f"f{number}", kept=Kept(PICTURE, (0, 0, 1, 1), b"t")))
    return path.read_bytes()


def other_database(path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (a)")


def of_a_later_version(path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")


DAMAGES = {
    "empty": (lambda path, data: path.write_bytes(b""), CorruptArtifactError),
    "half": (lambda path, data: path.write_bytes(data[: len(data) // 2]), CorruptArtifactError),
    "without its last page": (lambda path, data: path.write_bytes(data[:-4096]), CorruptArtifactError),
    "text": (lambda path, data: path.write_bytes(b"not a database" * 500), CorruptArtifactError),
    "zeros inside": (
        lambda path, data: path.write_bytes(data[:4096] + bytes(8192) + data[12288:]),
        CorruptArtifactError,
    ),
    "another's": (lambda path, data: other_database(path), ForeignArtifactError),
    "a later version": (lambda path, data: of_a_later_version(path), ForeignArtifactError),
}


@pytest.mark.parametrize(("damage", "error"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_refused_and_left_as_it_is(path, damage, error):
    damage(path, filled(path))
    before = hashlib.sha256(path.read_bytes()).digest()
    for _ in range(2):
        with pytest.raises(error) as caught:
            EnrolmentStore(path, LARGE)
        assert str(path) not in caught.value.reason
    assert hashlib.sha256(path.read_bytes()).digest() == before


@pytest.mark.parametrize("what", ["vector", "content", "picture"])
def test_a_flipped_bit_is_noticed(path, what):
    data = bytearray(filled(path))
    marks = {"vector": VECTOR.tobytes(), "content": b'"fx": 500', "picture": PICTURE[:3000]}
    at = data.index(marks[what]) + 8
    data[at] ^= 1
    path.write_bytes(data)
    with contextlib.closing(EnrolmentStore(path, LARGE)) as store:
        reads = [lambda: store.changes(DIGEST), lambda: [store.picture(seq) for seq in range(1, 21)]]
        with pytest.raises(CorruptArtifactError, match="checksum"):
            reads[what == "picture"]()


def test_a_file_that_is_gone_while_its_log_is_there_is_not_made_anew(path):
    filled(path)
    path.rename(path.with_name("elsewhere"))
    path.with_name(path.name + "-wal").write_bytes(b"log")
    with pytest.raises(CorruptArtifactError, match="missing, although its log"):
        EnrolmentStore(path, LARGE)
    assert not path.exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_written_to_a_file_that_was_moved_away(path, store, replaced):
    store.add(enrolee("a"))
    path.rename(path.with_name("elsewhere"))
    if replaced:
        path.write_bytes(b"")
    with pytest.raises(CorruptArtifactError, match="removed or replaced"):
        store.add(enrolee("b"))


def test_where_no_file_can_be_made_it_is_said(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(EnrolmentUnavailableError, match="none can be made here"):
            EnrolmentStore(folder / "enrolled.sqlite", LARGE)
