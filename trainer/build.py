"""Stage: frames and an encoder in, a new version of the index out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.confidence import Calibration
from index.encoder import open_encoder
from index.history import History
from index.identity_map import read_identity_map
from index.kinds import Kind
from index.picture import encode_jpeg
from index.predict import DEFAULT_K
from index.recall import SearchConfig
from index.recognition import Recognition
from index.schema import InvalidValueError
from index.search import FrameIndex
from index.store import Content
from index.stores import Location, store_at
from index.table import INDEXED_SCHEMA
from trainer.calibrate import box_calibration
from trainer.frames import Frames
from trainer.inference import embed_frames
from trainer.ingest import sources_by_shard
from trainer.layout import layout
from trainer.recognise import recognitions

logger = logging.getLogger(__name__)


# An encoder's folder, frames and a device -> (n, d) vectors.
Embedding = Callable[[Path, Frames, str], NDArray[np.float32]]


@dataclass(frozen=True)
class BuildConfig:
    """How an index is built from frames."""

    splits: tuple[str, ...] = ("train", "valid")  # the test split is for measuring: indexed, it would find itself
    thumbnail_side: int = 320  # longest side in pixels: enough to draw a box on, about 10 kB
    false_accepts: float = 0.05  # how often an unknown object may be called known; thresholds of ``known``
    map_frames: int = 10_000  # as many are laid out by t-SNE for the page's map: about half a minute
    keep: int = 5  # versions kept for rollback
    milvus_index: str = "FLAT"  # how Milvus, where the index is there, indexes vectors; FLAT: exact
    kind: Kind | Literal["auto"] = "auto"  # of search: index.kinds; auto: by size
    recall: float = 0.98  # of as many neighbours as the service asks for, which the kind must reach
    reduce: int | None = None  # dimension of a kind's candidates; None: at most 256
    device: str = "auto"

    @property
    def search(self) -> SearchConfig:
        """What ``index.store`` is asked for."""
        return SearchConfig(self.kind, self.recall, DEFAULT_K, self.reduce)

    def __post_init__(self) -> None:
        _ = self.search  # refuses what cannot be, before frames are embedded


def build(
    frames: Path, encoder: Path, out: Location, config: BuildConfig | None = None, embed: Embedding | None = None
) -> str:
    """Embeds the frames of ``config.splits`` through the exported encoder, writes a version and switches to it.

    Args:
        frames: the ``<run>/frames`` folder.
        encoder: the ``<run>/encoder`` artefact.
        out: the ``<run>/index`` folder, or a place in Milvus: see ``index.stores``.

        embed: who embeds; None: this process.

    Returns:
        The version's name.
    """
    config = config or BuildConfig()
    everything = Frames.open(frames)
    chosen = everything.select(np.isin(everything.split, config.splits))
    if len(chosen) == 0:
        raise InvalidValueError("splits", config.splits, f"splits that {frames} has frames of")
    runtime = open_encoder(encoder, config.device)
    vectors = embed(encoder, chosen, config.device) if embed else embed_frames(runtime, chosen)
    table = origins(chosen)
    index = FrameIndex(vectors, table)
    index.identity_map = read_identity_map(encoder)
    content = Content(
        vectors,
        table,
        thumbnails(chosen, config.thumbnail_side),
        encoder,
        runtime.digest,
        *calibrations(index, config),
        layout(index, config.map_frames),
        History(digests(chosen), calibrated_frames=len(index)),
        config.search,
    )
    name = store_at(out, config.milvus_index).write(content, config.keep)
    logger.info("index version %s: %d frames", name, len(index))
    return name


def calibrations(index: FrameIndex, config: BuildConfig) -> tuple[Calibration | None, tuple[Recognition, ...]]:
    """What the index's boxes and matches are worth; its table has the columns of ORIGIN."""
    sequence = np.array(index.table["sequence"].to_pylist(), dtype=np.str_)
    known = recognitions(index, sequence, config.false_accepts)
    return box_calibration(index), known


def origins(frames: Frames) -> pa.Table:
    """The frames as an index's table."""
    shards, sequences = (frames.table[column].to_pylist() for column in ("shard", "sequence"))
    names = {shard: name for shard, (name, _) in sources_by_shard(frames.path, shards).items()}
    # A part may have been deleted: its table outlives it. What was read is then named as the video is.
    sources = [names.get(shard, sequence) for shard, sequence in zip(shards, sequences, strict=True)]
    named = frames.table.append_column("source", pa.array(sources, pa.string()))
    return named.select(INDEXED_SCHEMA.names).cast(INDEXED_SCHEMA)


def digests(frames: Frames) -> dict[str, str]:
    """The digest of every source that frames are of; of those whose part was deleted there is none."""
    return dict(sorted(sources_by_shard(frames.path, frames.table["shard"].to_pylist()).values()))


def thumbnails(frames: Frames, side: int) -> Iterator[bytes]:
    """A JPEG of each picture, its longest side at most ``side`` pixels."""
    return (_thumbnail(frames.image(row), side) for row in range(len(frames)))


def _thumbnail(image: NDArray[np.uint8], side: int) -> bytes:
    scale = min(1.0, side / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(small, np.uint8), 85)
