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
from trainer.boxes import Answers, Asked, Boxes
from trainer.evaluate.pose import Measured, Truths
from trainer.evaluate.schema import Condition
from trainer.frames import Frames

Array = NDArray[np.float64]

_TEXTS = ("row", "method", "query", "category", "object_id", "sequence")
_ERRORS = ("iou", "azimuth_deg", "elevation_deg", "pixels", "add_m", "adds_m")
_TURNED = ("iou", "azimuth_deg")
_CONDITIONS: dict[Condition, str] = {"elevation_deg": "view_elevation_deg", "truncation": "truncation", "size": "size"}
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
        *(pa.field(name, pa.float64()) for name in _CONDITIONS.values()),
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
        common = {"row": [row] * len(queries), **_asked(queries, asked, index)}
        seen = {name: truths.conditions[condition] for condition, name in _CONDITIONS.items()}
        errors = {m.method: m for m in found}
        for method, boxes in answers.items():
            values = seen | (_errors(errors[method]) if method in errors else {})
            columns = {
                **common,
                "method": [method] * len(queries),
                "confidence": _column(boxes.confidence),
                "box": _boxes(boxes),
                **{name: _column(_spread_out(part, truths.known)) for name, part in values.items()},
            }
            missing = {name: pa.nulls(len(queries), pa.float64()) for name in SCHEMA.names if name not in columns}
            self._writer.write_table(pa.table({**columns, **missing}).select(SCHEMA.names).cast(SCHEMA))


def _asked(queries: Frames, asked: Asked, index: FrameIndex) -> dict[str, Any]:
    ids = np.array(index.table["id"].to_pylist(), dtype=object)
    return {
        "query": queries.table["id"],
        **{name: getattr(queries, name) for name in ("category", "object_id", "sequence", "time_s")},
        "neighbours": [ids[rows[rows >= 0]].tolist() for rows in asked.rows],
        "similarities": [s[rows >= 0].tolist() for s, rows in zip(asked.similarities, asked.rows, strict=True)],
    }


def _errors(found: Measured) -> dict[str, Array]:
    plain = {name: getattr(found.errors, name) for name in _ERRORS}
    return plain | {f"symmetric_{name}": getattr(found.turned_errors, name) for name in _TURNED}


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
