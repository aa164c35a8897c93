"""The paper's box transfer: against the published results, and without their faults."""

from __future__ import annotations

import numpy as np
import pytest

from index.iou import iou_3d
from index.schema import (
    BehindCameraError,
    Box,
    Camera,
    Frame,
    GeometryError,
    NoPoseError,
    Plane,
    RayMissesPlaneError,
    View,
)
from index.transfer import _rotation_between, transfer_box
from tests.scenes import CAMERA, DATA, oracle_frame, rotation_about, standing_frame

SCENES = dict(np.load(DATA / "fit.npz"))
KINDS = [str(kind) for kind in SCENES["kinds"]]


def iou(a: Box, b: Box) -> float:
    return float(iou_3d(a.corners[None], b.corners[None])[0])


@pytest.mark.parametrize("kind", ["a", "b"])
def test_reproduces_the_published_results(kind):
    published = SCENES[f"{kind}_published_iou"]
    ours = [
        iou(transfer_box(oracle_frame(SCENES, f"{kind}_ref", i), query.view), query.box)
        for i, query in ((i, oracle_frame(SCENES, f"{kind}_query", i)) for i in range(len(published)))
    ]
    assert np.abs(np.array(ours) - published).max() < 1e-9


def test_the_same_frame_twice_is_the_identity():
    frame = standing_frame()
    box = transfer_box(frame, frame.view)
    assert np.abs(box.corners - frame.box.corners).max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_hard_scenes_give_a_box_in_front_or_a_named_refusal(kind):
    for i in range(40):
        query, reference = (oracle_frame(SCENES, f"{kind}_{side}", i) for side in ("query", "ref"))
        try:
            box = transfer_box(reference, query.view)
        except GeometryError:
            continue
        assert box.in_front()


@pytest.mark.parametrize("kind", ["query_normal_flipped", "reference_normal_flipped", "both_normals_flipped"])
def test_normals_turned_towards_the_camera_serve_as_well_as_right_ones(kind):
    pairs = [[oracle_frame(SCENES, f"{kind}_{side}", i) for side in ("query", "ref")] for i in range(40)]
    assert np.mean([iou(transfer_box(reference, query.view), query.box) > 0.5 for query, reference in pairs]) >= 0.9


def test_the_box_keeps_to_the_query_rectangle_and_plane():
    reference, query = standing_frame(azimuth=0.3), standing_frame(azimuth=0.5, distance=0.9, elevation=0.4)
    box = transfer_box(reference, query.view)
    bottom = query.view.plane.height(box.corners).min()
    assert abs(bottom) < 0.02
    assert np.allclose(box.rect(CAMERA), query.view.rect, atol=15)


def test_opposite_normals_are_no_trap():
    floor = Plane(np.array([0, -1.0, 0]), 0.3)
    standing = Box(np.diag([1.0, -1.0, -1.0]), np.array([0, 0.25, 1.0]), np.array([0.1, 0.1, 0.1]))
    reference = Frame("a", "cup", "mug-1", View(CAMERA, floor, standing.rect(CAMERA)), standing)
    ceiling = Plane(np.array([0, 1.0, 0]), 0.3)
    hanging = transfer_box(reference, View(CAMERA, ceiling, (200, 140, 280, 220)))
    assert hanging.center[1] < 0
    assert np.allclose(hanging.rotation[:, 1], ceiling.normal)


def test_names_what_cannot_be():
    frame = standing_frame()
    ceiling = Plane.from_point([0, 0, 1.0], [0, 0, -1.0])  # behind the camera: no ray in front meets it
    with pytest.raises(RayMissesPlaneError):
        transfer_box(frame, View(CAMERA, ceiling, frame.view.rect))
    with pytest.raises(NoPoseError, match="camera and plane"):
        transfer_box(frame, View(None, None, frame.view.rect))
    with pytest.raises(NoPoseError, match="no box"):
        transfer_box(Frame("a", "b", "c", frame.view), frame.view)


def test_a_box_that_reaches_behind_the_camera_is_refused():
    wide = Camera(60, 60, 240, 320, 480, 640)
    flat = standing_frame(camera=wide, size=(0.9, 0.02, 0.9), elevation=1.2, distance=0.5)
    query = View(wide, Plane.from_point(rotation_about("x", 0.1) @ [0, -1.0, 0], [0, 0.6, 0]), (0, 300, 480, 640))
    with pytest.raises(BehindCameraError):
        transfer_box(flat, query)


def test_nearly_opposite_normals_still_give_a_rotation():
    rng = np.random.default_rng(3)
    for angle in (0.0, 1e-12, 1e-8, 1e-6, 1e-3):
        source = rng.normal(size=3)
        source /= np.linalg.norm(source)
        across = np.cross(source, [1.0, 0, 0])
        target = -np.cos(angle) * source + np.sin(angle) * across / np.linalg.norm(across)
        rotation = _rotation_between(source, target)
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert np.allclose(rotation @ source, target, atol=1e-6)


def test_a_box_that_leaves_the_picture_is_refused_by_name():
    frame = standing_frame()
    with pytest.raises(GeometryError):
        transfer_box(frame, View(CAMERA, frame.view.plane, (0, 0, 480, 1)))
