"""The open version of the index, and what happens when the next one comes."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest

from index.store import rollback
from service.live import Failure, LiveIndex, NotReadyError
from tests.service_fixtures import build_index, open_colours, wait_until


@pytest.fixture
def root(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def live(root):
    return LiveIndex(root, open_colours, poll_s=0.01)


def test_until_there_is_an_index_nothing_is_ready(live, root):
    with pytest.raises(NotReadyError, match="it is being opened"):
        _ = live.snapshot
    live.refresh()
    with pytest.raises(NotReadyError, match="CURRENT: missing"):
        _ = live.snapshot
    version = build_index(root)
    live.refresh()
    assert live.snapshot.index.version == version
    assert live.snapshot.predictor.index is live.snapshot.index


def test_a_snapshot_stays_what_it_is(live, root):
    first = build_index(root, "v1")
    live.refresh()
    before = live.snapshot
    second = build_index(root, "v2")
    live.refresh()
    assert (before.index.version, live.snapshot.index.version) == (first, second)
    assert before.index.row_of("v1/cup/0") == live.snapshot.index.row_of("v2/cup/0")


def test_an_encoder_is_opened_once(live, root):
    for digest, prefix in (("a", "v1"), ("a", "v2"), ("b", "v3")):
        before = live._snapshot
        build_index(root, prefix, digest)
        live.refresh()
        assert live.snapshot.predictor.encoder.digest == digest
        if before is not None:
            same = live.snapshot.predictor.encoder is before.predictor.encoder
            assert same == (before.index.encoder_digest == digest)


def test_an_open_version_is_no_garbage_collectors_work_and_a_former_one_is_collected(live, root):
    build_index(root, "v1")
    live.refresh()
    former = live.snapshot.index
    former.itself = former  # what counting references alone would keep
    gone = weakref.ref(former)
    gc.unfreeze()  # whatever other tests left there
    del former
    build_index(root, "v2")
    live.refresh()
    assert gone() is None
    assert gc.get_freeze_count() > 0
    assert not any(one is live.snapshot for one in gc.get_objects())
    gc.unfreeze()


def test_a_version_that_does_not_open_leaves_the_one_before(live, root, caplog):
    good = build_index(root)
    live.refresh()
    broken = build_index(root, "v2", "broken")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            live.refresh()
    assert live.snapshot.index.version == good
    assert live.failure == Failure(broken, "made to fail")
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    repaired = build_index(root, "v3")
    live.refresh()
    assert (live.snapshot.index.version, live.failure) == (repaired, None)


def test_going_back_to_the_open_version_ends_the_failure(live, root):
    good = build_index(root)
    live.refresh()
    before = live.snapshot
    build_index(root, "v2", "broken")
    live.refresh()
    assert live.failure is not None
    rollback(root)
    live.refresh()
    assert live.failure is None
    assert live.snapshot is before
    assert live.snapshot.index.version == good


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"no-such-version", b"../../etc"])
def test_a_damaged_current_is_told_and_survived(live, root, content):
    good = build_index(root)
    live.refresh()
    (root / "CURRENT").write_bytes(content)
    live.refresh()
    assert live.failure.version == "CURRENT"
    assert live.snapshot.index.version == good


def test_a_damaged_first_version_is_told_without_the_servers_paths(live, root):
    version = build_index(root)
    (root / "versions" / version / "vectors.npy").write_bytes(b"gone")
    live.refresh()
    with pytest.raises(NotReadyError, match=f"{version}: has 4 bytes") as caught:
        _ = live.snapshot
    assert str(root) not in str(caught.value)


def test_a_failed_version_is_tried_again_after_a_while(live, root, monkeypatch):
    version = build_index(root)
    vectors = root / "versions" / version / "vectors.npy"
    content = vectors.read_bytes()
    vectors.write_bytes(b"")
    live.refresh()
    vectors.write_bytes(content)
    live.refresh()
    assert live.failure is not None
    monkeypatch.setattr("service.live._RETRY_S", 0)
    live.refresh()
    assert live.failure is None
    assert live.snapshot.index.version == version


def test_it_watches_by_itself(live, root):
    live.start()
    try:
        for prefix in ("v1", "v2"):
            version = build_index(root, prefix)
            wait_until(lambda: live._snapshot is not None and live.snapshot.index.version == version)  # noqa: B023
    finally:
        live.close()
    assert not live._thread.is_alive()
