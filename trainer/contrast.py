"""Linear maps learnt by contrast, on features that stay as they are: what the head and the identity map end with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize
from tqdm import tqdm

_NEVER = -1e9  # a logit whose share is nothing, and whose gradient is no NaN where there is no other


@dataclass(frozen=True, eq=False)
class Batch:
    """What is compared in a step.

    Attributes:
        rows: (b,) numbers of the vectors.
        alike: (b, b) bool, which others each row attracts; a row that attracts none has no loss of its own.
        others: (b, b) bool, among which they are to be found: those that are alike, and those that are repelled.
    """

    rows: NDArray[np.int64]
    alike: Tensor
    others: Tensor


def contrasted(
    vectors: Tensor, kept: int, batches: Iterator[Batch], *, steps: int, temperature: float, lr: float, decay: float
) -> NDArray[np.float32]:
    """(kept, m): the linear map that ``steps`` of AdamW make of the first ``kept`` of ``vectors``' m components."""
    layer = nn.Linear(vectors.shape[1], kept, bias=False)
    nn.init.eye_(layer.weight)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=lr, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    bar: Any = tqdm(range(steps), desc="contrast", unit="step")
    for _, batch in zip(bar, batches, strict=False):
        rows = normalize(layer(vectors[batch.rows]), dim=1)
        loss = contrastive_loss(rows, batch.alike, batch.others, temperature)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    weight: NDArray[np.float32] = layer.weight.detach().numpy()
    return weight


def contrastive_loss(rows: Tensor, alike: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Mean over unit rows (n, d) of the cross-entropies of finding those ``alike`` among the ``others`` (``Batch``)."""
    logits = (rows @ rows.T / temperature).masked_fill(~others, _NEVER)
    logs = (logits - logits.logsumexp(1, keepdim=True)).masked_fill(~alike, 0.0)
    each = -logs.sum(1) / alike.sum(1).clamp(min=1)
    return each.sum() / alike.any(1).sum().clamp(min=1)


def but_itself(among: Tensor) -> Tensor:
    """``among`` (n, n) without the diagonal."""
    return among & ~torch.eye(len(among), dtype=torch.bool)
