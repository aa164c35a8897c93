"""Objectron's videos and annotations: geometry that is known, faults that are reported, one real annotation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index.capture_pose import CAMERA_FROM_SENSOR
from index.schema import Box
from tests.captures_scene import (
    CAMERA,
    HEIGHT,
    RATE,
    SEQUENCE,
    WIDTH,
    assert_same,
    expected,
    objectron_points,
    orbit,
    write_objectron,
    write_video,
)
from trainer.captures import CaptureError, Reason, Shot, list_sources
from trainer.captures.arkit import camera_from_intrinsics, camera_from_projection
from trainer.captures.objectron import objectron_sources
from trainer.captures.objectron_annotation import split_of

POSES = orbit(13)
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "objectron"


def shots_of(root: Path, fps: float = 5.0) -> list[Shot]:
    return [shot for source in list_sources(root, fps=fps) for shot in source.read()]


def test_geometry_is_what_was_filmed(tmp_path: Path) -> None:
    shots = shots_of(write_objectron(tmp_path, POSES))
    assert [round(shot.time_s * RATE) for shot in shots] == [0, 6, 12]
    for shot, k in zip(shots, (0, 6, 12), strict=True):
        (frame,) = shot.frames
        assert_same(frame, expected(POSES[k]))
        assert (shot.sequence, shot.split, frame.category) == (SEQUENCE, "test", "cup")
        assert (frame.id, frame.object_id) == (f"cup_batch-1_3_{k:05d}", SEQUENCE)


def test_rect_is_around_what_was_drawn(tmp_path: Path) -> None:
    for shot in shots_of(write_objectron(tmp_path, POSES)):
        rows, columns = np.nonzero(shot.image[..., 0] > 70)
        drawn = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        np.testing.assert_allclose(shot.frames[0].view.rect, drawn, atol=2)


def test_intrinsics_give_the_same_camera_as_the_projection_matrix(tmp_path: Path) -> None:
    def forget_projection(sequence) -> None:
        for frame in sequence.frame_annotations:
            del frame.camera.projection_matrix[:]

    for shot in shots_of(write_objectron(tmp_path, POSES, change=forget_projection)):
        np.testing.assert_allclose(shot.frames[0].view.camera.matrix, CAMERA.matrix, atol=1e-3)


def test_a_normal_that_points_down_is_turned(tmp_path: Path) -> None:
    def flip(sequence) -> None:
        for frame in sequence.frame_annotations:
            frame.plane_normal[:] = [-value for value in frame.plane_normal]

    for shot, k in zip(shots_of(write_objectron(tmp_path, POSES, change=flip)), (0, 6, 12), strict=True):
        assert_same(shot.frames[0], expected(POSES[k]))


def test_two_objects_keep_their_names_when_one_is_not_annotated(tmp_path: Path) -> None:
    def second(sequence) -> None:
        sequence.objects.add(id=9)
        for k, frame in enumerate(sequence.frame_annotations):
            frame.annotations.add().CopyFrom(frame.annotations[0])
            frame.annotations[1].object_id = 9
            if k == 6:
                del frame.annotations[0]

    names = [
        [frame.object_id for frame in shot.frames] for shot in shots_of(write_objectron(tmp_path, POSES, change=second))
    ]
    assert names == [[SEQUENCE, f"{SEQUENCE}#1"], [f"{SEQUENCE}#1"], [SEQUENCE, f"{SEQUENCE}#1"]]


def test_identities_come_from_the_index(tmp_path: Path) -> None:
    write_objectron(tmp_path, POSES[:1])
    (tmp_path / "index" / "objects.csv").write_text(f"sequence,object_id\n{SEQUENCE},cup-5\n")
    assert shots_of(tmp_path)[0].frames[0].object_id == "cup-5"


def test_identities_with_other_columns_are_refused(tmp_path: Path) -> None:
    write_objectron(tmp_path, POSES[:1])
    (tmp_path / "index" / "objects.csv").write_text("video,object\n")
    with pytest.raises(CaptureError, match=r"objects\.csv: columns are .*video.*must be sequence and object_id"):
        list_sources(tmp_path)


def in_every_frame(change: Callable) -> Callable:
    def edit(sequence) -> None:
        for frame in sequence.frame_annotations:
            change(frame)

    return edit


def _hide(frame) -> None:
    frame.annotations[0].visibility = 0.1


def _bend(frame) -> None:
    frame.annotations[0].keypoints[3].point_3d.x += 0.2


def _lose_keypoint(frame) -> None:
    del frame.annotations[0].keypoints[8]


def _not_a_number(frame) -> None:
    frame.annotations[0].keypoints[2].point_3d.y = float("nan")


def _collapse(frame) -> None:
    for keypoint in frame.annotations[0].keypoints:
        keypoint.point_3d.CopyFrom(frame.annotations[0].keypoints[0].point_3d)


def _move_behind(frame) -> None:
    for keypoint in frame.annotations[0].keypoints:
        keypoint.point_3d.z += 2


def _move_out(frame) -> None:
    for keypoint in frame.annotations[0].keypoints:
        keypoint.point_3d.y += 0.5
        keypoint.ClearField("point_2d")


def _contradict(frame) -> None:
    for keypoint in frame.annotations[0].keypoints:
        keypoint.point_2d.x += 0.05


def _no_plane(frame) -> None:
    del frame.plane_normal[:]


def _plane_through_camera(frame) -> None:
    frame.plane_center[:] = [0, 0, 0]


def _no_camera(frame) -> None:
    frame.ClearField("camera")


def _telescope(frame) -> None:
    frame.camera.projection_matrix[5] = 3.4e38  # the largest number there; more than that in pixels


def _endless_plane(frame) -> None:
    frame.plane_normal[1] = float("inf")  # times zero it is not a number, of which numpy warns


def _no_object(frame) -> None:
    del frame.annotations[:]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_hide, Reason.HIDDEN),
        (_bend, Reason.BROKEN_BOX),
        (_lose_keypoint, Reason.BROKEN_BOX),
        (_not_a_number, Reason.BROKEN_BOX),
        (_collapse, Reason.BROKEN_BOX),
        (_move_behind, Reason.BEHIND),
        (_move_out, Reason.OUTSIDE),
        (_contradict, Reason.DISAGREES),
        (_no_plane, Reason.BROKEN_PLANE),
        (_plane_through_camera, Reason.BROKEN_PLANE),
        (_endless_plane, Reason.BROKEN_PLANE),
        (_telescope, Reason.DISAGREES),
        (_no_camera, Reason.BROKEN_CAMERA),
        (_no_object, Reason.NO_ANNOTATION),
    ],
)
def test_what_cannot_be_used_has_a_reason(tmp_path: Path, change, reason: Reason) -> None:
    root = write_objectron(tmp_path, POSES[:1], change=in_every_frame(change))
    (shot,) = shots_of(root)
    assert (shot.frames, shot.rejected) == ((), (reason,))


def test_a_video_that_is_not_upright_is_rejected(tmp_path: Path) -> None:
    root = write_objectron(tmp_path, POSES[:1])
    write_video(root / "videos" / SEQUENCE / "video.MOV", [np.zeros((WIDTH, HEIGHT, 3), np.uint8)])
    (shot,) = shots_of(root)
    assert (shot.frames, shot.rejected) == ((), (Reason.NOT_PORTRAIT,))


def test_an_object_cut_by_the_edge_is_clipped_and_kept_while_a_third_of_it_is_there(tmp_path: Path) -> None:
    def shift(frame) -> None:
        for keypoint in frame.annotations[0].keypoints:
            keypoint.point_3d.y += 0.3
            keypoint.ClearField("point_2d")

    (shot,) = shots_of(write_objectron(tmp_path, POSES[:1], change=in_every_frame(shift)))
    (frame,) = shot.frames
    whole = frame.box.rect(CAMERA)
    assert whole[2] > WIDTH
    np.testing.assert_allclose(frame.view.rect, (whole[0], whole[1], WIDTH, min(whole[3], HEIGHT)))


def test_frames_behind_the_annotation_are_reported(tmp_path: Path) -> None:
    root = write_objectron(tmp_path, POSES, change=lambda s: s.frame_annotations.__delitem__(slice(8, None)))
    assert [shot.rejected for shot in shots_of(root)] == [(), (), (Reason.NO_ANNOTATION,)]


def test_frame_numbers_that_were_not_written_are_counted(tmp_path: Path) -> None:
    def forget(frame) -> None:
        frame.frame_id = 0

    shots = shots_of(write_objectron(tmp_path, POSES, change=in_every_frame(forget)))
    assert_same(shots[2].frames[0], expected(POSES[12]))


def test_faults_name_their_file(tmp_path: Path) -> None:
    root = write_objectron(tmp_path, POSES[:2])
    annotation = root / "annotations" / f"{SEQUENCE}.pbdata"
    annotation.write_bytes(annotation.read_bytes()[:-5])
    with pytest.raises(CaptureError, match=r"3\.pbdata: not a serialised Sequence"):
        shots_of(root)
    annotation.unlink()
    with pytest.raises(CaptureError, match=r"3\.pbdata: missing"):
        shots_of(root)


def test_splits_follow_the_index_and_leave_out_what_it_does_not_list(tmp_path: Path, caplog) -> None:
    write_objectron(tmp_path, POSES[:1], "cup/batch-1/0", split="train")
    write_objectron(tmp_path, POSES[:1], "cup/batch-1/1", split="test")
    video = tmp_path / "videos" / "cup" / "batch-1" / "2" / "video.MOV"
    video.parent.mkdir()
    video.write_bytes(b"")
    sources = objectron_sources(tmp_path, 5.0)
    assert [(s.key, s.split) for s in sources] == [
        ("cup/batch-1/0", split_of("train", "cup/batch-1/0")),
        ("cup/batch-1/1", "test"),
    ]
    assert "cup/batch-1/2" in caplog.text


def test_a_tenth_of_train_is_valid_and_test_is_left_alone() -> None:
    names = [f"cup/batch-{i}/{j}" for i in range(40) for j in range(50)]
    splits = [split_of("train", name) for name in names]
    assert set(splits) == {"train", "valid"}
    assert 0.08 < splits.count("valid") / len(names) < 0.12
    assert splits == [split_of("train", name) for name in names]
    assert {split_of("test", name) for name in names} == {"test"}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/objectron")
def test_a_real_annotation_projects_to_its_published_pixels() -> None:
    document = json.loads((REAL / "centerpose_annotation_cereal_box.json").read_text())
    data, item = document["camera_data"], document["objects"][0]
    camera = camera_from_projection(np.array(data["camera_projection_matrix"]), data["width"], data["height"])
    points = np.array(item["keypoints_3d"]) @ CAMERA_FROM_SENSOR.T
    error = camera.project(points) - item["projected_cuboid"]
    # Published pixels are cut to whole numbers: on average half a pixel is missing, in both directions.
    np.testing.assert_allclose(error.mean(axis=0), 0.5, atol=0.1)
    assert np.linalg.norm(error - 0.5, axis=1).max() < 2
    assert Box.from_keypoints(points).in_front()
    np.testing.assert_allclose(Box.from_keypoints(points).size, item["scale"], rtol=0.01)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/objectron")
def test_real_intrinsics_agree_with_the_real_projection_matrix() -> None:
    data = json.loads((REAL / "centerpose_annotation_cereal_box.json").read_text())["camera_data"]
    published, scale = data["intrinsics"], 1920 / data["height"]
    # The file has K's rows swapped and scaled to its picture; here they are as the phone gave them.
    k = (
        np.array([[published["fy"], 0, published["cy"]], [0, published["fx"], published["cx"]], [0, 0, 1 / scale]])
        * scale
    )
    by_intrinsics = camera_from_intrinsics(k, (1920, 1440), data["width"], data["height"])
    by_projection = camera_from_projection(np.array(data["camera_projection_matrix"]), data["width"], data["height"])
    np.testing.assert_allclose(by_intrinsics.matrix, by_projection.matrix, atol=1e-3)


def test_the_axes_are_a_rotation() -> None:
    np.testing.assert_array_equal(CAMERA_FROM_SENSOR @ CAMERA_FROM_SENSOR.T, np.eye(3))
    assert np.linalg.det(CAMERA_FROM_SENSOR) == 1
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(objectron_points(points) @ CAMERA_FROM_SENSOR.T, points)
