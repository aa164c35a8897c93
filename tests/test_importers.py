"""One filmed object in every format: what comes out is what was filmed, upright, and ingest reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests import recordings
from tests.recordings import Z_UP, Filmed
from trainer.__main__ import main
from trainer.captures.shot import CaptureError
from trainer.check import check_capture
from trainer.frames import Frames
from trainer.import_capture import Imported, import_capture
from trainer.importers import ImportConfig, recognised
from trainer.ingest import IngestConfig, ingest, summary


@dataclass(frozen=True)
class Case:
    """How a recording is written, imported, and in which world it was written."""

    name: str
    write: Callable[[Filmed, Path], Path]
    source: str
    metric: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    world_from_filmed: np.ndarray = field(default_factory=lambda: np.eye(4))


CASES = [
    Case("stray-scanner", recordings.stray_scanner, "stray"),
    Case("record3d", recordings.record3d, "walk.r3d"),
    Case("transforms", recordings.transforms, "nerf", False, {}, Z_UP),
    Case("ar", recordings.ar_frames, "session"),
    Case("middlebury", recordings.middlebury, "thing"),
    Case("colmap", recordings.colmap, "model", False, {"up": "y"}),
    Case("bop", recordings.bop, "dataset"),
]


@pytest.fixture(scope="module")
def filmed() -> Filmed:
    return recordings.film(height=320)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def imported(request, filmed, tmp_path_factory) -> tuple[Case, Imported]:
    case = request.param
    if case.name == "colmap":
        pytest.importorskip("pycolmap")
    root = tmp_path_factory.mktemp(case.name)
    source = case.write(filmed, root / case.source)
    return case, import_capture(source, root / "captures", ImportConfig(name="walk", **case.options))


def expected_poses(case: Case, filmed: Filmed) -> np.ndarray:
    if case.name == "bop":  # the world is the model's frame
        model_from_box = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        world_from_filmed = np.eye(4)
        world_from_filmed[:3, :3] = model_from_box @ filmed.rotation.T
        world_from_filmed[:3, 3] = -world_from_filmed[:3, :3] @ filmed.center
        return world_from_filmed @ filmed.world_from_camera
    return case.world_from_filmed @ filmed.world_from_camera


def test_poses_cameras_and_times_are_those_of_the_walk(imported, filmed):
    case, result = imported
    document = json.loads((result.folder / "capture.json").read_text())
    poses = np.array([frame["world_from_camera"] for frame in document["frames"]])
    np.testing.assert_allclose(poses, expected_poses(case, filmed), atol=1e-6)
    camera = filmed.camera
    for name in ("fx", "fy", "cx", "cy", "width", "height"):
        assert document["camera"][name] == pytest.approx(getattr(camera, name), abs=1e-6)
    assert not any("camera" in frame for frame in document["frames"])
    np.testing.assert_allclose([frame["time_s"] for frame in document["frames"]], filmed.times, atol=1e-9)
    assert document["scale"] == ("metric" if case.metric else "unknown")


def test_pictures_are_upright_and_as_they_were(imported, filmed):
    _, result = imported
    for k, picture in enumerate(filmed.pictures):
        stored = cv2.imread(str(result.folder / f"{k:05d}.jpg"), cv2.IMREAD_COLOR_RGB)
        error = np.mean((stored.astype(float) - picture) ** 2)
        assert 10 * np.log10(255**2 / error) > 29, k  # decibels; a video's compression is the worst


def test_the_ground_is_found_where_it_is(imported, filmed):
    case, result = imported
    document = json.loads((result.folder / "capture.json").read_text())
    world_from_filmed = expected_poses(case, filmed)[0] @ np.linalg.inv(filmed.world_from_camera[0])
    normal, point = np.array(document["plane"]["normal"]), np.array(document["plane"]["point"])
    assert normal @ world_from_filmed[:3, 1] > 1 - 1e-6
    on_ground = (world_from_filmed @ [filmed.center[0], filmed.ground, filmed.center[2], 1])[:3]
    assert abs(normal @ (point - on_ground)) < 0.01 * result.recording.distance()
    assert document["plane_from"]


def test_with_its_box_ingest_reads_it_and_the_box_is_on_the_object(imported, filmed, tmp_path):
    case, result = imported
    capture = tmp_path / "walk"
    capture.mkdir()
    for file in result.folder.iterdir():
        (capture / file.name).write_bytes(file.read_bytes())
    document = json.loads((capture / "capture.json").read_text())
    if case.name == "bop":
        assert document["objects"][0]["category"] == "object-000004"
    else:
        document["objects"] = [box_of(case, filmed)]
        (capture / "capture.json").write_text(json.dumps(document))
    frames = Frames.open(ingest(tmp_path, tmp_path / "frames", IngestConfig(workers=1, blur_ratio=0)))
    report = json.loads((tmp_path / "frames" / "report.json").read_text())
    assert report["dropped"] == {}
    assert report["failed"] == 0
    assert len(frames) == len(filmed.pictures)
    for k in range(len(frames)):
        frame = frames.frame(k)
        seen = frame.view.camera.project(frame.box.corners)
        truth = filmed.camera.project(filmed.box(k).corners)
        assert np.abs(seen - truth).max() < 1e-3  # frames are stored as float32
    assert ("scale is unknown" in summary(tmp_path / "frames")) == (not case.metric)


def box_of(case: Case, filmed: Filmed) -> dict[str, Any]:
    turn = case.world_from_filmed[:3, :3]
    center = (case.world_from_filmed @ [*filmed.center, 1])[:3]
    box = {"center": center.tolist(), "size": filmed.size.tolist(), "rotation": (turn @ filmed.rotation).tolist()}
    return {"id": "box-1", "category": "cereal_box", "box": box}


def test_the_check_of_a_good_walk_finds_nothing_but_what_is_missing(imported):
    case, result = imported
    kinds = {finding.kind for finding in check_capture(result.folder)}
    allowed = {"no object", "scale"} if not case.metric else {"no object"}
    assert kinds - allowed == set(), [str(finding) for finding in check_capture(result.folder)]
    assert cv2.imread(str(result.folder / "check.jpg")) is not None


def test_the_place_that_is_told_is_the_objects(imported, filmed):
    case, result = imported
    if case.name == "bop":
        assert "objects" not in result.text()
        return
    center = (case.world_from_filmed @ [*filmed.center, 1])[:3]
    assert np.linalg.norm(result.place.center - center) < np.linalg.norm(filmed.size) / 2
    text = result.text()
    snippet = json.loads("{" + text[text.index('  "objects"') : text.index("with the object's")].strip() + "}")
    np.testing.assert_allclose(snippet["objects"][0]["box"]["center"], result.place.center, atol=1e-4)


def test_the_told_object_can_be_pasted_into_the_capture(filmed, tmp_path):
    result = import_capture(recordings.record3d(filmed, tmp_path / "walk.r3d"), tmp_path / "captures")
    file = result.folder / "capture.json"
    text = result.text()
    snippet = text[text.index('"objects": [{') : text.index("with the object's")]
    file.write_text(file.read_text().replace('"objects": []', snippet))
    frames = Frames.open(ingest(tmp_path / "captures", tmp_path / "frames", IngestConfig(workers=1)))
    assert len(frames) == len(filmed.pictures)


def test_a_colmap_world_without_up_gets_one(filmed, tmp_path):
    pytest.importorskip("pycolmap")
    result = import_capture(recordings.colmap(filmed, tmp_path / "model"), tmp_path / "captures")
    ground = result.recording.ground
    np.testing.assert_allclose(ground.normal, [0, 1, 0], atol=1e-9)
    assert abs(ground.point[1]) < 1e-9
    poses = np.array([frame.world_from_camera for frame in result.recording.frames])
    new_from_old = poses[0] @ np.linalg.inv(filmed.world_from_camera[0])
    np.testing.assert_allclose(poses, new_from_old @ filmed.world_from_camera, atol=1e-6)  # a rigid motion alone
    assert np.degrees(np.arccos(new_from_old[1, 1])) < 1.5  # up is up


def test_a_binary_colmap_model_is_the_same(filmed, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    source = recordings.colmap(filmed, tmp_path / "model")
    text = import_capture(source, tmp_path / "captures", ImportConfig(name="text", up="y"))
    model = pycolmap.Reconstruction(source / "sparse" / "0")
    for file in (source / "sparse" / "0").iterdir():
        file.unlink()
    model.write_binary(source / "sparse" / "0")
    binary = import_capture(source, tmp_path / "captures", ImportConfig(name="binary", up="y"))
    for a, b in zip(text.recording.frames, binary.recording.frames, strict=True):
        np.testing.assert_allclose(a.world_from_camera, b.world_from_camera, atol=1e-12)


def test_distorted_pictures_become_straight(filmed, tmp_path):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    document = json.loads((source / "transforms.json").read_text()) | {
        "k1": -0.15,
        "k2": 0.03,
        "p1": 0.002,
        "p2": -0.001,
    }
    camera = filmed.camera
    # A distorting camera's picture: each of its pixels shows what the straight one sees along the same ray.
    lens = np.array([-0.15, 0.03, 0.002, -0.001])
    matrix = camera.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    grid = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1).reshape(-1, 1, 2)
    straight = cv2.undistortPoints(grid.astype(float), matrix, lens, P=matrix).reshape(camera.height, camera.width, 2)
    for k, picture in enumerate(filmed.pictures):
        maps = straight.astype(np.float32)
        recordings.save(source / "images" / f"frame_{k + 1}.jpg", cv2.remap(picture, maps, None, cv2.INTER_LINEAR))
    (source / "transforms.json").write_text(json.dumps(document))
    result = import_capture(source, tmp_path / "captures")
    stored = cv2.imread(str(result.folder / "00004.jpg"), cv2.IMREAD_COLOR_RGB)
    inner = np.s_[50:270, 40:200]
    error = np.mean((stored[inner].astype(float) - filmed.pictures[4][inner]) ** 2)
    plain = np.mean(
        (
            cv2.remap(filmed.pictures[4], straight.astype(np.float32), None, 1)[inner].astype(float)
            - filmed.pictures[4][inner]
        )
        ** 2
    )
    assert error < 0.25 * plain


@pytest.mark.parametrize("option", ["camera_height", "camera_distance", "scale_points"])
def test_one_length_makes_metres(filmed, tmp_path, option):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    document = json.loads((source / "transforms.json").read_text())
    for frame in document["frames"]:  # a world in units of 3.7 metres
        frame["transform_matrix"] = np.array(frame["transform_matrix"])
        frame["transform_matrix"][:3, 3] /= 3.7
        frame["transform_matrix"] = frame["transform_matrix"].tolist()
    (source / "transforms.json").write_text(json.dumps(document))
    positions = filmed.world_from_camera[:, :3, 3]
    corners = np.array([[-0.1, 0, 0.1], [0.1, 0, 0.1]]) + filmed.center
    corners[:, 1] = filmed.ground
    pose = np.linalg.inv(filmed.world_from_camera[2])
    pixels = filmed.camera.project(corners @ pose[:3, :3].T + pose[:3, 3])
    lengths = {
        "camera_height": float(np.median(positions[:, 1]) - filmed.ground),
        "camera_distance": (1, 8, float(np.linalg.norm(positions[1] - positions[8]))),
        "scale_points": (2, *pixels.ravel().tolist(), 0.2),
    }
    result = import_capture(source, tmp_path / "captures", ImportConfig(**{option: lengths[option]}))
    got = np.array([frame.world_from_camera[:3, 3] for frame in result.recording.frames])
    ratio = np.linalg.norm(got[0] - got[5]) / np.linalg.norm(positions[0] - positions[5])
    assert ratio == pytest.approx(1, abs=1e-9 if option == "camera_distance" else 0.01)
    assert json.loads((result.folder / "capture.json").read_text())["scale"] == "metric"


def test_of_a_fast_video_five_pictures_a_second_are_kept(filmed, tmp_path):
    source = recordings.stray_scanner(filmed, tmp_path / "stray", rate=10.0)
    result = import_capture(source, tmp_path / "captures")
    assert [frame.time_s for frame in result.recording.frames] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(result.recording.frames[2].world_from_camera, filmed.world_from_camera[4], atol=1e-9)


def test_lidar_depth_shows_the_ground(filmed, tmp_path):
    source = recordings.stray_scanner(filmed, tmp_path / "stray")
    _, camera, poses = recordings.as_sensor(filmed)
    small = camera.resize(256, 192)
    v, u = np.mgrid[0:192, 0:256]
    rays = small.rays(np.stack([u + 0.5, v + 0.5], axis=-1))
    (source / "depth").mkdir()
    for k, pose in enumerate(poses):
        down = (rays @ pose[:3, :3].T)[..., 1]
        with np.errstate(divide="ignore"):
            depth = np.where(down < 0, (filmed.ground - pose[1, 3]) / down, 0)
        cv2.imwrite(str(source / "depth" / f"{k:06d}.png"), np.clip(1000 * depth, 0, 65535).astype(np.uint16))
    result = import_capture(source, tmp_path / "captures")
    assert abs(result.recording.ground.point[1] - filmed.ground) < 2e-3
    assert len(result.recording.points) > 1000


def test_a_recording_that_is_nothing_says_what_was_looked_for(tmp_path):
    with pytest.raises(CaptureError, match=r"nothing that can be imported\. Looked for stray-scanner: .*photos: "):
        recognised(tmp_path)


def test_a_capture_is_replaced_only_when_asked_and_then_wholly(filmed, tmp_path):
    source = recordings.record3d(filmed, tmp_path / "walk.r3d")
    first = import_capture(source, tmp_path / "captures")
    (first.folder / "mine.txt").write_text("kept until then")
    with pytest.raises(CaptureError, match="there is a capture of this name: give --force"):
        import_capture(source, tmp_path / "captures")
    assert (first.folder / "mine.txt").exists()
    with pytest.raises(CaptureError, match="there is a capture of this name"):
        import_capture(source, tmp_path / "captures", ImportConfig(name="walk"))
    import_capture(source, tmp_path / "captures", ImportConfig(force=True))
    assert not (first.folder / "mine.txt").exists()
    assert [path.name for path in (tmp_path / "captures").iterdir()] == ["walk"]


def test_a_capture_that_is_annotated_is_never_replaced(filmed, tmp_path):
    source = recordings.record3d(filmed, tmp_path / "walk.r3d")
    file = import_capture(source, tmp_path / "captures").folder / "capture.json"
    bare = file.read_text()
    drawn = json.loads(bare) | {"objects": [{"id": "shoe-1", "category": "shoe", "accepted": False}]}
    file.write_text(json.dumps(drawn))
    with pytest.raises(CaptureError, match="it has objects"):
        import_capture(source, tmp_path / "captures", ImportConfig(force=True))
    assert json.loads(file.read_text()) == drawn
    file.write_text(bare)
    (file.parent / ".annotations").mkdir()
    (file.parent / ".annotations" / "000000001.json").write_text("{}")
    with pytest.raises(CaptureError, match="earlier annotations"):
        import_capture(source, tmp_path / "captures", ImportConfig(force=True))
    assert (file.parent / ".annotations" / "000000001.json").exists()


def test_the_command_imports_checks_and_tells_what_to_add(filmed, tmp_path, capsys):
    source = recordings.record3d(filmed, tmp_path / "walk.r3d")
    assert main(["import", str(source), str(tmp_path / "captures"), "--name", "shoe"]) == 0
    printed = capsys.readouterr().out
    assert f'in {tmp_path / "captures" / "shoe" / "capture.json"}, replace "objects": [] by' in printed
    assert "capture: no object: add it, with its box, to objects" in printed
    assert (tmp_path / "captures" / "shoe" / "check.jpg").is_file()
    assert main(["check", str(tmp_path / "captures")]) == 0
    assert "capture: no object" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--camera-distance", "1", "two", "3"], "import.camera_distance: got ['1', 'two', '3'], must be numbers"),
        (["--scale-points", "1", "2", "3", "4", "5", "6"], "import.scale_points: got"),
        (["--up", "w"], "import.up: got 'w', must be one of x, y, z"),
    ],
)
def test_a_command_that_cannot_be_says_why(filmed, tmp_path, capsys, options, message):
    source = recordings.record3d(filmed, tmp_path / "walk.r3d")
    assert main(["import", str(source), str(tmp_path / "captures"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "captures" / "walk").exists()
