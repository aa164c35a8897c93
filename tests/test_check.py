"""A good capture made bad in every way that captures are: the check says so, and of the right frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from index.findings import Finding, read_findings
from tests import recordings
from tests.annotation import POSES
from tests.captures_scene import capture_document, draw, write_video
from trainer.captures.folder import CaptureFolder
from trainer.captures.shot import CaptureError
from trainer.check import check_capture, check_captures


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A capture of a walk with small steps, and its document."""
    filmed = recordings.film(height=320)
    folder = tmp_path_factory.mktemp("good")
    frames = []
    for k, picture in enumerate(filmed.pictures):
        recordings.save(folder / f"{k}.jpg", picture)
        x0, y0, x1, y1 = filmed.box(k).rect(filmed.camera)
        frames.append(
            {
                "image": f"{k}.jpg",
                "time_s": k / 5,
                "world_from_camera": filmed.world_from_camera[k].tolist(),
                "rects": {"shoe-1": [max(0, x0), max(0, y0), min(240, x1), min(320, y1)]},
            }
        )
    box = {"center": filmed.center.tolist(), "size": filmed.size.tolist(), "rotation": filmed.rotation.tolist()}
    document = {
        "axes": "opencv",
        "camera": {n: getattr(filmed.camera, n) for n in ("fx", "fy", "cx", "cy", "width", "height")},
        "plane": {"normal": [0, 1, 0], "point": [0, filmed.ground, 0]},
        "objects": [{"id": "shoe-1", "category": "shoe", "box": box}],
        "frames": frames,
    }
    return folder, document


def findings(
    good: tuple[Path, dict[str, Any]], tmp_path: Path, change: Callable[[dict, Path], object]
) -> list[Finding]:
    folder = tmp_path / "walk"
    folder.mkdir()
    for file in good[0].glob("*.jpg"):
        (folder / file.name).write_bytes(file.read_bytes())
    document = json.loads(json.dumps(good[1]))
    change(document, folder)
    (folder / "capture.json").write_text(json.dumps(document))
    return check_capture(folder)


def of(found: list[Finding], kind: str) -> list[int | None]:
    return [finding.frame for finding in found if finding.kind == kind]


def test_nothing_is_found_in_a_good_capture(good, tmp_path):
    assert findings(good, tmp_path, lambda document, folder: None) == []
    sheet = cv2.imread(str(tmp_path / "walk" / "check.jpg"))
    assert sheet.shape[0] > 300


def moved(frames: slice, by: np.ndarray) -> Callable[[dict, Path], None]:
    def change(document: dict[str, Any], _: Path) -> None:
        for frame in document["frames"][frames]:
            frame["world_from_camera"] = (by @ np.array(frame["world_from_camera"])).tolist()

    return change


def in_camera(frames: slice, by: np.ndarray) -> Callable[[dict, Path], None]:
    def change(document: dict[str, Any], _: Path) -> None:
        for frame in document["frames"][frames]:
            frame["world_from_camera"] = (np.array(frame["world_from_camera"]) @ by).tolist()

    return change


def rigid(axis: str = "y", degrees: float = 0.0, shift: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def test_a_loop_closure_jump_is_found_where_it_happens(good, tmp_path):
    found = findings(good, tmp_path, moved(slice(5, None), rigid("y", 25.0, (0.9, 0, 0.7))))
    assert of(found, "poses and pictures disagree") == [5]
    assert of(found, "pose jump") == [5]
    assert {*of(found, "box drift"), *of(found, "box")} == {5, 6, 7, 8, 9}


def test_mirrored_poses_are_found(good, tmp_path):
    found = findings(good, tmp_path, in_camera(slice(3, 5), np.diag([-1.0, 1, 1, 1])))
    assert of(found, "mirrored") == [3, 4]


def test_matrices_that_are_no_rotations_are_found(good, tmp_path):
    found = findings(good, tmp_path, in_camera(slice(2, 3), np.diag([1.1, 1.1, 1.1, 1])))
    assert of(found, "not valid") == [2, 2]  # in the file, and when it is used


def test_a_mirrored_world_does_not_fit_the_pictures(good, tmp_path):
    def change(document: dict[str, Any], _: Path) -> None:
        for frame in document[
            "frames"
        ]:  # both sides mirrored: every matrix is a rotation, as from a left-handed engine
            mirror = np.diag([-1.0, 1, 1, 1])
            frame["world_from_camera"] = (mirror @ np.array(frame["world_from_camera"]) @ mirror).tolist()

    found = findings(good, tmp_path, change)
    assert len(of(found, "poses and pictures disagree")) >= 5


def test_the_other_axes_do_not_fit_the_pictures(good, tmp_path):
    found = findings(good, tmp_path, lambda document, _: document.update(axes="arkit"))
    assert len(of(found, "not upright")) >= 5


def test_pictures_on_their_side_are_found(good, tmp_path):
    turn = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = findings(good, tmp_path, in_camera(slice(None), turn))
    assert of(found, "not upright") == list(range(recordings.FRAMES))


def test_poses_without_gravity_are_found(good, tmp_path):
    found = findings(good, tmp_path, moved(slice(None), rigid("z", 90.0)))
    assert of(found, "gravity") == [None]


def test_portrait_and_landscape_swapped_are_found(good, tmp_path):
    found = findings(good, tmp_path, lambda document, _: document["camera"].update(width=320, height=240))
    assert of(found, "size") == list(range(recordings.FRAMES))
    assert all("one is portrait and the other landscape" in f.text for f in found if f.kind == "size")


@pytest.mark.parametrize("change", [{"fx": 20, "fy": 20}, {"cx": 20}, {"cy": 900}])
def test_odd_intrinsics_are_found(good, tmp_path, change):
    found = findings(good, tmp_path, lambda document, _: document["camera"].update(change))
    assert set(of(found, "intrinsics")) == set(range(recordings.FRAMES))


def test_blurred_pictures_are_found(good, tmp_path):
    def change(_: dict[str, Any], folder: Path) -> None:
        image = cv2.imread(str(folder / "4.jpg"))
        cv2.imwrite(str(folder / "4.jpg"), cv2.blur(image, (25, 25)))

    assert of(findings(good, tmp_path, change), "blurred") == [4]


def test_missing_pictures_and_poses_are_found(good, tmp_path):
    def change(document: dict[str, Any], folder: Path) -> None:
        (folder / "1.jpg").unlink()
        del document["frames"][3]["world_from_camera"]

    found = findings(good, tmp_path, change)
    assert (of(found, "picture"), of(found, "no pose")) == ([1], [3])


def test_a_box_beside_the_object_is_found(good, tmp_path):
    def change(document: dict[str, Any], _: Path) -> None:
        document["objects"][0]["box"]["center"][0] += 0.3

    assert len(of(findings(good, tmp_path, change), "box drift")) > recordings.FRAMES // 2


def test_the_box_that_left_its_object_is_named_whatever_the_others_are(good, tmp_path):
    def second(document, folder):
        box = document["objects"][0]["box"]
        broken = {"id": "broken", "category": "shoe", "box": box | {"rotation": [[1, 0, 0]] * 3}}
        moved = box | {"center": (np.array(box["center"]) + 0.2).tolist()}
        document["objects"] = [broken, {"id": "moved", "category": "shoe", "box": moved}]
        for frame in document["frames"]:
            frame["rects"] = {"moved": frame["rects"]["shoe-1"]}

    texts = {finding.text for finding in findings(good, tmp_path, second) if finding.kind == "box drift"}
    assert texts
    assert all(text.startswith("the box of moved ") for text in texts)


def test_a_frame_that_the_video_does_not_have_is_told_and_stops_no_other_capture(tmp_path):
    for name, last in (("short", 9), ("whole", 2)):
        (tmp_path / name).mkdir()
        write_video(tmp_path / name / "clip.mp4", [draw(pose) for pose in POSES[:3]])
        frames = [{"index": k, "world_from_camera": POSES[0].matrix.tolist()} for k in (0, last)]
        document = capture_document(POSES[:1]) | {"video": "clip.mp4", "frames": frames}
        (tmp_path / name / "capture.json").write_text(json.dumps(document))
    checked = {folder.name: found for folder, found in check_captures(tmp_path).items()}
    told = [finding.text for finding in checked["short"] if finding.kind == "unreadable"]
    assert len(told) == 1
    assert "frames[1].index: got 9" in told[0]
    assert "unreadable" not in {finding.kind for finding in checked["whole"]}


def test_what_is_missing_or_guessed_is_told(good, tmp_path):
    def change(document: dict[str, Any], _: Path) -> None:
        document.update(objects=[], plane=None, scale="unknown")
        for frame in document["frames"]:
            del frame["rects"]

    kinds = [finding.kind for finding in findings(good, tmp_path, change)]
    assert sorted(kinds) == ["no object", "no plane", "scale"]


def test_a_file_that_is_no_capture_is_told(tmp_path):
    (tmp_path / "capture.json").write_text("{}")
    (finding,) = check_capture(tmp_path)
    assert (finding.frame, finding.kind) == (None, "unreadable")
    assert "capture.json: objects" in str(finding)


def test_every_capture_of_a_folder_is_checked(good, tmp_path):
    findings(good, tmp_path, lambda document, folder: None)
    assert check_captures(tmp_path) == {tmp_path / "walk": []}
    with pytest.raises(CaptureError, match=r"no capture\.json in it"):
        check_captures(tmp_path / "walk" / "nothing")


def test_what_was_found_is_left_beside_the_capture(good: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    found = findings(good, tmp_path, lambda document, _: document["objects"].clear())
    assert any(finding.kind == "no object" for finding in found)
    assert list(read_findings(tmp_path / "walk")) == found


def test_what_was_found_of_the_ground_and_the_boxes_goes_when_they_change(good, tmp_path):
    def change(document: dict[str, Any], folder: Path) -> None:
        (folder / "1.jpg").unlink()
        document["objects"][0]["box"]["center"][0] += 0.3
        document["plane"]["normal"] = [1, 0.2, 0]
        document["frames"][2]["rects"]["nobody"] = [0, 0, 9, 9]

    found = findings(good, tmp_path, change)
    assert {"picture", "box drift", "not upright", "not valid"} <= {finding.kind for finding in found}
    file = tmp_path / "walk" / "capture.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"objects": good[1]["objects"], "plane": good[1]["plane"]}))
    assert {(finding.frame, finding.kind) for finding in read_findings(tmp_path / "walk")} == {(1, "picture")}


def test_a_check_changes_nothing_of_what_is_read(good: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    findings(good, tmp_path, lambda document, _: None)
    read = [file.name for file in CaptureFolder(tmp_path / "walk", 5.0).files()]
    assert "check.json" not in read
    assert "check.jpg" not in read
    assert "capture.json" in read
