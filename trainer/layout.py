"""An index's vectors laid out in the plane by t-SNE: what the service's map shows."""

from __future__ import annotations

import logging
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from index.layout import Layout, principal_plane
from index.search import FrameIndex
from trainer.frames import even_rows

logger = logging.getLogger(__name__)

_PERPLEXITY = 30.0
_FEWEST = 12  # of fewer, their principal plane shows all there is
_STEPS = 500  # half of the usual number: the picture is the same
_DIMENSIONS = 50  # what t-SNE's neighbour search is given; more would take it longer, for the same picture


def layout(index: FrameIndex, most: int, seed: int = 0) -> Layout:
    """(n, 2) float32: every vector's place, frames that are alike close together. The same for the same index.

    At most ``most`` frames, evenly over the rows, are placed by t-SNE; each of the others is put where its nearest
    one of those is.
    """
    start = time.monotonic()
    rows = even_rows(len(index), most)
    placed = _placed(np.asarray(index.vectors[rows], np.float32), seed)
    logger.info("map: t-SNE of %d frames took %.1f s", len(rows), time.monotonic() - start)
    if len(rows) == len(index):
        return placed
    embedded = FrameIndex(index.vectors[rows], index.table.take(rows))
    return np.asarray(placed[embedded.search(np.asarray(index.vectors, np.float32), 1)[1][:, 0]], np.float32)


def _placed(vectors: NDArray[np.float32], seed: int) -> Layout:
    if len(vectors) < _FEWEST:
        return principal_plane(vectors)
    logger.info("map: laying out %d frames by t-SNE", len(vectors))
    dimensions = min(_DIMENSIONS, *vectors.shape)
    reduced = PCA(dimensions, random_state=seed).fit_transform(vectors)
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    place = TSNE(2, perplexity=perplexity, init="pca", max_iter=_STEPS, random_state=seed, n_jobs=1)
    return np.asarray(place.fit_transform(reduced), np.float32)
