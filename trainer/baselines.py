"""What the trained encoder is compared with: raw pixels as an embedding."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from index.encoder import letterbox


class RawPixels:
    """The crop's own pixels, averaged to 16x16, as a unit vector: the embedding that needs no learning."""

    side = 16
    input_size = 64
    digest = "raw-pixels-16"

    @property
    def dimension(self) -> int:
        """16 x 16 x 3."""
        return self.side * self.side * 3

    def crop(self, image: NDArray[np.uint8], rect: Sequence[float]) -> NDArray[np.uint8]:
        """The same letterbox crop that an encoder sees, (64, 64, 3)."""
        return letterbox(image, rect, self.input_size)

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, 64, 64, 3) uint8 -> (n, 768) float32 unit vectors."""
        if len(crops) == 0:
            return np.empty((0, self.dimension), np.float32)
        small = np.stack([cv2.resize(c, (self.side, self.side), interpolation=cv2.INTER_AREA) for c in crops])
        # Centred on mid-grey, so that the cosine compares patterns and not brightness.
        vectors = (small.astype(np.float32) - 127.5).reshape(len(crops), -1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-6)
        return unit
