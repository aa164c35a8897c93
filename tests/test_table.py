"""Frames as table rows: nothing changes on the way there and back, through Parquet too."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from index.schema import Box, Camera, Frame, InvalidValueError, Plane, View
from index.table import FRAME_SCHEMA, frame_from_row, missing_columns, row_from_frame, table_from_frames


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    known = draw(st.sampled_from(["rect", "camera", "plane", "box"]))
    width, height = draw(st.integers(200, 4000)), draw(st.integers(200, 4000))
    camera = Camera(*rng.uniform(100, 4000, 4), width, height) if known != "rect" else None
    plane = Plane(rng.normal(size=3), rng.uniform(0.1, 3)) if known in ("plane", "box") else None
    rotation = Rotation.random(rng=rng).as_matrix()
    box = Box(rotation, rng.normal(size=3), rng.uniform(0.01, 2, 3)) if known == "box" else None
    corner = rng.uniform(0, 100, 2)
    view = View(camera, plane, (*corner, *(corner + rng.uniform(1, 99, 2))))
    text = st.text(min_size=1, max_size=12)
    return Frame(draw(text), draw(text), draw(text), view, box)


def assert_equal(frame: Frame, other: Frame) -> None:
    assert (frame.id, frame.category, frame.object_id) == (other.id, other.category, other.object_id)
    assert (frame.view.camera, frame.view.rect) == (other.view.camera, other.view.rect)
    row, other_row = row_from_frame(frame), row_from_frame(other)
    assert row["box"] == other_row["box"]
    # A plane makes its normal a unit vector again, which may change its last bit.
    assert (row["plane"] is None) == (other_row["plane"] is None)
    if row["plane"]:
        np.testing.assert_allclose(row["plane"]["normal"], other_row["plane"]["normal"], rtol=0, atol=4e-16)
        np.testing.assert_allclose(row["plane"]["offset"], other_row["plane"]["offset"], rtol=1e-15)


@settings(deadline=None)
@given(st.lists(frames(), max_size=5))
def test_round_trip_through_a_file(tmp_path_factory, given_frames: list[Frame]) -> None:
    file = tmp_path_factory.mktemp("table") / "frames.parquet"
    table = table_from_frames(given_frames)
    pq.write_table(table, file)
    stored = pq.read_table(file)
    assert stored.equals(table)
    assert missing_columns(stored.schema, FRAME_SCHEMA) == []
    for frame, row in zip(given_frames, stored.to_pylist(), strict=True):
        assert_equal(frame, frame_from_row(row))


def test_no_frames_make_an_empty_table() -> None:
    table = table_from_frames([])
    assert (table.num_rows, table.schema) == (0, FRAME_SCHEMA)


def frame() -> Frame:
    return Frame("a", "cup", "mug", View(None, None, (1, 2, 3, 4)))


def test_missing_columns_are_named() -> None:
    table = table_from_frames([frame()])
    assert missing_columns(table.drop_columns(["rect", "box"]).schema, FRAME_SCHEMA) == ["rect", "box"]
    retyped = table.set_column(0, "id", table["rect"])
    assert missing_columns(retyped.schema, FRAME_SCHEMA) == ["id"]


def test_a_row_without_a_column_is_refused() -> None:
    row = row_from_frame(frame())
    del row["box"]
    with pytest.raises(InvalidValueError, match="column 'box'"):
        frame_from_row(row)


def test_a_row_with_an_impossible_value_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="rect"):
        frame_from_row(row_from_frame(frame()) | {"rect": [3, 2, 1, 4]})


def test_other_columns_are_ignored() -> None:
    assert frame_from_row(row_from_frame(frame()) | {"split": "test"}).id == "a"
