"""One writer at a time to an index in Milvus: who comes second is told who writes; who has died is taken over."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("milvus_lite")

from pymilvus import MilvusException

from index.milvus import lease as milvus_lease
from index.milvus.collection import collection_names, refusals
from index.milvus.lease import Lease, writing
from index.schema import InvalidValueError, UnavailableError
from index.stores import Address, store_at
from tests.milvus import embedded, milvus_server
from tests.service_fixtures import wait_until
from tests.test_stores import content, encoder  # noqa: F401


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(milvus_lease, "_SETTLED_S", 0.0)
    with embedded(tmp_path / "index.db") as place:
        yield store_at(place)


def held(store) -> Lease:
    """As a writer that died has left it."""
    lease = Lease(store._client, store.address)
    lease.take()
    return lease


def test_a_second_writer_is_refused_and_told_who_writes_since_when(store, encoder):  # noqa: F811
    other = store_at(str(store.address))
    with writing(store._client, store.address):
        before = store._collections()
        with pytest.raises(UnavailableError) as refused:
            other.write(content(encoder))
        assert store._collections() == before
    told = str(refused.value)
    assert f"{socket.gethostname()}, process {os.getpid()} has been writing to it since 2" in told
    assert "others may from 2" in told
    version = other.write(content(encoder))
    assert store.current() == version
    assert len(store._collections()) == 2  # nothing of a lease stays
    with writing(store._client, store.address), pytest.raises(UnavailableError, match="has been writing"):
        other.rollback(version)


def test_two_builds_at_once_are_one_and_a_refusal(store, encoder):  # noqa: F811
    written, refused, both = [], [], threading.Barrier(2)

    def build() -> None:
        own = store_at(str(store.address))
        both.wait()
        try:
            written.append(own.write(content(encoder, 200)))
        except UnavailableError as error:
            refused.append(error)

    builders = [threading.Thread(target=build) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert (len(written), len(refused)) == (1, 1)
    assert store.versions() == written


def test_a_lease_that_ran_out_is_taken_over_and_its_holder_writes_no_more(store, encoder, monkeypatch, caplog):  # noqa: F811
    monkeypatch.setattr(milvus_lease, "_TERM", timedelta(0))
    late = held(store)
    monkeypatch.setattr(milvus_lease, "_TERM", timedelta(minutes=15))
    with caplog.at_level(logging.WARNING), writing(store._client, store.address) as lease:
        lease.check()
        with pytest.raises(UnavailableError, match="another writer took it"):
            late.check()
        late.give_back()
        lease.check()
    assert "ran out" in caplog.text
    assert store._collections() == []


def test_who_has_lost_the_lease_leaves_nothing(store, encoder, monkeypatch):  # noqa: F811
    first = store.write(content(encoder))
    before = store._collections()
    monkeypatch.setattr(Lease, "check", lost)
    with pytest.raises(UnavailableError, match="another writer took it"):
        store.write(content(encoder, seed=1))
    assert (store._collections(), store.versions(), store.current()) == (before, [first], first)


def lost(lease: Lease) -> None:
    """Instead of ``Lease.check``."""
    raise UnavailableError("there", "another writer took it")


def test_a_lease_is_renewed_as_long_as_its_writer_lives(store, monkeypatch):
    renew, renewed, until = Lease._renew, threading.Semaphore(0), [datetime.now(UTC)]

    def counted(lease: Lease) -> None:
        renew(lease)
        until.append(lease._holder(lease._holding()).until)
        renewed.release()

    monkeypatch.setattr(Lease, "_renew", counted)
    monkeypatch.setattr(milvus_lease, "_RENEWED_S", 0.05)
    with writing(store._client, store.address) as lease:
        assert all(renewed.acquire(timeout=60) for _ in range(3))
        monkeypatch.setattr(milvus_lease, "_RENEWED_S", 600)  # once more at most: a refusal is tried three times
        lease.check()
        with pytest.raises(UnavailableError, match="has been writing"):
            held(store)
    assert until == sorted(set(until))
    assert store._collections() == []


def test_a_lease_that_is_renewed_while_it_is_looked_at_has_not_run_out(store, monkeypatch):
    lease, told = held(store), store._client.describe_alias

    def renewed_meanwhile(*arguments, **options):
        answer = told(*arguments, **options)
        monkeypatch.setattr(store._client, "describe_alias", told)
        lease._renew()
        return answer

    monkeypatch.setattr(store._client, "describe_alias", renewed_meanwhile)
    lease.check()


def test_a_renewal_without_an_answer_counts(store, monkeypatch):
    lease = held(store)
    with monkeypatch.context() as patched:
        patched.setattr(store._client, "alter_alias", unanswered(store._client.alter_alias))
        with pytest.raises(MilvusException, match="lost"):
            lease._renew()
    lease.check()
    lease._renew()
    lease.check()
    lease.give_back()
    assert store._collections() == store._client.list_aliases()["aliases"] == []


def test_an_answer_that_is_late_ends_neither_the_lease_nor_its_renewals(store, monkeypatch, caplog):
    lease, done = held(store), threading.Event()
    monkeypatch.setattr(milvus_lease, "_RENEWED_S", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(milvus_lease, "TIMEOUT_S", -1.0)  # over before it is asked
        renewing = threading.Thread(target=lease.renew_until, args=(done,))
        renewing.start()
        wait_until(lambda: caplog.text.count("the lease was not renewed") > 1, 60)
        done.set()
        renewing.join()
        with pytest.raises(UnavailableError, match="Milvus: DEADLINE_EXCEEDED"), refusals(store.address):
            lease.check()
        lease.give_back()
    lease.check()


def test_a_lease_that_was_taken_without_an_answer_is_no_other_writers(store, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(store._client, "create_alias", unanswered(store._client.create_alias))
        lease = held(store)
    lease.check()
    lease.give_back()
    assert store._collections() == store._client.list_aliases()["aliases"] == []


def test_a_second_writer_is_told_who_writes_even_as_the_lease_is_renewed(store, monkeypatch):
    lease, other = held(store), store_at(str(store.address))
    told = other._client.describe_collection

    def renewed_before(*arguments, **options):
        monkeypatch.setattr(other._client, "describe_collection", told)
        lease._renew()
        return told(*arguments, **options)

    monkeypatch.setattr(other._client, "describe_collection", renewed_before)
    with pytest.raises(UnavailableError, match="has been writing"):
        held(other)


def test_a_renewal_that_fails_leaves_nothing(store, monkeypatch):
    lease = held(store)
    before = store._collections()
    with monkeypatch.context() as patched:
        patched.setattr(store._client, "alter_alias", refused)
        with pytest.raises(MilvusException, match="refused"):
            lease._renew()
    assert store._collections() == before
    lease.check()


def test_a_writer_drops_what_others_announced_that_died_and_nothing_else(store, encoder):  # noqa: F811
    Lease(store._client, store.address)._announced()
    others = ["another_writer_" + "0" * 32, "nearpose_writer_of_novels"]
    for name in others:
        store._client.create_collection(name, dimension=2)
    version = store.write(content(encoder))
    assert set(store._collections()) == {*others, *collection_names(store.address, version)}


def test_the_name_of_an_index_is_none_of_a_writers():
    with pytest.raises(InvalidValueError, match="does not end in _writer"):
        Address.parse("milvus:index.db#mine_writer")


def test_a_rollback_is_decided_while_nobody_else_writes(store, encoder, monkeypatch):  # noqa: F811
    first, _ = (store.write(content(encoder, seed=seed)) for seed in range(2))
    other, verify = store_at(str(store.address)), store.verify

    def written_meanwhile(version):
        with pytest.raises(UnavailableError, match="has been writing"):
            other.write(content(encoder, seed=2))
        verify(version)

    monkeypatch.setattr(store, "verify", written_meanwhile)
    assert store.rollback() == first == store.current()


def test_a_rollback_that_has_lost_the_lease_changes_nothing(store, encoder, monkeypatch):  # noqa: F811
    _, second = (store.write(content(encoder, seed=seed)) for seed in range(2))
    monkeypatch.setattr(Lease, "check", lost)
    with pytest.raises(UnavailableError, match="another writer took it"):
        store.rollback()
    assert store.current() == second


def refused(*arguments, **options):
    """Instead of a client's method."""
    raise MilvusException(message="refused")


def unanswered(method):
    """The client's method, which does what it should, and its answer is lost."""

    def done(*arguments, **options):
        method(*arguments, **options)
        raise MilvusException(message="the answer is lost")

    return done


_WRITER = """
import sys, time
from index.milvus.collection import collection_names, refusals
from index.milvus.lease import Lease
from index.stores import Address, store_at
store = store_at(sys.argv[1])
Lease(store._client, store.address).take()
print("taken", flush=True)
time.sleep(600)
"""


def test_a_writer_of_another_process_that_is_killed_is_refused_for_until_its_lease_runs_out(tmp_path, monkeypatch):
    monkeypatch.setattr(milvus_lease, "_SETTLED_S", 0.1)
    with milvus_server(tmp_path / "data") as url:
        store = store_at(f"milvus:{url}")
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(store.address)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
        ) as writer:  # fmt: skip
            assert writer.stdout
            assert writer.stdout.readline() == "taken\n"
            writer.kill()
        with pytest.raises(UnavailableError, match=f"process {writer.pid} has been writing"):
            held(store)
        monkeypatch.setattr(milvus_lease, "datetime", _Later)
        held(store).give_back()
        assert store._collections() == []


class _Later(milvus_lease.datetime):
    """The clock a quarter of an hour later."""

    @classmethod
    def now(cls, zone=None):
        return super().now(zone) + timedelta(minutes=16)
