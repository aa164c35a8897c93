"""Time-contrastive learning (TCN, Sermanet et al. 2018), the paper's other baseline with negatives: triplets.

The views of neighbouring frames attract, a distant frame of the same video repels. Same backbone and projector as
SimSiam, no predictor; the projections are not normalised (paper section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import triplet_margin_loss

from trainer.simsiam import projector


class TCN(nn.Module):
    """Backbone and projector. Calling it gives the loss of a batch of triplets."""

    def __init__(self, backbone: nn.Module, width: int = 2048, margin: float = 0.2) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector(cast(int, backbone.num_features), width)
        self.margin = margin

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor, **_: Tensor) -> tuple[Tensor, Tensor]:
        """Views (n, 3, s, s) each -> the loss, and the anchors' projections (n, width) for monitoring."""
        features = [self.backbone(views) for views in (anchor, positive, negative)]
        with torch.autocast(anchor.device.type, enabled=False):
            a, p, n = (self.projector(y.float()) for y in features)
        return tcn_loss(a, p, n, self.margin), a.detach()

    def fixed_rate_parameters(self) -> Iterable[nn.Parameter]:
        """None: all of it follows the schedule."""
        return ()


def tcn_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean over triplets of max(0, |a - p| - |a - n| + margin), Euclidean. Projections (n, d) each."""
    return triplet_margin_loss(anchor, positive, negative, margin)
