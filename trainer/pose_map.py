"""The turn of a head towards pose: a linear map of whitened components that tells the views of one video apart.

Learnt without labels, like the network: of the frames of one track those that are nearby in time attract, and the
others repel (NT-Xent within a track, nearby as in the paper's section 3.2). Tracks are not compared with each other, so
nothing is learnt about what tells objects apart; that is the identity map's part (``trainer.identity``). What it is
worth: docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.contrast import Batch, but_itself, contrasted
from trainer.frames import Frames
from trainer.pairs import NEARBY_S

_TRACKS, _VIEWS = 24, 20  # in a step: how many tracks, and frames in a row of each
_TEMPERATURE, _LR = 0.1, 5e-4


def pose_map(components: NDArray[np.float32], frames: Frames, kept: int, steps: int) -> NDArray[np.float32]:
    """The map (kept, m) of the components (n, m) of ``frames``, the first of which weigh most; it begins with those."""
    rows = torch.from_numpy(components)
    return contrasted(rows, kept, _batches(frames), steps=steps, temperature=_TEMPERATURE, lr=_LR, decay=0.0)


def _batches(frames: Frames) -> Iterator[Batch]:
    rng, tracks, time_s = np.random.default_rng(0), frames.tracks(), frames.time_s
    while True:
        chosen = rng.choice(len(tracks), min(_TRACKS, len(tracks)), replace=False)
        picked = [_in_a_row(tracks[number], rng) for number in chosen]
        track = torch.from_numpy(np.repeat(chosen, [len(rows) for rows in picked]))
        at = torch.from_numpy(time_s[np.concatenate(picked)])
        others = but_itself(track[:, None] == track)
        yield Batch(np.concatenate(picked), others & ((at[:, None] - at).abs() <= NEARBY_S), others)


def _in_a_row(track: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Consecutive frames of a track, as many as there are, up to ``_VIEWS``."""
    first = rng.integers(max(1, len(track) - _VIEWS + 1))
    return track[first : first + _VIEWS]
