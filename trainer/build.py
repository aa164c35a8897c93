"""Stage: frames and an encoder in, a new version of the index out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from index.encoder import open_encoder
from index.picture import encode_jpeg
from index.schema import InvalidValueError
from index.search import FrameIndex
from index.store import write_index
from trainer.frames import Frames
from trainer.inference import embed_frames

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildConfig:
    """How an index is built from frames."""

    splits: tuple[str, ...] = ("train", "valid")  # the test split is for measuring: indexed, it would find itself
    thumbnail_side: int = 320  # longest side in pixels: enough to draw a box on, about 10 kB
    false_accepts: float = 0.05  # how often an unknown object may be called known; sets the manifest's known_threshold
    keep: int = 5  # versions kept for rollback
    device: str = "auto"


def build(frames: Path, encoder: Path, out: Path, config: BuildConfig | None = None) -> Path:
    """Embeds the frames of ``config.splits`` through the exported encoder, writes a version and switches to it.

    Args:
        frames: the ``<run>/frames`` folder.
        encoder: the ``<run>/encoder`` artefact.
        out: the ``<run>/index`` folder.

    Returns:
        The version's folder.
    """
    config = config or BuildConfig()
    everything = Frames.open(frames)
    chosen = everything.select(np.isin(everything.split, config.splits))
    if len(chosen) == 0:
        raise InvalidValueError("splits", config.splits, f"splits that {frames} has frames of")
    runtime = open_encoder(encoder, config.device)
    vectors = embed_frames(runtime, chosen)
    items = [chosen.frame(row) for row in range(len(chosen))]
    thumbnails = (_thumbnail(chosen.image(row), config.thumbnail_side) for row in range(len(chosen)))
    threshold = known_threshold(FrameIndex.from_frames(vectors, items), chosen.object_id, config.false_accepts)
    name = write_index(out, vectors, items, thumbnails, encoder, runtime.digest, threshold, config.keep)
    logger.info("index version %s: %d frames", name, len(items))
    return out / "versions" / name


def known_threshold(
    index: FrameIndex, object_ids: NDArray[np.str_], false_accepts: float, samples: int = 2000
) -> float | None:
    """The similarity that a frame reaches to some *other* object in only ``false_accepts`` of the cases.

    None when there is only one object. Measured on the indexed frames themselves: each is taken as a stranger by
    leaving its object out of the search.
    """
    if len(index.objects) < 2:
        return None
    rows = np.random.default_rng(0).permutation(len(index))[:samples]
    best = [
        index.search(index.vectors[[row]], 1, exclude_object=str(object_ids[row]))[0][0, 0] for row in np.sort(rows)
    ]
    return float(np.quantile(best, 1 - false_accepts))


def _thumbnail(image: NDArray[np.uint8], side: int) -> bytes:
    scale = min(1.0, side / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(small, np.uint8), 85)
