"""The whole HTTP stack on a real small index: what each call answers."""

from __future__ import annotations

import functools
import io
import json
import logging
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from index.iou import iou_3d
from index.schema import Box, Camera, CorruptArtifactError
from index.store import IndexVersion
from service.answers import NeighborsAnswer, PoseAnswer
from service.decode import decode
from tests.scenes import standing_frame
from tests.service_fixtures import (
    COLOURS,
    THRESHOLD,
    ColourEncoder,
    build_index,
    client_of,
    encoded,
    indexed_frames,
    picture_of,
    posted,
    query_fields,
)

QUERY = standing_frame(azimuth=0.45, elevation=0.62, category="shoe")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run") / "index"
    build_index(root)
    return root


@pytest.fixture(scope="module")
def client(root):
    with client_of(root) as client:
        yield client


def corners(answer: dict) -> np.ndarray:
    return np.array(answer["corners"])[None]


def test_pose_answers_with_the_box_and_where_it_comes_from(client):
    answer = posted(client, QUERY).json()
    (found,) = answer["objects"]
    assert found["category"] == "shoe"
    assert found["rect"] == list(QUERY.view.rect)
    assert found["problem"] is None
    assert iou_3d(corners(found["box"]), QUERY.box.corners[None])[0] > 0.7
    assert 0 < found["confidence"] <= 1
    assert [n["object"] for n in found["neighbors"][:4]] == ["shoe-1"] * 4
    assert 0.5 < found["matches"][0]["probability"] < 1
    assert found["matches"][0].items() >= {"object": "shoe-1", "category": "shoe", "frames": 4, "known": True}.items()
    assert answer["warnings"] == []
    assert answer["timing_ms"].keys() == {"decode", "embed", "search", "fit", "total"}
    assert answer["timing_ms"]["total"] >= answer["timing_ms"]["decode"] + answer["timing_ms"]["embed"]


def test_every_form_of_the_box_is_the_same_box(client):
    answer = posted(client, QUERY).json()["objects"][0]["box"]
    box = Box(np.array(answer["rotation"]), np.array(answer["center"]), np.array(answer["size"]))
    assert np.allclose(box.corners, answer["corners"])
    assert np.allclose(QUERY.view.camera.project(box.corners), answer["corners_px"])
    assert np.allclose(Rotation.from_quat(answer["quaternion"]).as_matrix(), box.rotation)


def test_several_rects_are_answered_in_order(client):
    first, second = QUERY.view.rect, (10.0, 20.0, 90.0, 160.0)
    answer = posted(client, QUERY, rect=[json.dumps(first), json.dumps(second)]).json()
    assert [found["rect"] for found in answer["objects"]] == [list(first), list(second)]
    assert answer["objects"][0] == posted(client, QUERY).json()["objects"][0]


def test_one_rect_without_a_box_does_not_spoil_the_others(client):
    # The camera looks over the horizon in the picture's upper part.
    low = standing_frame(azimuth=0.4, elevation=0.1, distance=1.0, category="cup")
    sky = json.dumps([200, 5, 280, 60])
    first, second = posted(client, low, rect=[json.dumps(low.view.rect), sky]).json()["objects"]
    assert first["problem"] is None
    assert second["box"] is None
    assert second["confidence"] is None
    assert (second["problem"]["field"], second["problem"]["status"]) == ("plane", 422)
    assert second["neighbors"]
    alone = posted(client, low, rect=[sky])
    assert alone.status_code == 422
    assert alone.json() == second["problem"]


def test_a_crop_is_answered_like_the_frame_it_is_cut_from(client):
    x0, y0, x1, y1 = (round(v) for v in QUERY.view.rect)
    image, rect = encoded(picture_of(QUERY)[y0:y1, x0:x1], ".png"), [json.dumps([x0, y0, x1, y1])]
    crop = posted(client, QUERY, image, image_is="crop", rect=rect).json()["objects"][0]
    frame = posted(client, QUERY, encoded(picture_of(QUERY), ".png"), rect=rect).json()["objects"][0]
    assert crop == frame


def test_a_scaled_crop_is_a_crop(client):
    x0, y0, x1, y1 = (round(v) for v in QUERY.view.rect)
    small = cv2.resize(picture_of(QUERY)[y0:y1, x0:x1], None, fx=0.5, fy=0.5)
    rect = [json.dumps([x0, y0, x1, y1])]
    found = posted(client, QUERY, encoded(small), image_is="crop", rect=rect).json()["objects"][0]
    assert iou_3d(corners(found["box"]), QUERY.box.corners[None])[0] > 0.7


def test_the_cameras_size_may_be_left_out(client):
    camera = json.loads(query_fields(QUERY)["camera"])
    del camera["width"], camera["height"]
    without = posted(client, QUERY, camera=json.dumps(camera)).json()["objects"]
    assert without == posted(client, QUERY).json()["objects"]


def test_camera_and_rect_are_of_the_upright_picture(client):
    lying, tags = io.BytesIO(), Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(picture_of(QUERY)))).save(lying, "PNG", exif=tags)
    turned = posted(client, QUERY, lying.getvalue()).json()
    upright = posted(client, QUERY, encoded(picture_of(QUERY), ".png")).json()
    assert turned["objects"] == upright["objects"]
    assert "turned upright" in turned["warnings"][0]


def test_a_normal_that_points_away_is_turned_and_said(client):
    plane = json.loads(query_fields(QUERY)["plane"])
    away = {**plane, "normal": [-3 * v for v in plane["normal"]]}
    answer = posted(client, QUERY, plane=json.dumps(away)).json()
    expected = posted(client, QUERY).json()["objects"][0]["box"]["corners"]
    assert np.allclose(answer["objects"][0]["box"]["corners"], expected)
    assert "turned" in answer["warnings"][0]


def test_a_principal_point_outside_the_picture_is_doubted(client):
    camera = json.loads(query_fields(QUERY)["camera"])
    answer = posted(client, QUERY, camera=json.dumps({**camera, "cx": 960.0})).json()
    assert "principal point (960, 322)" in answer["warnings"][0]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_kinds_of_pictures_work(client, mode):
    buffer = io.BytesIO()
    Image.fromarray(picture_of(QUERY)).convert(mode).save(buffer, "JPEG")
    assert posted(client, QUERY, buffer.getvalue()).status_code == 200


def test_k_and_category_reach_the_search(client):
    found = posted(client, QUERY, k="2", category="book").json()["objects"][0]
    assert [n["category"] for n in found["neighbors"]] == ["book", "book"]
    assert found["category"] == "book"
    assert not found["matches"][0]["known"]


def test_neighbors_takes_the_whole_picture_or_a_rect(client):
    frame = indexed_frames()[5]
    x0, y0, x1, y1 = (round(v) for v in frame.view.rect)
    cut = encoded(picture_of(frame)[y0:y1, x0:x1], ".png")
    files = {"image": ("a.png", cut, "image/png")}
    whole = client.post("/neighbors", files=files, data={"k": "3"}).json()
    files = {"image": ("a.png", encoded(picture_of(frame), ".png"), "image/png")}
    part = client.post("/neighbors", files=files, data={"k": "3", "rect": json.dumps([x0, y0, x1, y1])}).json()
    assert whole["neighbors"] == part["neighbors"]
    assert whole["neighbors"][0]["frame"] == frame.id
    assert whole["matches"][0]["object"] == frame.object_id
    assert whole["neighbors"][0]["similarity"] >= THRESHOLD
    assert client.post("/neighbors", files=files).json()["matches"] != whole["matches"]


def test_an_indexed_frame_is_a_query_too(client):
    frame = indexed_frames()[0]
    answer = client.get("/neighbors", params={"frame": frame.id, "k": 3}).json()
    assert {n["object"] for n in answer["neighbors"]} == {frame.object_id}
    assert frame.id not in {n["frame"] for n in answer["neighbors"]}
    others = client.get("/neighbors", params={"frame": frame.id, "category": "book"}).json()
    assert {n["category"] for n in others["neighbors"]} == {"book"}


def test_a_neighbors_picture_is_where_the_answer_says(client):
    neighbor = posted(client, QUERY).json()["objects"][0]["neighbors"][0]
    response = client.get(neighbor["image"])
    assert response.headers["content-type"] == "image/jpeg"
    thumbnail = decode(response.content, 10**6).pixels
    frame = next(f for f in indexed_frames() if f.id == neighbor["frame"])
    assert np.abs(thumbnail.astype(int) - picture_of(frame)[::4, ::4]).mean() < 8
    again = client.get(neighbor["image"], headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "max-age" in again.headers["cache-control"]


def test_readiness_tells_what_is_loaded(client, root):
    answer = client.get("/readyz").json()
    expected = {"frames": 12, "dimension": 48, "categories": sorted(COLOURS), "failure": None}
    assert answer.items() >= expected.items()
    assert (root / "versions" / answer["index"]).is_dir()


def test_health_does_not_need_an_index(tmp_path):
    with client_of(tmp_path / "none", ready=False) as client:
        assert client.get("/healthz").status_code == 200
        answers = [client.get("/readyz"), posted(client, QUERY), client.get("/frames/a/b/image.jpg")]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:nearpose:problem:not-ready"
            assert "retry-after" in answer.headers


def test_every_answer_has_a_request_id_and_a_line_in_the_log(client, caplog):
    with caplog.at_level(logging.INFO, "service.middleware"):
        response = client.get("/healthz")
    (record,) = [r for r in caplog.records if r.name == "service.middleware"]
    assert record.request_id == response.headers["x-request-id"]
    assert (record.method, record.path, record.status) == ("GET", "/healthz", 200)


def test_an_unforeseen_error_is_logged_and_tells_the_client_nothing_but_its_id(root, caplog):
    class Broken(ColourEncoder):
        def crop(self, image, rect):
            raise RuntimeError("secret /etc/path")

    with client_of(root, lambda folder, device: Broken()) as client:
        response = posted(client, QUERY)
    problem = response.json()
    assert response.status_code == problem["status"] == 500
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert problem["request_id"] == response.headers["x-request-id"]
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert problem["request_id"] in record.getMessage()
    assert "secret" in str(record.exc_info[1])


def test_a_version_that_is_removed_goes_on_answering(tmp_path):
    version = build_index(tmp_path / "index")
    with client_of(tmp_path / "index") as client:
        shutil.rmtree(tmp_path / "index" / "versions" / version)
        assert client.get("/frames/v1/cup/0/image.jpg").status_code == 200
        assert posted(client, QUERY).json()["index"] == version


def test_a_damaged_artefact_is_the_servers_fault_and_keeps_its_path(tmp_path, monkeypatch):
    def damaged(index, row):
        raise CorruptArtifactError(index.path / "thumbnails.tar", "truncated")

    build_index(tmp_path / "index")
    monkeypatch.setattr(IndexVersion, "thumbnail", damaged)
    with client_of(tmp_path / "index") as client:
        response = client.get("/frames/v1/cup/0/image.jpg")
    assert response.status_code == 500
    assert response.json()["type"] == "urn:nearpose:problem:internal"
    assert str(tmp_path) not in response.text


def test_json_parts_may_be_of_their_own_type_and_be_sent_as_files(client):
    """As the document describes them, and as browsers send what is not plain text."""
    fields = query_fields(QUERY)
    parts = {name: ("blob", fields[name], "application/json") for name in ("camera", "plane")}
    parts["rect"] = (None, fields["rect"][0], "application/json")
    answer = client.post("/pose", files={"image": ("a.jpg", encoded(picture_of(QUERY)), "image/jpeg"), **parts})
    assert answer.json()["objects"] == posted(client, QUERY).json()["objects"]
    parts["camera"] = ("blob", b"\xff{", "application/json")
    refused = client.post("/pose", files={"image": ("a.jpg", encoded(picture_of(QUERY)), "image/jpeg"), **parts})
    assert (refused.status_code, refused.json()["field"]) == (422, "camera")


def test_an_empty_optional_field_is_as_good_as_none(client):
    assert posted(client, QUERY, category="").json()["objects"] == posted(client, QUERY).json()["objects"]


@pytest.fixture(scope="module")
def openapi(client):
    assert client.get("/docs").status_code == 200
    return client.get("/openapi.json").json()


@pytest.mark.parametrize(("path", "method"), [("/pose", "post"), ("/neighbors", "post"), ("/neighbors", "get")])
def test_refusals_are_documented_as_problems(openapi, path, method):
    responses = openapi["paths"][path][method]["responses"]
    for status in responses.keys() - {"200"}:
        (media_type,) = responses[status]["content"]
        assert media_type == "application/problem+json"
    assert {"200", "default"} < responses.keys()
    assert "HTTPValidationError" not in openapi["components"]["schemas"]


def test_every_reference_leads_somewhere(openapi):
    references = {part.split('"')[0] for part in json.dumps(openapi).split('"$ref": "')[1:]}
    assert len(references) > 20
    for reference in references:
        _, *keys = reference.split("/")
        assert functools.reduce(dict.__getitem__, keys, openapi)


def test_every_upload_field_is_described(openapi):
    content = openapi["paths"]["/pose"]["post"]["requestBody"]["content"]
    schema = openapi["components"]["schemas"][content["multipart/form-data"]["schema"]["$ref"].rsplit("/", 1)[1]]
    assert all(field.get("description") for field in schema["properties"].values())


def test_the_examples_of_the_form_are_a_query_that_works(openapi, client):
    properties = openapi["components"]["schemas"]["PoseForm"]["properties"]
    data = {name: json.dumps(properties[name]["examples"][0]) for name in ("camera", "plane")}
    data["rect"] = properties["rect"]["items"]["examples"]
    files = {"image": ("a.jpg", encoded(np.full((640, 480, 3), 120, np.uint8)), "image/jpeg")}
    response = client.post("/pose", data=data, files=files)
    assert response.status_code == 200
    assert response.json()["warnings"] == []


@pytest.mark.parametrize("model", [PoseAnswer, NeighborsAnswer])
def test_the_examples_of_the_answers_are_answers(model):
    example = model.model_config["json_schema_extra"]["example"]
    assert model.model_validate(example).model_dump(mode="json") == example


def test_the_example_box_is_one_box(openapi):
    example = openapi["components"]["schemas"]["PoseAnswer"]["example"]["objects"][0]["box"]
    box = Box(np.array(example["rotation"]), np.array(example["center"]), np.array(example["size"]))
    camera = Camera(**openapi["components"]["schemas"]["PoseForm"]["properties"]["camera"]["examples"][0])
    assert np.allclose(box.corners, example["corners"], atol=1e-3)
    assert np.allclose(camera.project(box.corners), example["corners_px"], atol=0.1)
    assert np.allclose(Rotation.from_quat(example["quaternion"]).as_matrix(), box.rotation, atol=1e-6)
