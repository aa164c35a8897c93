"""The embedding in the plane, and videos as paths through it (figure 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from index.layout import Layout
from index.search import FrameIndex
from trainer.frames import Frames
from trainer.layout import layout
from trainer.report.answers import Answers

_MOST_POINTS = 2000  # t-SNE of more takes minutes, and the plot shows no more
_VIDEOS = 3  # in one panel: of more, no path could be followed


def tsne(answers: Answers) -> Layout:
    """(m, 2): the queries by t-SNE; of very many, most are put beside their nearest one."""
    queries = answers.queries
    items = [queries.frame(row) for row in range(len(queries))]
    return layout(FrameIndex.from_frames(answers.query_vectors, items), _MOST_POINTS)


def tracks_by_category(frames: Frames, most: int = _VIDEOS) -> dict[str, list[NDArray[np.int64]]]:
    """The first ``most`` tracks of each category that have a path at all: by rule, and not by how good they look."""
    found: dict[str, list[NDArray[np.int64]]] = {}
    for track in frames.tracks():
        tracks = found.setdefault(str(frames.category[track[0]]), [])
        if len(tracks) < most and len(track) > 2:
            tracks.append(track)
    return {category: tracks for category, tracks in sorted(found.items()) if tracks}


def pca_paths(answers: Answers, tracks: list[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
    """Each track's frames in the plane of their vectors' two principal components, (n, 2)."""
    vectors = [answers.query_vectors[track] for track in tracks]
    plane = PCA(2, random_state=0).fit(np.concatenate(vectors))
    return [np.asarray(plane.transform(part)) for part in vectors]
