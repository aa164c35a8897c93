"""The identity map of an encoder: from vectors that tell views apart to such that tell objects apart, linear.

Learnt without labels from tracks: frames of one track show one object, those of others another. It starts with linear
discriminant analysis (directions in which the frames of a track differ are damped, those in which tracks differ are
kept), in closed form. Where there are enough tracks, steps of a contrastive loss follow: the frames of a track attract,
others repel (supervised contrastive learning, Khosla et al. 2020, the track being the label). What each is worth:
docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from index.encoder import open_encoder
from index.schema import InvalidValueError
from trainer.contrast import Batch, but_itself, contrasted
from trainer.frames import Frames, evenly_of_tracks
from trainer.inference import embed_frames

_LEAST_TRACKS = 30  # from fewer, the map knows those and no others: the vectors themselves are better (docs/LOG.md)


@dataclass(frozen=True)
class IdentityConfig:
    """How the map is fitted.

    Attributes:
        dimension: of the identities; less when the vectors or the tracks have less.
        shrinkage: how far the scatter within tracks is drawn towards a sphere, 0 to 1.
        steps: of the contrastive loss; 0: the closed form alone.
        tracks, views: in a step: how many tracks, and frames of each.
        temperature, lr, weight_decay: of the contrastive steps.
        sample: frames that it is fitted to at most, evenly over the tracks.
        seed: of what is drawn in a step.
    """

    dimension: int = 64
    shrinkage: float = 0.3
    steps: int = 0
    tracks: int = 64
    views: int = 4
    temperature: float = 0.1
    lr: float = 2e-3
    weight_decay: float = 1e-4
    sample: int = 40000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dimension < 1 or self.steps < 0 or self.tracks < 2 or self.views < 2:
            bound = "dimension 1, steps 0, tracks and views 2 at least"
            raise InvalidValueError("identity", (self.dimension, self.steps, self.tracks, self.views), bound)
        if not 0 < self.shrinkage <= 1:
            raise InvalidValueError("identity.shrinkage", self.shrinkage, "above 0, at most 1")
        if self.temperature <= 0 or self.lr <= 0:
            raise InvalidValueError("identity", (self.temperature, self.lr), "a positive temperature and lr")


def identity_map(encoder: Path, frames: Frames, config: IdentityConfig) -> NDArray[np.float32] | None:
    """The map (e, d) for an encoder's vectors (n, d), from the tracks in ``frames``; None where those are too few."""
    chosen = evenly_of_tracks(frames, config.sample)
    tracks = chosen.track_numbers()
    several = np.bincount(tracks)[tracks] > 1
    if len(np.unique(tracks[several])) < _LEAST_TRACKS:
        return None
    vectors = embed_frames(open_encoder(encoder), chosen.select(several), "identity")
    return fit_identity(vectors, tracks[several], config)


def fit_identity(
    vectors: NDArray[np.float32], tracks: NDArray[np.int64], config: IdentityConfig
) -> NDArray[np.float32]:
    """(e, d) float32 of vectors (n, d) and the numbers (n,) of the tracks that they are of."""
    directions, weights = discriminants(vectors, tracks, config.shrinkage)
    kept = min(config.dimension, len(directions))
    if config.steps:
        start = directions / (vectors @ directions.T).std()
        turned = contrasted(
            torch.from_numpy((vectors @ start.T).astype(np.float32)),
            kept,
            _batches(tracks, config),
            steps=config.steps,
            temperature=config.temperature,
            lr=config.lr,
            decay=config.weight_decay,
        )
        found = turned.astype(np.float64) @ start
    else:
        found = weights[:kept, None] * directions[:kept]
    # Of length one on average: unit vectors do not depend on it.
    scaled: NDArray[np.float32] = (found / np.linalg.norm(found, axis=1).mean()).astype(np.float32)
    return scaled


def discriminants(
    vectors: NDArray[np.float32], tracks: NDArray[np.int64], shrinkage: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Linear discriminant analysis: directions (m, d), the best first, and how far each is to be trusted (m,), 0 to 1.

    Along each direction, frames of one track deviate by 1 from their mean.
    """
    _, member, counts = np.unique(tracks, return_inverse=True, return_counts=True)
    rows = vectors.astype(np.float64)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, member, rows)
    means /= counts[:, None]
    apart = rows - means[member]
    within = apart.T @ apart / max(1, len(rows) - len(counts))
    sphere = np.trace(within) / len(within)
    if sphere < 1e-12:
        raise InvalidValueError("tracks", f"{len(counts)} without any change", "tracks whose frames differ")
    scatter, axes = np.linalg.eigh((1 - shrinkage) * within + shrinkage * sphere * np.eye(len(within)))
    whiten = axes / np.sqrt(scatter)
    between = np.cov((means - means.mean(axis=0)) @ whiten, rowvar=False) - np.eye(len(within)) / counts.mean()
    spread, turn = np.linalg.eigh(between)
    best = np.argsort(-spread)[: len(counts) - 1]
    spread = np.maximum(spread[best], 1e-6)
    return (whiten @ turn[:, best]).T, np.sqrt(spread / (1 + spread))


def _batches(tracks: NDArray[np.int64], config: IdentityConfig) -> Iterator[Batch]:
    """Some frames of some tracks: those of a track attract, all others repel."""
    rng = np.random.default_rng(config.seed)
    rows = [np.flatnonzero(tracks == track) for track in np.unique(tracks)]
    while True:
        chosen = rng.choice(len(rows), min(config.tracks, len(rows)), replace=False)
        picked = np.concatenate([rng.choice(rows[track], config.views) for track in chosen])
        label = torch.arange(len(chosen)).repeat_interleave(config.views)
        yield Batch(
            picked,
            but_itself(label[:, None] == label),
            but_itself(torch.ones(len(picked), len(picked), dtype=torch.bool)),
        )
