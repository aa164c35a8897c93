"""Several processes share a batch: the loss curve is that of one, also when torchrun's machines are killed between."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from index.schema import InvalidValueError
from tests.captures import write_captures
from tests.normalising import layer_of, normalise
from tests.service_fixtures import wait_until
from tests.test_train import TINY, scalars
from trainer.batch_norm import synchronise
from trainer.config import TrainConfig
from trainer.ingest import IngestConfig, ingest
from trainer.train import train

ROOT = Path(__file__).parent.parent
# All that could tell one process from two but the number of processes: bfloat16's rounding depends on the batch.
EXACT = dataclasses.replace(
    TINY, architecture="test_resnet", bf16=False, epochs=2, together=2, pairs="mixed", window="own"
)
LOSSES = {"simsiam": "mixed", "ntxent": "mixed", "pose_identity": "mixed", "tcn": "triplet"}  # with their pairs


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("frames")
    return ingest(write_captures(root / "captures"), root / "frames", IngestConfig(workers=1))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Machines:
    """Two machines, both this one, each with a process that torchrun starts."""

    def __init__(self, frames: Path, out: Path, config: TrainConfig) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        command += ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
        program = ["-m", "tests.train_process", str(frames), str(out), json.dumps(dataclasses.asdict(config))]
        self._runs = [
            subprocess.Popen(
                [*command, "--node-rank", str(rank), *program],
                cwd=ROOT,
                env=environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for rank in range(2)
        ]

    def wait(self) -> None:
        for run in self._runs:
            _, said = run.communicate(timeout=240)
            assert run.returncode == 0, said.decode()[-3000:]

    def kill(self) -> None:
        for run in self._runs:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()


def losses(out: Path) -> np.ndarray:
    return np.array([value for _, value in sorted(scalars(out, "loss_step").items())])


def curves(frames: Path, out: Path, config: TrainConfig) -> list[np.ndarray]:
    """Of one process, and of two."""
    return [losses(train(frames, out / str(n), dataclasses.replace(config, processes=n))) for n in (1, 2)]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_two_processes_is_that_of_one(frames, tmp_path, loss):
    """Rounding differs, and grows tenfold a step at this rate; the first two steps tell whether gradients are equal."""
    config = dataclasses.replace(EXACT, loss=loss, pairs=LOSSES[loss], epochs=1, warmup_epochs=0)
    alone, shared = curves(frames, tmp_path, config)
    assert abs(alone[1] - alone[0]) > 1e-3
    rounding = 10 if loss == "tcn" else 1  # of lengths that are not normalised it weighs more
    np.testing.assert_allclose(shared[:2], alone[:2], rtol=3e-5 * rounding, atol=1e-5)
    np.testing.assert_allclose(shared[2], alone[2], rtol=5e-3 * rounding, atol=1e-3)


def test_at_a_small_rate_the_whole_curve_of_two_processes_is_that_of_one(frames, tmp_path):
    alone, shared = curves(frames, tmp_path, dataclasses.replace(EXACT, lr=0.002, epochs=3))
    assert len(alone) == 9
    assert np.ptp(alone) > 0.01
    np.testing.assert_allclose(shared, alone, atol=3e-4)


def test_two_machines_that_are_killed_go_on_with_the_same_curve(frames, tmp_path):
    config = dataclasses.replace(EXACT, loss="pose_identity", epochs=6)
    uninterrupted = losses(train(frames, tmp_path / "whole", dataclasses.replace(config, processes=2)))
    out = tmp_path / "out"
    machines = Machines(frames, out, config)
    wait_until((out / "last.ckpt").exists, 200)
    machines.kill()
    Machines(frames, out, config).wait()
    assert torch.load(out / "last.ckpt", weights_only=True)["epoch"] == 5
    np.testing.assert_allclose(losses(out), uninterrupted, rtol=1e-6)


@pytest.mark.parametrize("shape", [(8, 3), (6, 3, 4, 5)])
def test_a_shared_batch_is_normalised_as_a_whole_one(tmp_path, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 5
    multiprocessing.spawn(normalise, (str(tmp_path), x), nprocs=2)
    shares = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    layer, whole = nn.Sequential(layer_of(x)), x.clone().requires_grad_()
    y = layer(whole)
    (y**3).sum().backward()
    for name, expected in (("y", y.detach()), ("gradient", whole.grad)):
        for rank, share in enumerate(shares):
            torch.testing.assert_close(share[name], expected[rank::2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shares[0]["weight"] + shares[1]["weight"], layer[0].weight.grad, rtol=1e-4, atol=1e-4)
    for share in shares:
        torch.testing.assert_close(share["state"], layer.state_dict(), rtol=1e-5, atol=1e-5)
    expected = layer.eval()(x)
    synchronise(layer, "cpu")
    torch.testing.assert_close(layer(x), expected)  # evaluated, nothing is exchanged


def test_layers_that_do_more_than_normalise_are_refused_on_a_cpu():
    class Rectified(nn.BatchNorm2d):
        pass

    with pytest.raises(InvalidValueError, match="Rectified cannot be shared"):
        synchronise(nn.Sequential(Rectified(3)), "cpu")
