"""Public encoders with their pretrained weights, as rows of the same table: any of timm's or torchvision's.

The weights come from a file (safetensors, or a PyTorch file that holds tensors alone) or from the library's hub.
Normalisation and input size are those that the weights were made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from index.backbone import TORCHVISION, build_backbone
from index.schema import CorruptArtifactError, InvalidValueError

HUB = "hub"


@dataclass(frozen=True, eq=False)
class Public:
    """A network with weights, and what it wants to be given. ``kwargs`` rebuild it without weights."""

    network: nn.Module
    architecture: str
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def public_encoder(architecture: str, weights: str, input_size: int | None = None) -> Public:
    """A network with its pretrained weights.

    Args:
        architecture: a name of timm's, or ``torchvision:`` and one of torchvision's.
        weights: a file, or ``hub``.
        input_size: pixels; None: what the weights were made for.

    Raises:
        InvalidValueError: there is no such architecture.
        CorruptArtifactError: the file or what the hub gave is not that network's weights.
    """
    build_backbone(architecture)  # refuses a name that nobody knows before anything is read
    try:
        if architecture.startswith(TORCHVISION):
            return _of_torchvision(architecture, weights, input_size)
        return _of_timm(architecture, weights, input_size)
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, InvalidValueError):
            raise
        raise CorruptArtifactError(weights, f"gives no weights of {architecture} ({error})") from error


def _of_timm(architecture: str, weights: str, input_size: int | None) -> Public:
    import timm

    expected = timm.models.get_pretrained_cfg(architecture)
    if expected is None:
        raise InvalidValueError("architecture", architecture, "one that timm has weights of")
    side = input_size or int(expected.input_size[-1])
    # Networks with position embeddings are made for one size, and their weights are interpolated to it.
    kwargs = {"img_size": side} if expected.fixed_input_size else {}
    source = None if weights == HUB else {"state_dict": _tensors(Path(weights))}
    network = timm.create_model(architecture, pretrained=True, pretrained_cfg_overlay=source, num_classes=0, **kwargs)
    return Public(network, architecture, side, tuple(expected.mean), tuple(expected.std), kwargs)


def _of_torchvision(architecture: str, weights: str, input_size: int | None) -> Public:
    from torchvision.models import get_model, get_model_weights

    network, name = build_backbone(architecture), architecture.removeprefix(TORCHVISION)
    state = get_model(name, weights="DEFAULT").state_dict() if weights == HUB else _tensors(Path(weights))
    there = network.state_dict()
    network.load_state_dict({name: value for name, value in state.items() if name in there})  # but the classifier
    made_for = get_model_weights(name).DEFAULT.transforms()
    side = input_size or int(made_for.crop_size[-1])
    return Public(network, architecture, side, tuple(made_for.mean), tuple(made_for.std))


def _tensors(path: Path) -> dict[str, Tensor]:
    """A file's tensors by name. No code in it is run: safetensors has none, and PyTorch's reader refuses all else."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader meets: OSError, RuntimeError, UnpicklingError, EOFError
        raise CorruptArtifactError(path, f"is no file of tensors ({error})") from error
    for key in ("state_dict", "model"):
        content = content.get(key, content)
    return {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
