"""Batch normalisation over the shares of all processes, so that a batch counts as one however many share it."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from index.schema import InvalidValueError
from trainer.processes import mean_over_processes


def synchronise(module: nn.Module, device: str) -> None:
    """Makes the module's batch normalisations count over all processes; parameters and their names stay the same.

    PyTorch's own layer is for accelerators alone: on a ``cpu`` ours stands in for it.
    """
    convert = _on_cpu if device == "cpu" else _on_accelerator
    for name, child in module.named_children():
        setattr(module, name, convert(child))


def _on_accelerator(module: nn.Module) -> nn.Module:
    from timm.layers import convert_sync_batchnorm  # knows timm's layers that do more than normalise

    converted: nn.Module = convert_sync_batchnorm(module)
    return converted


def _on_cpu(module: nn.Module) -> nn.Module:
    if not isinstance(module, _BatchNorm):
        synchronise(module, "cpu")
        return module
    if type(module) not in (nn.BatchNorm1d, nn.BatchNorm2d):
        bound = f"false: a {type(module).__name__} cannot be shared by processes on a CPU"
        raise InvalidValueError("sync_batch_norm", True, bound)
    return SharedBatchNorm(module)


class SharedBatchNorm(nn.Module):
    """Normalises (n, c) or (n, c, h, w) by the mean and variance over all processes, whose n must be equal."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, local: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias, self._eps, self._momentum = local.weight, local.bias, local.eps, local.momentum or 0.1
        for name, buffer in local.named_buffers():
            self.register_buffer(name, buffer)
        self.train(local.training)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, and in training the running mean and variance brought up to date."""
        if not self.training:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self._eps)
        mean, variance = self._moments(x.float())
        normal = (x.float() - _along(mean, x)) * torch.rsqrt(_along(variance, x) + self._eps)
        if self.weight is not None:
            normal = normal * _along(self.weight, x) + _along(self.bias, x)
        return normal.to(x.dtype)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(c,) mean and variance over all rows and places of all processes."""
        dims = [0, *range(2, x.ndim)]
        wide = x.double()  # for the difference below; one exchange is half the waiting of two
        mean, square = mean_over_processes(torch.stack([wide.mean(dims), wide.square().mean(dims)]))
        mean, variance = mean.float(), (square - mean.square()).clamp(min=0).float()
        count = x.numel() // x.shape[1] * distributed.get_world_size()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self._momentum)
            self.running_var.lerp_(variance * count / (count - 1), self._momentum)
            self.num_batches_tracked += 1
        return mean, variance


def _along(values: Tensor, x: Tensor) -> Tensor:
    """(c,) as (1, c, 1, ...), to go with x (n, c, ...)."""
    return values.view(1, -1, *[1] * (x.ndim - 2))
