"""Images a second that training takes, beside torchvision's reference loop.

    python -m benchmarks.train_throughput                       # synthetic data: the network and the loop alone
    python -m benchmarks.train_throughput --frames runs/x/frames   # and with our loader: does the GPU wait for it?

The same backbone, picture size and images a step for both, bfloat16 where the machine is fast at it, channels last. The
reference is the loop of torchvision's ``references/classification``: torchvision's ResNet, cross-entropy, SGD with
momentum, synthetic pictures that lie on the device. Ours is the stage's own ``Learner`` under Lightning, with its
heads, pairs of uint8 views in the host's memory. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from trainer.config import PRESETS, TrainConfig
from trainer.frames import Frames
from trainer.train import Learner, PairData, hardware

_WARM_UP = 10  # steps that are not timed


class Synthetic(Dataset[tuple[Tensor, int, Tensor]]):
    """The same pair of views as often as asked for."""

    def __init__(self, size: int, pairs: int) -> None:
        self._views = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
        self._pairs = pairs

    def __len__(self) -> int:
        return self._pairs

    def __getitem__(self, _: int) -> tuple[Tensor, int, Tensor]:
        return self._views, 0, torch.tensor([0.0, 0.2])


class Clock(lightning.Callback):  # type: ignore[misc]
    """The seconds of the steps after the first ones."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.seconds = device, 0.0
        self._began: float | None = None

    def on_train_batch_end(self, _: Any, __: Any, ___: Any, ____: Any, batch_idx: int) -> None:
        if self._began is None and batch_idx + 1 == _WARM_UP:
            self._began = _now(self._device)

    def on_train_end(self, *_: Any) -> None:
        if self._began is not None:
            self.seconds = _now(self._device) - self._began


def main() -> None:
    """Both loops, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, help="train on these instead of on synthetic views")
    parser.add_argument("--architecture", default="resnet50", help="that torchvision and timm know")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=128, help="a step: twice as many images")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = dataclasses.replace(
        PRESETS["paper"],
        architecture=options.architecture,
        input_size=options.size,
        batch_size=options.pairs,
        workers=options.workers,
        compile=options.compile,
    )
    bf16 = hardware(config)["precision"] == "bf16-mixed"
    theirs = reference(options.architecture, options.size, 2 * options.pairs, options.steps, device, bf16)
    ours = nearpose(config, options.frames, options.steps, device)
    device_name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    result = {"device": device_name, "config": dataclasses.asdict(config), "steps": options.steps}
    result |= {"nearpose_images_per_second": round(ours, 1), "torchvision_images_per_second": round(theirs, 1)}
    print(json.dumps(result | {"share": round(ours / theirs, 3)}, indent=2))


def nearpose(config: TrainConfig, frames: Path | None, steps: int, device: torch.device) -> float:
    """Images a second of the stage's own training step."""
    clock = Clock(device)
    steps += _WARM_UP
    synthetic = Synthetic(config.input_size, steps * config.batch_size)
    data = (
        PairData(Frames.open(frames), config)
        if frames
        else DataLoader(synthetic, config.batch_size, num_workers=config.workers, pin_memory=device.type == "cuda")
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            **hardware(config) | {"devices": 1, "strategy": "auto"},
            max_steps=steps,
            callbacks=[clock],
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(Learner(config, None), data)
    return 2 * config.batch_size * (steps - _WARM_UP) / clock.seconds


def reference(architecture: str, size: int, images: int, steps: int, device: torch.device, bf16: bool) -> float:
    """Images a second of torchvision's loop."""
    model = torchvision.models.get_model(architecture).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    image = torch.randn(images, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    target = torch.randint(0, 1000, (images,), device=device)
    began = 0.0
    for step in range(steps + _WARM_UP):
        if step == _WARM_UP:
            began = _now(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = criterion(model(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return images * steps / (_now(device) - began)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
