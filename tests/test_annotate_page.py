"""The annotation page in a real browser: a box drawn with the mouse, corrected, accepted, and never lost."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import shutil
import threading
from urllib.parse import parse_qs, urlsplit

import httpx2
import numpy as np
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from index.findings import Finding, write_findings
from index.iou import iou_3d
from index.schema import Box, Plane
from service.annotate.app import create_annotate_app
from service.settings import AnnotateSettings
from tests.annotate_page import (
    AnnotateServer,
    Annotator,
    Ground,
    capture_of,
    document_box,
    saved_box,
    world_box,
    write_capture,
)
from tests.browser import DESKTOP, PHONE, open_page
from tests.recordings import film
from tests.service_fixtures import wait_until
from tests.test_page_access import violations

SHOE = film("shoe", frames=8, height=320)
TRUTH = world_box(SHOE)


@contextlib.contextmanager
def annotating(captures):
    """A server in a thread; its URL."""
    server = uvicorn.Server(
        uvicorn.Config(create_annotate_app(AnnotateSettings(captures=captures)), port=0, log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("film") / "shoe", SHOE)


@pytest.fixture
def captures(tmp_path, pictures):
    """A folder with the capture ``shoe``, nothing annotated."""
    shutil.copytree(pictures, tmp_path / "captures" / "shoe")
    return tmp_path / "captures"


@pytest.fixture
def url(captures):
    with annotating(captures) as address:
        yield address


@pytest.fixture
def page(browser, url):
    with open_page(browser, f"{url}/annotate#shoe") as opened:
        yield ready(opened)


def ready(page: Page) -> Page:
    expect(page.locator("#saving")).to_have_text("Saved")
    page.wait_for_function("document.querySelector('#stage canvas').width > 300")
    return page


def annotator(page: Page, **options) -> Annotator:
    return Annotator(page, SHOE.camera, SHOE.world_from_camera, **options)


def drawn(page: Page, **options) -> Annotator:
    """Draws the true box in the frame that sees its front best."""
    hand = annotator(page, **options)
    hand.show(hand.front_frame(TRUTH))
    hand.draw(TRUTH)
    return hand


def saved(page: Page) -> None:
    expect(page.locator("#saving")).to_have_text("Saved")
    page.wait_for_timeout(400)  # changes are sent 300 ms after the last
    expect(page.locator("#saving")).to_have_text("Saved")


def overlap(box: Box, other: Box = TRUTH) -> float:
    return float(iou_3d(box.corners[None], other.corners[None])[0])


def document(captures) -> dict:
    return json.loads((captures / "shoe" / "capture.json").read_text())


def stored(url: str) -> dict:
    return httpx2.get(f"{url}/annotate/captures/shoe", trust_env=False).json()


def put(url: str, objects: list[dict]) -> None:
    """Someone else saves."""
    present = stored(url)
    headers = {"If-Match": f'"{present["revision"]}"'}
    body = {"plane": present["plane"], "objects": objects}
    answer = httpx2.put(f"{url}/annotate/captures/shoe", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text


def test_from_opening_to_an_accepted_box(page, captures):
    expect(page.locator("#captures")).to_contain_text("no box")
    hand = drawn(page, error_px=1.5)
    saved(page)
    assert overlap(saved_box(captures / "shoe")) > 0.8
    assert document(captures)["objects"][0]["accepted"] is False
    assert hand.clicks == 5
    page.click("#accept")  # what is it?
    expect(page.locator("#category")).to_be_focused()
    expect(page.locator("#name-needed")).to_be_visible()
    page.keyboard.type("shoe")
    page.keyboard.press("Tab")
    page.click("#accept")
    expect(page.locator("#accept")).to_have_text("Accepted")
    expect(page.locator("#captures")).to_contain_text("accepted")
    saved(page)
    item = document(captures)["objects"][0]
    assert (item["category"], item["accepted"]) == ("shoe", True)
    assert document(captures)["frames"] == capture_of(SHOE)["frames"]  # all else stays


def test_undo_redo_and_a_reload(page, captures):
    drawn(page)
    saved(page)
    first = saved_box(captures / "shoe")
    page.fill("#height", "0.3")
    page.keyboard.press("Tab")
    saved(page)
    assert saved_box(captures / "shoe").size[1] == pytest.approx(0.3)
    assert saved_box(captures / "shoe").corners[:, 1].min() == pytest.approx(SHOE.ground, abs=1e-6)  # it still stands
    page.keyboard.press("Control+z")
    saved(page)
    assert np.allclose(saved_box(captures / "shoe").corners, first.corners)
    page.click("#undo")
    saved(page)
    assert document(captures)["objects"] == []
    page.click("#redo")
    saved(page)
    page.reload()
    ready(page)
    expect(page.locator("#objects")).to_contain_text("to accept")
    expect(page.locator("#undo")).to_be_disabled()
    assert float(page.locator("#depth").input_value()) == pytest.approx(first.size[2], abs=1e-4)


def test_handles_bring_a_wrong_box_right(page, captures):
    wrong = Box(TRUTH.rotation, TRUTH.center + TRUTH.rotation @ [0.04, 0, 0.03], TRUTH.size * [1.3, 1, 0.8])
    hand = annotator(page)
    hand.show(hand.front_frame(TRUTH))
    hand.draw(wrong)
    saved(page)
    assert overlap(saved_box(captures / "shoe")) < 0.6
    hand.drag(wrong.corners[1], TRUTH.corners[1])  # two opposite corners of the base
    hand.drag(wrong.corners[4], TRUTH.corners[4])
    saved(page)
    assert overlap(saved_box(captures / "shoe")) > 0.9


def test_the_box_follows_a_drag_and_turns(page, captures):
    drawn(page)
    saved(page)
    before = saved_box(captures / "shoe")
    hand = annotator(page)
    hand.frame = hand.front_frame(TRUTH)
    foot = before.center - [0, before.size[1] / 2, 0]
    step = before.rotation @ [0.05, 0, 0]
    inside = foot + before.rotation @ (before.size * [0.2, 0, 0.2])
    hand.drag(inside, inside + step)
    saved(page)
    moved = saved_box(captures / "shoe")
    assert moved.size == pytest.approx(before.size)
    assert (moved.center - before.center)[1] == pytest.approx(0, abs=1e-9)
    assert np.linalg.norm(moved.center - before.center) == pytest.approx(0.05, rel=0.25)
    page.fill("#yaw", "17")
    page.keyboard.press("Enter")
    saved(page)
    front = saved_box(captures / "shoe").rotation[:, 2]
    assert np.degrees(np.arctan2(front[0], front[2])) == pytest.approx(17, abs=1e-6)


def test_without_a_mouse(page, captures):
    page.focus("#stage canvas")
    page.keyboard.press("n")
    page.keyboard.press("Enter")  # a box to begin with
    saved(page)
    start = saved_box(captures / "shoe")
    assert start.corners[:, 1].min() == pytest.approx(SHOE.ground, abs=1e-6)
    for key in ("w", "Shift+d", "ArrowRight", "e", "."):
        page.keyboard.press(key)
    saved(page)
    box = saved_box(captures / "shoe")
    assert box.size[1] > start.size[1]
    assert 0 < box.size[0] - start.size[0] < 0.2 * (box.size[1] - start.size[1])  # ten times finer
    assert np.trace(start.rotation.T @ box.rotation) == pytest.approx(1 + 2 * np.cos(np.radians(5)))
    expect(page.locator("#scrub")).to_have_value("1")
    expect(page.locator("#stage canvas")).to_have_attribute("aria-label", re.compile("^Frame 2 of 8. shoe: 0"))
    page.keyboard.press("t")
    saved(page)
    assert saved_box(captures / "shoe").size[0] == pytest.approx(box.size[2])


def test_a_capture_that_someone_else_saved_is_a_conflict(browser, url, captures):
    other = {"id": "theirs", "category": "shoe", "accepted": True, "box": document_box(TRUTH)}
    with open_page(browser, f"{url}/annotate#shoe", expected=("/captures/shoe",)) as page:
        ready(page)
        put(url, [other])
        drawn(page)
        dialog = page.locator("#conflict")
        expect(dialog).to_be_visible()
        expect(dialog.locator("[data-state=theirs]")).to_contain_text("theirs")
        assert Axe().run(page).response["violations"] == []
        assert [item["id"] for item in document(captures)["objects"]] == ["theirs"]  # nothing was overwritten
        page.keyboard.press("Escape")
        expect(dialog).to_be_visible()  # one has to be chosen
        page.click("[data-keep=theirs]")
        saved(page)
        expect(page.locator("#objects")).to_contain_text("theirs")
        page.click("#undo")
        saved(page)
        assert [item["id"] for item in document(captures)["objects"]] == ["shoe"]
        put(url, [other, other | {"id": "another"}])
        page.fill("#width", "0.2")
        page.keyboard.press("Tab")
        expect(dialog.locator("[data-state=theirs]")).to_contain_text("another")
        page.click("[data-keep=mine]")
        saved(page)
        assert [item["id"] for item in document(captures)["objects"]] == ["shoe"]
        assert saved_box(captures / "shoe").size[0] == pytest.approx(0.2)


def test_a_conflict_changes_no_other_capture_that_is_opened_meanwhile(browser, url, captures):
    shutil.copytree(captures / "shoe", captures / "boot")
    turn_and_leave = """() => {
        const yaw = document.querySelector("#yaw");
        yaw.value = "17";
        yaw.dispatchEvent(new Event("change", { bubbles: true }));
        document.querySelector("#captures [data-name=boot]").click();
    }"""
    with open_page(browser, f"{url}/annotate#shoe", expected=("/captures/shoe",)) as page:
        ready(page)
        drawn(page)
        saved(page)
        put(url, [{"id": "theirs", "category": "shoe", "accepted": True, "box": document_box(TRUTH)}])
        page.evaluate(turn_and_leave)
        expect(page.locator("#conflict")).to_be_visible()
        expect(page).to_have_title(re.compile("^boot"))
        page.click("[data-keep=theirs]")
        saved(page)
        expect(page.locator("#objects")).not_to_contain_text("theirs")
        assert json.loads((captures / "boot" / "capture.json").read_text())["objects"] == []
        assert [item["id"] for item in document(captures)["objects"]] == ["theirs"]


@pytest.fixture
def killable(captures):
    with AnnotateServer(captures) as server:
        yield server


def test_nothing_is_lost_when_the_server_dies(browser, killable, captures):
    gone = ("/captures/shoe", ".jpg?width=1280", ".jpg?width=320", ".jpg?width=96")
    with open_page(browser, f"{killable.url}/annotate#shoe", expected=gone) as page:
        ready(page)
        drawn(page)
        saved(page)
        confirmed = saved_box(captures / "shoe")
        killable.kill()
        assert np.allclose(saved_box(captures / "shoe").corners, confirmed.corners)
        page.fill("#depth", "0.31")
        page.keyboard.press("Tab")
        expect(page.locator("#saving")).to_contain_text("Not saved")
        killable.start()
        expect(page.locator("#saving")).to_have_text("Saved")  # by itself
        assert saved_box(captures / "shoe").size[2] == pytest.approx(0.31)
        killable.kill()
        page.fill("#depth", "0.32")
        page.keyboard.press("Tab")
        expect(page.locator("#saving")).to_contain_text("Not saved")
        context = page.context
        page.close()  # and the tab is closed
        killable.start()
        again = context.new_page()
        again.goto(f"{killable.url}/annotate#shoe")
        wait_until(lambda: saved_box(captures / "shoe").size[2] == 0.32, timeout_s=15)
        expect(again.locator("#depth")).to_have_value("0.32")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux only")
def test_two_tabs_of_a_browser_lose_nothing_of_each_other(browser, killable, captures):
    """Both hold changes that are not saved; one is reloaded, both are closed, and another one finds all of them."""
    with open_page(browser, f"{killable.url}/annotate#shoe", expected=("/captures/shoe",)) as first:
        drawn(ready(first))
        saved(first)
        second, third = first.context.new_page(), first.context.new_page()
        second.goto(f"{killable.url}/annotate#shoe")
        saved(second)
        resource.prlimit(killable.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # as on a full disk
        for page, depth in ((first, "0.31"), (second, "0.32")):
            page.fill("#depth", depth)
            page.keyboard.press("Tab")
            expect(page.locator("#saving")).to_contain_text("Not saved")
        first.reload()
        expect(first.locator("#depth")).to_have_value("0.31")  # not those of the page that is open
        first.close()
        second.close()
        third.wait_for_timeout(1000)  # what they have sent to the end is refused, too
        resource.prlimit(killable.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        third.goto(f"{killable.url}/annotate#shoe")
        expect(third.locator("#captures")).to_contain_text("unsaved")
        saved(third)
        one = saved_box(captures / "shoe").size[2]
        third.reload()
        third.click("[data-keep=mine]")
        saved(third)
        assert {one, saved_box(captures / "shoe").size[2]} == {0.31, 0.32}
        assert third.evaluate("Object.keys(localStorage)") == []


def test_a_lost_answer_is_no_conflict(browser, url, captures):
    """The server saved, but its answer did not arrive; meanwhile the work went on."""

    def lose(route, request):
        if request.method == "PUT" and not lost:
            route.fetch()
            lost.append(request)
            return route.abort()
        return route.continue_()

    lost: list = []
    routes = {re.compile(r"/captures/shoe$"): lose}
    with open_page(browser, f"{url}/annotate#shoe", expected=("/captures/shoe",), routes=routes) as page:
        ready(page)
        drawn(page)
        expect(page.locator("#saving")).to_contain_text("Not saved")
        page.fill("#depth", "0.3")
        page.keyboard.press("Tab")
        saved(page)
        assert saved_box(captures / "shoe").size[2] == pytest.approx(0.3)
        expect(page.locator("#conflict")).to_be_hidden()


def test_a_refusal_says_what_is_wrong(browser, url):
    with open_page(browser, f"{url}/annotate#shoe", expected=("/captures/shoe",)) as page:
        ready(page)
        drawn(page)
        page.click("#draw")
        hand = annotator(page)
        hand.frame = hand.front_frame(TRUTH)
        for corner in (1, 5, 4, 6):
            hand.click(TRUTH.corners[corner])
        page.fill("#id", "shoe")  # the first one's
        page.keyboard.press("Tab")
        expect(page.locator("#saving")).to_contain_text("objects[1].id")
        page.fill("#id", "another")
        page.keyboard.press("Tab")
        saved(page)


RECTS = tuple(f"{side}" for side in range(10))  # an address that ends in a rectangle
DRAFT = {"category": "shoe", "confidence": 0.87, "frames_used": [0, 3, 5], "neighbors": ["shoe-3"], "problem": None}


def test_a_draft_is_shown_accepted_or_dragged_right(browser, url, captures):
    answer = {"box": document_box(TRUTH), **DRAFT}
    routes = {re.compile("/draft"): lambda route: route.fulfill(json=answer)}
    with open_page(browser, f"{url}/annotate#shoe", routes=routes) as page:
        ready(page)
        page.focus("#stage canvas")
        page.keyboard.press("p")
        expect(page.locator("#proposed")).to_have_text("shoe, 87 % sure, from 3 frames; like shoe-3.")
        assert document(captures)["objects"] == []  # only shown
        page.keyboard.press("Enter")
        expect(page.locator("#accept")).to_have_text("Accepted")
        saved(page)
        assert overlap(saved_box(captures / "shoe")) > 0.999
        assert document(captures)["objects"][0]["accepted"] is True
        page.click("#undo")
        page.click("#propose")
        expect(page.locator("#dismiss")).to_be_visible()
        hand = annotator(page)
        hand.drag(TRUTH.corners[1], TRUTH.corners[1] + TRUTH.rotation @ [-0.03, 0, 0])
        saved(page)
        item = document(captures)["objects"][0]
        assert item["accepted"] is False
        assert item["box"]["size"][0] == pytest.approx(TRUTH.size[0] + 0.03, abs=0.006)


def test_no_index_no_draft_and_a_rectangle_asks_for_another(browser, url):
    with open_page(browser, f"{url}/annotate#shoe", expected=("/draft", *RECTS)) as page:
        ready(page)
        page.click("#propose")
        expect(page.locator("#proposed")).to_contain_text("without --index")
        place = page.locator("#stage canvas").bounding_box()
        scale = place["width"] / SHOE.camera.width
        page.mouse.move(place["x"] + 20 * scale, place["y"] + 30 * scale)
        page.mouse.down()
        page.mouse.move(place["x"] + 120 * scale, place["y"] + 230 * scale, steps=3)
        with page.expect_request("**/draft?*rect*") as asked:
            page.mouse.up()
        rect = [float(v) for v in parse_qs(urlsplit(asked.value.url).query)["rect"][0].split(",")]
        assert np.allclose(rect, [20, 30, 120, 230], atol=1)


def test_the_ground_is_placed_and_moved(page_without_ground, captures):
    page = page_without_ground
    page.click("#draw")
    expect(page.locator("#problem")).to_contain_text("place the ground")
    page.click("#place-ground")
    saved(page)
    plane = document(captures)["plane"]
    assert plane["normal"][1] > 0.8  # about against the cameras' up
    page.click("#ground-moves summary")
    page.click("[data-tilt=down]")
    saved(page)
    lower = document(captures)["plane"]
    along = np.subtract(lower["point"], plane["point"]) @ np.array(plane["normal"])
    assert along < 0
    assert lower["normal"] == pytest.approx(plane["normal"])
    page.click("[data-tilt=left]")
    saved(page)
    cosine = np.dot(document(captures)["plane"]["normal"], plane["normal"])
    assert np.degrees(np.arccos(cosine)) == pytest.approx(0.5, abs=0.05)


def test_where_the_ground_is_a_guess_the_bottom_can_be_dragged(browser, captures):
    content = capture_of(SHOE, plane_from="A GUESS: no plane is seen")
    (captures / "shoe" / "capture.json").write_text(json.dumps(content))
    lower = Box(TRUTH.rotation, TRUTH.center - [0, 0.02, 0], TRUTH.size + np.array([0, 0.04, 0]))
    with annotating(captures) as url, open_page(browser, f"{url}/annotate#shoe") as page:
        expect(page.locator("#ground-from")).to_have_class(re.compile("guess"))
        hand = drawn(ready(page))
        hand.show(hand.seeing(TRUTH, 0))
        hand.drag_face("bottom", lower, Ground.of(content["plane"]))
        saved(page)
        box = saved_box(captures / "shoe")
        assert box.corners[:, 1].min() == pytest.approx(SHOE.ground - 0.04, abs=0.005)
        assert box.corners[:, 1].max() == pytest.approx(TRUTH.corners[:, 1].max(), abs=0.005)  # the top stays
        page.click("#ground-moves summary")
        page.click("[data-tilt=up]")
        expect(page.locator("#ground-from")).to_have_text("Set by hand.")
        saved(page)
        assert document(captures)["plane_from"] == "drawn by a person"
        page.click("#undo")
        saved(page)
        assert document(captures)["plane_from"] == "A GUESS: no plane is seen"
        expect(page.locator("#ground-from")).to_have_class(re.compile("guess"))
        page.click("#redo")
        saved(page)
        page.reload()
        ready(page).click("#earlier summary")
        page.click("#states button >> nth=0")  # as it was before the ground was moved again
        expect(page.locator("#ground-from")).to_have_class(re.compile("guess"))
        saved(page)
        assert document(captures)["plane_from"] == "A GUESS: no plane is seen"


def test_a_guessed_ground_that_is_right_is_confirmed_and_moves_nothing(browser, captures):
    box = {"id": "shoe-1", "category": "shoe", "box": document_box(TRUTH)}
    content = capture_of(SHOE, plane_from="A GUESS: no plane is seen", objects=[box])
    (captures / "shoe" / "capture.json").write_text(json.dumps(content))
    with annotating(captures) as url, open_page(browser, f"{url}/annotate#shoe") as page:
        ready(page).click("#confirm-ground")
        saved(page)
        expect(page.locator("#ground-from")).to_have_text("Set by hand.")
        expect(page.locator("#confirm-ground")).to_be_hidden()
        page.reload()
        ready(page)
        expect(page.locator("#ground-from")).not_to_have_class(re.compile("guess"))
    kept = document(captures)
    assert kept["plane_from"] == "drawn by a person"
    assert kept["objects"][0] == box | {"accepted": True}
    normal = np.array(kept["plane"]["normal"])
    assert normal == pytest.approx(content["plane"]["normal"])
    assert normal @ np.subtract(kept["plane"]["point"], content["plane"]["point"]) == pytest.approx(0, abs=1e-9)


def test_a_browser_that_may_keep_nothing_saves_all_the_same(browser, captures):
    forbidden = """
        Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no') } });
        const no = () => Promise.reject(new DOMException('no', 'SecurityError'));
        Object.defineProperty(navigator, 'locks', { value: { query: no, request: no } });
    """
    write_capture(captures / "boot", SHOE)
    with annotating(captures) as url, open_page(browser, f"{url}/annotate#shoe", expected=("/captures/shoe",)) as page:
        page.add_init_script(forbidden)
        page.reload()
        drawn(ready(page))
        saved(page)
        page.route("**/annotate/captures/shoe", lambda route: route.abort() if is_put(route) else route.continue_())
        page.fill("#height", "0.3")
        page.keyboard.press("Tab")
        expect(page.locator("#saving")).to_have_attribute("data-state", "offline")
        for name in ("boot", "shoe"):  # what is not saved is still there after a look at another capture
            page.click(f"[data-name={name}]")
            expect(page.locator("#opened")).to_have_text(name)
        assert float(page.locator("#height").input_value()) == pytest.approx(0.3)
        page.unroute("**/annotate/captures/shoe")
        saved(page)
    assert saved_box(captures / "shoe").size[1] == pytest.approx(0.3)


def is_put(route) -> bool:
    return route.request.method == "PUT"


@pytest.fixture
def page_without_ground(browser, captures):
    content = capture_of(SHOE)
    del content["plane"], content["plane_from"]
    (captures / "shoe" / "capture.json").write_text(json.dumps(content))
    with annotating(captures) as url, open_page(browser, f"{url}/annotate#shoe") as page:
        yield ready(page)


def test_captures_that_cannot_be_drawn_in_say_so(browser, captures):
    content = capture_of(SHOE, objects=[{"id": "shoe", "category": "shoe"}])
    del content["plane"], content["plane_from"]
    for frame in content["frames"]:
        del frame["world_from_camera"]
        frame["rects"] = {"shoe": [10, 10, 200, 200]}
    (captures / "shoe" / "capture.json").write_text(json.dumps(content))
    (captures / "torn").mkdir()
    (captures / "torn" / "capture.json").write_text('{"objects": [')
    with annotating(captures) as url, open_page(browser, f"{url}/annotate") as page:
        ready(page)
        expect(page.locator("#captures .broken")).to_contain_text("torn")
        expect(page.locator("#unposed")).to_contain_text("no camera poses")
        expect(page.locator("#draw")).to_be_disabled()


def test_a_picture_that_is_missing_is_asked_for_once_and_hides_no_other(browser, captures):
    (captures / "shoe" / "0000.jpg").unlink()
    asked = []
    missing = tuple(f"/frames/0.jpg?width={width}" for width in (1280, 320, 96))
    with annotating(captures) as url, open_page(browser, f"{url}/annotate", expected=missing) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        expect(page.locator("#stage .empty")).to_contain_text("cannot be loaded")
        expect(page.locator("#opened")).to_have_text("shoe")
        page.wait_for_timeout(1000)
        assert len([place for place in asked if place.endswith(missing[0])]) == 1
        page.locator("#scrub").fill("1")
        expect(page.locator("#stage .empty")).to_have_text("")
        page.wait_for_function("document.querySelector('#stage canvas').width > 300")


def test_a_finding_goes_when_what_it_was_of_is_changed(browser, captures):
    drift = Finding(2, "box drift", "beside its rect", annotated=True)
    write_findings(captures / "shoe", [drift, Finding(3, "blurred", "sharpness 2")])
    with annotating(captures) as url, open_page(browser, f"{url}/annotate#shoe") as page:
        expect(ready(page).locator("#found li")).to_have_count(2)
        drawn(page)
        saved(page)
        expect(page.locator("#found li")).to_have_text(["Frame 4 blurred: sharpness 2"])


def test_several_objects_and_names_to_complete(page, captures):
    drawn(page)
    page.fill("#category", "shoe")
    page.keyboard.press("Tab")
    drawn(page)
    expect(page.locator("#objects li")).to_have_count(2)
    expect(page.locator("#category")).to_have_value("shoe")  # like the one before
    page.click("#objects li:first-child button")
    page.click("#accept")
    saved(page)
    assert [item["accepted"] for item in document(captures)["objects"]] == [True, False]
    expect(page.locator("#captures")).to_contain_text("1 of 2")
    page.reload()
    ready(page)
    options = page.locator("#categories option").evaluate_all("(options) => options.map((option) => option.value)")
    assert options == ["shoe"]


def test_earlier_states_can_be_brought_back(page, captures):
    drawn(page)
    saved(page)
    page.click("#remove")
    saved(page)
    assert document(captures)["objects"] == []
    page.click("#earlier summary")
    page.click("#states button >> nth=0")
    saved(page)
    assert overlap(saved_box(captures / "shoe")) > 0.8


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_axe_finds_nothing(browser, url, size, scheme):
    with open_page(browser, f"{url}/annotate#shoe", viewport=size, color_scheme=scheme) as page:
        ready(page)
        assert violations(page) == []
        drawn(page)
        for details in page.locator("details").all():
            details.evaluate("(element) => { element.open = true; }")
        assert violations(page) == []


def test_on_a_phone_with_a_finger(browser, url, captures):
    with open_page(browser, f"{url}/annotate#shoe", viewport=PHONE, has_touch=True, is_mobile=True) as page:
        ready(page)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        hand = annotator(page)
        hand.show(hand.front_frame(TRUTH))
        page.tap("#draw")
        for corner in (1, 5, 4, 6):
            page.touchscreen.tap(*hand.screen(TRUTH.corners[corner]))
        saved(page)
        assert overlap(saved_box(captures / "shoe")) > 0.8
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_two_fingers_zoom_and_place_nothing(browser, url, captures):
    with open_page(browser, f"{url}/annotate#shoe", viewport=PHONE, has_touch=True, is_mobile=True) as page:
        ready(page)
        page.tap("#draw")
        hint = page.locator("#hint").text_content()
        before = page.locator("#stage canvas").screenshot()
        place = page.locator("#stage canvas").bounding_box()
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        session = page.context.new_cdp_session(page)
        for kind, apart in (("touchStart", [0]), ("touchStart", [0, 40]), ("touchMove", [0, 120]), ("touchEnd", [])):
            points = [{"x": x, "y": y + by, "id": i} for i, by in enumerate(apart)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        expect(page.locator("#hint")).to_have_text(hint)
        page.wait_for_timeout(300)
        assert page.locator("#stage canvas").screenshot() != before
        page.tap("#draw")
        page.wait_for_timeout(600)
        assert document(captures)["objects"] == []


def test_the_pages_geometry_is_that_of_the_schema(page):
    """Corners, projection, the ground's meeting point, and the box from four points, in the browser and in Python."""
    pose, pixel = SHOE.world_from_camera[3], [100.0, 260.0]
    told = page.evaluate(
        """async ([box, frame, plane, pixel, base]) => {
            const at = (name) => import(new URL(`page/annotate/${name}.js`, document.baseURI));
            const [w, p] = [await at("world"), await at("projections")];
            const view = p.throughCamera(frame, 1);
            const ground = w.groundFrame(plane);
            const tilted = { normal: [0.05, 1, -0.1], point: [0.3, -1, 0.2] };
            const quarters = [1, 2, 3, 4].reduce((all) => [...all, w.quarterTurned(all.at(-1))], [box]);
            return {
                corners: w.cornersOf(box),
                pixels: w.cornersOf(box).map(view.point),
                foot: w.meets(view.ray(pixel), ground.origin, ground.y),
                drawn: w.boxOn(ground.y, w.baseOf(ground.y, ...base), box.size[1]),
                there: w.carried(box, plane, tilted),
                left: w.carried(box, plane, { normal: plane.normal, point: [1, plane.point[1], 2] }),
                quarters: quarters.map((turned) => [turned.size, w.cornersOf(turned)]),
                yaw: w.yawOf(w.turned(box, ground.y, 0.3), ground) - w.yawOf(box, ground),
            };
        }""",
        [
            document_box(TRUTH),
            {"camera": vars(SHOE.camera), "world_from_camera": pose.tolist()},
            {"normal": [0, 2, 0], "point": [5, SHOE.ground, 5]},
            pixel,
            TRUTH.corners[[1, 5, 4]].tolist(),
        ],
    )
    assert np.allclose(told["corners"], TRUTH.corners)
    assert np.allclose(told["pixels"], SHOE.camera.project(SHOE.box(3).corners))
    plane = Plane.from_point(pose[:3, :3].T @ [0, 1, 0], pose[:3, :3].T @ ([0, SHOE.ground, 0] - pose[:3, 3]))
    foot = pose[:3, :3] @ plane.intersect(SHOE.camera.rays(pixel)) + pose[:3, 3]
    assert np.allclose(told["foot"], foot)
    for name in ("drawn", "left"):
        assert np.allclose(Box(**told[name]).corners, TRUTH.corners), name
    tilted = np.array([0.05, 1, -0.1]) / np.linalg.norm([0.05, 1, -0.1])
    there = Box(**told["there"])
    assert there.rotation[:, 1] == pytest.approx(tilted)
    assert ((there.corners - [0.3, -1, 0.2]) @ tilted).min() == pytest.approx(0, abs=1e-9)  # it stands on the new plane
    for size, corners in told["quarters"]:
        assert sorted(map(tuple, np.round(corners, 9))) == sorted(map(tuple, np.round(TRUTH.corners, 9)))
        assert np.isclose(size[1], TRUTH.size[1])
    assert told["yaw"] == pytest.approx(0.3)
