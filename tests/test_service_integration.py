"""The service as it is shipped, on an index that the trainer built: the same answers as the road without HTTP."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from starlette.testclient import TestClient

from index.iou import iou_3d
from index.predict import DEFAULT_K, open_predictor
from index.schema import Plane
from index.transfer import transfer_box
from service.app import create_app
from service.decode import decode
from service.settings import Settings
from tests.service_fixtures import posted, query_fields, wait_until
from trainer.frames import Frames


@pytest.fixture(scope="module")
def frames(small_run):
    return Frames.open(small_run.frames)


@pytest.fixture(scope="module")
def client(small_run):
    with TestClient(create_app(Settings(index=small_run.index, device="openvino"))) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def test_http_answers_as_the_predictor_does(client, small_run, frames):
    predictor = open_predictor(small_run.index, "openvino")
    for row in range(0, len(frames), 7):
        frame, jpeg = frames.frame(row), frames.jpeg(row)
        (found,) = posted(client, frame, jpeg).json()["objects"]
        # Asked with the very numbers that the form tells: where two boxes tie, the last bit decides between them.
        plane = Plane.from_point(frame.view.plane.normal, -frame.view.plane.normal * frame.view.plane.offset)
        (expected,), _ = predictor.predict(decode(jpeg, 10**7).pixels, [replace(frame.view, plane=plane)])
        assert [n["frame"] for n in found["neighbors"]] == [n.frame.id for n in expected.neighbours]
        assert [m["score"] for m in found["matches"]] == [m.score for m in expected.matches]
        assert np.allclose(found["box"]["corners"], expected.fit.box.corners, atol=1e-6)
        assert found["confidence"] == pytest.approx(expected.fit.confidence, abs=1e-3)
        assert np.trace(found["uncertainty"]["center"]) == pytest.approx(
            np.trace(expected.fit.covariance[:3, :3]), rel=0.01
        )


def test_every_neighbor_has_its_picture_and_its_own_neighbors(client, frames):
    for neighbor in posted(client, frames.frame(0), frames.jpeg(0)).json()["objects"][0]["neighbors"]:
        assert decode(client.get(neighbor["image"]).content, 10**7).width > 0
        answer = client.get("/neighbors", params={"frame": neighbor["frame"]}).json()
        assert len(answer["neighbors"]) == DEFAULT_K


def test_rects_of_any_shape_are_answered(client, frames):
    rects = [[0, 0, 1, 160], [0, 0, 120, 1], [119, 159, 120, 160], [0, 0, 120, 160], [3.3, 4.4, 5.5, 6.6]]
    neighbors = [
        client.post("/neighbors", files={"image": frames.jpeg(0)}, data={"rect": json.dumps(rect)}) for rect in rects
    ]
    assert [answer.status_code for answer in neighbors] == [200] * len(rects)


def test_a_rect_at_the_edge_does_not_spoil_the_others(client, frames):
    rects = ["[0, 0, 120, 1]", json.dumps(frames.frame(0).view.rect)]
    answer = posted(client, frames.frame(0), frames.jpeg(0), rect=rects, k=10)
    assert answer.status_code == 200, answer.text
    assert [found["box"] is None for found in answer.json()["objects"]] == [True, False]


def test_without_a_plane_there_is_a_box_and_a_warning(client, frames):
    query = frames.frame(0)
    posed = posted(client, query, frames.jpeg(0)).json()
    for fields, word in (({"plane": None, "up": json.dumps(query.view.up.tolist())}, "plane"), ({"plane": None}, "up")):
        answer = posted(client, query, frames.jpeg(0), **fields).json()
        assert word in answer["warnings"][0]
        (found,) = answer["objects"]
        (known,) = posed["objects"]
        assert found["box"]["center"][2] > 0
        assert found["uncertainty"]["center"][2][2] > known["uncertainty"]["center"][2][2]


def test_the_papers_fit_is_the_nearest_frames_transfer(client, small_run, frames):
    predictor = open_predictor(small_run.index, "openvino")
    answer = posted(client, frames.frame(0), frames.jpeg(0), fit="paper").json()["objects"][0]
    (expected,), _ = predictor.predict(decode(frames.jpeg(0), 10**7).pixels, [frames.frame(0).view], method="paper")
    box = transfer_box(expected.neighbours[0].frame, frames.frame(0).view)
    assert np.allclose(answer["box"]["corners"], box.corners, atol=1e-6)
    assert (answer["confidence"], answer["uncertainty"]) == (None, None)


def views_of(frames: Frames, rows: list[int]):
    """Fields and files of one object's frames; the world is its box."""
    first = frames.frame(rows[0])
    chosen = [frames.frame(row) for row in rows]
    poses = []
    for frame in chosen:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = frame.box.rotation.T, -frame.box.rotation.T @ frame.box.center
        poses.append(json.dumps(pose.tolist()))
    fields = query_fields(first) | {"rect": [json.dumps(f.view.rect) for f in chosen], "world_from_camera": poses}
    return fields, [("image", ("a.jpg", frames.jpeg(row), "image/jpeg")) for row in rows]


def test_several_pictures_of_one_object_give_one_box(client, frames):
    rows = np.flatnonzero(frames.sequence == frames.sequence[0])[[0, 3, 5]].tolist()
    fields, files = views_of(frames, rows)
    answer = client.post("/pose/views", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    found = answer.json()["objects"]
    truths = [frames.frame(row) for row in rows]
    assert len(found) == 3
    assert len({item["confidence"] for item in found}) == 1
    for item, truth in zip(found, truths, strict=True):
        assert iou_3d([item["box"]["corners"]], truth.box.corners[None])[0] > 0.5
        # One box: seen from the object, it is at the same place for all of them.
        center = truth.box.rotation.T @ (np.array(item["box"]["center"]) - truth.box.center)
        first = truths[0].box.rotation.T @ (np.array(found[0]["box"]["center"]) - truths[0].box.center)
        assert np.allclose(center, first, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda f: f["rect"].pop(), "rect"),
        (
            lambda f: f["world_from_camera"].__setitem__(1, json.dumps(np.diag([1.0, 1, -1, 1]).tolist())),
            "world_from_camera[1]",
        ),
        (lambda f: f["world_from_camera"].__setitem__(0, "[[1, 0], [0, 1]]"), "world_from_camera[0][0][2]"),
    ],
)
def test_views_that_do_not_belong_together_are_named(client, frames, change, field):
    fields, files = views_of(frames, [0, 1, 2])
    change(fields)
    answer = client.post("/pose/views", data=fields, files=files)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
