"""Frames as rows of an Arrow table: the metadata beside pictures and vectors.

| column | type | |
|---|---|---|
| id, category, object_id | string | |
| camera | struct {fx, fy, cx, cy: double; width, height: int32} | null where not known |
| plane | struct {normal: double[3]; offset: double} | null where not known |
| rect | double[4] | x0, y0, x1, y1 |
| box | struct {rotation: double[9], row-major; center: double[3]; size: double[3]} | null where no pose is known |

Units and frames are those of ``index.schema``. An index's table also says where its frames come from (ORIGIN):
``sequence``, the video, and ``source``, what was read: a capture's folder, or a record file of many videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.schema import Box, Camera, Frame, InvalidValueError, Plane, View


def _numbers(length: int) -> pa.DataType:
    return pa.list_(pa.float64(), length)


# Fields inside a struct stay nullable: Parquet files do not read back with required lists inside a null struct.
_CAMERA = pa.struct(
    {name: pa.float64() for name in ("fx", "fy", "cx", "cy")} | {name: pa.int32() for name in ("width", "height")}
)
_PLANE = pa.struct({"normal": _numbers(3), "offset": pa.float64()})
_BOX = pa.struct({"rotation": _numbers(9), "center": _numbers(3), "size": _numbers(3)})

FRAME_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("object_id", pa.string(), nullable=False),
        pa.field("camera", _CAMERA),
        pa.field("plane", _PLANE),
        pa.field("rect", _numbers(4), nullable=False),
        pa.field("box", _BOX),
    ]
)

ORIGIN = pa.schema([pa.field("sequence", pa.string(), nullable=False), pa.field("source", pa.string(), nullable=False)])
INDEXED_SCHEMA = pa.schema([*FRAME_SCHEMA, *ORIGIN])


def missing_columns(schema: pa.Schema, required: pa.Schema) -> list[str]:
    """What ``schema`` lacks of ``required``: the names of columns that are absent or of another type."""
    return [
        field.name
        for field in required
        if field.name not in schema.names or schema.field(field.name).type != field.type
    ]


def numbered(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The names in a column, each once, and for each of its rows the number of its name."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def table_from_frames(frames: Sequence[Frame]) -> pa.Table:
    """The table of FRAME_SCHEMA with one row per frame, in their order."""
    return pa.Table.from_pylist([row_from_frame(frame) for frame in frames], schema=FRAME_SCHEMA)


def row_from_frame(frame: Frame) -> dict[str, Any]:
    """The frame as plain Python values, one per column of FRAME_SCHEMA."""
    camera, plane, box = frame.view.camera, frame.view.plane, frame.box
    return {
        "id": frame.id,
        "category": frame.category,
        "object_id": frame.object_id,
        "camera": camera and {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")},
        "plane": plane and {"normal": plane.normal.tolist(), "offset": plane.offset},
        "rect": list(frame.view.rect),
        "box": box
        and {"rotation": box.rotation.ravel().tolist(), "center": box.center.tolist(), "size": box.size.tolist()},
    }


def frame_from_row(row: Mapping[str, Any]) -> Frame:
    """The frame of one row, ``table.slice(i, 1).to_pylist()[0]``. Other columns are ignored.

    Raises InvalidValueError for a missing column, or a value that cannot be.
    """
    for name in FRAME_SCHEMA.names:
        if name not in row:
            raise InvalidValueError("frame columns", sorted(row), f"with the column {name!r}")
    camera, plane, box = row["camera"], row["plane"], row["box"]
    view = View(
        camera=camera and Camera(**camera),
        plane=plane and Plane(plane["normal"], plane["offset"]),
        rect=row["rect"],
    )
    if box:
        box = Box(np.reshape(box["rotation"], (3, 3)), box["center"], box["size"])
    return Frame(row["id"], row["category"], row["object_id"], view, box)
