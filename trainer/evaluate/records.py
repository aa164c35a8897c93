"""``evaluation.parquet``: a row for each line of the table, method and query (docs/evaluation.md)."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from index.search import FrameIndex
from index.table import FRAME_SCHEMA
from trainer.evaluate.boxes import Answers, Asked, Boxes
from trainer.evaluate.pose import Measured, Truths
from trainer.frames import Frames

Array = NDArray[np.float64]

_TEXTS = ("row", "method", "query", "category", "object_id", "sequence")
_ERRORS = ("iou", "azimuth_deg", "elevation_deg", "pixels", "add_m", "adds_m")
_TURNED = ("iou", "azimuth_deg")
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in _TEXTS),
        pa.field("time_s", pa.float64(), nullable=False),
        pa.field("neighbours", pa.list_(pa.string()), nullable=False),
        pa.field("similarities", pa.list_(pa.float32()), nullable=False),
        pa.field("confidence", pa.float64()),
        FRAME_SCHEMA.field("box"),
        *(pa.field(name, pa.float64()) for name in _ERRORS),
        *(pa.field(f"symmetric_{name}", pa.float64()) for name in _TURNED),
        *(pa.field(name, pa.float64()) for name in ("view_elevation_deg", "truncation", "size")),
    ]
)


class Records:
    """Writes the file: a context manager; all of the file or none of it."""

    def __init__(self, path: Path) -> None:
        self._path, self._draft = path, path.with_name(f"{path.name}.partial")

    def __enter__(self) -> Records:
        self._writer = pq.ParquetWriter(self._draft, SCHEMA, compression="zstd")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()
        if error is None:
            self._draft.replace(self._path)
        else:
            self._draft.unlink(missing_ok=True)

    def add(
        self,
        row: str,
        queries: Frames,
        asked: Asked,
        index: FrameIndex,
        truths: Truths,
        answers: Answers,
        found: list[Measured],
    ) -> None:
        """One line of the table: ``found`` are its methods' errors, none where no query's box is known."""
        ids = np.array(index.table["id"].to_pylist(), dtype=object)
        common = {
            "row": [row] * len(queries),
            **{name: getattr(queries, name) for name in ("category", "object_id", "sequence", "time_s")},
            "query": queries.table["id"],
            "neighbours": [ids[rows[rows >= 0]].tolist() for rows in asked.rows],
            "similarities": [s[rows >= 0].tolist() for s, rows in zip(asked.similarities, asked.rows, strict=True)],
        }
        conditions = truths.conditions
        seen = {
            "view_elevation_deg": conditions["elevation_deg"],
            "truncation": conditions["truncation"],
            "size": conditions["size"],
        }
        errors = {m.method: m for m in found}
        for method, boxes in answers.items():
            values = dict(seen)
            if method in errors:
                values |= {name: getattr(errors[method].errors, name) for name in _ERRORS}
                values |= {f"symmetric_{name}": getattr(errors[method].turned_errors, name) for name in _TURNED}
            columns: dict[str, Any] = {
                **common,
                "method": [method] * len(queries),
                "confidence": _column(boxes.confidence),
                "box": _boxes(boxes),
                **{name: _column(_spread_out(part, truths.known)) for name, part in values.items()},
            }
            arrays = [
                columns[f.name]
                if isinstance(columns.get(f.name), pa.Array | pa.ChunkedArray)
                else pa.array(columns.get(f.name, [None] * len(queries)), f.type)
                for f in SCHEMA
            ]
            self._writer.write_table(pa.table(arrays, schema=SCHEMA))


def _spread_out(values: Array, known: NDArray[np.bool_]) -> Array:
    """(m,) of the queries whose box is known -> (n,), NaN for the others."""
    result = np.full(len(known), np.nan)
    result[known] = values
    return result


def _column(values: Array) -> pa.Array:
    """NaN as null."""
    return pa.array(values, pa.float64(), mask=np.isnan(values))


def _boxes(boxes: Boxes) -> pa.Array:
    kind = FRAME_SCHEMA.field("box").type
    rows = [
        None
        if np.isnan(row[0])
        else {"rotation": row[:9].tolist(), "center": row[9:12].tolist(), "size": row[12:].tolist()}
        for row in boxes.values
    ]
    return pa.array(rows, kind)
