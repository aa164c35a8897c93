"""Stage: frames in, a trained encoder's checkpoint out.

The folder holds ``config.json``, ``start.json``, ``last.ckpt`` (written after every epoch) and ``tensorboard/``.
Running the stage again continues an interrupted run exactly where its last epoch ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_file
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader

from index.backbone import IMAGENET_MEAN, IMAGENET_STD, build_backbone, network_input, unit_features
from index.encoder import WEIGHTS, Spec
from index.schema import EncoderMismatchError, InvalidValueError
from trainer.augment import AUGMENTATIONS
from trainer.batch_norm import synchronise
from trainer.config import CONFIG, TrainConfig, read_config
from trainer.frames import Frames
from trainer.monitor import CollapseMonitor, NeighbourMonitor
from trainer.ntxent import NTXent
from trainer.pairs import PairDataset, Pairing, PairOrder, Pictures
from trainer.pose_identity import PoseIdentity
from trainer.processes import mean_over_processes
from trainer.simsiam import SimSiam
from trainer.tcn import TCN

# Here, so that every process of a run has them: Lightning's own use of a function that PyTorch has renamed; exchanges
# with gradients, whose successors PyTorch still moves about; and Lightning's advice to average over processes what the
# first one alone is meant to log.
warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec", category=FutureWarning)
warnings.filterwarnings("ignore", message=".*torch.distributed.nn.functional.* is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", message=".*when logging on epoch level in distributed setting")

logger = logging.getLogger(__name__)

CHECKPOINT = "last.ckpt"
START = "start.json"  # the encoder that a run began with, and its frames


def train(frames: Path, out: Path, config: TrainConfig, init: Path | None = None) -> Path:
    """Learns an encoder from the ``train`` split, without labels, and returns ``out``.

    frames: ``<run>/frames``. init: an exported encoder whose backbone to continue from. A run of the same ``config``
    and ``init`` that lies in ``out`` is continued, with a warning where it began with other frames; one of another
    config or init raises InvalidValueError.
    """
    everything = Frames.open(frames)
    learnt, held_out = (everything.select(everything.split == name) for name in ("train", "valid"))
    _claim(out, config, {"init": init and Spec.read(init).digest, "frames": _crops_digest(learnt)})
    callbacks = [_ProgressBar(), CollapseMonitor()]
    if len(held_out):
        callbacks.append(NeighbourMonitor(learnt, held_out, config.input_size, config.monitor_every))
    trainer = lightning.Trainer(
        **hardware(config),
        max_epochs=config.epochs,
        callbacks=[*callbacks, _SaveEveryEpoch(out / CHECKPOINT)],
        enable_checkpointing=False,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        log_every_n_steps=1,
        use_distributed_sampler=False,  # PairOrder shares the anchors out
        enable_model_summary=False,
    )
    checkpoint = out / CHECKPOINT
    resumed = {"ckpt_path": checkpoint, "weights_only": True} if checkpoint.exists() else {}
    try:
        trainer.fit(Learner(config, init), PairData(learnt, config), **resumed)
    except SystemExit as stopped:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from stopped
    return out


def learning_rate(config: TrainConfig, progress: float) -> float:
    """The rate at ``progress`` through the whole run, 0 to 1: linear warm-up, then cosine to zero."""
    warmup = config.warmup_epochs / config.epochs
    if progress < warmup:
        return config.lr * progress / warmup
    return config.lr * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / max(1 - warmup, 1e-9)))) / 2


class PairData(lightning.LightningDataModule):  # type: ignore[misc]
    """The batches of pairs for each process."""

    def __init__(self, frames: Frames, config: TrainConfig) -> None:
        super().__init__()
        self._frames, self._config = frames, config

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches (n, v, s, s, 3) uint8, v = 2 of pairs and 3 of triplets, n this process's share of the batch size."""
        config, processes = self._config, self.trainer.world_size
        if config.batch_size % processes or config.batch_size < 2 * processes:
            bound = f"a multiple of {processes}, one share of at least two pairs a process"
            raise InvalidValueError("batch_size", config.batch_size, bound)
        augmentation = replace(
            AUGMENTATIONS[config.augmentation], jitter=config.jitter, hue=config.hue, grey=config.grey
        )
        pairing = Pairing.of(self._frames, config.pairs, config.distant)
        sharing = self.trainer.num_devices * max(1, config.workers)  # this machine's memory
        pictures = Pictures(self._frames, config.input_size, config.cache_gb * 1e9 / sharing)
        dataset = PairDataset(pairing, pictures, augmentation, config.seed, config.window)
        share = config.batch_size // processes
        return DataLoader(
            dataset,
            batch_size=share,
            sampler=PairOrder(
                len(pairing),
                share,
                config.seed,
                self.trainer.global_rank,
                processes,
                dataset.track[pairing.anchors],
                config.together,
            ),
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            worker_init_fn=_use_one_thread,
            pin_memory=torch.cuda.is_available(),
        )


class Learner(lightning.LightningModule):  # type: ignore[misc]
    """The network with its loss, optimiser and schedule."""

    projections: Tensor  # (n, width) of the last step, for the monitors

    def __init__(self, config: TrainConfig, init: Path | None) -> None:
        super().__init__()
        self._config = config
        self._minutes_before, self._started = 0.0, 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            backbone = build_backbone(config.architecture)
            if init is not None:
                _continue_from(backbone, config.architecture, init)
            self.method = _method(config, backbone).to(memory_format=torch.channels_last)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        """batch: views (n, v, s, s, 3) uint8 of pairs or triplets, their track (n,) and times (n, v) seconds."""
        together, track, time_s = batch
        views = [network_input(part, IMAGENET_MEAN, IMAGENET_STD) for part in together.unbind(1)]
        loss: Tensor
        loss, self.projections = self.method(*views, track=track, time_s=time_s)
        # Of all processes, or the curve would depend on their number. Not by Lightning's sync_dist: the first process
        # asks for values, for its progress bar, that the others never ask for, and all wait forever.
        whole = mean_over_processes(loss.detach())
        self.log("loss", whole, prog_bar=True, on_step=True, on_epoch=True, rank_zero_only=True)
        self.log("lr", self.optimizers().param_groups[0]["lr"], rank_zero_only=True)
        return loss

    @torch.no_grad()
    def embed(self, crops: Tensor) -> Tensor:
        """(n, s, s, 3) uint8 -> (n, d) float32 unit rows, as the exported encoder will compute them."""
        backbone = self.method.backbone.eval()
        rows = [
            unit_features(backbone, part.to(self.device), IMAGENET_MEAN, IMAGENET_STD)
            for part in torch.split(crops, 128)
        ]
        backbone.train()
        return torch.cat(rows)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD; group 0 follows the schedule, group 1 (SimSiam's predictor) keeps its rate (paper section 6.1)."""
        config = self._config
        fixed = list(self.method.fixed_rate_parameters())
        scheduled = [p for p in self.method.parameters() if all(p is not q for q in fixed)]
        groups = [{"params": scheduled}, {"params": fixed}] if fixed else [{"params": scheduled}]
        return torch.optim.SGD(groups, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)

    def setup(self, stage: str) -> None:
        """Before the processes share the network."""
        if self.trainer.world_size > 1 and self._config.sync_batch_norm:
            synchronise(self.method, self.trainer.strategy.root_device.type)
        if self._config.compile and self.trainer.strategy.root_device.type == "cuda":
            self.method.backbone.compile()

    def on_fit_start(self) -> None:
        if self.device.type == "cpu":
            _use_one_thread()

    def on_train_start(self) -> None:
        self._started = time.monotonic()
        self._follow_schedule()

    def on_train_batch_end(self, *_: Any) -> None:
        self._follow_schedule()

    def _follow_schedule(self) -> None:
        """Sets the next step's rate; ends the run when its steps or its minutes are used up."""
        progress = (self.global_step + 0.5) / self.trainer.estimated_stepping_batches
        if self._config.max_minutes is not None:
            # All processes must agree, or their weights would part. NCCL exchanges what is on a GPU alone.
            minutes = torch.tensor(self._minutes(), device=self.device)
            minutes = self.trainer.strategy.reduce(minutes, reduce_op="mean")
            progress = max(progress, float(minutes) / self._config.max_minutes)
        self.optimizers().param_groups[0]["lr"] = learning_rate(self._config, progress)
        self.trainer.should_stop |= progress >= 1

    def _minutes(self) -> float:
        """Spent on training so far, those before an interruption included."""
        return self._minutes_before + (time.monotonic() - self._started) / 60

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["minutes"] = self._minutes()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._minutes_before = checkpoint["minutes"]


class _ProgressBar(TQDMProgressBar):  # type: ignore[misc]
    """Without Lightning's version number of the logger, which our runs do not have."""

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(*args).items() if name != "v_num"}


class _SaveEveryEpoch(lightning.Callback):  # type: ignore[misc]
    """One checkpoint, replaced atomically. Lightning's own callback warns of folders that are not empty, as ours is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self._path, weights_only=False)  # with the optimiser's state and the loops'


def _method(config: TrainConfig, backbone: nn.Module) -> SimSiam | NTXent | PoseIdentity | TCN:
    if config.loss == "simsiam":
        return SimSiam(backbone, config.projector_width, config.predictor_width)
    if config.loss == "pose_identity":
        return PoseIdentity(backbone, config.projector_width, config.temperature, config.identity)
    if config.loss == "tcn":
        return TCN(backbone, config.projector_width, config.margin)
    return NTXent(backbone, config.projector_width, config.temperature)


def _continue_from(backbone: nn.Module, architecture: str, encoder: Path) -> None:
    spec = Spec.read(encoder)
    if spec.architecture != architecture:
        raise EncoderMismatchError(encoder, f"holds a {spec.architecture}; the run is to train a {architecture}")
    weights = load_file(encoder / WEIGHTS)
    if spec.head:  # fitted again to what is learnt from here on
        weights = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
    backbone.load_state_dict(weights)


def _claim(out: Path, config: TrainConfig, start: dict[str, Any]) -> None:
    """Makes ``out`` the folder of a run of ``config`` that begins with ``start``, unless it is another's."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / CONFIG).exists():
        for name, content in ((START, start), (CONFIG, asdict(config))):
            mine = out / f"{name}.{uuid4().hex}"  # processes that torchrun started do this at the same time
            mine.write_text(json.dumps(content, indent=2) + "\n")
            mine.replace(out / name)
    there, asked = asdict(read_config(out)), asdict(config)
    if (out / START).exists():  # runs of an earlier nearpose do not say it
        begun = json.loads((out / START).read_text())
        there["init"], asked["init"] = begun["init"], start["init"]
        if begun["frames"] != start["frames"]:
            logger.warning("the run in %s began with other frames: it goes on, and does not begin anew", out)
    if differing := {name: value for name, value in asked.items() if value != there[name]}:
        bound = ", ".join(f"{name}={there[name]!r}" for name in differing)
        raise InvalidValueError("config", differing, f"{bound}, as that of the run in {out}, or go to another folder")


def _crops_digest(frames: Frames) -> str:
    """Of what is learnt from: which rectangles, at which times."""
    return hashlib.sha256(frames.rect.tobytes() + frames.time_s.tobytes()).hexdigest()


def hardware(config: TrainConfig) -> dict[str, Any]:
    """Lightning's arguments for this machine: all its GPUs, or ``processes`` on the CPU; bfloat16 where it is fast.

    What torchrun started is as many processes and machines as it says.
    """
    gpus = torch.cuda.device_count()
    fast_bf16 = torch.cuda.is_bf16_supported() if gpus else torch.cpu.get_capabilities().get("avx512_bf16", False)
    chosen = {
        "accelerator": "gpu" if gpus else "cpu",
        "precision": "bf16-mixed" if config.bf16 and fast_bf16 else "32-true",
    }
    if distributed.is_torchelastic_launched():
        here, machines = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
        return chosen | {"strategy": "ddp", "devices": here, "num_nodes": machines}
    devices = gpus or config.processes
    return chosen | {"strategy": "ddp_spawn" if devices > 1 else "auto", "devices": devices}


def _use_one_thread(_: int = 0) -> None:
    """More threads than processes fight for the cores."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
