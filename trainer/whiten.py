"""Which of a trained network's features are indexed: several stages joined, partly whitened, turned to pose, reduced.

Averaged features are dominated by a few directions, mostly identity and brightness; pose lies in many weak ones.
Dividing each principal component by a power of its standard deviation gives them a say. The power was chosen with
``benchmarks.merit`` (docs/LOG.md): 0 is plain PCA, 1 whitens, which raises noise as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from index.backbone import IMAGENET_MEAN, IMAGENET_STD, Layers, Stage, joined_layers, network_input
from index.schema import InvalidValueError
from trainer.frames import Frames, even_rows, evenly, letterboxed
from trainer.pose_map import pose_map

_BATCH = 128
_SAMPLES_PER_COMPONENT = 4  # with fewer, a component's deviation is mostly chance
_QUARTERS = {"weight": 1.0, "grid": 2}  # where in the picture early stages see what they see tells the pose
_LARGEST = 6e4  # weight: above 65,504 half precision, in which they are written, has none


@dataclass(frozen=True)
class HeadConfig:
    """What is made of a backbone's features. ``layers`` empty: nothing, the pooled output is indexed as in the paper.

    Attributes:
        layers: names of the backbone's stages and the weights that they are joined with; in place of a weight a table
            of ``weight`` and ``grid``, the parts a side that the stage is averaged in (``index.backbone.Stage``).
        dimension: of the vectors; less when there are fewer features, or fewer than four samples a dimension.
        power: of the standard deviation that each component is divided by.
        sample: frames that the components are computed from, evenly over the training split.
        pose_steps: of learning which of the components keep the pose; 0: the widest ones are kept. They are learnt from
            all frames of the training split, and want some hundreds of tracks.
        components: how many of them there are to choose from, for that.
    """

    layers: Layers = field(default_factory=lambda: {"layer2": _QUARTERS, "layer3": _QUARTERS, "layer4": 1.0})
    dimension: int = 384
    power: float = 0.7
    sample: int = 8000
    pose_steps: int = 0
    components: int = 768

    def __post_init__(self) -> None:
        if self.dimension < 1 or self.sample < 2:
            raise InvalidValueError("head", (self.dimension, self.sample), "dimension 1 and sample 2 at least")
        if self.pose_steps < 0:
            raise InvalidValueError("head.pose_steps", self.pose_steps, "0 or more")
        if self.pose_steps and self.components < self.dimension:
            raise InvalidValueError("head.components", self.components, f"the dimension, {self.dimension}, at least")
        if not 0 <= self.power <= 1:
            raise InvalidValueError("head.power", self.power, "from 0 to 1")
        for value in self.layers.values():
            Stage.of(value)


def fit_head(backbone: nn.Module, frames: Frames, size: int, config: HeadConfig) -> tuple[Tensor, Tensor]:
    """Weight (d, features) and bias (d,) of the linear map, d = ``config.dimension`` or as many as the sample allows.

    frames: whose crops of ``size`` px the components are of; their labels are not looked at.
    """
    if not config.pose_steps:
        return whitening(joined_features(backbone, evenly(frames, config.sample), size, config.layers), config)
    features = joined_features(backbone, frames, size, config.layers)
    weight, bias = whitening(
        features[even_rows(len(frames), config.sample)], replace(config, dimension=config.components)
    )
    components = (features @ weight.numpy().T + bias.numpy()).astype(np.float32)
    turn = torch.from_numpy(pose_map(components, frames, min(config.dimension, len(weight)), config.pose_steps))
    return turn @ weight, turn @ bias


@torch.no_grad()
def joined_features(backbone: nn.Module, frames: Frames, size: int, layers: Layers) -> NDArray[np.float64]:
    """(n, features) of the frames' crops."""
    backbone.eval()
    parts = []
    for start in tqdm(range(0, len(frames), _BATCH), desc="features", unit="batch"):
        part = frames.select(np.arange(start, min(start + _BATCH, len(frames))))
        crops = torch.from_numpy(letterboxed(part, size))
        parts.append(joined_layers(backbone, layers, network_input(crops, IMAGENET_MEAN, IMAGENET_STD)).numpy())
    return np.concatenate(parts).astype(np.float64)


def whitening(features: NDArray[np.float64], config: HeadConfig) -> tuple[Tensor, Tensor]:
    """Weight (d, f) and bias (d,) that centre features (n, f) and divide their components by deviation ** power."""
    mean = features.mean(axis=0)
    _, deviations, directions = np.linalg.svd(features - mean, full_matrices=False)
    deviations /= np.sqrt(len(features))
    if deviations[0] < 1e-9:
        raise InvalidValueError("frames", f"{len(features)} whose features are all the same", "frames that differ")
    enough = max(1, len(features) // _SAMPLES_PER_COMPONENT)
    least = max(1e-6, _LARGEST ** (-1 / max(config.power, 1e-6))) * deviations[0]
    kept = min(config.dimension, enough, int((deviations > least).sum()))
    # Relative to the largest: unit vectors do not depend on it, and half precision holds the weights better.
    weight = directions[:kept] / ((deviations[:kept] / deviations[0]) ** config.power)[:, None]
    return torch.from_numpy(weight).float(), torch.from_numpy(-weight @ mean).float()
