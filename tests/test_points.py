"""Points beside a capture: what an import writes and other tools' PLY files."""

from __future__ import annotations

import numpy as np
import pytest

from index.capture import CaptureError
from index.points import ply, read_points

POINTS = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32).astype(np.float64)


def test_points_are_read_as_they_were_written(tmp_path):
    (tmp_path / "points.ply").write_bytes(ply(POINTS))
    points, colors = read_points(tmp_path / "points.ply", 1000)
    np.testing.assert_array_equal(points, POINTS)
    assert colors is None


@pytest.mark.parametrize(("most", "step"), [(999, 2), (500, 2), (10, 100), (1, 1000)])
def test_of_many_points_some_are_read_from_all_of_the_file(tmp_path, most, step):
    (tmp_path / "points.ply").write_bytes(ply(POINTS))
    np.testing.assert_array_equal(read_points(tmp_path / "points.ply", most)[0], POINTS[::step])


def test_no_points_are_none(tmp_path):
    (tmp_path / "points.ply").write_bytes(ply(np.empty((0, 3))))
    points, colors = read_points(tmp_path / "points.ply", 10)
    assert (points.shape, colors) == ((0, 3), None)


def test_colours_and_other_properties_of_other_tools(tmp_path):
    names = ["x", "y", "z", "nx", "red", "green", "blue"]
    head = (
        "ply\nformat binary_little_endian 1.0\ncomment made elsewhere\nelement vertex 3\n"
        + "".join(f"property {'uchar' if name in ('red', 'green', 'blue') else 'double'} {name}\n" for name in names)
        + "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    fields = np.dtype([(name, "u1" if name in ("red", "green", "blue") else "<f8") for name in names])
    rows = np.array([(1, 2, 3, 0, 10, 20, 30), (np.nan, 0, 0, 0, 1, 1, 1), (4, 5, 6, 0, 40, 50, 60)], fields)
    (tmp_path / "points.ply").write_bytes(head.encode() + rows.tobytes() + b"\x03\0\0\0\0")
    points, colors = read_points(tmp_path / "points.ply", 10)
    assert points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert colors is not None
    assert colors.tolist() == [[10, 20, 30], [40, 50, 60]]


HEAD = "ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ply\n",
        HEAD.encode(),  # no end
        HEAD.encode() + b"end_header\n" + bytes(35),  # a byte is missing
        HEAD.replace("vertex 3", "vertex -3").encode() + b"end_header\n",
        HEAD.replace("vertex 3", "vertex many").encode() + b"end_header\n",
        HEAD.replace("vertex", "face").encode() + b"end_header\n" + bytes(36),
        HEAD.replace("float z", "quad z").encode() + b"end_header\n" + bytes(36),
        HEAD.replace("property float z\n", "").encode() + b"end_header\n" + bytes(36),
        HEAD.replace("binary_little_endian", "ascii").encode() + b"end_header\n1 2 3\n",
        HEAD.replace("vertex 3", f"vertex {10**30}").encode() + b"end_header\n" + bytes(36),
    ],
)
def test_what_is_no_such_file_is_refused_by_its_name(tmp_path, data):
    (tmp_path / "points.ply").write_bytes(data)
    with pytest.raises(CaptureError, match=r"points\.ply: "):
        read_points(tmp_path / "points.ply", 10)
