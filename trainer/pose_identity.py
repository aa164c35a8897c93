"""Pose and identity from one backbone: nearby pairs teach one projector, distant pairs another.

The paper has to choose (table 5): nearby pairs keep the pose but let the object change with it, distant pairs keep the
object and throw the pose away. Two projectors share the backbone here, each with NT-Xent (``trainer.ntxent``):

- *pose*: the views of a nearby pair attract; all others repel, also those of the same video at another time.
- *identity*: the views of a pair attract, near or far; the other views of the same video neither attract nor repel.

No label is used but which video a view is of, and when in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from trainer.ntxent import cross_entropies
from trainer.pairs import NEARBY_S
from trainer.processes import gathered
from trainer.simsiam import projector

_TOO_CLOSE_S = 0.5  # views of one video that are nearer in time look too much alike to repel


class PoseIdentity(nn.Module):
    """Backbone and both projectors. Calling it gives the loss of a batch of pairs."""

    def __init__(self, backbone: nn.Module, width: int = 2048, temperature: float = 0.1, identity: float = 0.5) -> None:
        """``identity``: the weight of its loss, 0 to 1; the rest is the pose's."""
        super().__init__()
        self.backbone = backbone
        features = cast(int, backbone.num_features)
        self.pose, self.identity = projector(features, width), projector(features, width)
        self.temperature, self.weight = temperature, identity

    def forward(self, x1: Tensor, x2: Tensor, track: Tensor, time_s: Tensor) -> tuple[Tensor, Tensor]:
        """Views (n, 3, s, s) each, their pair's video (n,) and times (n, 2) -> loss, pose projections (n, width)."""
        y1, y2 = self.backbone(x1), self.backbone(x2)
        with torch.autocast(x1.device.type, enabled=False):
            y = torch.cat([y1, y2]).float()
            pose, identity = self.pose(y), self.identity(y)
        loss = twofold_loss(pose, identity, track, time_s, self.temperature, self.weight)
        return loss, pose[: len(x1)].detach()

    def fixed_rate_parameters(self) -> Iterable[nn.Parameter]:
        """None: all of it follows the schedule."""
        return ()


def twofold_loss(
    pose: Tensor, identity: Tensor, track: Tensor, time_s: Tensor, temperature: float, weight: float
) -> Tensor:
    """(1 - weight) x the pose's loss, a mean over nearby pairs, + weight x the identity's, a mean over all pairs.

    pose, identity: (2n, d) projections, rows i and n + i of pair i. track: (n,) their videos. time_s: (n, 2) its times.
    """
    tracks, times = track.repeat(2), time_s.T.flatten()
    all_tracks, all_times = gathered(tracks)[0], gathered(times)[0]
    same_track = tracks[:, None] == all_tracks
    close = same_track & ((times[:, None] - all_times).abs() < _TOO_CLOSE_S)
    nearby = ((time_s[:, 0] - time_s[:, 1]).abs() <= NEARBY_S).repeat(2).float()
    # All processes', so that the mean of their losses is the loss of the whole batch.
    pairs_nearby = gathered(nearby)[0].sum() * len(tracks) / len(all_tracks)
    of_pose = cross_entropies(pose, temperature, close)
    of_identity = cross_entropies(identity, temperature, same_track)
    return (1 - weight) * (of_pose * nearby).sum() / pairs_nearby.clamp(min=1e-6) + weight * of_identity.mean()
