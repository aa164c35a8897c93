"""Networks that turn a crop into a feature vector. Needs PyTorch: only the trainer and the GPU runtime use it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from index.schema import InvalidValueError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Of pixels in [0, 1], RGB: what every public backbone expects.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

TORCHVISION = "torchvision:"  # before the name of one of its networks; others are timm's

# Our own names. ResNet-18-D at half width: its stem of three 3x3 convolutions keeps the width halved from the first
# layer on (timm's 7x7 stem is always 64 wide) and trains 17 % faster on a CPU.
_NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18_half": ("resnet18", {"channels": (32, 64, 128, 256), "stem_type": "deep", "stem_width": 16}),
}


def build_backbone(architecture: str, **kwargs: Any) -> nn.Module:
    """A randomly initialised network (n, 3, s, s) -> (n, d) pooled features; ``num_features`` is d.

    ``architecture`` is ``resnet18_half``, any name that timm knows (``resnet50`` is the paper's), or one of
    torchvision's with ``torchvision:`` before it; ``kwargs`` go to the library's constructor. Nothing is downloaded.
    Raises InvalidValueError when there is no such architecture.
    """
    import timm

    if architecture.startswith(TORCHVISION):
        return _of_torchvision(architecture, **kwargs)
    name, preset = _NAMED.get(architecture, (architecture, {}))
    if not timm.is_model(name):
        raise InvalidValueError("architecture", architecture, f"one of {', '.join(_NAMED)}, or a model that timm knows")
    backbone: nn.Module = timm.create_model(name, num_classes=0, **{**preset, **kwargs})
    return backbone


def _of_torchvision(architecture: str, **kwargs: Any) -> nn.Module:
    """The network as far as the input of its last linear layer, which is the classifier."""
    from torch import nn
    from torchvision.models import get_model, list_models

    name = architecture.removeprefix(TORCHVISION)
    if name not in list_models():
        raise InvalidValueError("architecture", architecture, f"{TORCHVISION} and one of {', '.join(list_models())}")
    network: nn.Module = get_model(name, weights=None, **kwargs)
    linear = [(path, layer) for path, layer in network.named_modules() if type(layer) is nn.Linear]
    if not linear:
        raise InvalidValueError("architecture", architecture, "a network whose classifier is a linear layer")
    path, classifier = linear[-1]
    network.set_submodule(path, nn.Identity())
    network.num_features = classifier.in_features  # type: ignore[assignment]
    return network


Layers = Mapping[str, float | Mapping[str, Any]]


@dataclass(frozen=True)
class Stage:
    """How a stage of a backbone is joined: its activations' averages in ``grid`` x ``grid`` equal parts of the picture,
    together of length ``weight``."""

    weight: float
    grid: int = 1

    def __post_init__(self) -> None:
        weighted = isinstance(self.weight, int | float) and 0 < self.weight < math.inf
        if not weighted or type(self.grid) is not int or self.grid < 1:
            raise InvalidValueError(
                "head.layers", (self.weight, self.grid), "positive finite weights, grids of 1, 2, ..."
            )

    @classmethod
    def of(cls, value: float | Mapping[str, Any]) -> Stage:
        """What recipes and manifests say of one: its weight alone, or ``weight`` and ``grid``."""
        if not isinstance(value, Mapping):
            return cls(value)
        if not {"weight"} <= set(value) <= {"weight", "grid"}:
            raise InvalidValueError("head.layers", dict(value), "a weight, and a grid or none")
        return cls(**value)


def build_embedder(architecture: str, kwargs: Mapping[str, Any], head: Mapping[str, Any]) -> nn.Module:
    """``build_backbone``, and on top of it the ``head`` of an encoder artefact: nothing when that is empty.

    head: ``layers`` maps names of the backbone's stages to what ``Stage.of`` reads, ``dimension`` is that of the
    result: see ``joined_layers``. Raises InvalidValueError for a stage that there is not.
    """
    backbone = build_backbone(architecture, **kwargs)
    return _whitened(backbone, head["layers"], head["dimension"]) if head else backbone


def _whitened(backbone: Any, layers: Layers, dimension: int) -> nn.Module:
    from torch import nn

    class Whitened(nn.Module):
        """The layers joined, then a linear map: (n, 3, s, s) -> (n, dimension)."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone
            features = sum(width * stage.grid**2 for width, stage in _stages(backbone, layers).values())
            self.whiten = nn.Linear(features, dimension)
            self.num_features = dimension

        def forward(self, x: Tensor) -> Tensor:
            rows: Tensor = self.whiten(joined_layers(self.backbone, layers, x).float())
            return rows

    return Whitened()


def joined_layers(backbone: Any, layers: Layers, x: Tensor) -> Tensor:
    """(n, 3, s, s) -> (n, d): the stages' activations, averaged by parts of the picture, scaled to their weights.

    Early stages hold colour and texture, late ones shape; a grid keeps where in the picture they are. ``layers`` maps
    their names to what ``Stage.of`` reads, in any order.
    """
    import torch
    from torch.nn.functional import normalize

    stages = _stages(backbone, layers)
    number = [info["module"] for info in backbone.feature_info]
    maps = backbone.forward_intermediates(x, indices=[number.index(name) for name in stages], intermediates_only=True)
    pairs = zip(stages.values(), maps, strict=True)
    return torch.cat([stage.weight * normalize(_averages(m.float(), stage.grid), dim=1) for (_, stage), m in pairs], 1)


def _averages(activations: Tensor, grid: int) -> Tensor:
    """(n, c, h, w) -> (n, c * grid * grid)."""
    from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

    if grid == 1:
        return activations.mean((2, 3))
    height, width = activations.shape[2:]
    if height % grid or width % grid:
        return adaptive_avg_pool2d(activations, grid).flatten(1)
    return avg_pool2d(activations, (height // grid, width // grid)).flatten(1)  # the same; OpenVINO is faster at it


def _stages(backbone: Any, layers: Layers) -> dict[str, tuple[int, Stage]]:
    """The chosen stages' widths and how they are joined, in the network's order."""
    there = {info["module"]: int(info["num_chs"]) for info in backbone.feature_info}
    if missing := [name for name in layers if name not in there]:
        raise InvalidValueError("layers", missing, f"stages of the backbone: {', '.join(there)}")
    return {name: (width, Stage.of(layers[name])) for name, width in there.items() if name in layers}


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
