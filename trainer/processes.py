"""What the processes of one training exchange: rows and means, with their gradients.

Gradients are exchanged too: every process's loss depends on every process's rows. A training of one process has no
group, and exchanges nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.distributed.nn import functional as differentiable


def gathered(rows: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes, and where this process's begin."""
    if not distributed.is_initialized():
        return rows, 0
    everyone: tuple[Tensor, ...] = differentiable.all_gather(rows)  # type: ignore[no-untyped-call]
    return torch.cat(everyone), distributed.get_rank() * len(rows)


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of all processes' values, of the same shape in each."""
    if not distributed.is_initialized():
        return values
    total: Tensor = differentiable.all_reduce(values)  # type: ignore[no-untyped-call]
    return total / distributed.get_world_size()
