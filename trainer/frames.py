"""The frames stage's artefact: pictures in shards, one table over all of them.

::

    <run>/frames/
        frames.parquet       one row per object per picture: index.table's columns and those of ``EXTRA``
        shards/<source>.tar  the pictures, JPEG, longest side at most ``IngestConfig.max_side``
        parts/<source>.parquet   the rows of one source: what a restarted run does not read again
        report.json          what was kept, and what was dropped for which reason
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from index.encoder import file_digest, letterbox
from index.picture import decode_picture
from index.schema import CorruptArtifactError, ForeignArtifactError, Frame, ImageError
from index.shards import read_shard
from index.table import FRAME_SCHEMA, frame_from_row, missing_columns

EXTRA = pa.schema(
    [
        pa.field("sequence", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("time_s", pa.float64(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
    ]
)
FRAMES_SCHEMA = pa.schema([*FRAME_SCHEMA, *EXTRA])


@dataclass(frozen=True, eq=False)
class Frames:
    """Annotated pictures on disk, addressed by row. Pickles as its folder and table, so workers can have it."""

    path: Path
    table: pa.Table

    @classmethod
    def open(cls, path: Path) -> Frames:
        """The frames that ``ingest`` wrote to ``path``.

        Raises CorruptArtifactError when the table is missing or truncated, ForeignArtifactError when it is not ours.
        """
        file = Path(path) / "frames.parquet"
        try:
            table = pq.read_table(file)
        except FileNotFoundError:
            raise CorruptArtifactError(file, "missing: `python -m trainer ingest` writes it") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptArtifactError(file, f"not a readable Parquet file ({error})") from error
        if missing := missing_columns(table.schema, FRAMES_SCHEMA):
            raise ForeignArtifactError(file, f"columns missing or of another type: {', '.join(missing)}")
        return cls(Path(path), table.select(FRAMES_SCHEMA.names).combine_chunks())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "table": self.table}

    def frame(self, row: int) -> Frame:
        """The metadata of one row, in the pixels of the stored picture."""
        return frame_from_row(self.table.slice(self._checked(row), 1).to_pylist()[0])

    def jpeg(self, row: int) -> bytes:
        """The stored picture of one row."""
        shard = self.path / self.table["shard"][self._checked(row)].as_py()
        return read_shard(shard, int(self._offset[row]), int(self._length[row]))

    def image(self, row: int) -> NDArray[np.uint8]:
        """The picture of one row, (h, w, 3) uint8 RGB."""
        try:
            return decode_picture(self.jpeg(row))
        except ImageError:
            shard = self.path / self.table["shard"][row].as_py()
            raise CorruptArtifactError(shard, f"no picture at byte {self._offset[row]}") from None

    @cached_property
    def sequence(self) -> NDArray[np.str_]:
        """(n,) names of the videos."""
        return self._strings("sequence")

    @cached_property
    def split(self) -> NDArray[np.str_]:
        """(n,) ``train``, ``valid`` or ``test``."""
        return self._strings("split")

    @cached_property
    def category(self) -> NDArray[np.str_]:
        """(n,) names of categories."""
        return self._strings("category")

    @cached_property
    def object_id(self) -> NDArray[np.str_]:
        """(n,) identities of objects."""
        return self._strings("object_id")

    @cached_property
    def time_s(self) -> NDArray[np.float64]:
        """(n,) seconds since the start of the video."""
        return np.asarray(self.table["time_s"], np.float64)

    @cached_property
    def rect(self) -> NDArray[np.float64]:
        """(n, 4) x0, y0, x1, y1 in pixels of the stored picture."""
        return np.asarray(self.table["rect"].combine_chunks().flatten(), np.float64).reshape(-1, 4)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Frames:
        """The subset of a mask (n,) bool or of row numbers (m,), in their order."""
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, np.int64)
        return Frames(self.path, self.table.take(numbers))

    def tracks(self) -> list[NDArray[np.int64]]:
        """The rows of each object in each sequence, in time order; tracks in order of their first row."""
        return self._tracks

    @cached_property
    def _tracks(self) -> list[NDArray[np.int64]]:
        if not len(self):
            return []
        names = np.stack([self.sequence, self.object_id])
        _, first, track = np.unique(names, axis=1, return_index=True, return_inverse=True)
        order = np.lexsort((self.time_s, track.ravel()))
        rows = np.split(order, np.cumsum(np.bincount(track.ravel()))[:-1])
        return [rows[k] for k in np.argsort(first)]

    def track_numbers(self) -> NDArray[np.int64]:
        """(n,) the number of each row's track in ``tracks``."""
        numbers = np.zeros(len(self), np.int64)
        for number, rows in enumerate(self.tracks()):
            numbers[rows] = number
        return numbers

    @cached_property
    def _offset(self) -> NDArray[np.int64]:
        return np.asarray(self.table["offset"], np.int64)

    @cached_property
    def _length(self) -> NDArray[np.int64]:
        return np.asarray(self.table["length"], np.int64)

    def _strings(self, name: str) -> NDArray[np.str_]:
        return np.array(self.table[name].to_pylist(), dtype=np.str_)

    def _checked(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} frames")
        return int(row)


def write_table(table: pa.Table, path: Path) -> None:
    """Writes Parquet, all of the file or none of it."""
    partial = path.with_name(f"{path.name}.partial")
    pq.write_table(table, partial)
    partial.replace(path)


def frames_digest(path: Path) -> str:
    """Of the frames' table, by which what was made of them is known."""
    return file_digest(path / "frames.parquet")


def even_rows(rows: int, count: int) -> NDArray[np.int64]:
    """At most ``count`` of so many rows, evenly spread, so that every track has its share; rising."""
    return np.unique(np.linspace(0, rows - 1, min(count, rows)).round().astype(np.int64))


def evenly(frames: Frames, count: int) -> Frames:
    """At most ``count`` frames, as ``even_rows`` has them."""
    return frames.select(even_rows(len(frames), count))


def evenly_of_tracks(frames: Frames, count: int) -> Frames:
    """At most ``count`` frames, or all: as many of each track, two at least, and of fewer tracks where these are many.

    What is learnt from pairs of a track's frames finds none in an even choice of frames from many tracks.
    """
    if len(frames) <= count:
        return frames
    paired = [rows for rows in frames.tracks() if len(rows) > 1]
    chosen = [paired[k] for k in even_rows(len(paired), count // 2)]
    each = count // max(1, len(chosen))
    kept = [rows[even_rows(len(rows), each)] for rows in chosen]
    return frames.select(np.sort(np.concatenate([np.empty(0, np.int64), *kept])))


def letterboxed(frames: Frames, size: int) -> NDArray[np.uint8]:
    """(n, size, size, 3): every frame's rectangle as an encoder sees it."""
    return np.stack([letterbox(frames.image(k), frames.rect[k], size) for k in range(len(frames))])
