"""Stored frames through the encoder and the index: what is built from and measured with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.encoder import Encoder
from index.predict import DEFAULT_K, Prediction, Predictor
from trainer.frames import Frames

_BATCH = 128


def embed_frames(
    encoder: Encoder, frames: Frames, description: str = "embed", rects: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """(n, d) float32 unit vectors of every frame's own rectangle, in order, with a progress bar.

    rects: (n, 4) pixels, in place of the frames' own.
    """
    windows = frames.rect if rects is None else rects

    def crop(row: int) -> NDArray[np.uint8]:
        return encoder.crop(frames.image(row), windows[row].tolist())

    vectors = [np.empty((0, encoder.dimension), np.float32)]
    with ThreadPoolExecutor(2) as pool, tqdm(total=len(frames), desc=description, unit="frame") as bar:
        for start in range(0, len(frames), _BATCH):
            rows = range(start, min(start + _BATCH, len(frames)))
            vectors.append(encoder.embed(np.stack(list(pool.map(crop, rows)))))
            bar.update(len(rows))
    return np.concatenate(vectors)


def predict_frame(predictor: Predictor, frames: Frames, row: int, k: int = DEFAULT_K) -> Prediction:
    """The answer for one stored frame as the query."""
    predictions, _ = predictor.predict(frames.image(row), [frames.frame(row).view], k)
    return predictions[0]
