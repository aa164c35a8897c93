"""Networks that turn a crop into a feature vector. Needs PyTorch: only the trainer and the GPU runtime use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from index.schema import InvalidValueError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Of pixels in [0, 1], RGB: what every public backbone expects.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Our own names. ResNet-18-D at half width: its stem of three 3x3 convolutions keeps the width halved from the first
# layer on (timm's 7x7 stem is always 64 wide) and trains 17 % faster on a CPU.
_NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18_half": ("resnet18", {"channels": (32, 64, 128, 256), "stem_type": "deep", "stem_width": 16}),
}


def build_backbone(architecture: str, **kwargs: Any) -> nn.Module:
    """A randomly initialised network (n, 3, s, s) -> (n, d) pooled features; ``num_features`` is d.

    ``architecture`` is ``resnet18_half`` or any name that timm knows (``resnet50`` is the paper's); ``kwargs`` go to
    ``timm.create_model``. Nothing is downloaded. Raises InvalidValueError when there is no such architecture.
    """
    import timm

    name, preset = _NAMED.get(architecture, (architecture, {}))
    if not timm.is_model(name):
        raise InvalidValueError("architecture", architecture, f"one of {', '.join(_NAMED)}, or a model that timm knows")
    backbone: nn.Module = timm.create_model(name, num_classes=0, **{**preset, **kwargs})
    return backbone


def network_input(crops: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(n, s, s, 3) uint8 RGB -> (n, 3, s, s) float32 in the channels-last layout, normalised per channel.

    ``mean`` and ``std`` are of pixels in [0, 1].
    """
    import torch

    scale = torch.tensor([1 / (255 * deviation) for deviation in std], device=crops.device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=crops.device)
    return (crops * scale + shift).permute(0, 3, 1, 2)


def unit_features(backbone: nn.Module, crops: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The embedding: (n, s, s, 3) uint8 RGB -> (n, d) float32 unit rows."""
    from torch.nn.functional import normalize

    return normalize(backbone(network_input(crops, mean, std)).float(), dim=1)
