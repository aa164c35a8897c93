"""Enrolment in a real server process, with real faults: killed, out of disk, another process on its file."""

from __future__ import annotations

import resource

import httpx2
import numpy as np
import pytest

from benchmarks.enrolment_kill import enrol, kill_again_and_again, verdict
from service.enrolment.store import EnrolmentStore
from tests.service_fixtures import build_index, client_of, encoded
from tests.serving import served


@pytest.fixture
def root(tmp_path):
    build_index(tmp_path / "index")
    return tmp_path / "index"


def test_what_was_acknowledged_outlasts_kills(root):
    tally = kill_again_and_again(root, kills=2, clients=3, seed=1)
    with client_of(root) as client:
        result = verdict(client, tally)
    assert result["acknowledged"] > 0
    assert {name: result[name] for name in ("kills", "lost", "refused", "twice")} == {
        "kills": 2,
        "lost": 0,
        "refused": 0,
        "twice": 0,
    }
    # Each key one frame, those included that the kill left without an answer.
    assert result["there"] == result["keys"]


def set_file_limit(process: int, limit: int) -> None:
    resource.prlimit(process, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux only")
def test_a_disk_that_fills_up_is_told_and_survived(root):
    """The system refuses to let files grow, as it does on a full disk."""
    picture = encoded(np.random.default_rng(0).integers(0, 255, (600, 600, 3)).astype(np.uint8))
    with served(root) as server, httpx2.Client(base_url=server.url, trust_env=False, timeout=30) as client:

        def post():
            fields = {"rect": "[5, 5, 500, 500]", "category": "thing"}
            return client.post("/objects/noise/frames", files={"image": ("a.jpg", picture)}, data=fields)

        assert post().status_code == 201
        files = [path for path in root.iterdir() if path.name.startswith("enrolled.sqlite")]
        set_file_limit(server.process.pid, max(path.stat().st_size for path in files))
        refused = [post() for _ in range(3)]
        assert {answer.status_code for answer in refused} == {507}
        assert refused[0].json()["type"] == "urn:nearpose:problem:storage-full"
        assert client.get("/objects/noise").json()["enrolled"] == 1
        found = client.post("/neighbors", files={"image": ("a.jpg", picture)}, data={"rect": "[5, 5, 500, 500]"}).json()
        assert (found["neighbors"][0]["object"], found["warnings"]) == ("noise", [])
        set_file_limit(server.process.pid, resource.RLIM_INFINITY)
        assert post().status_code == 201
        assert client.get("/objects/noise").json()["enrolled"] == 2
    EnrolmentStore(root / "enrolled.sqlite", 2**30).close()


def test_a_server_and_another_process_on_one_file(root):
    with (
        served(root) as server,
        httpx2.Client(base_url=server.url, trust_env=False) as there,
        client_of(root) as here,
    ):
        for number, (writer, reader) in enumerate([(there, here), (here, there)] * 5):
            frame = enrol(writer, f"key-{number}").json()["frame"]
            assert reader.get("/neighbors", params={"frame": frame}).status_code == 200
            assert enrol(reader, f"key-{number}").json()["frame"] == frame
        assert there.delete("/objects/killed/3").status_code == 204
        assert here.get("/objects/killed/3").status_code == 404
        counts = [client.get("/readyz").json()["enrolment"]["frames"] for client in (there, here)]
        assert counts == [9, 9]
