"""What annotating costs, and what comes of it: a scripted browser does what a person would.

    python -m benchmarks.annotate clicks --index runs/demo/index      # boxes drawn, and drafts accepted or corrected
    python -m benchmarks.annotate temple                              # from pictures alone to poses of views left out

Both drive the real page in a headless Chromium against ``python -m service annotate``. The script knows the true box
and clicks where its corners are seen, beside them by a normal error of ``ERROR_PX`` pixels of the screen in x and y:
no person took part. Clicks are presses of the button, drags included; ``seconds_by_klm`` adds up what people are found
to take for such steps (keystroke-level model, Card, Moran and Newell 1980: 1.35 s to think, 1.1 s to point, 0.2 s to
click, 0.28 s a key), ``seconds_scripted`` is what the machine took: page, server and index.

``clicks``: objects that the index has not seen, of categories that it knows, rendered, one capture each; by hand, and
with the index's draft, which is accepted where it overlaps the truth by more than ``GOOD`` and else corrected by
dragging two corners of its base and its top. ``temple``: templeRing's 47 photographs without their poses, by structure
from motion; the ground, a guess, brought below the object, the box drawn and accepted with the mouse; every third view
indexed with it, the others asked, and compared with the data set's own box. Needs the data set in ``../shared/data``
and pycolmap.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from playwright.sync_api import Page, expect

from benchmarks.importers import alignment, asked
from index.iou import iou_3d
from index.schema import Array, Box, Camera
from tests import recordings
from tests.annotate_page import AnnotateServer, Annotator, Ground, document_box, saved_box, world_box, write_capture
from tests.browser import chromium, open_page
from tests.real_captures import SHARED, TEMPLE_BOX
from tests.recordings import Filmed
from trainer.import_capture import import_capture
from trainer.importers import ImportConfig

ERROR_PX = 2.0
GOOD = 0.75
OBJECTS = (("shoe", 21), ("chair", 22), ("cup", 23), ("book", 24), ("bike", 25), ("camera", 26))
FRAMES = 16
DRAFT_S = 120
Way = Callable[[Page, Annotator, Box, str], None]
_THINK, _POINT, _CLICK, _KEY = 1.35, 1.1, 0.2, 0.28


def _overlap(box: Box, other: Box) -> float:
    return float(iou_3d(box.corners[None], other.corners[None])[0])


def _done(page: Page, hand: Annotator, category: str) -> None:
    """Says what it is, where that is not known yet, and accepts."""
    field = page.locator("#category")
    if field.is_visible() and not field.input_value():
        hand.press("#category")
        hand.type(category)
    hand.press("#accept")
    expect(page.locator("#accept")).to_have_text("Accepted")
    expect(page.locator("#saving")).to_have_text("Saved")


def by_hand(page: Page, hand: Annotator, truth: Box, category: str) -> None:
    hand.look(hand.front_frame(truth))
    hand.draw(truth)
    _done(page, hand, category)


def with_a_draft(page: Page, hand: Annotator, truth: Box, category: str) -> None:
    hand.look(hand.whole_frame(truth))
    with page.expect_response("**/draft?*", timeout=1000 * DRAFT_S) as got:
        hand.press("#propose")
    if not got.value.ok:
        by_hand(page, hand, truth, category)
        return
    hand.draft = _overlap(Box(**got.value.json()["box"]), truth)
    expect(page.locator("#dismiss")).to_be_visible()
    if hand.draft < GOOD:
        hand.correct(truth, _level(truth))
    _done(page, hand, category)


def _annotated(
    url: str, capture: Path, camera: Camera, poses: Array, do: Callable[[Page, Annotator], None]
) -> dict[str, Any]:
    """Opens the page on a capture, lets ``do`` annotate it, and counts."""
    expected = tuple(f"/draft?frame={k}" for k in range(len(poses)))  # no draft is an answer, too
    with chromium() as browser, open_page(browser, f"{url}/annotate#{capture.name}", expected=expected) as page:
        expect(page.locator("#saving")).to_have_text("Saved")
        page.wait_for_function("document.querySelector('#stage canvas').width > 300")
        hand = Annotator(page, camera, poses, error_px=ERROR_PX, seed=0)
        start = time.perf_counter()
        do(page, hand)
        seconds = time.perf_counter() - start
    model = hand.steps * _THINK + hand.clicks * (_POINT + _CLICK) + hand.keys * _KEY
    told = {
        "clicks": hand.clicks,
        "keys": hand.keys,
        "seconds_by_klm": round(model, 1),
        "seconds_scripted": round(seconds, 1),
    }
    return told | ({"draft_iou": round(hand.draft, 3)} if hand.draft is not None else {})


def clicks(index: Path) -> dict[str, Any]:
    """By hand and with drafts: clicks, seconds and 3D IoU with the truth, object by object and on average."""
    ways = {"by_hand": by_hand, "with_a_draft": with_a_draft}
    with TemporaryDirectory() as name:
        root = Path(name)
        films = {category: recordings.film(category, FRAMES, seed, height=640) for category, seed in OBJECTS}
        for category, filmed in films.items():
            for way in ways:
                write_capture(root / f"{category}-{way}", filmed)
        with AnnotateServer(root, "--index", str(index)) as server:
            server.wait_for_drafts(f"{OBJECTS[0][0]}-by_hand")
            result = {
                way: [
                    _told(server.url, root / f"{category}-{way}", films[category], category, do) for category in films
                ]
                for way, do in ways.items()
            }
    return {way: {"mean": _mean(rows), "captures": rows} for way, rows in result.items()}


def _told(url: str, capture: Path, filmed: Filmed, category: str, do: Way) -> dict[str, Any]:
    truth, poses = world_box(filmed), filmed.world_from_camera
    counted = _annotated(url, capture, filmed.camera, poses, lambda page, hand: do(page, hand, truth, category))
    return {"category": category, "iou": round(_overlap(saved_box(capture), truth), 3)} | counted


def _mean(rows: list[dict[str, Any]]) -> dict[str, float]:
    names = ("clicks", "keys", "seconds_by_klm", "seconds_scripted", "iou", "draft_iou")
    known = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: round(float(np.mean(values)), 3) for name, values in known.items() if values}


def temple(work: Path) -> dict[str, Any]:
    """Seconds of the import, clicks of the box, its IoU with the data set's, and how well other views are answered.

    What is imported stays in ``work``, and is not imported again.
    """
    source = SHARED / "middlebury" / "templeRing"
    photos = work / "photos"
    if not photos.is_dir():
        photos.mkdir(parents=True)
        for picture in source.glob("*.png"):
            shutil.copy(picture, photos)
    calibrated, _ = _imported(source, work / "calibrated")
    capture, seconds = _imported(photos, work / "found")
    (truth, _), (found, camera) = _poses(calibrated), _poses(capture)
    result: dict[str, Any] = {"pictures": len(truth), "registered": len(found), "seconds_import": seconds}
    if len(found) < len(truth):
        return result
    box = _carried(alignment(found, truth))
    with AnnotateServer(capture.parent) as server:
        result |= _annotated(server.url, capture, camera, found, lambda page, hand: _temple(page, hand, box, capture))
    drawn = json.loads((capture / "capture.json").read_text())
    known = drawn | {"objects": [drawn["objects"][0] | {"box": document_box(box)}]}
    with TemporaryDirectory() as name:
        views = asked(Path(name), capture, drawn, known)
    return result | {"iou_of_the_box": round(_overlap(saved_box(capture), box), 3), "views_left_out": views}


def _imported(source: Path, out: Path) -> tuple[Path, int]:
    """The capture of that source without annotations, and the seconds that its import took."""
    capture, as_imported, took = out / "temple", out / "as_imported.json", out / "seconds.json"
    if not took.is_file():
        start = time.perf_counter()
        import_capture(source, out, ImportConfig(name=capture.name, threads=1))
        seconds = time.perf_counter() - start
        shutil.copy(capture / "capture.json", as_imported)
        took.write_text(json.dumps(round(seconds)))
    shutil.copy(as_imported, capture / "capture.json")
    return capture, json.loads(took.read_text())


def _poses(capture: Path) -> tuple[Array, Camera]:
    """world_from_camera (n, 4, 4), and the first frame's camera."""
    document = json.loads((capture / "capture.json").read_text())
    camera = document.get("camera") or document["frames"][0]["camera"]
    return np.array([frame["world_from_camera"] for frame in document["frames"]]), Camera(**camera)


def _temple(page: Page, hand: Annotator, truth: Box, capture: Path) -> None:
    """The ground, a guess, brought below the object; drawn in one view, put right a quarter of a round on."""

    def ground() -> Ground:
        expect(page.locator("#saving")).to_have_text("Saved")
        return Ground.of(json.loads((capture / "capture.json").read_text())["plane"])

    hand.look(hand.front_frame(truth))
    hand.level(truth, ground)
    hand.draw(truth)
    hand.fit(truth, ground())
    _done(page, hand, "temple")


def _level(box: Box) -> Ground:
    """The ground below a box that stands upright in the world."""
    return Ground.of({"normal": [0, 1, 0], "point": [0, float(box.corners[:, 1].min()), 0]})


def _carried(world_from_found: tuple[float, Array, Array]) -> Box:
    """The data set's box in the world that was found."""
    scale, rotation, shift = world_from_found
    center = rotation.T @ (TEMPLE_BOX.mean(axis=0) - shift) / scale
    return Box(rotation.T, center, (TEMPLE_BOX[1] - TEMPLE_BOX[0]) / scale)


def main() -> None:
    """Runs one of the two and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("clicks", "temple"))
    parser.add_argument("--index", type=Path, default=Path("runs/demo/index"), help="for clicks: what proposes")
    parser.add_argument("--work", type=Path, default=Path("runs/temple"), help="for temple: where its imports stay")
    arguments = parser.parse_args()
    found = clicks(arguments.index) if arguments.name == "clicks" else temple(arguments.work)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
