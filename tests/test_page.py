"""The page's roads in a real browser: from a picture to the box that is drawn on it."""

from __future__ import annotations

import base64
import io
import json
import re

import httpx2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from index.predict import DEFAULT_K
from tests.browser import answer_after, fields_of, open_page
from tests.scenes import standing_frame
from tests.service_fixtures import build_index, encoded, picture_of, query_fields, wait_until, write_sample
from tests.test_service_server import is_ready, serving

QUERY = standing_frame(azimuth=0.45, category="shoe")
JPEG = encoded(picture_of(QUERY))
NO_ENROLMENT = ("/objects?limit=1000",)  # a service without it answers 404, which the browser's console reports


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    build_index(root / "index")
    for name, category in (("red", "cup"), ("green", "shoe")):
        write_sample(root / "samples" / name, standing_frame(azimuth=0.45, category=category))
    with serving(root / "index", samples=root / "samples") as client:
        wait_until(lambda: is_ready(client), timeout_s=200)  # the compiler may run first
        yield f"{client.base_url}/"


@pytest.fixture
def page(browser, url):
    with open_page(browser, url, expected=NO_ENROLMENT) as opened:
        expect(opened.locator("#pose-found")).to_be_visible()  # the first sample's answer
        yield opened


def drop(page: Page, data: bytes, name: str = "photo.jpg", kind: str = "image/jpeg") -> None:
    """A real drop event with a file."""
    script = """([text, name, type]) => {
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name, { type }));
        return transfer;
    }"""
    transfer = page.evaluate_handle(script, [base64.b64encode(data).decode(), name, kind])
    for event in ("dragover", "drop"):
        page.dispatch_event("#stage", event, {"dataTransfer": transfer})


def accent_pixels(page: Page, canvas: str = "#picture") -> int:
    """How much of a canvas is drawn over in the accent colour."""
    shown = np.asarray(Image.open(io.BytesIO(page.locator(canvas).screenshot())).convert("RGB"), int)
    return int((np.abs(shown - (255, 122, 26)).max(axis=2) < 12).sum())


def drag(page: Page, start, end) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def drag_rect_to(page: Page, rect) -> float:
    """Drags the rectangle's corners to ``rect``, pixels of the picture; returns the picture's scale on the screen."""
    place = page.locator("#picture").bounding_box()
    scale = place["width"] / 480
    for side, (x, y) in (("nw", rect[:2]), ("se", rect[2:])):
        handle = page.locator(f".rect [data-side={side}]").bounding_box()
        middle = (handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
        drag(page, middle, (place["x"] + x * scale, place["y"] + y * scale))
    return scale


def test_from_a_dropped_picture_to_the_drawn_box(page):
    drop(page, JPEG)
    expect(page.locator("#pose-empty")).to_be_visible()
    expect(page.locator("#view-out")).to_have_text("67°")
    before = accent_pixels(page)
    scale = drag_rect_to(page, QUERY.view.rect)
    answer, sent = answer_after(page, lambda: page.click("#ask"))
    assert np.allclose(sent["rect"], QUERY.view.rect, atol=3 / scale)
    assert "plane" not in sent  # a height that nobody knows is not made up
    found = answer["objects"][0]
    expect(page.locator("#category-name")).to_have_text(found["category"])
    expect(page.locator("#distance")).to_contain_text(f"{np.linalg.norm(found['box']['center']):.2f} m")
    expect(page.locator("#confidence")).to_have_text(f"{round(100 * found['confidence'])} %")
    expect(page.locator("#pose-said")).to_contain_text("away")
    assert accent_pixels(page) > before + 500
    assert accent_pixels(page, "#space canvas") > 100
    expect(page.locator("#warnings")).to_contain_text("plane: not given")


def test_a_chosen_file_brings_the_camera_that_it_tells_of(page):
    buffer, tags = io.BytesIO(), Image.Exif()
    tags.get_ifd(0x8769)[0xA405] = 26
    Image.fromarray(picture_of(QUERY)).save(buffer, "JPEG", exif=tags)
    file = {"name": "it's mine.jpg", "mimeType": "image/jpeg", "buffer": buffer.getvalue()}
    page.set_input_files("#file", files=[file])
    expect(page.locator("#camera-from")).to_contain_text("From EXIF: 26 mm")
    _, sent = answer_after(page, lambda: page.click("#ask"))
    assert sent["camera"]["fx"] == pytest.approx(26 / np.hypot(36, 24) * np.hypot(480, 640), rel=1e-5)
    expect(page.locator("#curl")).to_contain_text(r"'image=@it'\''s mine.jpg'")


def test_a_sample_brings_everything_with_it(page):
    answer, sent = answer_after(page, lambda: page.click("#samples button:has-text('red')"))
    frame = standing_frame(azimuth=0.45, category="cup")
    expected = {name: json.loads(text) for name, text in query_fields(frame).items() if name != "rect"}
    assert np.allclose(sent["rect"], frame.view.rect, atol=1e-3)
    assert sent["camera"] == pytest.approx(expected["camera"])
    plane = sent["plane"]
    assert np.allclose(plane["normal"], expected["plane"]["normal"], atol=1e-6)
    assert np.allclose(plane["point"], expected["plane"]["point"], atol=1e-6)
    assert answer["objects"][0]["category"] == "cup"
    expect(page.locator("#pose-neighbors li")).to_have_count(12)
    expect(page.locator("#pose-neighbors .box-edge")).to_have_count(12)  # each with its own box
    expect(page.locator("#pose-matches")).to_contain_text("known")
    expect(page.locator("#timing")).to_contain_text("embed")


def test_as_many_neighbours_are_asked_for_as_the_page_says(page):
    """Without ``k`` the service takes its own number; the index has fewer frames."""
    field = page.locator("#k")
    expect(field).to_have_value(str(DEFAULT_K))
    for number in (10, DEFAULT_K):
        answer, sent = answer_after(page, lambda number=number: (field.fill(str(number)), field.blur()))
        assert int(sent.get("k", DEFAULT_K)) == number
        assert len(answer["objects"][0]["neighbors"]) == min(number, 12)


def test_a_change_is_asked_by_itself(page):
    place = page.locator(".rect").bounding_box()
    middle = (place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    _, sent = answer_after(page, lambda: drag(page, middle, (middle[0] + 30, middle[1] - 20)))
    scale = page.locator("#picture").bounding_box()["width"] / 480
    before = standing_frame(azimuth=0.45).view.rect
    assert np.allclose(np.subtract(sent["rect"], before), np.array([30, -20, 30, -20]) / scale, atol=0.2)


def test_the_ground_follows_the_pointer(page):
    page.click("[data-use=ground]")
    place = page.locator("#picture").bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + 0.75 * place["height"]
    before = float(page.locator("#pitch").input_value())
    _, sent = answer_after(page, lambda: drag(page, (x, y), (x, y - 40)))  # the ground moves up: it is seen from higher
    pitch = float(page.locator("#pitch").input_value())
    assert pitch > before + 2
    assert -sent["plane"]["normal"][2] == pytest.approx(np.sin(np.radians(pitch)), abs=2e-3)
    with page.expect_response("**/pose") as answered:
        page.mouse.wheel(0, -200)
    assert answered.value.status in (200, 422)


def test_without_a_mouse(page):
    page.keyboard.press("Tab")
    expect(page.locator("#tab-pose")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-reid")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.locator("#tab-pose")).to_have_attribute("aria-selected", "true")
    rect = page.locator(".rect")
    while not rect.evaluate("(element) => element === document.activeElement"):
        assert page.evaluate("document.activeElement.tagName") != "BODY"
        page.keyboard.press("Tab")
    before = standing_frame(azimuth=0.45).view.rect
    _, moved = answer_after(page, lambda: page.keyboard.press("ArrowRight"))
    _, resized = answer_after(page, lambda: page.keyboard.press("Shift+ArrowDown"))
    assert np.allclose(np.subtract(moved["rect"], before), [5, 0, 5, 0], atol=0.1)
    assert np.allclose(np.subtract(resized["rect"], moved["rect"]), [0, 0, 0, 5], atol=0.1)
    expect(rect).to_have_attribute("aria-label", re.compile(r"^Rectangle, left \d+, top \d+"))
    page.focus("#height")
    _, higher = answer_after(page, lambda: page.keyboard.press("ArrowUp"))
    assert np.linalg.norm(higher["plane"]["point"]) > np.linalg.norm(resized["plane"]["point"])


def test_a_refusal_is_shown_at_its_field(browser, url):
    with open_page(browser, url, expected=("/pose",)) as page:
        expect(page.locator("#pose-found")).to_be_visible()
        page.fill("#x1", "9999")
        page.keyboard.press("Tab")
        expect(page.locator("#problem-rect")).to_contain_text("within the picture")
        expect(page.locator("#x1")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#pose-found")).to_be_hidden()
        page.fill("#x1", "300")
        page.keyboard.press("Tab")
        expect(page.locator("#problem-rect")).to_be_hidden()
        page.fill("#k", "0")
        page.keyboard.press("Tab")
        expect(page.locator("#problem-k")).to_contain_text("greater than or equal to 1")
        drop(page, b"not a picture", "notes.txt", "text/plain")
        expect(page.locator("#problem-image")).to_contain_text("notes.txt is not a picture")


def test_re_identification_and_on_from_neighbour_to_neighbour(page):
    page.click("#tab-reid")
    answer_after(page, lambda: page.click("#ask"), "/neighbors")
    expect(page.locator("#verdict")).to_have_text("This is shoe-1.")
    first = page.locator("#reid-neighbors button").first
    frame = re.search("Frame (.*): ask", first.get_attribute("title"))[1]
    with page.expect_response(lambda response: "/neighbors?frame=" in response.url) as got:
        first.click()
    again = page.request.get(got.value.url).json()  # the browser may have dropped the body of what the page has read
    assert {neighbor["frame"] for neighbor in again["neighbors"]}.isdisjoint({frame})
    expect(page.locator("#neighbors-of")).to_have_text(f"Neighbours of {frame}")
    page.click("#back")
    expect(page.locator("#neighbors-of")).to_have_text("Neighbours")


def test_enrolment_is_not_offered_where_there_is_none(browser, url):
    missing = {re.compile("/objects"): lambda route: route.fulfill(status=404, json={"title": "Not Found"})}
    with open_page(browser, url, expected=NO_ENROLMENT, routes=missing) as page:
        expect(page.locator("#pose-found")).to_be_visible()
        with page.expect_response("**/objects?*"):
            page.click("#tab-reid")
        expect(page.locator("#reid-found")).to_be_visible()
        expect(page.locator("#enrolment")).to_be_hidden()


def test_a_view_is_enrolled_found_and_deleted(browser, url):
    if httpx2.get(f"{url}objects").status_code == 404:
        pytest.skip("this service enrols nothing")
    with open_page(browser, url) as page:
        expect(page.locator("#pose-found")).to_be_visible()
        page.click("#tab-reid")
        page.fill("#object", "boots/7")
        page.click("#enrol button")
        expect(page.locator("#enrolled")).to_have_text("This view of boots/7 is enrolled.")
        expect(page.locator("#objects")).to_contain_text("boots/7")
        answer_after(page, lambda: page.click("#ask"), "/neighbors")
        expect(page.locator("#verdict")).to_have_text("This is boots/7.")
        page.click("[aria-label='Delete boots/7']")
        expect(page.locator("#objects")).to_contain_text("None yet")


def test_enrolment_where_the_service_has_it(browser, url):
    objects: list[dict] = []
    asked = []

    def answer(route, request):
        asked.append(request)
        if request.method == "POST":
            objects.append({"object": "mug-17", "category": "cup", "frames": 1, "enrolled": 1})
            return route.fulfill(status=201, json={})
        if request.method == "DELETE":
            objects.clear()
            return route.fulfill(status=204)
        indexed = {"object": "shoe-1", "category": "shoe", "frames": 4, "enrolled": 0}
        return route.fulfill(json={"objects": [*objects, indexed], "next": None})

    with open_page(browser, url, routes={re.compile("/objects"): answer}) as page:
        expect(page.locator("#pose-found")).to_be_visible()
        page.click("#tab-reid")
        expect(page.locator("#objects")).to_contain_text("None yet")
        page.fill("#object", "mug-17")
        page.click("#enrol button")
        expect(page.locator("#objects")).to_contain_text("mug-17")
        post = next(request for request in asked if request.method == "POST")
        assert post.url.endswith("/objects/mug-17/frames")
        assert len(post.headers["idempotency-key"]) == 32
        assert fields_of(page, "/frames").keys() == {"rect", "camera", "plane", "box"}
        page.click("text=Delete")
        expect(page.locator("#objects")).to_contain_text("None yet")


def test_a_key_is_asked_for_and_sent_with_everything(browser, url):
    def guard(route, request):
        if request.headers.get("authorization") == "Bearer s3cret":
            return route.continue_()
        return route.fulfill(status=401, json={"title": "Unauthorized", "detail": "no API key"})

    guarded = re.compile(r":\d+/(index|samples|pose|frames)\b")
    with open_page(browser, url, expected=("/index", "/samples"), routes={guarded: guard}) as page:
        expect(page.locator("#key-said")).to_have_text("This service asks for an API key.")
        page.fill("#key", "s3cret")
        page.click("#key-form button")
        expect(page.locator("#pose-found")).to_be_visible()
        expect(page.locator("#key-form")).to_be_hidden()
        expect(page.locator("#pose-neighbors image").first).to_have_attribute("href", re.compile("^blob:"))
        expect(page.locator("#curl")).to_contain_text("Authorization: Bearer $NEARPOSE_KEY")


def test_the_map_of_the_index(page):
    page.click("#tab-index")
    expect(page.locator("#index-facts")).to_contain_text("12")
    expect(page.locator("#index-categories li")).to_have_count(3)
    expect(page.locator("#map-method")).to_have_text("Principal components")
    page.focus("#map")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#map-neighbors li")).to_have_count(11)
    expect(page.locator("#map-said")).to_contain_text("neighbours of frame v1/")
    page.keyboard.press("0")
    page.click("text=Time in the video")
    expect(page.locator("[data-colour=time]")).to_have_attribute("aria-pressed", "true")
    hovered = hover_a_point(page)
    expect(page.locator("#tip")).to_contain_text(hovered)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#map-neighbors-title")).to_have_text(f"Neighbours of {hovered}")


def hover_a_point(page: Page) -> str:
    """Puts the mouse on the first frame of the map; returns its id."""
    shown = page.evaluate("fetch('index/map').then((response) => response.json())")
    place = page.locator("#map").bounding_box()
    side = min(place["width"], place["height"]) - 48
    x, y = (side * (shown[axis][0] / shown["grid"] - 0.5) for axis in "xy")
    page.mouse.move(place["x"] + place["width"] / 2 + x, place["y"] + place["height"] / 2 + y)
    return shown["frame"][0]


def test_the_page_waits_for_an_index(browser, tmp_path):
    with serving(tmp_path / "index") as client, open_page(browser, f"{client.base_url}/", expected=("/index",)) as page:
        expect(page.locator("#state")).to_have_text("No index is loaded")
        build_index(tmp_path / "index")
        expect(page.locator("#state")).to_contain_text("12 frames of 3 objects")
        expect(page.locator("#ask")).to_be_disabled()
