"""What decides a training run, and the runs that have names."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from index.schema import CorruptArtifactError, InvalidValueError
from trainer.augment import AUGMENTATIONS
from trainer.pairs import PAIRS, WINDOWS

CONFIG = "config.json"
LOSSES = ("simsiam", "ntxent", "tcn", "pose_identity")


_SMALLEST = 1e-12  # stands for what is above zero
_BOUNDS = {
    "input_size projector_width predictor_width batch_size epochs processes together monitor_every": (1, math.inf),
    "lr temperature margin max_minutes": (_SMALLEST, math.inf),
    "weight_decay workers cache_gb jitter": (0, math.inf),
    "distant identity grey momentum": (0, 1),
    "hue": (0, 0.5),  # half of the colour circle either way is all of it
}


def _bound(low: float, high: float) -> str:
    if high < math.inf:
        return f"from {low:g} to {high:g}"
    return {0: "zero or more", _SMALLEST: "positive"}.get(low, f"{low:g} or more")


@dataclass(frozen=True)
class TrainConfig:
    """What decides a training run. Defaults are the paper's."""

    pairs: str = (
        "nearby"  # same | nearby | distant | mixed | triplet: nearby keeps the pose, distant the identity (table 5)
    )
    distant: float = 0.5  # share of distant pairs among mixed ones
    window: str = "anchor"  # anchor: both views through its window, as the paper; own: each through its own
    together: int = 1  # anchors of one track in a batch, all processes' one: the others' views may be negatives
    augmentation: str = "lc"  # px | ulc | lc | full: light crops are enough when the views differ by themselves
    jitter: float = 0.4  # of brightness, contrast and saturation; SimCLR's at half strength
    hue: float = 0.1  # larger: colour tells less about the object
    grey: float = 0.2  # probability of a view without colour
    loss: str = "simsiam"  # simsiam | ntxent | tcn | pose_identity: SimSiam needs no negatives
    temperature: float = 0.5  # of NT-Xent; lower looks harder at the nearest negatives
    margin: float = 0.2  # of TCN's triplets
    identity: float = 0.5  # the weight of identity against pose (pose_identity)
    architecture: str = "resnet50"  # resnet18_half for a CPU, or any name that timm knows
    input_size: int = 224  # pixels; time and memory grow with its square
    projector_width: int = 2048  # wider than the features, against a collapse of dimensions
    predictor_width: int = 512  # a bottleneck of a quarter (SimSiam)
    batch_size: int = 64  # pairs a step, over all processes; SimSiam needs no large batches
    lr: float = 0.0075  # at the peak of the schedule; grows with the batch size
    momentum: float = 0.9
    weight_decay: float = 5e-4
    epochs: int = 25  # over all anchors
    warmup_epochs: float = 10  # linear, then cosine to zero at the end
    max_minutes: float | None = None  # the schedule is shortened to end by then, if the epochs would take longer
    seed: int = 0
    processes: int = 1  # on a CPU, one thread each; one for every GPU where there are any; as many as torchrun starts
    sync_batch_norm: bool = True  # over all processes: a batch counts as one, however many share it
    bf16: bool = True  # where the machine is fast at it
    compile: bool = False  # the backbone, on a GPU: a minute more at the start, then faster steps
    workers: int = 8  # that prepare views, for each process; 0 prepares them in the process itself
    cache_gb: float = 16.0  # memory for decoded pictures, over all workers and processes
    monitor_every: int = 1  # epochs between k-NN accuracies on the validation split

    def __post_init__(self) -> None:
        named = {"pairs": PAIRS, "window": WINDOWS, "augmentation": tuple(AUGMENTATIONS), "loss": LOSSES}
        for field, choices in named.items():
            if getattr(self, field) not in choices:
                raise InvalidValueError(field, getattr(self, field), f"one of {', '.join(choices)}")
        if (self.loss == "tcn") != (self.pairs == "triplet"):
            raise InvalidValueError("pairs", self.pairs, "triplet with the loss tcn, and with no other")
        for fields, (low, high) in _BOUNDS.items():
            for field in fields.split():
                value = getattr(self, field)
                if value is not None and not (math.isfinite(value) and low <= value <= high):
                    raise InvalidValueError(field, value, _bound(low, high))
        if self.batch_size < 2 * self.processes:
            raise InvalidValueError("batch_size", self.batch_size, "at least two pairs for each process")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise InvalidValueError("warmup_epochs", self.warmup_epochs, f"from 0 to the {self.epochs} epochs")


# SimSiam is not past its slow start after a few minutes on two cores, NT-Xent is (docs/LOG.md).
_MINUTES = TrainConfig(
    pairs="mixed",
    window="own",
    together=2,
    loss="pose_identity",
    temperature=0.1,
    architecture="resnet18_half",
    input_size=64,
    projector_width=1024,
    predictor_width=256,
    batch_size=128,
    lr=0.3,
    epochs=1000,
    warmup_epochs=50,
    max_minutes=4,
    processes=2,
    sync_batch_norm=False,  # 64 pairs a process are enough, and waiting for the other costs time
    workers=0,
    cache_gb=2,
    monitor_every=5,
)

PRESETS = {
    "paper": TrainConfig(),
    # What four minutes on two cores teach from noise (docs/LOG.md).
    "scratch": _MINUTES,
    "continue": replace(_MINUTES, lr=0.01),  # from weights that are good already
}


def read_config(checkpoint: Path) -> TrainConfig:
    """The config that ``train`` saved in its folder. Raises CorruptArtifactError when it is missing or no config."""
    path = checkpoint / CONFIG
    try:
        return TrainConfig(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CorruptArtifactError(path, f"is no training config ({error})") from error
