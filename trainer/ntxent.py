"""NT-Xent (SimCLR, Chen et al. 2020): the views of a pair attract, all other views of the batch repel.

The paper's baseline with negatives. Same backbone and projector as SimSiam, no predictor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from trainer.processes import gathered
from trainer.simsiam import projector


class NTXent(nn.Module):
    """Backbone and projector. Calling it gives the loss of a batch of pairs."""

    def __init__(self, backbone: nn.Module, width: int = 2048, temperature: float = 0.5) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector(cast(int, backbone.num_features), width)
        self.temperature = temperature

    def forward(self, x1: Tensor, x2: Tensor, **_: Tensor) -> tuple[Tensor, Tensor]:
        """Views (n, 3, s, s) each -> the loss, and the first view's projections (n, width) for monitoring."""
        y1, y2 = self.backbone(x1), self.backbone(x2)
        with torch.autocast(x1.device.type, enabled=False):
            z1, z2 = self.projector(y1.float()), self.projector(y2.float())
        return ntxent_loss(z1, z2, self.temperature), z1.detach()

    def fixed_rate_parameters(self) -> Iterable[nn.Parameter]:
        """None: all of it follows the schedule."""
        return ()


def ntxent_loss(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Mean over both views of all pairs of -log softmax(cosine / temperature) at the view's partner.

    z1, z2: (n, d) projections of this process, row i of both from pair i. The views of other processes are negatives
    too, and the mean of all processes' losses is the loss of the whole batch. A view is no negative of itself.
    """
    return cross_entropies(torch.cat([z1, z2]), temperature).mean()


def cross_entropies(z: Tensor, temperature: float, ignored: Tensor | None = None) -> Tensor:
    """(2n,) the loss of each view. z: (2n, d) projections of this process, rows i and n + i of pair i.

    ignored: (2n, views of all processes), True where a view is no negative; for itself and its partner it is overruled.
    """
    queries = normalize(z, dim=1)
    keys, first = gathered(queries)
    rows = torch.arange(len(z), device=z.device)
    own, partner = first + rows, first + rows.roll(len(z) // 2)
    if ignored is None:
        ignored = torch.zeros(len(z), len(keys), dtype=torch.bool, device=z.device)
    ignored = ignored.scatter(1, own[:, None], True).scatter(1, partner[:, None], False)
    logits = (queries @ keys.T / temperature).masked_fill(ignored, -torch.inf)
    return cross_entropy(logits, partner, reduction="none")
