"""The service with its index in a folder and in Milvus: the same answers, and the same switch while it runs."""

from __future__ import annotations

import subprocess
import sys

import httpx2
import pytest

from index.stores import store_at
from service.settings import Settings
from tests.enrolling import enrolled, nearest, shown, vase
from tests.scenes import standing_frame
from tests.service_fixtures import build_index, client_of, encoded, indexed_frames, posted, wait_until
from tests.serving import ROOT, served

pytest.importorskip("milvus_lite")

from tests.milvus import embedded, milvus_server


@pytest.fixture
def milvus(tmp_path):
    with embedded(tmp_path / "index.db") as location:
        yield location


@pytest.fixture
def clients(tmp_path, milvus):
    """A client of each, whose indexes hold the same."""
    places = {tmp_path / "index": {}, milvus: {"enrolment": tmp_path / "enrolled.sqlite"}}
    for place in places:
        build_index(place)
    (folder, options), (place, more) = places.items()
    with client_of(folder, **options) as one, client_of(place, **more) as other:
        yield one, other


def rounded(value):
    """An answer without what differs from one call to the next, its numbers to what float32 tells."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items() if k not in ("timing_ms", "index", "created", "age_s")}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def test_answers_are_the_same(clients):
    query = standing_frame(category="cup", azimuth=0.5)
    for path, changes in (
        ("/pose", {}),
        ("/pose", {"k": "3", "category": "shoe"}),
        ("/neighbors", {"camera": None, "plane": None}),
    ):
        found, expected = (posted(client, query, path=path, **changes) for client in reversed(clients))
        assert found.status_code == 200
        assert rounded(found.json()) == rounded(expected.json())


def test_what_the_index_holds_is_told_alike(clients):
    frame = indexed_frames()[5].id
    paths = [
        "/index",
        "/index/map?limit=7",
        "/objects",
        "/objects/cup-1",
        f"/frames/{frame}",
        f"/neighbors?frame={frame}",
    ]
    for path in paths:
        expected, found = (client.get(path) for client in clients)
        assert found.status_code == 200, path
        assert rounded(found.json()) == rounded(expected.json()), path
    expected, found = (client.get(f"/frames/{frame}/image.jpg").content for client in clients)
    assert found == expected
    assert clients[1].get("/frames/none/image.jpg").status_code == 404
    assert "nearpose_index_frames 12.0" in clients[1].get("/metrics").text


def test_what_is_enrolled_is_found_beside_it(clients):
    _, client = clients
    answers = [enrolled(client, vase(azimuth=azimuth)) for azimuth in (0.1, 0.4, 0.7)]
    assert [answer.status_code for answer in answers] == [201] * 3
    query = vase(azimuth=0.45)
    (found,) = posted(client, query, encoded(shown(query)), k="3").json()["objects"]
    assert {n["frame"] for n in found["neighbors"]} == {answer.json()["frame"] for answer in answers}
    assert nearest(client, standing_frame(category="cup"))["category"] == "cup"


def test_a_running_service_switches_and_goes_back(tmp_path, milvus):
    first = build_index(milvus, "v1")
    with client_of(milvus, enrolment_max_bytes=0) as client:
        assert nearest(client, standing_frame(category="cup"))["frame"].startswith("v1/")
        second = build_index(milvus, "v2")
        wait_until(lambda: client.get("/readyz").json()["index"] == second)
        assert nearest(client, standing_frame(category="cup"))["frame"].startswith("v2/")
        store_at(milvus).rollback()
        wait_until(lambda: client.get("/readyz").json()["index"] == first)
        assert nearest(client, standing_frame(category="cup"))["frame"].startswith("v1/")


def test_a_service_may_be_started_before_there_is_an_index(milvus):
    with client_of(milvus, enrolment_max_bytes=0, ready=False) as client:
        assert client.get("/readyz").status_code == 503
        build_index(milvus)
        wait_until(lambda: client.get("/readyz").status_code == 200)


def test_where_enrolment_is_kept_must_be_said(tmp_path):
    with pytest.raises(ValueError, match="enrolment: got None, must be a file, where the index is in Milvus"):
        Settings(index="milvus:http://127.0.0.1:1")
    command = [sys.executable, "-m", "service", "--index", "milvus:index.txt", "--enrolment-max-bytes", "0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert (
        "index: Value error, index: got 'milvus:index.txt', must be milvus: and a file that ends in .db, or a URL"
        in ended.stderr
    )


def test_a_milvus_that_is_gone_is_told_of_without_its_place(tmp_path):
    with milvus_server(tmp_path / "data") as url:
        version = build_index(f"milvus:{url}")
        running = client_of(f"milvus:{url}", enrolment_max_bytes=0)
        client = running.__enter__()
        assert posted(client, standing_frame(category="cup")).status_code == 200
    try:
        refused = posted(client, standing_frame(category="cup"))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["type"] == "urn:nearpose:problem:index-unavailable"
        assert url.removeprefix("http://") not in refused.text
        assert client.get("/frames/none").json()["status"] == 503
        wait_until(lambda: client.get("/readyz").json()["failure"] is not None, 60)
        answer = client.get("/readyz").json()
        assert answer["index"] == version
        assert answer["failure"]["reason"].startswith("Milvus: Fail connecting to server on its address")
    finally:
        running.__exit__(None, None, None)


def test_processes_share_a_server(tmp_path):
    with milvus_server(tmp_path / "data") as url:
        location, other = f"milvus:{url}", f"milvus:{url}#other"
        first = build_index(location)
        build_index(other, "elsewhere")
        with (
            served(location, "--workers", "2", "--enrolment", str(tmp_path / "enrolled.sqlite")) as server,
            httpx2.Client(base_url=server.url, trust_env=False) as client,
        ):
            assert client.get("/readyz").json()["index"] == first
            assert posted(client, standing_frame(category="cup")).json()["objects"][0]["category"] == "cup"
            second = build_index(location, "v2")
            wait_until(lambda: client.get("/readyz").json()["index"] == second)
            assert nearest(client, standing_frame(category="cup"))["frame"].startswith("v2/")
        assert len(store_at(other).versions()) == 1
