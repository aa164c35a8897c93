"""The page's files, the samples, and what the page shows of the index: over HTTP, without a browser."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from index.layout import principal_plane
from index.store import open_index
from service.overview import GRID
from service.pages import PAGE
from tests.scenes import standing_frame
from tests.service_fixtures import (
    COLOURS,
    build_index,
    client_of,
    indexed_frames,
    write_sample,
)

FRAME = standing_frame()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    build_index(folder / "index")
    write_sample(folder / "samples" / "a cup", FRAME)
    write_sample(folder / "samples" / "broken", FRAME).joinpath("fields.json").write_text('{"rect": "none"}')
    write_sample(folder / "samples" / "in Latin 1", FRAME).joinpath("fields.json").write_bytes(b'{"rect": "\xe9"}')
    (folder / "samples" / "notes.txt").write_text("not a sample")
    (folder / "secret").mkdir()
    (folder / "secret" / "image.jpg").write_bytes(b"secret")
    (folder / "secret" / "fields.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def client(root):
    with client_of(root / "index", samples=root / "samples") as opened:
        yield opened


@pytest.mark.parametrize("path", ["/", "/docs", "/page/main.js", "/page/style.css", "/page/vendor/swagger-ui.css"])
def test_a_file_is_sent_once(client, path):
    first = client.get(path)
    assert first.status_code == 200
    assert "default-src 'self'" in first.headers["content-security-policy"]
    assert first.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/page/none.js", "/page/../app.py", "/page/%2e%2e/app.py", "/page/vendor"])
def test_nothing_else_is_sent(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_the_page_is_complete_and_has_nothing_inline():
    for page in PAGE.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script>|https?:", text), page
        for file in re.findall(r'(?:src|href)="page/([^"]+)"', text):
            assert (PAGE / file).is_file(), file
    for script in PAGE.glob("*.js"):
        for module in re.findall(r'from "\./([^"]+)"', script.read_text()):
            assert (PAGE / module).is_file(), (script, module)


def test_samples_are_queries_that_work(client):
    (sample,) = client.get("/samples").json()["samples"]
    assert (sample["name"], sample["image"]) == ("a cup", "/samples/a%20cup/image.jpg")
    image = client.get(sample["image"])
    assert image.headers["content-type"] == "image/jpeg"
    data = {name: json.dumps(sample[name]) for name in ("camera", "plane", "rect")}
    answer = client.post("/pose", data=data, files={"image": ("a.jpg", image.content, "image/jpeg")})
    assert answer.json()["objects"][0]["category"] == "cup"


@pytest.mark.parametrize("name", ["none", "..%2Fsecret", "%2e%2e", "..", "a%20cup%2F..%2F..%2Fsecret"])
def test_no_sample_is_anywhere_else(client, name):
    response = client.get(f"/samples/{name}/image.jpg")
    assert response.status_code == 404
    assert b"secret" not in response.content


def test_one_sample_is_as_good_as_a_folder_of_them(root):
    with client_of(root / "index", samples=root / "samples" / "a cup") as client:
        assert [sample["name"] for sample in client.get("/samples").json()["samples"]] == ["a cup"]


@pytest.mark.parametrize("samples", [None, "missing"])
def test_without_samples_there_are_none(root, samples):
    with client_of(root / "index", samples=samples and root / samples) as client:
        assert client.get("/samples").json() == {"samples": []}


def test_what_the_index_holds(client, root):
    held = client.get("/index").json()
    expected = {"frames": 12, "frames_with_box": 12, "objects": 3, "dimension": 48, "known_from": 0.5}
    assert held.items() >= expected.items()
    assert held["categories"] == [{"category": name, "frames": 4, "objects": 1} for name in sorted(COLOURS)]
    assert 0 <= held["age_s"] < 600
    assert (root / "index" / "versions" / held["index"]).is_dir()


def test_what_the_index_holds_waits_for_no_disk(client):
    """It is told by the thread that all requests share."""
    store = client.app.state.service.enrolment.store
    with ThreadPoolExecutor() as pool:
        with store._reading:  # as while frames that another process enrolled are read
            asked = pool.submit(client.get, "/index")
            done, _ = wait([asked], timeout=10)
        assert done
        assert asked.result().status_code == 200


def test_the_map_without_a_layout_shows_the_principal_plane(client, root):
    shown = client.get("/index/map").json()
    frames = indexed_frames()
    assert (shown["method"], shown["frame"]) == ("pca", [frame.id for frame in frames])
    assert [shown["categories"][number] for number in shown["category"]] == [frame.category for frame in frames]
    places = principal_plane(open_index(root / "index").vectors)
    found = np.transpose([shown["x"], shown["y"]])
    assert found.min() == 0
    assert found.max() == GRID
    scale = np.ptp(places, axis=0).max() / GRID
    assert np.allclose((found - found[0]) * scale, places - places[0], atol=2 * scale)
    assert shown["position"][:4] == [0.0, 0.333, 0.667, 1.0]


def test_a_map_can_be_a_part(client):
    shown = client.get("/index/map", params={"limit": 5}).json()
    assert (len(shown["frame"]), len(shown["x"]), shown["frames"]) == (4, 4, 12)
    assert client.get("/index/map", params={"limit": 0}).json()["field"] == "limit"


def test_a_frame_is_told_of(client):
    frame = indexed_frames()[5]
    told = client.get(f"/frames/{frame.id}").json()
    assert (told["category"], told["object"]) == (frame.category, frame.object_id)
    assert np.allclose(told["rect"], frame.view.rect)
    assert np.allclose(told["box"]["corners_px"], frame.view.camera.project(frame.box.corners))
    assert told["plane"]["offset"] == pytest.approx(frame.view.plane.offset)
    assert client.get(told["image"]).headers["content-type"] == "image/jpeg"
    missing = client.get("/frames/none/of/these")
    assert (missing.status_code, missing.json()["field"]) == (404, "frame")


def test_refusals_are_documented(client):
    paths = client.get("/openapi.json").json()["paths"]
    expected = {"/index/map": "422", "/frames/{frame}": "404", "/samples/{name}/image.jpg": "404"}
    for path, status in expected.items():
        assert "application/problem+json" in paths[path]["get"]["responses"][status]["content"]


@pytest.mark.parametrize("path", ["/index", "/index/map", "/frames/a/b"])
def test_all_of_it_waits_for_an_index(tmp_path, path):
    with client_of(tmp_path / "none", ready=False) as client:
        assert client.get(path).status_code == 503
        assert client.get("/").status_code == 200
