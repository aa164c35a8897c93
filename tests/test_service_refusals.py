"""What a client can get wrong: each is a problem that names the field, the value and the bound."""

from __future__ import annotations

import io
import json
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.scenes import standing_frame
from tests.service_fixtures import COLOURS, build_index, client_of, encoded, picture_of, posted, query_fields
from tests.test_service_decode import png_that_declares

QUERY = standing_frame(azimuth=0.45, category="shoe")
JPEG = encoded(picture_of(QUERY))
CAMERA, PLANE = (json.loads(query_fields(QUERY)[name]) for name in ("camera", "plane"))
MAX_BODY = 500_000


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("run") / "index"
    build_index(root)
    with client_of(root, max_pixels=1_000_000, max_body_bytes=MAX_BODY) as client:
        yield client


def problem_of(response, status: int = 422) -> dict:
    """The answer's body, after checking what every refusal has in common."""
    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status), problem
    assert response.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail", "field", "value", "bound"} <= problem.keys()
    assert not any(leak in response.text for leak in ("/tmp", "Traceback", ".py", "site-packages", "upload.jpg"))
    return problem


def camera(**changes) -> str:
    return json.dumps({**CAMERA, **changes})


def plane(**changes) -> str:
    return json.dumps({**PLANE, **changes})


def without(whole: dict, name: str) -> str:
    return json.dumps({key: value for key, value in whole.items() if key != name})


FIELDS = {
    # what is posted instead: the field that is named, a part of the value that is echoed, a part of the bound
    "camera missing": ({"camera": None}, "camera", None, "given"),
    "camera not JSON": ({"camera": "fx=500"}, "camera", "fx=500", "JSON"),
    "camera a list": ({"camera": "[1, 2]"}, "camera", [1, 2], "dictionary"),
    "fx missing": ({"camera": without(CAMERA, "fx")}, "camera.fx", None, "given"),
    "fx NaN": ({"camera": camera(fx=float("nan"))}, "camera.fx", "nan", "finite"),
    "fx infinite": ({"camera": camera(fx=float("inf"))}, "camera.fx", "inf", "finite"),
    "fx overflows": ({"camera": camera().replace("500.0", "1e999")}, "camera.fx", "inf", "finite"),
    "fx negative": ({"camera": camera(fx=-500)}, "camera.fx", -500, "greater"),
    "fy zero": ({"camera": camera(fy=0)}, "camera.fy", 0, "greater"),
    "fx a share of the width": ({"camera": camera(fx=0.9)}, "camera.fx", 0.9, "greater"),
    "fx text": ({"camera": camera(fx="500")}, "camera.fx", "500", "number"),
    "fx true": ({"camera": camera(fx=True)}, "camera.fx", True, "number"),
    "cx huge": ({"camera": camera(cx=1e300)}, "camera.cx", 1e300, "less than"),
    "width of another picture": ({"camera": camera(width=640, height=480)}, "camera", "640 x 480", "480 x 640"),
    "width not whole": ({"camera": camera(width=480.5)}, "camera.width", 480.5, "integer"),
    "camera with a typo": ({"camera": camera(focal=3)}, "camera.focal", 3, "no such field"),
    "plane missing for the paper's fit": ({"plane": None, "fit": "paper"}, "fit", "paper", "consensus"),
    "fit unknown": ({"fit": "best"}, "fit", "best", "consensus"),
    "up beside a plane": ({"up": "[0, -1, 0]"}, "up", [0, -1, 0], "left out"),
    "up zero": ({"plane": None, "up": "[0, 0, 0]"}, "up", [0, 0, 0], "longer than zero"),
    "normal zero": ({"plane": plane(normal=[0, 0, 0])}, "plane.normal", [0, 0, 0], "longer than zero"),
    "normal too short": ({"plane": plane(normal=[0, 1])}, "plane.normal[2]", None, "given"),
    "normal NaN": ({"plane": plane(normal=[0, float("nan"), 0])}, "plane.normal[1]", "nan", "finite"),
    "plane through the camera": ({"plane": plane(point=[0, 0, 0])}, "plane.point", [0, 0, 0], "camera"),
    "rect missing": ({"rect": None}, "rect", None, "given"),
    "rect not JSON": ({"rect": "1,2,3,4"}, "rect[0]", "1,2,3,4", "JSON"),
    "rect of three": ({"rect": "[1, 2, 3]"}, "rect[0][3]", None, "given"),
    "rect of five": ({"rect": "[1, 2, 3, 4, 5]"}, "rect[0]", [1, 2, 3, 4, 5], "at most 4"),
    "rect NaN": ({"rect": "[1, 2, NaN, 4]"}, "rect[0][2]", "nan", "finite"),
    "rect outside": ({"rect": "[500, 10, 600, 20]"}, "rect[0]", [500, 10, 600, 20], "x <= 480"),
    "rect partly outside": ({"rect": "[-1, 10, 60, 20]"}, "rect[0]", [-1, 10, 60, 20], "0 <= x"),
    "rect inverted": ({"rect": "[60, 10, 20, 40]"}, "rect[0]", [60, 10, 20, 40], "x0 < x1"),
    "rect without area": ({"rect": "[60, 10, 60, 40]"}, "rect[0]", [60, 10, 60, 40], "x0 < x1"),
    "rect within a pixel": ({"rect": "[60, 10, 60.5, 40]"}, "rect[0]", [60, 10, 60.5, 40], "one pixel"),
    "second rect wrong": ({"rect": ["[1, 2, 30, 40]", "[9, 9, 3, 3]"]}, "rect[1]", [9, 9, 3, 3], "x0 < x1"),
    "too many rects": ({"rect": ["[1, 2, 30, 40]"] * 33}, "rect", None, "at most 32"),
    "k zero": ({"k": "0"}, "k", "0", "greater than or equal to 1"),
    "k too large": ({"k": "10000"}, "k", "10000", "less than or equal to 100"),
    "k no number": ({"k": "five"}, "k", "five", "integer"),
    "k twice": ({"k": ["3", "4"]}, "k", "2 fields", "once"),
    "category unknown": ({"category": "boat"}, "category", "boat", ", ".join(sorted(COLOURS))),
    "image_is unknown": ({"image_is": "part"}, "image_is", "part", "'frame' or 'crop'"),
    "field unknown": ({"rects": "[1, 2, 3, 4]"}, "rects", "[1, 2, 3, 4]", "no such field"),
}


@pytest.mark.parametrize(("changes", "field", "value", "bound"), FIELDS.values(), ids=FIELDS.keys())
def test_a_field_that_is_wrong_is_named_with_its_value_and_bound(client, changes, field, value, bound):
    problem = problem_of(posted(client, QUERY, **changes))
    assert problem["field"] == field
    assert value is None or problem["value"] == value
    assert bound in problem["bound"]
    assert field in problem["detail"]
    assert problem["type"] == "urn:nearpose:problem:invalid-value"


@pytest.mark.parametrize("name", ["camera", "plane", "rect"])
@pytest.mark.parametrize("file", [(None,), ("blob",)], ids=["text", "file"])
def test_a_long_text_is_refused_unread(client, name, file):
    fields = {key: value for key, value in query_fields(QUERY).items() if key != name}
    long = "[" + "1," * 200_000 + "1]"
    began = time.process_time()
    parts = {"image": ("a.jpg", JPEG), name: (*file, long, *(["application/json"] if file == ("blob",) else []))}
    problem = problem_of(client.post("/pose", data=fields, files=parts))
    assert (problem["field"], problem["bound"]) == (name if name != "rect" else "rect[0]", "at most 4096 characters")
    assert len(str(problem["value"])) <= 200
    assert time.process_time() - began < 0.2


def test_all_that_is_missing_is_told_at_once(client):
    detail = problem_of(client.post("/pose", files={"image": ("a.jpg", JPEG)}))["detail"]
    assert all(name in detail for name in ("camera", "rect"))


def bytes_of(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


IMAGES = {
    "empty": (b"", "empty"),
    "text": (b"not a picture", "not a picture"),
    "gif": (bytes_of(Image.new("RGB", (20, 20)), "GIF"), "JPEG, PNG, WEBP"),
    "truncated": (JPEG[: len(JPEG) // 2], "truncated"),
    "one pixel": (bytes_of(Image.new("RGB", (1, 1)), "PNG"), "at least 8 x 8"),
    "bomb": (png_that_declares(50_000, 50_000), "got '50000 x 50000', must be at most 1000000 pixels"),
}


@pytest.mark.parametrize(("image", "detail"), IMAGES.values(), ids=IMAGES.keys())
@pytest.mark.parametrize("path", ["/pose", "/neighbors"])
def test_an_image_that_cannot_be_used_is_named(client, path, image, detail):
    fields = {} if path == "/pose" else dict.fromkeys(query_fields(QUERY))
    problem = problem_of(posted(client, QUERY, image, path, **fields))
    assert problem["field"] == "image"
    assert detail in problem["detail"]


def test_an_image_must_be_there_once_and_be_a_file(client):
    fields = query_fields(QUERY)
    file = ("image", ("a.jpg", JPEG, "image/jpeg"))
    cases = [(None, "given"), ([file, file], "once"), ([("image", (None, "text"))], "a file")]
    for files, bound in cases:
        files = files or [("camera", (None, fields["camera"]))]
        data = {name: value for name, value in fields.items() if name not in dict(files)}
        problem = problem_of(client.post("/pose", data=data, files=files))
        assert (problem["field"], problem["bound"]) == ("image", bound if bound != "once" else "given once")


def test_a_turned_picture_is_measured_upright(client):
    tags = Image.Exif()
    tags[0x0112] = 6
    lying = bytes_of(Image.fromarray(picture_of(QUERY)), "JPEG", exif=tags)
    assert "640 x 480, the size of the upright picture" in problem_of(posted(client, QUERY, lying))["bound"]


CROPS = {
    "size unknown": ({"camera": without(CAMERA, "width")}, "camera.width"),
    "two rects": ({"rect": ["[1, 2, 30, 40]", "[1, 2, 30, 40]"]}, "rect"),
    "another shape": ({"rect": "[10, 10, 200, 100]"}, "rect[0]"),
    "rect outside the full picture": ({"rect": "[400, 600, 500, 700]"}, "rect[0]"),
}


@pytest.mark.parametrize(("changes", "field"), CROPS.values(), ids=CROPS.keys())
def test_a_crop_must_be_the_rects(client, changes, field):
    square = encoded(np.full((100, 100, 3), 90, np.uint8))
    good = {"rect": "[10, 10, 110, 110]"}
    assert posted(client, QUERY, square, image_is="crop", **good).status_code == 200
    assert problem_of(posted(client, QUERY, square, image_is="crop", **{**good, **changes}))["field"] == field


@pytest.mark.parametrize(
    "away",
    [
        {"normal": [0, -1, 0], "point": [0, -1, 0]},  # a ceiling, seen from below in the lower part of the picture
        {"normal": [0, 0, 1], "point": [0, 0, -1]},  # a wall behind the camera
    ],
    ids=["ceiling", "behind"],
)
def test_a_plane_that_the_viewing_ray_misses_is_named(client, away):
    problem = problem_of(posted(client, QUERY, plane=json.dumps(away), rect="[200, 400, 280, 600]"))
    assert (problem["type"], problem["field"]) == ("urn:nearpose:problem:geometry", "plane")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""])
def test_another_content_type_is_415(client, content_type):
    response = client.post("/pose", content=b"{}", headers={"content-type": content_type})
    assert "multipart/form-data" in problem_of(response, 415)["detail"]


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_body_that_is_no_form_is_refused(client, content_type):
    problem_of(client.post("/pose", content=b"\0garbage", headers={"content-type": content_type}), 400)


def test_a_body_over_the_limit_is_413(client):
    problem = problem_of(posted(client, QUERY, b"\xff" * (MAX_BODY + 1)), 413)
    assert (problem["field"], problem["bound"]) == ("body", f"at most {MAX_BODY} bytes")


def test_a_stream_is_not_read_beyond_the_limit(client):
    sent = 0

    def chunks():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(1000):
            sent += 10_000
            yield b"\0" * 10_000

    headers = {"content-type": "multipart/form-data; boundary=x"}
    problem_of(client.post("/pose", content=chunks(), headers=headers), 413)


@pytest.mark.parametrize(
    ("parameters", "status", "field"),
    [
        ({"frame": "v1/cup/99"}, 404, "frame"),
        ({}, 422, "frame"),
        ({"frame": "v1/cup/0", "k": 0}, 422, "k"),
        ({"frame": "v1/cup/0", "k": 101}, 422, "k"),
        ({"frame": "v1/cup/0", "category": "boat"}, 422, "category"),
    ],
)
def test_neighbors_of_a_frame(client, parameters, status, field):
    assert problem_of(client.get("/neighbors", params=parameters), status)["field"] == field


@pytest.mark.parametrize("path", ["/frames/v1/cup/99/image.jpg", "/frames/../../etc/passwd/image.jpg"])
def test_an_unknown_frame_has_no_picture(client, path):
    problem_of(client.get(path), 404)


@pytest.mark.parametrize("path", ["/nothing", "/pose/", "/frames/x", "/frames//image.jpg"])
def test_an_unknown_path_is_404(client, path):
    problem_of(client.get(path), 404)


@pytest.mark.parametrize(("method", "path"), [("GET", "/pose"), ("DELETE", "/neighbors"), ("POST", "/healthz")])
def test_a_wrong_method_is_405(client, method, path):
    response = client.request(method, path)
    problem_of(response, 405)
    assert response.headers["allow"]


number = st.one_of(st.floats(width=32), st.integers(-2000, 2000), st.sampled_from([1e308, -1e308, 1e-308, 0]))
numbers = st.lists(number, min_size=3, max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.dictionaries(st.sampled_from(["fx", "fy", "cx", "cy", "width"]), number),
    normal=st.one_of(st.just(PLANE["normal"]), numbers),
    point=st.one_of(st.just(PLANE["point"]), numbers),
    rect=st.one_of(st.just(list(QUERY.view.rect)), numbers),
)
def test_no_number_makes_the_server_fail(client, values, normal, point, rect):
    changed = {"camera": camera(**values), "plane": plane(normal=normal, point=point), "rect": json.dumps(rect)}
    response = posted(client, QUERY, JPEG, **changed)
    if response.status_code != 200:
        problem_of(response)
