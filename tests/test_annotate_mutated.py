"""Files and bodies that are damaged or that lie: the annotator says so, and never fails."""

from __future__ import annotations

import copy
import json
from random import Random

import pytest
from starlette.testclient import TestClient

from index.capture import parse_capture
from service.annotate.app import create_annotate_app
from service.settings import AnnotateSettings
from tests.annotation import annotation, bare_capture, save
from tests.captures_mutated import capture_json, changed

FILES = 60  # each round; the fuzzer of the benchmarks runs the readers longer
BODIES = 100
HUGE = (1e308, -1e308, 1e200, 5e-324, 1e-200, 0.0)


@pytest.fixture
def client(tmp_path):
    bare_capture(tmp_path / "mug")
    app = create_annotate_app(AnnotateSettings(captures=tmp_path))
    with TestClient(app, "http://127.0.0.1:8001", raise_server_exceptions=False) as client:
        yield client


def is_answered(answer) -> bool:
    """With what was asked for, or with a problem of the client's or the file's, not of the server's."""
    kind = answer.headers["content-type"]
    return answer.status_code < 400 or (answer.status_code < 500 and kind == "application/problem+json")


@pytest.mark.parametrize("seed", range(3))
def test_no_file_makes_the_server_fail(client, tmp_path, seed):
    random = Random(seed)
    opened = 0
    for _ in range(FILES):
        data = capture_json(random)
        (tmp_path / "mug" / "capture.json").write_bytes(data)
        shown = client.get("/annotate/captures/mug")
        opened += shown.status_code == 200
        revision = shown.json().get("revision", "none")
        answers = [
            shown,
            client.get("/annotate/captures"),
            client.get("/annotate/captures/mug/frames/0.jpg"),
            client.get("/annotate/captures/mug/history"),
            save(client, "mug", revision, annotation()),
        ]
        assert all(is_answered(answer) for answer in answers), (data, [answer.text for answer in answers])
        if answers[-1].status_code == 200:
            parse_capture(tmp_path / "mug" / "capture.json")
        else:
            assert (tmp_path / "mug" / "capture.json").read_bytes() == data
    assert opened > FILES / 10


@pytest.mark.parametrize("seed", range(3))
def test_no_body_makes_the_server_fail(client, tmp_path, seed):
    random = Random(seed)
    saved = 0
    for number in range(BODIES):
        revision = client.get("/annotate/captures/mug").json()["revision"]
        body = changed(copy.deepcopy(annotation(1 + number / 1000)), random)
        text = json.dumps(body).encode("utf-8", "surrogatepass")
        headers = {"If-Match": f'"{revision}"', "Content-Type": "application/json"}
        answer = client.put("/annotate/captures/mug", content=text, headers=headers)
        assert is_answered(answer), (text, answer.text)
        saved += answer.status_code == 200
        parse_capture(tmp_path / "mug" / "capture.json")
    assert saved > BODIES / 20


@pytest.mark.parametrize("value", HUGE)
def test_numbers_at_the_ends_of_their_range_are_saved_or_refused(client, value):
    for field in ("center", "size", "rotation"):
        box = annotation()["objects"][0]["box"]
        box[field] = [[value] * 3] * 3 if field == "rotation" else [value] * 3
        revision = client.get("/annotate/captures/mug").json()["revision"]
        assert save(client, "mug", revision, annotation(box=box)).status_code in (200, 422)
    for field in ("normal", "point"):
        body = annotation()
        body["plane"] = body["plane"] | {field: [value] * 3}
        revision = client.get("/annotate/captures/mug").json()["revision"]
        assert is_answered(save(client, "mug", revision, body))
        assert is_answered(client.get("/annotate/captures/mug/draft"))
