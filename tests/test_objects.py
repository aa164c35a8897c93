"""Objects that users add, over HTTP: found at once, extended, listed, removed again; and what is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from index.iou import iou_3d
from index.schema import UnavailableError
from index.store import IndexVersion
from service.decode import decode
from service.enrolment.routes import ObjectDetailAnswer, ObjectsAnswer, ReceiptAnswer
from service.live import JoinedVersion
from tests.enrolling import enrolled, nearest, shown, vase
from tests.scenes import standing_frame
from tests.service_fixtures import (
    build_index,
    client_of,
    encoded,
    posted,
)
from tests.test_service_refusals import problem_of


@pytest.fixture
def root(tmp_path):
    build_index(tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def client(root):
    with client_of(root) as client:
        yield client


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """A client for requests that enrol nothing."""
    root = tmp_path_factory.mktemp("run") / "index"
    build_index(root)
    with client_of(root) as client:
        yield client
        assert client.get("/readyz").json()["enrolment"]["frames"] == 0


def test_what_is_enrolled_is_found_at_once_everywhere(client):
    query = vase(azimuth=0.45)
    assert nearest(client, query)["category"] != "vase"
    answers = [enrolled(client, vase(azimuth=azimuth)) for azimuth in (0.1, 0.4, 0.7)]
    assert [answer.status_code for answer in answers] == [201] * 3
    last = answers[-1].json()
    assert last["object"] == {"object": "vases/blue 1", "category": "vase", "frames": 3, "enrolled": 3}
    assert last["warnings"] == []
    ids = [answer.json()["frame"] for answer in answers]
    (found,) = posted(client, query, encoded(shown(query)), k="3").json()["objects"]
    assert found["category"] == "vase"
    assert {n["frame"] for n in found["neighbors"]} == set(ids)
    assert found["matches"][0].items() >= {"object": "vases/blue 1", "frames": 3, "known": True}.items()
    assert iou_3d(np.array(found["box"]["corners"])[None], query.box.corners[None])[0] > 0.7
    assert nearest(client, query)["object"] == "vases/blue 1"
    neighbors = client.get("/neighbors", params={"frame": ids[0], "k": 2}).json()["neighbors"]
    assert {n["frame"] for n in neighbors} == set(ids[1:])
    assert client.get("/neighbors", params={"frame": ids[0], "category": "vase"}).status_code == 200
    assert client.get("/readyz").json()["categories"] == ["book", "cup", "shoe", "vase"]
    assert client.get("/readyz").json()["enrolment"] == {"frames": 3, "accepts": True, "failure": None, "warning": None}
    picture = client.get(last["image"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert decode(picture.content, 10**6).height == 320


def test_the_fit_uses_only_frames_with_a_box(client):
    assert enrolled(client, vase(), posed=False, camera=None, plane=None).status_code == 201
    (found,) = posted(client, vase(azimuth=0.45), encoded(shown(vase(azimuth=0.45))), k="1").json()["objects"]
    assert (found["category"], found["box"]) == ("vase", None)
    assert found["problem"]["type"] == "urn:nearpose:problem:no-pose"
    detail = client.get("/objects/vases/blue 1").json()
    assert [frame["has_box"] for frame in detail["latest"]] == [False]


def test_objects_of_the_index_and_enrolled_ones_are_listed_page_by_page(client):
    for name in ("apple", "mug", "zebra"):
        assert enrolled(client, vase(object_id=name)).status_code == 201
    assert enrolled(client, standing_frame(category="cup", object_id="cup-1", azimuth=2.0)).status_code == 201
    everything = client.get("/objects").json()
    assert everything["next"] is None
    listed = [(o["object"], o["category"], o["frames"], o["enrolled"]) for o in everything["objects"]]
    assert listed == [
        ("apple", "vase", 1, 1),
        ("book-1", "book", 4, 0),
        ("cup-1", "cup", 5, 1),
        ("mug", "vase", 1, 1),
        ("shoe-1", "shoe", 4, 0),
        ("zebra", "vase", 1, 1),
    ]
    pages, cursor = [], ""
    while cursor is not None:
        page = client.get("/objects", params={"limit": 2, "cursor": cursor}).json()
        pages, cursor = pages + page["objects"], page["next"]
    assert pages == everything["objects"]
    assert client.get("/objects/cup-1").json()["frames"] == 5
    assert client.get("/objects/shoe-1").json()["latest"] == []
    assert problem_of(client.get("/objects/boat"), 404)["type"] == "urn:nearpose:problem:unknown-object"
    assert problem_of(client.get("/objects", params={"limit": 0}))["field"] == "limit"


def test_an_object_of_the_index_is_extended_and_keeps_its_own_frames_when_that_is_removed(client):
    more = standing_frame(category="cup", object_id="cup-1", azimuth=2.0)
    answer = enrolled(client, more, category=None).json()
    assert answer["object"] == {"object": "cup-1", "category": "cup", "frames": 5, "enrolled": 1}
    assert client.delete("/objects/cup-1").status_code == 204
    assert client.get("/objects/cup-1").json()["frames"] == 4
    assert problem_of(client.delete("/objects/cup-1"), 404)["field"] == "object"
    assert problem_of(client.get(answer["image"]), 404)["field"] == "frame"


def test_what_is_removed_is_not_found_any_more(client):
    first, second = (enrolled(client, vase(azimuth=azimuth)).json() for azimuth in (0.2, 0.5))
    query = vase(azimuth=0.21)
    assert nearest(client, query)["frame"] == first["frame"]
    path = f"/objects/vases/blue 1/frames/{first['frame']}"
    assert client.delete(path).status_code == 204
    assert problem_of(client.delete(path), 404)["value"] == first["frame"]
    assert nearest(client, query)["frame"] == second["frame"]
    assert problem_of(client.get("/neighbors", params={"frame": first["frame"]}), 404)["field"] == "frame"
    assert client.delete("/objects/vases/blue 1").status_code == 204
    assert nearest(client, query)["object"] != "vases/blue 1"
    assert client.get("/objects/vases/blue 1").status_code == 404
    assert client.get("/readyz").json()["categories"] == ["book", "cup", "shoe"]


def test_of_a_new_object_without_a_category_it_is_guessed_and_said(client):
    cup = standing_frame(category="cup", object_id="mug-1", azimuth=2.0)
    answer = enrolled(client, cup, category=None).json()
    assert answer["object"]["category"] == "cup"
    assert "category: not given; cup, as the nearest frame" in answer["warnings"][0]
    again = enrolled(client, cup, category=None).json()
    assert (again["object"]["category"], again["warnings"]) == ("cup", [])


def test_an_index_that_does_not_answer_turns_enrolment_not_off(client, monkeypatch):
    def silent(*_):
        raise UnavailableError("milvus:http://somewhere", "Milvus: UNAVAILABLE")

    with monkeypatch.context() as patched:
        patched.setattr(JoinedVersion, "search", silent)
        patched.setattr(IndexVersion, "search", silent)
        refused = enrolled(client, vase(), category=None)
        assert problem_of(refused, 503)["type"] == "urn:nearpose:problem:index-unavailable"
    assert client.get("/readyz").json()["enrolment"]["failure"] is None
    assert client.get("/objects").json()["warnings"] == []
    assert enrolled(client, vase(), category=None).status_code == 201


def test_a_picture_that_was_turned_is_kept_upright(client):
    frame = vase(azimuth=0.3)
    lying = encoded(np.rot90(shown(frame)))
    exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    answer = enrolled(client, frame, image=lying[:2] + exif + lying[2:])
    assert answer.status_code == 201, answer.text
    assert "turned upright" in answer.json()["warnings"][0]
    assert nearest(client, vase(azimuth=0.3))["similarity"] > 0.99


FIELDS = {
    "rect missing": ({"rect": None}, "rect", "given"),
    "rect twice": ({"rect": ["[1, 2, 30, 40]"] * 2}, "rect", "given once"),
    "rect outside": ({"rect": "[500, 10, 600, 20]"}, "rect", "x <= 480"),
    "rect within a pixel": ({"rect": "[60, 10, 60.5, 40]"}, "rect", "one pixel"),
    "category empty": ({"category": "  "}, "category", "1 to 64 printable"),
    "category too long": ({"category": "x" * 65}, "category", "at most 64 characters"),
    "camera of another picture": (
        {"camera": '{"fx": 5, "fy": 5, "cx": 1, "cy": 1, "width": 7}'},
        "camera",
        "480 x 640",
    ),
    "box without a camera": ({"camera": None}, "camera", "given where box is"),
    "box without a plane": ({"plane": None}, "plane", "given where box is"),
    "box behind": ({"box": '{"center": [0, 0, -1], "size": [1, 1, 1], "rotation": ROT}'}, "box", "in front"),
    "box elsewhere": ({"box": '{"center": [-0.4, 0, 1], "size": [0.1, 0.1, 0.1], "rotation": ROT}'}, "box", "overlap"),
    "box flat": ({"box": '{"center": [0, 0, 1], "size": [1, 0, 1], "rotation": ROT}'}, "box.size[1]", "greater than 0"),
    "box skewed": (
        {"box": '{"center": [0, 0, 1], "size": [1, 1, 1], "rotation": [[1, 0, 0], [0, 1, 0], [0, 1, 1]]}'},
        "box.rotation",
        "orthonormal",
    ),
    "field unknown": ({"k": "3"}, "k", "no such field"),
}


@pytest.mark.parametrize(("changes", "field", "bound"), FIELDS.values(), ids=FIELDS.keys())
def test_a_field_that_is_wrong_is_named_and_nothing_is_enrolled(untouched, changes, field, bound):
    changes = {
        name: value.replace("ROT", "[[1, 0, 0], [0, 1, 0], [0, 0, 1]]") if isinstance(value, str) else value
        for name, value in changes.items()
    }
    problem = problem_of(enrolled(untouched, vase(), **changes))
    assert problem["field"] == field
    assert bound in problem["bound"]
    assert untouched.get("/readyz").json()["enrolment"]["frames"] == 0


@pytest.mark.parametrize(
    "name", ["", "x" * 129, "a//b", "%2Fa", "a%2F", "a/%2E%2E/b", "a/frames/b", "a%00b", "%20a", "a%3Fb", "e%CC%81"]
)
def test_ids_that_could_not_be_addressed_are_refused(untouched, name):
    files = {"image": ("a.jpg", encoded(shown(vase())), "image/jpeg")}
    answer = untouched.post(f"/objects/{name}/frames", files=files, data={"rect": "[1, 2, 30, 40]"})
    assert problem_of(answer)["field"] == "object"
    assert untouched.get("/readyz").json()["enrolment"]["frames"] == 0


@pytest.mark.parametrize("name", ["杯/青い 1", "कप", "a:b@c+d", "x" * 128, "Tasse Ä", "%E6%9D%AF%2F1"])
def test_ids_of_every_script_are_taken_and_can_be_addressed(client, name):
    assert enrolled(client, vase(object_id=name)).status_code == 201
    (one,) = [o for o in client.get("/objects").json()["objects"] if o["enrolled"]]
    assert client.get(f"/objects/{one['object']}").json()["enrolled"] == 1
    assert client.delete(f"/objects/{name}").status_code == 204


def test_the_category_of_an_object_is_one(client):
    wrong = standing_frame(category="cup", object_id="cup-1")
    problem = problem_of(enrolled(client, wrong, category="mug"))
    assert (problem["field"], problem["bound"]) == ("category", "cup, as of the object's other frames")
    enrolled(client, vase())
    assert problem_of(enrolled(client, vase(), category="cup"))["bound"].startswith("vase")


def test_a_request_that_is_sent_again_with_its_key_has_the_same_answer(client):
    headers = {"Idempotency-Key": "one-and-only"}
    first = enrolled(client, vase(), headers=headers)
    enrolled(client, vase(azimuth=1.0))
    again = enrolled(client, vase(), headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert client.get("/readyz").json()["enrolment"]["frames"] == 2
    others = (
        enrolled(client, vase(azimuth=0.5), headers=headers),
        enrolled(client, vase(object_id="another"), headers=headers),
        enrolled(client, vase(), headers=headers, posed=False),
    )
    for other in others:
        problem = problem_of(other)
        assert (problem["type"], problem["field"]) == ("urn:nearpose:problem:key-reused", "Idempotency-Key")
    client.delete("/objects/vases/blue 1")
    assert "idempotent-replayed" not in enrolled(client, vase(), headers=headers).headers


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü"])
def test_a_key_that_is_none_is_refused(untouched, key):
    problem = problem_of(enrolled(untouched, vase(), headers={"Idempotency-Key": key.encode()}))
    assert problem["field"] == "Idempotency-Key"


def test_the_same_key_at_the_same_time_enrols_once(client):
    headers = {"Idempotency-Key": "race"}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: enrolled(client, vase(), headers=headers), range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 5
    assert client.get("/readyz").json()["enrolment"]["frames"] == 1


@pytest.mark.parametrize("model", [ReceiptAnswer, ObjectsAnswer, ObjectDetailAnswer])
def test_the_examples_of_the_answers_are_answers(model):
    example = model.model_config["json_schema_extra"]["example"]
    assert model.model_validate(example).model_dump(mode="json") == example


def test_the_routes_are_documented(untouched):
    openapi = untouched.get("/openapi.json").json()
    operations = [
        (path, method, operation)
        for path, methods in openapi["paths"].items()
        if path.startswith("/objects")
        for method, operation in methods.items()
    ]
    assert len(operations) == 5
    for path, method, operation in operations:
        assert operation["description"], (path, method)
        refusals = {s: r for s, r in operation["responses"].items() if not s.startswith("2")}
        assert {"503", "default"} <= refusals.keys(), (path, method)
        assert all(list(r["content"]) == ["application/problem+json"] for r in refusals.values()), (path, method)
        assert all(parameter.get("description") for parameter in operation.get("parameters", []))
    post = openapi["paths"]["/objects/{object}/frames"]["post"]
    assert {"201", "413", "415", "422", "503", "507"} < post["responses"].keys()
    form = openapi["components"]["schemas"]["FrameForm"]["properties"]
    assert all(field.get("description") for field in form.values())


def test_the_examples_of_the_form_can_be_enrolled(client):
    form = client.get("/openapi.json").json()["components"]["schemas"]["FrameForm"]["properties"]
    examples = {name: form[name]["examples"][0] for name in ("rect", "category", "camera", "plane", "box")}
    data = {name: value if isinstance(value, str) else json.dumps(value) for name, value in examples.items()}
    files = {"image": ("a.jpg", encoded(np.full((640, 480, 3), 120, np.uint8)), "image/jpeg")}
    response = client.post("/objects/mugs/17/frames", data=data, files=files)
    assert response.status_code == 201, response.text
    assert response.json()["warnings"] == []


def test_a_large_picture_is_kept_small(client, root):
    frame = vase(azimuth=0.3)
    large = cv2.resize(shown(frame), None, fx=6, fy=6)
    rect = json.dumps([6 * value for value in frame.view.rect])
    answer = enrolled(client, frame, image=encoded(large), rect=rect, posed=False, camera=None, plane=None)
    assert answer.status_code == 201
    assert nearest(client, frame)["similarity"] > 0.99
