"""The page for everyone: accessibility by axe-core, at both sizes and in both colour schemes; the offline API docs."""

from __future__ import annotations

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import DESKTOP, PHONE, chromium, open_page
from tests.scenes import standing_frame
from tests.service_fixtures import build_index, encoded, picture_of, query_fields
from tests.test_service_server import serving

_TWENTY_FRAMES = """new Promise((done) => {
    let left = 20;
    const step = () => (--left ? requestAnimationFrame(step) : done());
    step();
})"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    build_index(root / "index")
    sample, frame = root / "sample", standing_frame(azimuth=0.45, category="shoe")
    sample.mkdir()
    (sample / "image.jpg").write_bytes(encoded(picture_of(frame)))
    fields = query_fields(frame)
    (sample / "fields.json").write_text(
        json.dumps({name: json.loads(fields[name]) for name in ("camera", "plane")} | {"rect": frame.view.rect})
    )
    with serving(root / "index", samples=sample) as client:
        yield f"{client.base_url}/"


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


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
        expect(page.locator("#map-neighbors li")).to_have_count(10)
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
