"""What users enrolled, kept through restarts, rebuilds, other encoders and processes, damage, and want of room."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.store import rollback
from tests.enrolling import enrolled, nearest, vase
from tests.scenes import standing_frame
from tests.service_fixtures import (
    ColourEncoder,
    build_index,
    client_of,
    posted,
    wait_until,
)
from tests.test_service_refusals import problem_of


@pytest.fixture
def root(tmp_path):
    build_index(tmp_path / "index")
    return tmp_path / "index"


def test_it_outlasts_restarts_rebuilds_rollbacks_and_encoders(root):
    frame = vase(azimuth=0.3)
    with client_of(root) as client:
        first = enrolled(client, frame).json()["frame"]
        for prefix, digest in (("v2", "colours-1"), ("v3", "another encoder"), ("v4", "a third")):
            version = build_index(root, prefix, digest)
            wait_until(lambda: client.get("/readyz").json()["index"] == version)  # noqa: B023
            assert nearest(client, frame)["frame"] == first
            assert client.get("/readyz").json()["enrolment"]["frames"] == 1
        second = enrolled(client, vase(azimuth=1.2)).json()["frame"]
        version = rollback(root)
        wait_until(lambda: client.get("/readyz").json()["index"] == version)
        assert nearest(client, vase(azimuth=1.2))["frame"] == second
    with client_of(root) as client:
        assert {nearest(client, f)["frame"] for f in (frame, vase(azimuth=1.2))} == {first, second}


def test_a_restart_embeds_nothing_again(root):
    with client_of(root) as client:
        for azimuth in (0.1, 0.2, 0.3):
            enrolled(client, vase(azimuth=azimuth))

    class Counting:
        def __init__(self):
            self._encoder = ColourEncoder()
            self.digest, self.input_size, self.dimension = "colours-1", 32, 48
            self.embedded = 0

        def crop(self, image, rect):
            return self._encoder.crop(image, rect)

        def embed(self, crops):
            self.embedded += len(crops)
            return self._encoder.embed(crops)

    encoder = Counting()
    with client_of(root, lambda folder, device: encoder) as client:
        assert client.get("/readyz").json()["enrolment"]["frames"] == 3
        assert encoder.embedded == 0
        nearest(client, vase())
        assert encoder.embedded == 1


def test_two_processes_see_each_other(root):
    with client_of(root) as one, client_of(root) as other:
        frame = enrolled(one, vase()).json()["frame"]
        assert nearest(other, vase())["frame"] == frame
        second = enrolled(other, vase(azimuth=1.2)).json()
        assert second["object"]["enrolled"] == 2
        assert nearest(one, vase(azimuth=1.2))["frame"] == second["frame"]
        one.delete(f"/objects/vases/blue 1/frames/{frame}")
        assert nearest(other, vase())["frame"] == second["frame"]
        other.delete("/objects/vases/blue 1")
        assert nearest(one, vase())["object"] != "vases/blue 1"


def test_processes_with_different_encoders_share_a_file(tmp_path):
    """As while the processes of a service change to a new version, one after the other."""
    file = tmp_path / "shared.sqlite"
    for name, digest in (("a", "colours-1"), ("b", "another encoder")):
        (tmp_path / name).mkdir()
        build_index(tmp_path / name / "index", digest=digest)
    with (
        client_of(tmp_path / "a" / "index", enrolment=file) as one,
        client_of(tmp_path / "b" / "index", enrolment=file) as other,
    ):
        for writer, reader, azimuth in ((one, other, 0.1), (other, one, 0.5), (one, other, 0.9)):
            frame = enrolled(writer, vase(azimuth=azimuth)).json()["frame"]
            assert nearest(reader, vase(azimuth=azimuth))["frame"] == frame
    with client_of(tmp_path / "b" / "index", enrolment=file) as other:
        assert other.get("/readyz").json()["enrolment"]["frames"] == 3


def damaged(root: Path) -> bytes:
    with client_of(root) as client:
        for azimuth in (0.1, 0.2, 0.3):
            enrolled(client, vase(azimuth=azimuth))
    file = root / "enrolled.sqlite"
    file.write_bytes(file.read_bytes()[:-8192])
    return file.read_bytes()


def test_a_damaged_file_is_told_and_the_index_goes_on_answering(root, caplog):
    content = damaged(root)
    with client_of(root) as client:
        ready = client.get("/readyz").json()
        assert ready["enrolment"]["accepts"] is False
        assert ready["enrolment"]["failure"].startswith("damaged")
        assert str(root) not in json.dumps(ready)
        answer = posted(client, standing_frame(azimuth=0.45, category="shoe")).json()
        assert answer["objects"][0]["category"] == "shoe"
        assert "what users enrolled cannot be read" in answer["warnings"][0]
        refusal = enrolled(client, vase())
        assert problem_of(refusal, 503)["type"] == "urn:nearpose:problem:enrolment-unavailable"
        assert refusal.headers["retry-after"] == "30"
        assert problem_of(client.delete("/objects/vases/blue 1"), 503)
        assert client.get("/objects/shoe-1").status_code == 200
        assert problem_of(client.get("/objects/vases/blue 1"), 503)
        listed = client.get("/objects").json()
        assert len(listed["objects"]) == 3
        assert "may be missing" in listed["warnings"][0]
    assert (root / "enrolled.sqlite").read_bytes() == content
    assert len([record for record in caplog.records if record.name == "service.enrolment.followed"]) == 1


def test_a_file_that_is_mended_is_used_again(root, monkeypatch):
    monkeypatch.setattr("service.enrolment.followed._RETRY_S", 0)
    file = root / "enrolled.sqlite"
    with client_of(root) as client:
        frame = enrolled(client, vase()).json()["frame"]
    whole = file.read_bytes()
    file.write_bytes(whole[:5000])
    with client_of(root) as client:
        assert client.get("/readyz").json()["enrolment"]["failure"]
        file.write_bytes(whole)
        wait_until(lambda: client.get("/readyz").json()["enrolment"]["failure"] is None)
        assert nearest(client, vase())["frame"] == frame
        assert enrolled(client, vase(azimuth=1.0)).status_code == 201


def test_a_file_that_is_damaged_while_it_is_open_is_given_up_and_what_was_read_stays(root):
    with client_of(root) as client:
        frame = enrolled(client, vase()).json()["frame"]
        assert nearest(client, vase())["frame"] == frame
        (root / "enrolled.sqlite").rename(root / "elsewhere.sqlite")
        assert problem_of(enrolled(client, vase(azimuth=1.0)), 503)["detail"].endswith("while it was in use")
        answer = nearest(client, vase())
        assert answer["frame"] == frame
        assert client.get("/readyz").json()["enrolment"]["accepts"] is False


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """A folder that nothing can be written to, as an ordinary user finds it: root may write everywhere."""
    folder.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.fixture
def open_root():
    """An index in a folder that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        build_index(Path(name) / "index")
        yield Path(name) / "index"


def test_in_a_read_only_folder_enrolment_is_off_and_said_once(open_root, caplog):
    with _read_only(open_root), client_of(open_root) as client:
        assert problem_of(enrolled(client, vase()), 503)["detail"].endswith("none can be made here")
        assert client.get("/readyz").json()["enrolment"]["accepts"] is False
        answer = posted(client, standing_frame(azimuth=0.45, category="shoe")).json()
        assert (answer["objects"][0]["category"], answer["warnings"]) == ("shoe", [])
        assert len(client.get("/objects").json()["objects"]) == 3
    assert len([record for record in caplog.records if record.name == "service.enrolment.followed"]) == 1


def test_a_file_in_a_read_only_folder_is_searched_and_it_is_said(open_root, caplog):
    with client_of(open_root) as client:
        frame = enrolled(client, vase()).json()["frame"]
    with _read_only(open_root), client_of(open_root) as client:
        assert nearest(client, vase())["frame"] == frame
        assert problem_of(enrolled(client, vase()), 503)["detail"].endswith("cannot be written to")
        told = client.get("/readyz").json()["enrolment"]
        assert told | {"warning": ""} == {"frames": 1, "accepts": False, "failure": None, "warning": ""}
        assert "folder is read-only" in told["warning"]
        assert "not seen before a restart" in told["warning"]
        assert str(open_root) not in told["warning"]
    assert [record.levelname for record in caplog.records if told["warning"] in record.message] == ["WARNING"]


def test_enrolment_is_off_where_nothing_may_be_kept(root):
    with client_of(root, enrolment_max_bytes=0) as client:
        assert problem_of(enrolled(client, vase()), 503)["detail"].endswith("set to keep nothing")
    assert not (root / "enrolled.sqlite").exists()


def test_the_bound_is_a_problem_and_the_service_goes_on(root, tmp_path):
    with client_of(root, enrolment=tmp_path / "own.sqlite", enrolment_max_bytes=100_000) as client:
        answers = [enrolled(client, vase(azimuth=0.1 * n)) for n in range(12)]
        refused = [answer for answer in answers if answer.status_code != 201]
        problem = problem_of(refused[0], 507)
        assert (problem["type"], "limit" in problem["detail"]) == ("urn:nearpose:problem:storage-full", True)
        assert client.get("/readyz").json()["enrolment"]["frames"] == 12 - len(refused)
        assert nearest(client, vase())
    assert (tmp_path / "own.sqlite").exists()
