"""Real photographs through the real pipeline. Skipped where the data sets are absent."""

from __future__ import annotations

import numpy as np
import pytest
from starlette.testclient import TestClient

from benchmarks.pose_latency import video_requests
from index.fit import fit_box
from index.iou import iou_3d
from index.predict import DEFAULT_K
from service.app import create_app
from service.settings import Settings
from tests.real_captures import SHARED, coil, temple_ring
from tests.test_end_to_end import form_of, wait_until_ready
from trainer.build import build
from trainer.frames import Frames
from trainer.ingest import IngestConfig, ingest

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the data sets are not there")


def test_frames_of_a_real_phone_clip_are_answered(small_run):
    requests = list(video_requests(SHARED / "objectron" / "shoe_batch-25_10.mp4"))[::10]
    with TestClient(create_app(Settings(index=small_run.index))) as client:
        wait_until_ready(client)
        for jpeg, fields in requests:
            response = client.post("/pose", files={"image": ("frame.jpg", jpeg, "image/jpeg")}, data=fields)
            assert response.status_code == 200, response.text
            item = response.json()["objects"][0]
            assert (item["box"] is None) == (item["confidence"] is None)
            assert len(item["neighbors"]) == DEFAULT_K
    assert len(requests) >= 12


@pytest.fixture(scope="module")
def temple(small_run, tmp_path_factory):
    root = tmp_path_factory.mktemp("temple")
    captures = temple_ring(SHARED / "middlebury" / "templeRing", root / "captures", lambda number: number % 3 == 0)
    frames = ingest(captures, root / "frames", IngestConfig(workers=1))
    build(frames, small_run.encoder, root / "index")
    return Frames.open(frames), root / "index"


def test_views_of_a_real_object_get_its_box(temple):
    frames, index = temple
    rows = np.flatnonzero(frames.split == "test")
    assert len(rows) >= 30
    overlaps = []
    with TestClient(create_app(Settings(index=index))) as client:
        wait_until_ready(client)
        for row in rows:
            files = {"image": ("view.jpg", frames.jpeg(row), "image/jpeg")}
            response = client.post("/pose", files=files, data=form_of(frames.frame(row)))
            assert response.status_code == 200, response.text
            corners = response.json()["objects"][0]["box"]["corners"]
            overlaps.append(iou_3d(np.array([corners]), frames.frame(row).box.corners[None])[0])
    # With an encoder that has learnt nothing; the figures of a trained one are in docs/LOG.md.
    assert np.mean(overlaps) > 0.4


def test_the_true_nearest_view_gives_almost_the_true_box(temple):
    frames, _ = temple
    items = [frames.frame(i) for i in np.flatnonzero(frames.split == "train")]
    overlaps = []
    for row in np.flatnonzero(frames.split == "test"):
        truth = frames.frame(int(row))
        seen = -truth.box.rotation.T @ truth.box.center
        nearest = max(items, key=lambda item, seen=seen: _cosine(-item.box.rotation.T @ item.box.center, seen))
        overlaps.append(iou_3d(fit_box([nearest], truth.view).box.corners[None], truth.box.corners[None])[0])
    assert np.mean(overlaps) > 0.6


def _cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_photos_without_boxes_train_and_identify(small_run, tmp_path):
    captures = coil(SHARED / "coil100", tmp_path / "captures", lambda number: "train" if number <= 40 else "test")
    for folder in sorted(captures.iterdir())[8:]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    frames = ingest(captures, tmp_path / "frames", IngestConfig(workers=1))
    build(frames, small_run.encoder, tmp_path / "index")
    stored = Frames.open(frames)
    files = {"image": ("photo.jpg", stored.jpeg(7), "image/jpeg")}
    with TestClient(create_app(Settings(index=tmp_path / "index"))) as client:
        wait_until_ready(client)
        answer = client.post("/neighbors", files=files).json()
    assert answer["matches"][0]["object"] == stored.frame(7).object_id
