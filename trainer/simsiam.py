"""SimSiam (Chen & He 2021), as the paper uses it: two views, one network, a predictor and a stopped gradient.

Paper sections 3.1 and 6.1. Nothing pushes different objects apart: the stopped gradient is what prevents the collapse.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity


class SimSiam(nn.Module):
    """f, g and h of the paper: backbone, projector and predictor. Calling it gives the loss of a batch of pairs."""

    def __init__(self, backbone: nn.Module, width: int = 2048, bottleneck: int = 512) -> None:
        """``backbone`` (n, 3, s, s) -> (n, num_features); ``width`` of the projections; ``bottleneck`` inside h."""
        super().__init__()
        self.backbone = backbone
        self.projector = projector(cast(int, backbone.num_features), width)
        self.predictor = nn.Sequential(
            nn.Linear(width, bottleneck, bias=False),
            nn.BatchNorm1d(bottleneck),
            nn.ReLU(inplace=True),
            nn.Linear(bottleneck, width),
        )

    def forward(self, x1: Tensor, x2: Tensor, **_: Tensor) -> tuple[Tensor, Tensor]:
        """Views (n, 3, s, s) each -> the loss, and the first view's projections (n, width) for monitoring."""
        y1, y2 = self.backbone(x1), self.backbone(x2)
        # bfloat16's eight bits are too few for the heads: the directions of near-equal projections would be lost.
        with torch.autocast(x1.device.type, enabled=False):
            z1, z2 = self.projector(y1.float()), self.projector(y2.float())
            p1, p2 = self.predictor(z1), self.predictor(z2)
        return simsiam_loss(p1, p2, z1, z2), z1.detach()

    def fixed_rate_parameters(self) -> Iterable[nn.Parameter]:
        """The predictor's: it learns at a constant rate, to follow the projections until the end (section 6.1)."""
        return self.predictor.parameters()


def simsiam_loss(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """Symmetric negative cosine similarity, equation 1: predictions p against projections z, each (n, d).

    No gradient flows into the projections.
    """
    similarity = cosine_similarity(p1, z2.detach()) + cosine_similarity(p2, z1.detach())
    return -similarity.mean() / 2


def projector(features: int, width: int) -> nn.Sequential:
    """Three layers with batch normalisation; the last without ReLU and without affine parameters."""
    return nn.Sequential(
        nn.Linear(features, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width, affine=False),
    )
