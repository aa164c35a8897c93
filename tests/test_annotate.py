"""The annotator over HTTP: what it shows of captures, what it saves, and what it refuses."""

from __future__ import annotations

import contextlib
import json

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from index.capture import load_capture
from index.findings import Finding, write_findings
from index.points import POINTS, ply
from index.schema import InvalidValueError
from service.annotate.app import create_annotate_app
from service.annotate.store import DRAWN, KEPT
from service.keys import new_key
from service.settings import AnnotateSettings
from tests.annotation import BOX, PLANE, POSES, annotation, bare_capture, content, opened, save
from tests.captures_scene import CAMERA, HEIGHT, RATE, WIDTH, capture_document, draw, write_folder, write_video
from tests.service_fixtures import build_index, open_colours, wait_until
from trainer.captures import Reason
from trainer.captures.folder import CaptureFolder


@contextlib.contextmanager
def client_of(captures, **settings):
    app = create_annotate_app(AnnotateSettings(captures=captures, poll_s=0.02, **settings), open_colours)
    with TestClient(app, "http://127.0.0.1:8001", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(tmp_path):
    bare_capture(tmp_path / "mug")
    with client_of(tmp_path) as client:
        yield client


def assert_problem(answer, status: int, slug: str, **members) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == f"urn:nearpose:problem:{slug}"
    assert {name: told[name] for name in members} == members


def test_captures_are_listed_and_those_that_cannot_be_read_with_their_reason(tmp_path):
    write_folder(tmp_path / "annotated", capture_document(POSES), POSES)
    bare_capture(tmp_path / "bare")
    bare_capture(tmp_path / "draft", objects=[{"id": "a", "category": "bowl", "accepted": False}])
    bare_capture(tmp_path / "flat", plane={"normal": [0, 0, 0], "point": [0, 0, 0]})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "capture.json").write_text('{"frames": 1}')
    (tmp_path / "no capture").mkdir()
    bare_capture(tmp_path / ".unfinished.part")
    with client_of(tmp_path) as client:
        listed = client.get("/annotate/captures").json()
    counts = {
        entry["name"]: [entry[k] for k in ("frames", "objects", "boxes", "accepted")] for entry in listed["captures"]
    }
    assert counts == {
        "annotated": [5, 1, 1, 1], "bare": [5, 0, 0, 0], "broken": [0] * 4, "draft": [5, 1, 0, 0], "flat": [5, 0, 0, 0]
    }  # fmt: skip
    problems = {entry["name"]: entry["problem"] for entry in listed["captures"] if entry["problem"]}
    assert problems.keys() == {"broken", "flat"}
    assert "capture.json: objects: " in problems["broken"]
    assert problems["flat"].startswith("plane.normal: got (0.0, 0.0, 0.0), must be longer than zero")
    assert (listed["categories"], listed["objects"]) == (["bowl", "cup"], ["a", "mug-17"])


def test_a_capture_is_listed_by_its_own_name_and_one_that_is_no_file_stops_no_other(tmp_path):
    bare_capture(tmp_path / "mug")
    (tmp_path / "linked").symlink_to("mug")
    (tmp_path / "odd" / "capture.json").mkdir(parents=True)
    with client_of(tmp_path) as client:
        for _ in range(2):  # read, then remembered
            listed = client.get("/annotate/captures").json()["captures"]
            assert [(entry["name"], entry["frames"]) for entry in listed] == [("linked", 5), ("mug", 5), ("odd", 0)]
        assert "is not there" in listed[2]["problem"]
        assert_problem(client.get("/annotate/captures/odd"), 404, "unknown-capture")


def test_a_list_follows_what_is_saved_and_what_comes(client, tmp_path):
    assert client.get("/annotate/captures").json()["captures"][0]["accepted"] == 0
    save(client, "mug", opened(client, "mug")["revision"], annotation())
    bare_capture(tmp_path / "another")
    listed = client.get("/annotate/captures").json()["captures"]
    assert [(entry["name"], entry["accepted"]) for entry in listed] == [("another", 0), ("mug", 1)]


def test_one_capture_alone_can_be_annotated(tmp_path):
    bare_capture(tmp_path / "mug")
    with client_of(tmp_path / "mug") as client:
        assert [entry["name"] for entry in client.get("/annotate/captures").json()["captures"]] == ["mug"]
        assert save(client, "mug", opened(client, "mug")["revision"], annotation()).status_code == 200
        assert client.get("/annotate/captures/%2E%2E").status_code == 404


def test_a_capture_is_shown_with_cameras_in_our_convention(client, tmp_path):
    (tmp_path / "mug" / POINTS).write_bytes(ply(np.arange(30.0).reshape(10, 3)))
    shown = opened(client, "mug")
    assert (shown["name"], shown["axes"], shown["scale"], shown["split"]) == ("mug", "opencv", "metric", "test")
    assert (shown["plane"], shown["plane_from"]) == (PLANE, "A GUESS: below the lowest points")
    assert (shown["objects"], shown["problem"], shown["colors"]) == ([], None, None)
    assert shown["points"] == np.arange(30.0).reshape(10, 3).tolist()
    for frame, pose, number in zip(shown["frames"], POSES, range(5), strict=True):
        assert frame["image"] == f"/annotate/captures/mug/frames/{number}.jpg"
        assert frame["camera"] == vars(CAMERA)
        assert (frame["width"], frame["height"], frame["problem"], frame["rects"]) == (WIDTH, HEIGHT, None, {})
        assert frame["time_s"] == pytest.approx(number / RATE)
        np.testing.assert_allclose(frame["world_from_camera"], pose.matrix, atol=1e-12)


def arkit_sensor(document):
    """As ARKit has it: the landscape sensor's camera and axes, with portrait pictures."""
    columns = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    for frame in document["frames"]:
        frame["world_from_camera"] = (np.array(frame["world_from_camera"]) @ columns).tolist()
    sensor = {
        "fx": CAMERA.fy,
        "fy": CAMERA.fx,
        "cx": CAMERA.cy,
        "cy": WIDTH - CAMERA.cx,
        "width": HEIGHT,
        "height": WIDTH,
    }
    return document | {"axes": "arkit", "camera": sensor}


def test_arkit_axes_are_converted_and_stay_in_the_file(tmp_path):
    folder = write_folder(tmp_path / "mug", arkit_sensor(capture_document(POSES)), POSES)
    before = content(folder)
    with client_of(tmp_path) as client:
        shown = opened(client, "mug")
        for frame, pose in zip(shown["frames"], POSES, strict=True):
            np.testing.assert_allclose(frame["world_from_camera"], pose.matrix, atol=1e-12)
            assert frame["camera"] == pytest.approx(vars(CAMERA))
        assert save(client, "mug", shown["revision"], annotation()).status_code == 200
    after = content(folder)
    assert (after["axes"], after["camera"], after["frames"]) == ("arkit", before["camera"], before["frames"])


def test_what_is_wrong_with_a_frame_hides_no_other(tmp_path):
    frames = capture_document(POSES)["frames"]
    frames[0]["world_from_camera"][0][0] = 5.0
    frames[1]["image"] = "../mug/0001.jpg"
    del frames[4]["world_from_camera"]
    folder = bare_capture(tmp_path / "mug", frames=frames)
    (folder / "0002.jpg").write_bytes(b"no picture")
    with client_of(tmp_path) as client:
        shown = opened(client, "mug")["frames"]
        statuses = [client.get(frame["image"]).status_code for frame in shown]
    assert statuses == [200, 404, 404, 200, 200]
    posed = [frame["world_from_camera"] is not None for frame in shown]
    assert posed == [False, False, False, True, False]
    assert ["" if not frame["problem"] else frame["problem"].split(":")[0] for frame in shown] == [
        "frames[0].world_from_camera", "frames[1]", "image", "", ""
    ]  # fmt: skip
    assert (shown[2]["width"], shown[2]["camera"]) == (None, None)


def pixels_of(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR_RGB)


def test_pictures_are_upright_and_scaled_and_never_enlarged(client, tmp_path):
    exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    turned = cv2.imencode(".jpg", np.rot90(draw(POSES[0]))[:, :, ::-1])[1].tobytes()
    (tmp_path / "mug" / "0000.jpg").write_bytes(turned[:2] + exif + turned[2:])
    url = "/annotate/captures/mug/frames/0.jpg"
    full, small = pixels_of(client.get(url)), pixels_of(client.get(url, params={"width": 90}))
    assert (full.shape, small.shape) == ((HEIGHT, WIDTH, 3), (HEIGHT // 2, 90, 3))
    assert np.abs(full.astype(float) - draw(POSES[0])).mean() < 12
    assert opened(client, "mug")["frames"][0]["width"] == WIDTH


def test_a_picture_is_sent_once(client, tmp_path):
    url = "/annotate/captures/mug/frames/3.jpg"
    first = client.get(url)
    tag = {"If-None-Match": first.headers["etag"]}
    assert (first.headers["content-type"], client.get(url, headers=tag).status_code) == ("image/jpeg", 304)
    assert client.get(url, headers=tag, params={"width": 50}).status_code == 200
    (tmp_path / "mug" / "0003.jpg").write_bytes((tmp_path / "mug" / "0004.jpg").read_bytes() + b"\0")
    assert client.get(url, headers=tag).status_code == 200


def test_frames_of_a_video_are_found_in_any_order(tmp_path):
    frames = [
        {"index": 2 * k, "world_from_camera": pose.matrix.tolist()} for k, pose in enumerate(POSES)
    ] + [{"index": 99, "world_from_camera": POSES[0].matrix.tolist()}]  # fmt: skip
    folder = bare_capture(tmp_path / "mug", video="clip.mp4", frames=frames)
    write_video(folder / "clip.mp4", [draw(POSES[k // 2]) for k in range(9)])
    with client_of(tmp_path) as client:
        shown = opened(client, "mug")["frames"]
        assert [(frame["width"], frame["height"], frame["camera"]["fx"]) for frame in shown] == [
            (WIDTH, HEIGHT, 203)
        ] * 6
        assert [frame["time_s"] for frame in shown[:3]] == pytest.approx([0, 2 / RATE, 4 / RATE])
        for number in (3, 0, 4, 1):
            picture = pixels_of(client.get(shown[number]["image"]))
            errors = [np.abs(picture.astype(float) - draw(pose)).mean() for pose in POSES]
            assert int(np.argmin(errors)) == number, errors
        assert_problem(client.get(shown[5]["image"]), 404, "missing-picture", value=99)
        (folder / "clip.mp4").write_bytes(b"no video")
        assert_problem(client.get(shown[0]["image"]), 404, "missing-picture")
        assert "clip.mp4" in opened(client, "mug")["frames"][0]["problem"]


def test_saving_replaces_the_annotation_and_nothing_else(client, tmp_path):
    before = content(tmp_path / "mug")
    body = annotation() | {"plane": PLANE | {"point": [0, 0.01, 0]}}
    answer = save(client, "mug", opened(client, "mug")["revision"], body)
    assert answer.status_code == 200
    shown = opened(client, "mug")
    assert answer.json() == {"revision": shown["revision"], "findings": [], "problem": None}
    assert {name: shown[name] for name in body} == body
    assert shown["plane_from"] == "drawn by a person"
    after = content(tmp_path / "mug")
    for name in ("plane", "plane_from", "objects"):
        del before[name], after[name]
    assert list(after.items()) == list(before.items())


def test_an_unchanged_plane_stays_as_it_was_found(client):
    save(client, "mug", opened(client, "mug")["revision"], annotation())
    assert opened(client, "mug")["plane_from"] == "A GUESS: below the lowest points"


def test_a_plane_that_comes_back_is_from_where_it_was_from(client, tmp_path):
    moved, guess = PLANE | {"point": [0, 0.01, 0]}, "A GUESS: below the lowest points"
    revision = opened(client, "mug")["revision"]
    for plane, plane_from in [(moved, DRAWN), (PLANE, guess), (moved, DRAWN), (None, None), (PLANE, guess)]:
        body = {"plane": plane, "objects": []}
        revision = save(client, "mug", revision, body).json()["revision"]
        assert opened(client, "mug")["plane_from"] == plane_from
    earlier = client.get("/annotate/captures/mug/history").json()
    assert [(state["plane"], state["plane_from"]) for state in earlier] == [
        (None, None), (moved, DRAWN), (PLANE, guess), (moved, DRAWN), (PLANE, guess)
    ]  # fmt: skip


def test_a_plane_of_an_earlier_annotation_of_before_is_a_persons(client, tmp_path):
    revision = save(client, "mug", opened(client, "mug")["revision"], annotation() | {"plane": None, "objects": []})
    (kept,) = (tmp_path / "mug" / ".annotations").glob("*.json")
    state = json.loads(kept.read_text())
    del state["plane_from"]  # as it was kept before that was noted
    kept.write_text(json.dumps(state))
    save(client, "mug", revision.json()["revision"], annotation())
    assert opened(client, "mug")["plane_from"] == DRAWN


def test_a_change_of_another_revision_is_refused_with_the_present_one(client, tmp_path):
    revision = opened(client, "mug")["revision"]
    assert_problem(client.put("/annotate/captures/mug", json=annotation()), 428, "revision-required", field="If-Match")
    assert_problem(
        client.put("/annotate/captures/mug", json=annotation(), headers={"If-Match": "*"}), 428, "revision-required"
    )
    mine = annotation(0.1)
    saved = save(client, "mug", revision, mine).json()["revision"]
    theirs = save(client, "mug", revision, annotation(0.2))
    assert_problem(theirs, 412, "conflict", revision=saved, **mine)
    assert theirs.headers["etag"] == f'"{saved}"'
    assert opened(client, "mug")["objects"] == mine["objects"]
    assert save(client, "mug", theirs.json()["revision"], annotation(0.2)).status_code == 200


def test_a_request_whose_answer_was_lost_can_be_sent_again(client):
    revision = opened(client, "mug")["revision"]
    answers = [save(client, "mug", revision, annotation()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(client.get("/annotate/captures/mug/history").json()) == 1


def test_a_file_that_someone_edits_by_hand_is_a_conflict(client, tmp_path):
    revision = opened(client, "mug")["revision"]
    file = tmp_path / "mug" / "capture.json"
    file.write_text(file.read_text().replace('"A GUESS: below', '"measured: below'))
    answer = save(client, "mug", revision, annotation())
    assert_problem(answer, 412, "conflict", objects=[])
    assert opened(client, "mug")["plane_from"] == "measured: below the lowest points"
    assert answer.json()["revision"] == opened(client, "mug")["revision"] != revision


@pytest.mark.parametrize(
    ("body", "field", "bound"),
    [
        (annotation() | {"plane": None}, "plane", "given, or frames have rects"),
        (annotation() | {"plane": PLANE | {"normal": [0, 0, 0]}}, "plane.normal", "longer than zero"),
        (annotation(box=None), "objects[0].box", "given, or frames have rects"),
        (annotation(box=BOX | {"size": [0, 1, 1]}), "objects[0].box.size[0]", "greater than 0"),
        (annotation(box=BOX | {"size": [1, "1", 1]}), "objects[0].box.size[1]", "a valid number"),
        (
            annotation(box=BOX | {"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}),
            "objects[0].box.rotation",
            "a rotation",
        ),
        (annotation(category=""), "objects[0].category", "String should have at least 1 character"),
        (annotation(color="red"), "objects[0].color", "left out"),
        ({"plane": PLANE, "objects": annotation()["objects"] * 2}, "objects[1].id", "given to one object alone"),
        ({"objects": []}, "plane", "given"),
    ],
)
def test_an_annotation_that_cannot_be_is_refused_by_field_value_and_bound(client, tmp_path, body, field, bound):
    before = (tmp_path / "mug" / "capture.json").read_bytes()
    answer = save(client, "mug", opened(client, "mug")["revision"], body)
    assert_problem(answer, 422, "invalid-value", field=field)
    assert answer.json()["bound"].startswith(bound), answer.text
    assert (tmp_path / "mug" / "capture.json").read_bytes() == before


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"plane": NaN}', b'{"plane": null, "objects": [' + b"[" * 5000])
def test_a_body_that_is_no_annotation_is_refused(client, text):
    headers = {"If-Match": '"x"', "Content-Type": "application/json"}
    answer = client.put("/annotate/captures/mug", content=text, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_object_with_rectangles_is_not_dropped_from_under_them(tmp_path):
    frames = capture_document(POSES)["frames"]
    frames[2]["rects"] = {"mug-17": [10, 20, 100, 200]}
    bare_capture(tmp_path / "mug", frames=frames, objects=annotation()["objects"])
    with client_of(tmp_path) as client:
        shown = opened(client, "mug")
        assert shown["frames"][2]["rects"] == {"mug-17": [10, 20, 100, 200]}
        answer = save(client, "mug", shown["revision"], {"plane": PLANE, "objects": []})
        assert_problem(answer, 422, "invalid-value", field="frames[2].rects.mug-17")


def test_a_fault_of_a_frame_does_not_keep_anyone_from_annotating(tmp_path):
    frames = capture_document(POSES)["frames"]
    frames[2]["world_from_camera"][0][0] = 5.0
    bare_capture(tmp_path / "mug", frames=frames)
    with client_of(tmp_path) as client:
        shown = opened(client, "mug")
        assert shown["problem"].startswith("frames[2].world_from_camera")
        assert save(client, "mug", shown["revision"], annotation()).status_code == 200


def test_earlier_annotations_stay_and_can_be_taken_back(client, tmp_path):
    revisions = [opened(client, "mug")["revision"]]
    for size in (0.1, 0.2, 0.3):
        revisions.append(save(client, "mug", revisions[-1], annotation(size)).json()["revision"])
    kept = client.get("/annotate/captures/mug/history").json()
    assert [earlier["revision"] for earlier in kept] == revisions[2::-1]
    assert [[item["box"]["size"][0] for item in earlier["objects"]] for earlier in kept] == [[0.2], [0.1], []]
    times = [earlier["saved_at"] for earlier in kept]
    assert times == sorted(times, reverse=True)
    back = {name: kept[1][name] for name in ("plane", "objects")}
    assert save(client, "mug", revisions[-1], back).status_code == 200
    assert opened(client, "mug")["objects"] == annotation(0.1)["objects"]


def test_history_is_bounded_and_survives_what_others_do_to_it(client, tmp_path):
    revision = opened(client, "mug")["revision"]
    for k in range(KEPT + 5):
        revision = save(client, "mug", revision, annotation(0.1 + k / 1000)).json()["revision"]
    files = sorted((tmp_path / "mug" / ".annotations").glob("*.json"))
    assert len(files) == KEPT
    files[-1].write_text("{")
    files[-2].unlink()
    (tmp_path / "mug" / ".annotations" / "notes.json").write_text("{}")
    assert len(client.get("/annotate/captures/mug/history").json()) == KEPT - 2
    assert save(client, "mug", revision, annotation(1)).status_code == 200


def test_a_capture_that_goes_or_breaks_while_it_is_open_is_told(client, tmp_path):
    revision = opened(client, "mug")["revision"]
    file = tmp_path / "mug" / "capture.json"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    for answer in (
        client.get("/annotate/captures/mug"),
        client.get("/annotate/captures/mug/frames/0.jpg"),
        save(client, "mug", revision, annotation()),
    ):
        assert_problem(answer, 409, "unreadable-capture")
        assert answer.json()["field"].startswith("capture.json: ")
    assert file.read_bytes() == whole[:-100]
    file.unlink()
    assert_problem(save(client, "mug", revision, annotation()), 404, "unknown-capture")
    assert client.get("/annotate/captures").json()["captures"] == []
    assert not file.exists()


def test_frames_that_are_not_there_are_refused(client):
    assert_problem(client.get("/annotate/captures/mug/frames/5.jpg"), 422, "invalid-value", bound="from 0 to 4")
    assert client.get("/annotate/captures/mug/frames/-1.jpg").status_code == 422
    assert client.get("/annotate/captures/mug/frames/x.jpg").status_code == 422
    assert client.get("/annotate/captures/mug/frames/0.jpg?width=99999").status_code == 422


def test_a_key_is_asked_for_where_there_are_some(tmp_path):
    bare_capture(tmp_path / "captures" / "mug")
    secret, line = new_key("anna")
    (tmp_path / "keys").write_text(line)
    with client_of(tmp_path / "captures", api_keys=tmp_path / "keys") as client:
        assert client.get("/annotate/captures").status_code == 401
        assert client.put("/annotate/captures/mug", json={}).status_code == 401
        assert client.get("/annotate/captures/mug/frames/0.jpg").status_code == 401
        assert client.get("/healthz").status_code == 200
        client.headers["Authorization"] = f"Bearer {secret}"
        assert save(client, "mug", opened(client, "mug")["revision"], annotation()).status_code == 200


def test_bodies_are_limited_and_answers_guarded(client):
    answer = client.put(
        "/annotate/captures/mug", content=b" " * (2**20 + 1), headers={"Content-Type": "application/json"}
    )
    assert_problem(answer, 413, "body-too-large")
    assert "default-src 'self'" in client.get("/annotate/captures").headers["content-security-policy"]


def test_the_document_describes_every_route(client):
    document = client.get("/openapi.json").json()
    assert document["paths"].keys() == {
        "/annotate/captures", "/annotate/captures/{name}", "/annotate/captures/{name}/frames/{number}.jpg",
        "/annotate/captures/{name}/history", "/annotate/captures/{name}/draft", "/healthz", "/metrics",
    }  # fmt: skip
    put = document["paths"]["/annotate/captures/{name}"]["put"]
    assert {"200", "401", "403", "404", "409", "412", "413", "422", "428", "429", "507"} <= put["responses"].keys()
    schema = put["responses"]["412"]["content"]["application/problem+json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/ConflictProblem"}


def test_the_trainer_reads_what_was_accepted_and_counts_the_rest(client, tmp_path):
    objects = [*annotation()["objects"], *annotation(id="bowl-1", box=None, accepted=False)["objects"]]
    save(client, "mug", opened(client, "mug")["revision"], {"plane": PLANE, "objects": objects})
    shots = list(CaptureFolder(tmp_path / "mug", 5.0).read())
    assert [[frame.object_id for frame in shot.frames] for shot in shots] == [["mug-17"]]
    assert [shot.rejected for shot in shots] == [(Reason.NOT_ACCEPTED,)]
    np.testing.assert_allclose(shots[0].frames[0].box.size, [0.12, 0.2, 0.16])


def test_nothing_is_trained_on_before_something_is_annotated(client, tmp_path):
    with pytest.raises(InvalidValueError, match="nothing here is annotated yet"):
        load_capture(tmp_path / "mug" / "capture.json")


def test_a_draft_needs_an_index_and_the_ground(client, tmp_path):
    assert_problem(client.get("/annotate/captures/mug/draft"), 404, "no-draft")
    build_index(tmp_path / "index")
    bare_capture(tmp_path / "floating" / "mug", plane=None)
    with client_of(tmp_path / "floating", index=tmp_path / "index") as other:
        wait_until(lambda: other.get("/annotate/captures").json()["categories"] == ["book", "cup", "shoe"], 200)
        assert_problem(other.get("/annotate/captures/mug/draft"), 404, "no-draft")


def test_an_index_that_is_not_there_yet_is_told(client, tmp_path):
    with client_of(tmp_path, index=tmp_path / "index") as other:
        assert_problem(other.get("/annotate/captures/mug/draft"), 503, "not-ready")


def test_the_index_proposes_a_box_where_the_cameras_look(tmp_path):
    """Red cups are indexed; the capture's object is red. The right place is not asked of an encoder of colours."""
    build_index(tmp_path / "index")
    before = (bare_capture(tmp_path / "captures" / "mug") / "capture.json").read_bytes()
    with client_of(tmp_path / "captures", index=tmp_path / "index") as client:
        wait_until(lambda: client.get("/annotate/captures/mug/draft").status_code != 503, 200)
        answer = client.get("/annotate/captures/mug/draft")
        assert answer.status_code == 200, answer.text
        draft = answer.json()
        assert draft["category"] == "cup"
        assert draft["neighbors"][0] == "cup-1"
        assert set(draft["frames_used"]) <= set(range(5))
        assert 0 <= draft["confidence"] <= 1
        assert draft["problem"] == "It stands on a ground that is a guess."
        assert min(draft["box"]["size"]) > 0
        drawn = client.get("/annotate/captures/mug/draft", params={"frame": 0, "rect": "20,40,160,200"})
        assert drawn.status_code == 200, drawn.text
        for params, field in [
            ({"frame": 0, "rect": "20,40,400,200"}, "rect"),
            ({"frame": 0, "rect": "20,40"}, "rect"),
            ({"frame": 0}, "rect"),
            ({"rect": "20,40,160,200"}, "frame"),
            ({"frame": 7, "rect": "20,40,160,200"}, "frame"),
        ]:
            assert_problem(client.get("/annotate/captures/mug/draft", params=params), 422, "invalid-value", field=field)
    assert (tmp_path / "captures" / "mug" / "capture.json").read_bytes() == before
    assert json.loads(before)["objects"] == []


def test_a_draft_does_without_a_damaged_picture_and_says_so(tmp_path):
    build_index(tmp_path / "index")
    folder = bare_capture(tmp_path / "captures" / "mug")
    for number in (0, 3):
        picture = folder / f"000{number}.jpg"
        picture.write_bytes(picture.read_bytes()[:-200])  # its size can still be read
    with client_of(tmp_path / "captures", index=tmp_path / "index") as client:
        wait_until(lambda: client.get("/annotate/captures/mug/draft").status_code != 503, 200)
        answer = client.get("/annotate/captures/mug/draft")
        assert answer.status_code == 200, answer.text
        assert sorted(answer.json()["frames_unread"]) == [0, 3]
        assert sorted(answer.json()["frames_used"]) == [1, 2, 4]
        assert answer.json()["problem"].startswith("Left out, as they cannot be read: 0000.jpg, 0003.jpg.")
        for number in (1, 2, 4):
            (folder / f"000{number}.jpg").write_bytes((folder / "0000.jpg").read_bytes())
        refused = client.get("/annotate/captures/mug/draft")
        assert_problem(refused, 404, "no-draft")
        assert "none of the 5 pictures" in refused.json()["detail"]


def test_findings_of_the_check_are_shown_as_long_as_they_hold(client, tmp_path):
    folder = tmp_path / "mug"
    drift = Finding(2, "box drift", "by 10 %", annotated=True)
    write_findings(folder, [Finding(None, "no object", "add it"), drift, Finding(3, "pose jump", "off its way")])
    frame = {"frame": 3, "kind": "pose jump", "text": "off its way"}
    shown = opened(client, "mug")
    assert shown["findings"] == [
        {"frame": None, "kind": "no object", "text": "add it"},
        {"frame": 2, "kind": "box drift", "text": "by 10 %"},
        frame,
    ]
    assert save(client, "mug", shown["revision"], annotation()).json()["findings"] == [frame]
    assert opened(client, "mug")["findings"] == [frame]
    document = content(folder)
    document["frames"][3]["world_from_camera"][0][3] += 0.01  # by hand: the pose is another
    (folder / "capture.json").write_text(json.dumps(document))
    assert opened(client, "mug")["findings"] == []
    (folder / "check.json").write_text("{")
    assert opened(client, "mug")["findings"] == []


def test_points_that_cannot_be_read_are_told(client, tmp_path):
    (tmp_path / "mug" / POINTS).write_bytes(ply(np.zeros((10, 3)))[:-1])
    shown = opened(client, "mug")
    assert shown["points"] == []
    assert shown["findings"] == [{"frame": None, "kind": "points", "text": "points.ply: truncated"}]


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8001", 200), ("LOCALHOST", 200), ("[::1]:8001", 200), ("127.0.0.1", 200)]
    + [(host, 421) for host in ("attacker.example:8001", "127.0.0.1.attacker.example", "[::2]", "[", "")],
)
def test_without_keys_only_this_machines_own_names_are_answered(client, host, status):
    answer = client.get("/annotate/captures", headers={"Host": host})
    assert answer.status_code == status
    if status != 200:
        assert_problem(answer, 421, "misdirected", field="Host", value=host)


def test_a_server_of_a_network_goes_by_any_name(tmp_path):
    with client_of(tmp_path, host="0.0.0.0") as client:
        assert client.get("/annotate/captures", headers={"Host": "phones.example"}).status_code == 200


def test_a_name_that_no_file_can_have_is_a_missing_picture(tmp_path):
    frames = capture_document(POSES)["frames"]
    frames[0]["image"], frames[1]["image"], frames[2]["image"] = "a" * 5000, "a\0.jpg", "/dev/zero"
    bare_capture(tmp_path / "mug", frames=frames)
    with client_of(tmp_path) as client:
        shown = opened(client, "mug")["frames"]
        assert [frame["problem"] is None for frame in shown] == [False, False, False, True, True]
        assert {client.get(frame["image"]).status_code for frame in shown[:3]} == {404}


def test_a_folder_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidValueError, match=r"captures: got .*nothing', must be a folder of captures"):
        create_annotate_app(AnnotateSettings(captures=tmp_path / "nothing"))
