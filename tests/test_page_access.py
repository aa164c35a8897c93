"""The page for everyone: axe-core at both sizes and in both colour schemes, a finger, geometry, the offline docs."""

from __future__ import annotations

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import DESKTOP, PHONE, answer_after, open_page
from tests.scenes import standing_frame
from tests.service_fixtures import build_index, wait_until, write_sample
from tests.test_service_server import is_ready, serving

_TWENTY_FRAMES = """new Promise((done) => {
    let left = 20;
    const step = () => (--left ? requestAnimationFrame(step) : done());
    step();
})"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    build_index(root / "index")
    sample = write_sample(root / "sample", standing_frame(azimuth=0.45, category="shoe"))
    with serving(root / "index", samples=sample) as client:
        wait_until(lambda: is_ready(client), timeout_s=200)  # the compiler may run first
        yield f"{client.base_url}/"


def violations(page: Page) -> list[str]:
    """What axe-core finds, of WCAG 2.2 A and AA and of good practice: rule and element."""
    response = Axe().run(page).response
    assert len(response["passes"]) > 20  # it did look
    return [f"{item['id']}: {node['html'][:160]}" for item in response["violations"] for node in item["nodes"]]


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_axe_finds_nothing(browser, url, size, scheme):
    with open_page(browser, url, expected=("/objects?limit=1000",), viewport=size, color_scheme=scheme) as page:
        expect(page.locator("#pose-found")).to_be_visible()
        page.evaluate("document.querySelector('#adjust').open = true")
        assert violations(page) == []
        page.click("#tab-reid")
        page.click("#ask")
        expect(page.locator("#reid-found")).to_be_visible()
        page.evaluate("document.querySelector('#enrolment').hidden = false")
        assert violations(page) == []
        page.click("#tab-index")
        expect(page.locator("#index-categories li")).to_have_count(3)
        page.focus("#map")
        page.keyboard.press("Enter")
        expect(page.locator("#map-neighbors li")).to_have_count(11)
        assert violations(page) == []


def test_every_control_has_a_name_and_can_be_reached(browser, url):
    with open_page(browser, url) as page:
        expect(page.locator("#pose-found")).to_be_visible()
        names = page.evaluate(
            """() => [...document.querySelectorAll("#pose input, #pose select, #pose button")]
                .filter((control) => control.offsetParent)
                .map((control) => [control.id, (control.labels?.[0]?.textContent || control.textContent).trim()])"""
        )
        assert len(names) > 20
        assert [control for control, name in names if not name] == []


def test_motion_stops_for_those_who_ask_for_it(browser, url):
    with open_page(browser, url, reduced_motion="reduce") as page:
        expect(page.locator("#pose-found")).to_be_visible()
        space = page.locator("#space canvas")
        page.wait_for_function("document.querySelector('#space canvas').width > 300")
        before = space.screenshot()
        page.evaluate(_TWENTY_FRAMES)
        assert space.screenshot() == before


def test_the_documentation_needs_no_other_host(browser, url):
    with open_page(browser, f"{url}docs") as page:
        expect(page.locator(".opblock-summary-path", has_text="/pose").first).to_be_visible()
        page.locator(".opblock", has_text="/healthz").locator("button.opblock-summary-control").click()
        page.click("text=Try it out")
        page.click("text=Execute")
        expect(page.locator(".responses-table.live-responses-table")).to_contain_text("alive")


def test_on_a_phone_with_a_finger(browser, url):
    with open_page(browser, url, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        expect(page.locator("#pose-found")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        page.tap("#tab-index")
        expect(page.locator("#index-facts")).to_contain_text("12")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        page.tap("#tab-pose")
        page.tap("#adjust summary")
        expect(page.locator("#pitch")).to_be_visible()
        before = page.locator(".rect").bounding_box()
        answer_after(page, lambda: swipe(page, before, 24, -16))
        after = page.locator(".rect").bounding_box()
        moved = [after[axis] - before[axis] for axis in "xy"]
        assert moved == pytest.approx([24, -16], abs=2)


def swipe(page: Page, place, dx: float, dy: float) -> None:
    """One finger, from the middle of ``place``."""
    session = page.context.new_cdp_session(page)
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    for kind, points in (("touchStart", [(x, y)]), ("touchMove", [(x + dx, y + dy)]), ("touchEnd", [])):
        touches = [{"x": px, "y": py} for px, py in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def test_the_pages_geometry_is_that_of_the_schema(browser, url):
    """Cameras, planes and faces of boxes, in the browser and in Python."""
    with open_page(browser, url) as page:
        expect(page.locator("#pose-found")).to_be_visible()
        _compare_geometry(page)


def _compare_geometry(page: Page) -> None:
    for azimuth, elevation, aside in ((0.3, 0.7, 0.0), (2.5, 0.2, -0.2), (-1.2, 1.2, 0.1)):
        frame = standing_frame(azimuth=azimuth, elevation=elevation, aside=aside)
        camera, plane = frame.view.posed()
        pixel = [100.0, 600.0]
        told = page.evaluate(
            """async ([camera, plane, corners, pixel]) => {
                const g = await import(new URL("page/geometry.js", document.baseURI));
                const ground = g.groundOf(plane);
                return {
                    ground,
                    plane: g.planeOf(ground),
                    pixels: corners.map((corner) => g.project(camera, corner)),
                    foot: g.onGround(camera, pixel, g.upOf(ground), ground.height),
                    faces: [...g.visibleFaces(corners)],
                };
            }""",
            [vars(camera), _plane_field(plane), frame.box.corners.tolist(), pixel],
        )
        assert told["ground"]["height"] == pytest.approx(plane.offset)
        assert np.radians(told["ground"]["pitch"]) == pytest.approx(elevation)
        assert np.allclose(told["plane"]["normal"], plane.normal)
        assert np.allclose(told["pixels"], camera.project(frame.box.corners))
        assert np.allclose(told["foot"], plane.intersect(camera.rays(pixel)))
        assert set(told["faces"]) == _faces_that_show(frame.box)


def _plane_field(plane) -> dict:
    return {"normal": (3 * plane.normal).tolist(), "point": (-plane.offset * plane.normal).tolist()}


def _faces_that_show(box) -> set[str]:
    """By the camera's place in the box's own axes."""
    eye = -box.rotation.T @ box.center
    sides = (("left", "right"), ("bottom", "top"), ("back", "front"))
    return {names[int(eye[axis] > 0)] for axis, names in enumerate(sides) if abs(eye[axis]) > box.size[axis] / 2}
