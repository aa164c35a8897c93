"""A user's capture.json: the poses that it describes, and a clear answer to everything that is wrong in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from index.schema import Box, InvalidValueError
from tests.captures_scene import (
    CAMERA,
    HEIGHT,
    RATE,
    SEQUENCE,
    WIDTH,
    assert_same,
    capture_document,
    draw,
    expected,
    jpeg,
    orbit,
    write_folder,
    write_objectron,
    write_video,
)
from trainer.captures import CaptureError, Reason, Shot
from trainer.captures.folder import CaptureFolder, folder_sources

POSES = orbit(13)


def capture(tmp_path: Path, change: Callable[[dict], object] | None = None, poses=POSES) -> CaptureFolder:
    document = capture_document(poses)
    if change:
        change(document)
    return CaptureFolder(write_folder(tmp_path / "mug", document, poses), 5.0)


def shots_of(tmp_path: Path, change: Callable[[dict], object] | None = None, poses=POSES) -> list[Shot]:
    return list(capture(tmp_path, change, poses).read())


def test_poses_in_the_world_become_poses_in_the_camera(tmp_path: Path) -> None:
    shots = shots_of(tmp_path)
    assert [shot.time_s for shot in shots] == pytest.approx([0, 0.2, 0.4])
    for shot, k in zip(shots, (0, 6, 12), strict=True):
        (frame,) = shot.frames
        assert_same(frame, expected(POSES[k]), 1e-12)
        assert (shot.sequence, shot.split) == ("mug", "test")
        assert (frame.id, frame.category, frame.object_id) == (f"mug_{k:05d}", "cup", "mug-17")
        assert shot.jpeg == jpeg(draw(POSES[k]))


def test_the_same_scene_as_objectron_gives_the_same_frames(tmp_path: Path) -> None:
    from trainer.captures import list_sources

    (source,) = list_sources(write_objectron(tmp_path / "objectron", POSES))
    for one, other in zip(shots_of(tmp_path), source.read(), strict=True):
        assert_same(one.frames[0], other.frames[0])
        assert other.sequence == SEQUENCE
        assert np.abs(one.image.astype(float) - other.image).mean() < 12  # the video is compressed


def test_a_video_replaces_the_pictures(tmp_path: Path) -> None:
    def film(document: dict) -> None:
        document["video"] = "clip.mp4"
        for k, frame in enumerate(document["frames"]):
            del frame["image"], frame["time_s"]
            frame["index"] = k

    write_video(tmp_path / "mug" / "clip.mp4", [draw(pose) for pose in POSES])
    shots = shots_of(tmp_path, film)
    assert [round(shot.time_s * RATE) for shot in shots] == [0, 6, 12]
    assert_same(shots[2].frames[0], expected(POSES[12]), 1e-12)


def test_an_index_behind_the_video_is_named(tmp_path: Path) -> None:
    def film(document: dict) -> None:
        document.update(video="clip.mp4")
        document["frames"] = [{"index": k, "rects": {"mug-17": [1, 2, 30, 40]}} for k in (0, 40)]

    write_video(tmp_path / "mug" / "clip.mp4", [draw(pose) for pose in POSES])
    with pytest.raises(
        InvalidValueError, match=r"capture\.json: frames\[1\]\.index: got 40, must be that of a picture"
    ):
        shots_of(tmp_path, film)


def arkit(document: dict) -> None:
    """The same poses with y up and z backward, as OpenGL and ARKit have them."""
    document["axes"] = "arkit"
    for frame in document["frames"]:
        frame["world_from_camera"] = (np.array(frame["world_from_camera"]) @ np.diag([1, -1, -1, 1])).tolist()


def test_arkit_axes_in_the_upright_picture(tmp_path: Path) -> None:
    for shot, k in zip(shots_of(tmp_path, arkit), (0, 6, 12), strict=True):
        assert_same(shot.frames[0], expected(POSES[k]), 1e-12)


def test_arkit_axes_of_the_sensor_with_portrait_pictures(tmp_path: Path) -> None:
    def sensor(document: dict) -> None:
        """Sensor's x runs down the portrait picture, its y to the right, its z to the viewer."""
        document["axes"] = "arkit"
        columns = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
        for frame in document["frames"]:
            frame["world_from_camera"] = (np.array(frame["world_from_camera"]) @ columns).tolist()
        document["camera"] = {
            "fx": CAMERA.fy, "fy": CAMERA.fx, "cx": CAMERA.cy, "cy": WIDTH - CAMERA.cx, "width": HEIGHT, "height": WIDTH
        }  # fmt: skip

    for shot, k in zip(shots_of(tmp_path, sensor), (0, 6, 12), strict=True):
        assert_same(shot.frames[0], expected(POSES[k]), 1e-12)


def test_a_larger_camera_of_the_same_shape_is_scaled(tmp_path: Path) -> None:
    def enlarge(document: dict) -> None:
        document["camera"] = {name: 4 * value for name, value in document["camera"].items()}

    assert_same(shots_of(tmp_path, enlarge)[0].frames[0], expected(POSES[0]), 1e-12)


def test_a_frame_may_have_its_own_camera(tmp_path: Path) -> None:
    def override(document: dict) -> None:
        document["frames"][6]["camera"] = document["camera"] | {"fx": 190}

    focal = [shot.frames[0].view.camera.fx for shot in shots_of(tmp_path, override)]
    assert focal == [CAMERA.fx, 190, CAMERA.fx]


def test_rounded_rotations_are_made_exact(tmp_path: Path) -> None:
    def shorten(document: dict) -> None:
        for frame in document["frames"]:
            frame["world_from_camera"] = np.round(frame["world_from_camera"], 4).tolist()
        box = document["objects"][0]["box"]
        box["rotation"] = np.round(box["rotation"], 4).tolist()

    assert_same(shots_of(tmp_path, shorten)[0].frames[0], expected(POSES[0]), 1e-3)


def only_rects(document: dict) -> None:
    for name in ("axes", "plane", "camera"):
        del document[name]
    del document["objects"][0]["box"]
    for frame in document["frames"]:
        del frame["world_from_camera"]
        frame["rects"] = {"mug-17": [10, 20, 100, 200]}


def test_rects_alone_make_frames_without_a_pose(tmp_path: Path) -> None:
    for shot in shots_of(tmp_path, only_rects):
        (frame,) = shot.frames
        assert (frame.view.camera, frame.view.plane, frame.box) == (None, None, None)
        assert frame.view.rect == (10, 20, 100, 200)


def test_a_given_rect_replaces_the_projected_one_and_the_pose_stays(tmp_path: Path) -> None:
    def give(document: dict) -> None:
        document["frames"][0]["rects"] = {"mug-17": [10, 20, 100, 200]}

    first, second, _ = shots_of(tmp_path, give)
    assert first.frames[0].view.rect == (10, 20, 100, 200)
    assert isinstance(first.frames[0].box, Box)
    assert second.frames[0].view.rect == pytest.approx(expected(POSES[6]).view.rect)


def test_an_object_that_a_frame_does_not_mention_is_not_in_it(tmp_path: Path) -> None:
    def second(document: dict) -> None:
        document["objects"].append({"id": "bowl", "category": "bowl"})
        document["frames"][6]["rects"] = {"bowl": [1, 2, 30, 40]}

    shots = shots_of(tmp_path, second)
    assert [[frame.object_id for frame in shot.frames] for shot in shots] == [
        ["mug-17"],
        ["mug-17", "bowl"],
        ["mug-17"],
    ]
    assert [frame.id for frame in shots[1].frames] == ["mug_00006", "mug_00006.1"]
    bowl = shots[1].frames[1]
    assert (bowl.box, bowl.view.camera) == (None, CAMERA)


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        ([0, 0, -3], Reason.BEHIND),
        ([1.2, 0, 0], Reason.OUTSIDE),
    ],
)
def test_an_object_the_camera_does_not_see_is_rejected(tmp_path: Path, move: list[float], reason: Reason) -> None:
    def away(document: dict) -> None:
        pose = POSES[0]
        document["objects"][0]["box"]["center"] = (
            pose.rotation @ (np.array([0, 0, 0.8]) + move) + pose.position
        ).tolist()

    shot = shots_of(tmp_path, away)[0]
    assert (shot.frames, shot.rejected) == ((), (reason,))


def test_a_camera_in_the_plane_is_rejected(tmp_path: Path) -> None:
    def sink(document: dict) -> None:
        document["plane"]["point"] = POSES[0].position.tolist()

    assert shots_of(tmp_path, sink)[0].rejected == (Reason.BROKEN_PLANE,)


def test_a_picture_that_is_missing_or_none_is_reported_and_the_rest_read(tmp_path: Path) -> None:
    source = capture(tmp_path)
    (source.folder / "0000.jpg").unlink()
    (source.folder / "0006.jpg").write_bytes(b"no picture")
    shots = list(source.read())
    assert [shot.rejected for shot in shots] == [(Reason.UNREADABLE,), (Reason.UNREADABLE,), ()]


def test_pictures_other_than_jpeg_have_no_bytes_to_keep(tmp_path: Path) -> None:
    def png(document: dict) -> None:
        document["frames"] = [document["frames"][0] | {"image": "a.png"}]

    source = capture(tmp_path, png)
    cv2.imwrite(str(source.folder / "a.png"), cv2.cvtColor(draw(POSES[0]), cv2.COLOR_RGB2BGR))
    (shot,) = source.read()
    assert shot.jpeg is None
    np.testing.assert_array_equal(shot.image, draw(POSES[0]))


def at(*path: str | int) -> Callable[[dict, object], None]:
    def put(document: dict, value: object) -> None:
        place = document
        for step in path[:-1]:
            place = place[step]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return put


FRAME = ("frames", 3)
BOX = ("objects", 0, "box")
SKEWED = [[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
FAULTS = [
    (at(*BOX, "size", 1), -0.1, r"objects\[0\]\.box\.size\[1\]: got -0\.1, must be greater than 0"),
    (at(*BOX, "center"), [1, 2], r"objects\[0\]\.box\.center\[2\]: got .*, must be"),
    (at(*BOX, "center", 0), "x", r"objects\[0\]\.box\.center\[0\]: got 'x', must be a valid number"),
    (at(*BOX, "rotation", 0, 0), 0.5, r"objects\[0\]\.box\.rotation: got .*, must be a rotation"),
    (at(*BOX, "rotation"), [[1, 0, 0], [0, 1, 0], [0, 0, -1]], r"objects\[0\]\.box\.rotation: .* determinant \+1"),
    (at(*BOX, "colour"), "red", r"objects\[0\]\.box\.colour: got 'red', must be"),
    (at("objects", 0, "id"), "", r"objects\[0\]\.id: got ''"),
    (at("objects", 0, "box"), None, r"objects\[0\]\.box: got None, must be given, or frames have rects for 'mug-17'"),
    (at("objects"), [], r"objects: got \[\]"),
    (at("objects"), [{"id": "a", "category": "b"}] * 2, r"objects\[0\]\.box: got None"),
    (at("plane"), None, r"plane: got None, must be given, or frames have rects for 'mug-17'"),
    (at("plane", "normal"), [0, 0, 0], r"plane\.normal: got \(0\.0, 0\.0, 0\.0\), must be longer than zero"),
    (at("axes"), "unity", r"axes: got 'unity', must be 'opencv' or 'arkit'"),
    (at("axes"), None, r"axes: got None, must be 'opencv' or 'arkit', for frames have world_from_camera"),
    (at("split"), "all", r"split: got 'all', must be 'train', 'valid' or 'test'"),
    (at("fps"), 0, r"fps: got 0.*, must be greater than 0"),
    (at("camera", "fx"), -1, r"camera\.fx: got -1"),
    (at("camera", "width"), 0, r"camera\.width: got 0"),
    (at("camera"), None, r"frames\[0\]\.camera: got None, must be given here or for the whole capture"),
    (at("camera", "width"), 200, r"frames\[0\]\.camera: got \(200, 240\), must be of the picture's shape, 180 x 240"),
    (at(*FRAME, "world_from_camera"), SKEWED, r"frames\[3\]\.world_from_camera: got .*, must be a rotation"),
    (at(*FRAME, "world_from_camera"), [[1, 0, 0, 0]], r"frames\[3\]\.world_from_camera\[1\]"),
    (at(*FRAME, "world_from_camera", 3, 0), 1, r"frames\[3\]\.world_from_camera\[3\]: .*must be \(0, 0, 0, 1\)"),
    (at(*FRAME, "world_from_camera"), None, r"frames\[3\]\.world_from_camera: got None, must be given, or the frame"),
    (at(*FRAME, "image"), None, r"frames\[3\]\.image: got None, must be given: the capture has no video"),
    (at(*FRAME, "index"), 3, r"frames\[3\]\.index: got 3, must be left out"),
    (at(*FRAME, "time_s"), 0.01, r"frames\[3\]\.time_s: got 0\.01, must be more than 0\.0666667"),
    (at(*FRAME, "time_s"), -1, r"frames\[3\]\.time_s: got -1"),
    (at(*FRAME, "rects"), {"cup-1": [1, 2, 3, 4]}, r"frames\[3\]\.rects\.cup-1: .*must be of one of the objects"),
    (at(*FRAME, "rects"), {"mug-17": [5, 2, 3, 4]}, r"frames\[3\]\.rects\.mug-17: .*x0 < x1"),
    (at("frames", 0, "rects"), {"mug-17": [5, 2, 181, 4]}, r"frames\[0\]\.rects\.mug-17: .*0 <= x <= 180"),
    (at("video"), "clip.mp4", r"frames\[0\]\.index: got None, must be given: the capture has a video"),
    (at("frames"), [], r"frames: got \[\]"),
]  # fmt: skip


@pytest.mark.parametrize(("put", "value", "message"), FAULTS)
def test_a_fault_names_file_field_value_and_bound(tmp_path: Path, put, value, message: str) -> None:
    with pytest.raises(InvalidValueError, match=rf"mug/capture\.json: {message}"):
        shots_of(tmp_path, lambda document: put(document, value))


def test_a_video_has_its_own_times(tmp_path: Path) -> None:
    def film(document: dict) -> None:
        document["video"] = "clip.mp4"
        document["frames"] = [{"index": 0, "time_s": 0.5, "rects": {"mug-17": [1, 2, 30, 40]}}]

    with pytest.raises(InvalidValueError, match=r"frames\[0\]\.time_s: got 0\.5, must be left out, for the video"):
        shots_of(tmp_path, film)


def test_two_objects_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"objects\[1\]\.id: got 'mug-17', must be given to one object alone"):
        shots_of(tmp_path, lambda document: document["objects"].append(document["objects"][0]))


def test_frames_without_any_time_are_refused(tmp_path: Path) -> None:
    def forget(document: dict) -> None:
        del document["fps"], document["frames"][2]["time_s"]

    with pytest.raises(
        InvalidValueError, match=r"frames\[2\]\.time_s: got None, must be given, or the capture has fps"
    ):
        shots_of(tmp_path, forget)


def test_fps_spaces_frames_without_a_time(tmp_path: Path) -> None:
    def forget(document: dict) -> None:
        for frame in document["frames"]:
            del frame["time_s"]

    assert [shot.time_s for shot in shots_of(tmp_path, forget)] == pytest.approx([0, 0.2, 0.4])


@pytest.mark.parametrize("text", ["", "{", '{"frames": [NaN]}', "[]", '{"a": 1}'])
def test_what_is_no_such_document_is_refused(tmp_path: Path, text: str) -> None:
    source = capture(tmp_path)
    (source.folder / "capture.json").write_text(text)
    with pytest.raises(InvalidValueError, match=r"capture\.json: "):
        list(source.read())


def test_infinite_numbers_are_refused(tmp_path: Path) -> None:
    source = capture(tmp_path)
    text = json.dumps(capture_document(POSES)).replace("203.0", "Infinity")
    (source.folder / "capture.json").write_text(text)
    with pytest.raises(InvalidValueError, match=r"camera\.fx: got inf"):
        list(source.read())


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"capture\.json: missing"):
        list(CaptureFolder(tmp_path, 5.0).read())


def test_folders_are_found_in_a_folder_or_are_it(tmp_path: Path) -> None:
    folder = capture(tmp_path).folder
    assert [source.key for source in folder_sources(tmp_path, 5.0)] == ["mug"]
    assert [source.key for source in folder_sources(folder, 5.0)] == ["mug"]


def test_the_document_of_the_manual_is_read(tmp_path: Path) -> None:
    """The example in the module's own description, its matrix written out."""
    import trainer.captures.folder as module

    example = module.__doc__.split(".. code-block:: json\n")[1].split("\n- ``plane``")[0]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.diag([1, -1, -1]), [0, 0.05, 0.5]
    folder = tmp_path / "manual"
    folder.mkdir()
    (folder / "capture.json").write_text(example.replace('[["4x4"]]', json.dumps(pose.tolist())))
    for name in ("0001.jpg", "0002.jpg"):
        (folder / name).write_bytes(jpeg(np.zeros((1920, 1440, 3), np.uint8)))
    posed, plain = CaptureFolder(folder, 5.0).read()
    np.testing.assert_allclose(posed.frames[0].box.center, [0, 0, 0.5])
    assert plain.frames[0].view.rect == (410, 620, 905, 1240)
