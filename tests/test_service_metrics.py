"""What Prometheus reads, from a real app and from several real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics, shared_metrics
from tests.scenes import standing_frame
from tests.service_fixtures import build_index, client_of, encoded, picture_of, posted, wait_until

QUERY = standing_frame(azimuth=0.45, category="shoe")


def samples(text: str | bytes) -> dict[tuple[str, frozenset], float]:
    """Each sample's value by its name and labels."""
    text = text if isinstance(text, str) else text.decode()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(text: str | bytes, name: str, **labels: str) -> float | None:
    return samples(text).get((f"nearpose_{name}", frozenset(labels.items())))


@pytest.fixture
def client(tmp_path):
    build_index(tmp_path / "index")
    with client_of(tmp_path / "index") as client:
        yield client


def test_requests_are_counted_by_route_method_and_status(client):
    frames = client.get("/neighbors", params={"frame": "v1/cup/0"}).json()["neighbors"]
    for neighbor in frames[:2]:
        assert client.get(neighbor["image"]).status_code == 200
    assert client.get("/frames/none/image.jpg").status_code == 404
    assert client.get("/nothing/of/the/kind").status_code == 404
    assert client.request("BREW", "/healthz").status_code == 405
    text = client.get("/metrics").text
    route = "/frames/{frame}/image.jpg"
    assert value(text, "requests_total", route=route, method="GET", status="200") == 2
    assert value(text, "requests_total", route=route, method="GET", status="404") == 1
    assert value(text, "requests_total", route="unmatched", method="GET", status="404") == 1
    assert value(text, "requests_total", route="/healthz", method="other", status="405") == 1
    assert value(text, "request_seconds_count", route=route, method="GET") == 3
    assert value(text, "in_flight") == 1  # this very one
    assert "/nothing" not in text


def test_stages_are_timed(client):
    assert posted(client, QUERY).status_code == 200
    assert client.get("/neighbors", params={"frame": "v1/cup/0"}).status_code == 200
    text = client.get("/metrics").text
    for stage, times in {"decode": 1, "embed": 1, "search": 2, "fit": 1, "total": 2}.items():
        assert value(text, "stage_seconds_count", stage=stage) == times
    assert value(text, "stage_seconds_bucket", stage="decode", le="10.0") == 1
    assert value(text, "stage_seconds_sum", stage="decode") < 1


def test_refusals_are_counted_by_their_kind(client):
    posted(client, QUERY, k="0")
    posted(client, QUERY, image=b"no picture")
    client.post("/pose", content=b"x")
    text = client.get("/metrics").text
    for reason in ("invalid-value", "unreadable-image", "http-415"):
        assert value(text, "rejected_total", reason=reason) == 1


def test_the_open_index_is_described(client, tmp_path):
    text = client.get("/metrics").text
    version = client.get("/readyz").json()["index"]
    files = [f for f in (tmp_path / "index" / "versions" / version).rglob("*") if f.is_file()]
    assert value(text, "index_info", version=version) == 1
    assert value(text, "index_frames") == 12
    assert value(text, "index_bytes") == sum(f.stat().st_size for f in files if f.name != "manifest.json")
    assert -1 <= value(text, "index_age_seconds") < 300
    assert value(text, "index_failed") == 0
    assert samples(text)["process_resident_memory_bytes", frozenset()] > 1e6


def test_an_index_that_cannot_be_opened_shows(tmp_path):
    build_index(tmp_path / "index", digest="broken")
    with client_of(tmp_path / "index", ready=False) as client:
        wait_until(lambda: value(client.get("/metrics").text, "index_failed") == 1)
        assert value(client.get("/metrics").text, "index_frames") is None


def test_two_apps_count_by_themselves(tmp_path):
    build_index(tmp_path / "index")
    with client_of(tmp_path / "index") as one, client_of(tmp_path / "index") as other:
        one.get("/neighbors", params={"frame": "v1/cup/0"})
        labels = {"route": "/neighbors", "method": "GET", "status": "200"}
        assert value(one.get("/metrics").text, "requests_total", **labels) == 1
        assert value(other.get("/metrics").text, "requests_total", **labels) is None


def test_engine_side_numbers():
    metrics = Metrics()
    for size in (1, 4, 4):
        metrics.observe_batch(size)
    metrics.set_waiting(3)
    text = metrics.text()
    assert value(text, "batch_size_count") == 3
    assert value(text, "batch_size_sum") == 9
    assert value(text, "batch_size_bucket", le="3.0") == 1
    assert value(text, "waiting") == 3


def test_enrolled_frames_are_counted(tmp_path):
    build_index(tmp_path / "index")
    frame = standing_frame(category="cup")
    with client_of(tmp_path / "index") as client:
        assert value(client.get("/metrics").text, "enrolled_frames") == 0
        fields = {"rect": json.dumps(frame.view.rect), "category": "cup"}
        files = {"image": encoded(picture_of(frame))}
        assert client.post("/objects/mine/frames", data=fields, files=files).status_code == 201
        assert value(client.get("/metrics").text, "enrolled_frames") == 1


PROCESS = """
import sys
from service.metrics import Metrics
metrics = Metrics()
metrics.observe_batch(2)
metrics.started()
metrics.answered("/pose", "POST", 200, 0.02, None)
metrics.set_waiting(5)
print("ready", flush=True)
sys.stdin.readline()
sys.stdout.write(metrics.text().decode())
"""


def test_several_processes_answer_for_all():
    with shared_metrics():
        folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        command = [sys.executable, "-c", PROCESS]
        here = Path(__file__).parent.parent
        processes = [
            subprocess.Popen(command, cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        processes[0].kill()
        processes[0].communicate()
        text, _ = processes[1].communicate("\n")
        live = {str(process.pid) for process in processes[1:]}
        processes[2].communicate("\n")
    assert value(text, "requests_total", route="/pose", method="POST", status="200") == 3
    assert value(text, "batch_size_sum") == 6
    assert value(text, "waiting") == 10  # the dead one waits for nothing
    memory = {dict(labels)["pid"] for name, labels in samples(text) if name == "process_resident_memory_bytes"}
    assert memory == live
    assert not folder.exists()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
