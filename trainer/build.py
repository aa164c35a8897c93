"""Stage: frames and an encoder in, a new version of the index out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from index.encoder import open_encoder
from index.identity_map import read_identity_map
from index.picture import encode_jpeg
from index.schema import InvalidValueError
from index.search import FrameIndex
from index.store import Content
from index.stores import Location, store_at
from index.table import table_from_frames
from trainer.calibrate import box_calibration
from trainer.frames import Frames
from trainer.inference import embed_frames
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
    device: str = "auto"


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
    items = [chosen.frame(row) for row in range(len(chosen))]
    thumbnails = (_thumbnail(chosen.image(row), config.thumbnail_side) for row in range(len(chosen)))
    index = FrameIndex.from_frames(vectors, items)
    index.identity_map = read_identity_map(encoder)
    known, calibration = recognitions(index, chosen.sequence, config.false_accepts), box_calibration(index, items)
    content = Content(
        vectors,
        table_from_frames(items),
        thumbnails,
        encoder,
        runtime.digest,
        calibration,
        known,
        layout(index, config.map_frames),
    )
    name = store_at(out, config.milvus_index).write(content, config.keep)
    logger.info("index version %s: %d frames", name, len(items))
    return name


def _thumbnail(image: NDArray[np.uint8], side: int) -> bytes:
    scale = min(1.0, side / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(small, np.uint8), 85)
