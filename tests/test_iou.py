"""Exact 3D IoU: against rational arithmetic, closed forms, sampling, and the properties that an IoU has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from index.iou import iou_3d, pairwise_iou
from index.schema import Box, InvalidValueError
from tests import numpy_iou
from tests.scenes import DATA

ORACLE = dict(np.load(DATA / "iou.npz"))
KINDS = [str(name) for name in ORACLE["kind_names"]]


def box(size=(1.0, 1.0, 1.0), center=(0.0, 0.0, 0.0), rotation=None) -> np.ndarray:
    return Box(np.eye(3) if rotation is None else rotation, np.array(center), np.array(size)).corners[None]


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_rational_arithmetic(kind):
    rows = ORACLE["kind"] == KINDS.index(kind)
    error = np.abs(iou_3d(ORACLE["corners_a"][rows], ORACLE["corners_b"][rows]) - ORACLE["iou"][rows])
    # Keypoints rounded to float32 are not exactly a box, so the two answers are of slightly different shapes.
    assert error.max() < (5e-7 if kind == "float32_keypoints" else 1e-9)


def test_the_compiled_kernel_agrees_with_the_one_in_numpy():
    a, b = ORACLE["corners_a"], ORACLE["corners_b"]
    assert np.abs(iou_3d(a, b) - numpy_iou.iou_3d(a, b)).max() < 1e-7  # float32 keypoints are not exactly boxes
    rng = np.random.default_rng(1)
    boxes = [
        Box(Rotation.random(rng=rng).as_matrix(), rng.normal(0, 0.3, 3), rng.uniform(0.2, 2, 3)).corners
        for _ in range(60)
    ]
    table = pairwise_iou(np.array(boxes))
    i, j = np.triu_indices(60)
    slow = numpy_iou.iou_3d(np.array(boxes)[i], np.array(boxes)[j])
    assert np.abs(table[i, j] - slow).max() < 1e-12
    assert np.array_equal(table, table.T)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (box(center=(0.5, 0, 0)), 1 / 3),
        (box(size=(0.5, 0.5, 0.5)), 1 / 8),
        (box(center=(1, 0, 0)), 0.0),
        (box(center=(1, 1, 0)), 0.0),
        (box(center=(1, 1, 1)), 0.0),
        (box(rotation=Rotation.from_rotvec([0, 0, np.pi / 4]).as_matrix()), (np.sqrt(8) - 2) / (2 - (np.sqrt(8) - 2))),
    ],
)
def test_closed_forms(other, expected):
    assert iou_3d(box(), other)[0] == pytest.approx(expected, abs=1e-14)


def test_agrees_with_sampling():
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b = (Box(Rotation.random(rng=rng).as_matrix(), rng.normal(0, 0.2, 3), rng.uniform(0.5, 2, 3)) for _ in "ab")
        points = (rng.random((200_000, 3)) - 0.5) * a.size @ a.rotation.T + a.center
        shared = (np.abs((points - b.center) @ b.rotation) <= b.size / 2).all(axis=1).mean() * a.size.prod()
        expected = shared / (a.size.prod() + b.size.prod() - shared)
        assert iou_3d(a.corners[None], b.corners[None])[0] == pytest.approx(expected, abs=0.01)


def vectors(low: float, high: float):
    return arrays(np.float64, 3, elements=st.floats(low, high))


boxes = st.builds(
    lambda turn, center, size: Box(Rotation.from_rotvec(turn).as_matrix(), center, size),
    vectors(-3, 3),
    vectors(-1, 1),
    vectors(0.01, 2),
)


@settings(max_examples=200, deadline=None)
@given(a=boxes, b=boxes, turn=vectors(-3, 3), shift=vectors(-10, 10))
def test_is_symmetric_bounded_and_invariant_to_rigid_motion(a, b, turn, shift):
    iou = iou_3d(a.corners[None], b.corners[None])[0]
    assert 0 <= iou <= 1
    assert iou_3d(b.corners[None], a.corners[None])[0] == pytest.approx(iou, abs=1e-10)
    rotation = Rotation.from_rotvec(turn).as_matrix()
    moved = [(x.corners @ rotation.T + shift)[None] for x in (a, b)]
    assert iou_3d(*moved)[0] == pytest.approx(iou, abs=1e-10)
    assert iou_3d(a.corners[None], a.corners[None])[0] == pytest.approx(1, abs=1e-10)


def test_mirrored_corner_order_is_the_same_box():
    a, b = box(), box(center=(0.3, 0.2, 0.1))
    mirrored = a[:, [4, 5, 6, 7, 0, 1, 2, 3]]
    assert iou_3d(mirrored, b) == pytest.approx(iou_3d(a, b), abs=1e-14)


def test_batches_are_independent_and_none_is_fine():
    a, b = ORACLE["corners_a"][:1500], ORACLE["corners_b"][:1500]
    together = iou_3d(a, b)
    assert np.array_equal(together[700:710], iou_3d(a[700:710], b[700:710]))
    assert iou_3d(a[:0], b[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((1, 8, 3)), box()),
        (box() * np.nan, box()),
        (box()[0], box()),
        (np.concatenate([box(), box()]), box()),
    ],
)
def test_refuses_what_is_no_box(a, b):
    with pytest.raises(InvalidValueError):
        iou_3d(a, b)
