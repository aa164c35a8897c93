"""What cannot be valid cannot be constructed."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from index.schema import (
    BehindCameraError,
    Box,
    CorruptArtifactError,
    InvalidValueError,
    NoPoseError,
    Plane,
    RayMissesPlaneError,
    View,
    checked_rect,
    clipped_rect,
)
from tests.scenes import CAMERA, standing_frame

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fx": 0}, "fx"),
        ({"fx": -500}, "fx"),
        ({"fy": NAN}, "fy"),
        ({"fy": INF}, "fy"),
        ({"cx": NAN}, "cx"),
        ({"cy": "middle"}, "cy"),
        ({"cy": None}, "cy"),
        ({"width": 0}, "width"),
        ({"height": -1}, "height"),
        ({"width": 480.5}, "width"),
    ],
)
def test_camera_refuses(change, field):
    with pytest.raises(InvalidValueError) as caught:
        dataclasses.replace(CAMERA, **change)
    assert caught.value.field == field
    assert field in str(caught.value)
    assert "must be" in str(caught.value)


def test_camera_projects_and_unprojects():
    points = np.array([[0.1, -0.2, 1.5], [0, 0, 2]])
    pixels = CAMERA.project(points)
    assert np.allclose(pixels, (points @ CAMERA.matrix.T)[:, :2] / points[:, 2:])
    assert np.allclose(CAMERA.rays(pixels) * points[:, 2:], points)
    with pytest.raises(BehindCameraError, match="z = -1 m"):
        CAMERA.project([0, 0, -1.0])


def test_crop_and_resize_move_pixels_as_the_picture_moves():
    point = np.array([0.05, 0.1, 1.0])
    x, y = CAMERA.project(point)
    assert np.allclose(CAMERA.crop((100, 200, 300, 500)).project(point), (x - 100, y - 200))
    assert CAMERA.crop((100, 200, 300, 500)).width == 200
    assert np.allclose(CAMERA.resize(240, 1280).project(point), (x / 2, y * 2))


@pytest.mark.parametrize(
    "rect", [(0, 0, 481, 10), (-1, 0, 5, 5), (5, 5, 5, 9), (9, 0, 5, 9), (0, 0, NAN, 5), (1, 2, 3), ("a", 0, 1, 1), 7]
)
def test_rect_must_be_in_the_picture(rect):
    with pytest.raises(InvalidValueError) as caught:
        View(CAMERA, None, rect)
    assert caught.value.field == "rect"


def test_clipped_rect():
    assert clipped_rect((-10, 5, 500, 700), 480, 640) == (0, 5, 480, 640)
    with pytest.raises(InvalidValueError, match="at least one pixel"):
        clipped_rect((-10, 5, 0.5, 700), 480, 640)
    assert checked_rect([0, 0, 1, 1]) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("normal", "point", "field"),
    [
        ([0, 0, 0], [0, 1, 1], "plane.normal"),
        ([0, NAN, 0], [0, 1, 1], "plane.normal"),
        ([0, 1], [0, 1, 1], "plane.normal"),
        ([0, -1, 0], [0, INF, 1], "plane.point"),
        ([0, 1, 0], [0, 1, 1], "plane.offset"),  # points away from the camera
        ([0, 1, 0], [0, 0, 1], "plane.offset"),  # goes through the camera
    ],
)
def test_plane_refuses(normal, point, field):
    with pytest.raises(InvalidValueError) as caught:
        Plane.from_point(normal, point)
    assert caught.value.field == field


def test_plane_is_normalised_and_turned_on_request_only():
    plane, flipped = Plane.towards_camera([0, 3.0, 0], [0, 0.5, 2])
    assert flipped
    assert np.allclose(plane.normal, [0, -1, 0])
    assert plane.offset == pytest.approx(0.5)
    assert not Plane.towards_camera([0, -3.0, 0], [0, 0.5, 2])[1]
    assert plane.height([[0, 0, 0], [1, 0.5, 7]]) == pytest.approx([0.5, 0])


def test_plane_meets_rays_in_front_only():
    plane = Plane([0, -1.0, 0], 0.5)
    assert np.allclose(plane.intersect([0, 0.25, 1]), [0, 0.5, 2])
    assert np.allclose(plane.intersect([0, 0.25, 1], height=0.25), [0, 0.25, 1])
    for ray in ([0, -0.25, 1], [0, 0, 1], [0, -1, 0]):
        with pytest.raises(RayMissesPlaneError):
            plane.intersect(ray)


@pytest.mark.parametrize(
    ("rotation", "center", "size", "field"),
    [
        (np.diag([1, 1, -1]), [0, 0, 1], [1, 1, 1], "box.rotation"),
        (np.eye(3) * 1.1, [0, 0, 1], [1, 1, 1], "box.rotation"),
        (np.eye(3) * NAN, [0, 0, 1], [1, 1, 1], "box.rotation"),
        (np.eye(3)[:2], [0, 0, 1], [1, 1, 1], "box.rotation"),
        (np.eye(3), [0, INF, 1], [1, 1, 1], "box.center"),
        (np.eye(3), [0, 0, 1], [1, 0, 1], "box.size"),
        (np.eye(3), [0, 0, 1], [1, -1, 1], "box.size"),
    ],
)
def test_box_refuses(rotation, center, size, field):
    with pytest.raises(InvalidValueError) as caught:
        Box(rotation, center, size)
    assert caught.value.field == field


def test_box_from_its_corners_is_itself():
    rng = np.random.default_rng(1)
    for _ in range(20):
        box = Box(Rotation.random(rng=rng).as_matrix(), rng.normal(0, 1, 3), rng.uniform(0.01, 2, 3))
        for again in (Box.from_corners(box.corners), Box.from_keypoints([[9, 9, 9], *box.corners])):
            assert np.allclose(again.rotation, box.rotation)
            assert np.allclose(again.center, box.center)
            assert np.allclose(again.size, box.size)


def test_corner_order_is_x_slowest():
    corners = Box(np.eye(3), np.zeros(3), np.array([2.0, 4.0, 6.0])).corners
    assert corners[0].tolist() == [-1, -2, -3]
    assert corners[1].tolist() == [-1, -2, 3]
    assert corners[4].tolist() == [1, -2, -3]


def test_box_from_corners_refuses_other_shapes():
    corners = np.array(standing_frame().box.corners)
    for bad in (corners[::-1][[0, 2, 1, 3, 4, 5, 6, 7]], np.zeros((8, 3)), corners[:7], corners * NAN):
        with pytest.raises(InvalidValueError):
            Box.from_corners(bad)


def test_values_cannot_be_changed_afterwards():
    frame = standing_frame()
    with pytest.raises(ValueError, match="read-only"):
        frame.box.center[0] = 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.view.plane.offset = 1
    size = np.ones(3)
    box = Box(np.eye(3), np.zeros(3), size)
    size[0] = -1
    assert box.size[0] == 1


def test_frame_needs_names_and_a_posed_view_for_a_box():
    frame = standing_frame()
    with pytest.raises(InvalidValueError, match=r"frame\.category"):
        dataclasses.replace(frame, category="")
    with pytest.raises(NoPoseError, match="camera and plane"):
        dataclasses.replace(frame, view=View(None, None, (0, 0, 5, 5)))


def test_a_plane_made_from_its_own_parts_is_the_same_to_the_bit():
    rng = np.random.default_rng(2)
    for normal in rng.normal(size=(200, 3)):
        plane = Plane(normal, 0.7)
        again = Plane(plane.normal, plane.offset)
        assert np.array_equal(again.normal, plane.normal)
        assert again.offset == plane.offset


def test_errors_cross_process_boundaries():
    for error in (InvalidValueError("k", 0, "at least 1"), CorruptArtifactError("a/b", "missing")):
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
        assert vars(again) == vars(error)
