"""The road from captures to an HTTP answer, and that the evaluation measures what the service answers."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict

import numpy as np
import pytest
from starlette.testclient import TestClient

from index.predict import open_predictor
from service.app import create_app
from service.settings import Settings
from tests.captures import write_capture
from trainer.build import build
from trainer.frames import Frames
from trainer.inference import predict_frame
from trainer.ingest import IngestConfig, ingest


@pytest.fixture(scope="module")
def client(small_run):
    with TestClient(create_app(Settings(index=small_run.index))) as client:
        yield client


def form_of(frame):
    camera, plane = frame.view.posed()
    return {
        "camera": json.dumps(asdict(camera)),
        "plane": json.dumps({"normal": plane.normal.tolist(), "point": (-plane.offset * plane.normal).tolist()}),
        "rect": json.dumps(frame.view.rect),
    }


def wait_until_ready(client, deadline_s=30):
    end = time.monotonic() + deadline_s
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < end, client.get("/readyz").text
        time.sleep(0.05)


def test_the_service_answers_what_the_evaluation_measures(small_run, client):
    wait_until_ready(client)
    frames = Frames.open(small_run.frames)
    row = int(np.flatnonzero(frames.split == "test")[5])
    expected = predict_frame(open_predictor(small_run.index), frames, row)
    files = {"image": ("picture.jpg", frames.jpeg(row), "image/jpeg")}
    response = client.post("/pose", files=files, data=form_of(frames.frame(row)))
    assert response.status_code == 200, response.text
    answer = response.json()["objects"][0]
    assert answer["category"] == expected.category
    assert np.allclose(answer["box"]["corners"], expected.fit.box.corners, atol=1e-6)
    assert answer["confidence"] == pytest.approx(expected.fit.confidence)
    assert [n["frame"] for n in answer["neighbors"]] == [n.frame.id for n in expected.neighbours]
    thumbnail = client.get(answer["neighbors"][0]["image"])
    assert thumbnail.headers["content-type"] == "image/jpeg"
    camera, _ = frames.frame(row).view.posed()
    assert np.allclose(answer["box"]["corners_px"], camera.project(expected.fit.box.corners), atol=1e-3)


def test_a_new_kind_of_thing_is_known_after_a_rebuild(small_run, tmp_path):
    """Film it, draw one box, rebuild the index: the running service finds it, with the encoder unchanged."""
    index = tmp_path / "index"
    shutil.copytree(small_run.index, index)
    captures = tmp_path / "captures"
    shutil.copytree(small_run.captures, captures)
    with TestClient(create_app(Settings(index=index))) as client:
        wait_until_ready(client)
        before = client.get("/readyz").json()
        write_capture(captures / "new", object_id="gadget-1", category="gadget", split="train", size=(0.2, 0.1, 0.1))
        frames_path = ingest(captures, tmp_path / "frames", IngestConfig(workers=1))
        version = build(frames_path, small_run.encoder, index)
        end = time.monotonic() + 30
        while client.get("/readyz").json()["index"] != version:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert before["index"] != version
        frames = Frames.open(frames_path)
        row = int(np.flatnonzero(frames.category == "gadget")[2])
        files = {"image": ("picture.jpg", frames.jpeg(row), "image/jpeg")}
        answer = client.post("/pose", files=files, data=form_of(frames.frame(row))).json()
        assert answer["objects"][0]["category"] == "gadget"
        assert answer["objects"][0]["matches"][0]["object"] == "gadget-1"
        assert answer["index"] == version
