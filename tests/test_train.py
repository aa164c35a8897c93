"""Training end to end on moving scenes: it learns, keeps its schedule, resumes exactly, and says when it collapses."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import trainer.simsiam
from index.encoder import open_encoder
from index.schema import CorruptArtifactError, EncoderMismatchError, InvalidValueError
from tests.views import videos
from trainer import train as stage
from trainer.config import PRESETS, TrainConfig, read_config
from trainer.export import export_random
from trainer.monitor import CollapseMonitor, effective_rank, spread
from trainer.train import Learner, PairData, learning_rate, train

TINY = TrainConfig(
    architecture="resnet18_half",
    input_size=32,
    projector_width=32,
    predictor_width=8,
    batch_size=12,
    lr=0.05,
    epochs=4,
    warmup_epochs=1,
    workers=0,
)


# Views that differ little, so that a few steps teach something on any machine, with bfloat16 or without.
EASY = dataclasses.replace(
    TINY, projector_width=128, temperature=0.5, augmentation="px", jitter=0.0, hue=0.0, grey=0.0, epochs=16
)


@pytest.fixture(autouse=True)
def frames(monkeypatch):
    """Eight short videos instead of a folder of frames: six to learn from, two held out."""
    in_memory = videos(8, 5)
    monkeypatch.setattr(stage.Frames, "open", lambda _: in_memory)
    return in_memory


def scalars(out, tag):
    """Every value of a TensorBoard curve as {step: value}, over all runs of the folder."""
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


def weights(out):
    return torch.load(out / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of TINY."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.Frames, "open", lambda _: videos(8, 5))
        return train(tmp_path_factory.mktemp("frames"), tmp_path_factory.mktemp("run"), TINY)


def test_a_run_leaves_config_checkpoint_and_curves(trained):
    assert read_config(trained) == TINY
    assert json.loads((trained / "config.json").read_text())["pairs"] == "nearby"
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)  # no pickled objects
    assert checkpoint["global_step"] == 8  # 4 epochs of 24 pairs in batches of 12
    for tag in ("loss_step", "lr", "spread", "rank", "category_accuracy"):
        assert scalars(trained, tag), tag


def test_the_rate_follows_the_schedule_and_the_predictors_is_fixed(trained):
    rates = list(scalars(trained, "lr").values())
    expected = [learning_rate(TINY, (step + 0.5) / 8) for step in range(8)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    groups = torch.load(trained / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert groups[1]["lr"] == TINY.lr
    assert len(groups[1]["params"]) == 5


def test_schedule_warms_up_linearly_and_ends_at_zero():
    config = dataclasses.replace(TINY, lr=1.0, epochs=10, warmup_epochs=2)
    assert learning_rate(config, 0.0) == 0
    assert learning_rate(config, 0.1) == pytest.approx(0.5)
    assert learning_rate(config, 0.2) == pytest.approx(1.0)
    assert learning_rate(config, 0.6) == pytest.approx((1 + math.cos(math.pi / 2)) / 2)
    assert learning_rate(config, 1.0) == pytest.approx(0)
    assert learning_rate(config, 1.3) == pytest.approx(0)
    assert learning_rate(dataclasses.replace(config, warmup_epochs=0), 0.0) == 1
    assert learning_rate(dataclasses.replace(config, warmup_epochs=10), 0.99) == pytest.approx(0.99)


def test_an_interrupted_run_continues_exactly(trained, tmp_path, monkeypatch):
    class PowerCutError(Exception):
        pass

    def fail_in_the_third_epoch(self):
        if self.current_epoch == 2:
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "on_train_epoch_start", fail_in_the_third_epoch)
        with pytest.raises(PowerCutError):
            train(tmp_path, tmp_path / "run", TINY)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4
    train(tmp_path, tmp_path / "run", TINY)
    assert scalars(tmp_path / "run", "loss_step") == scalars(trained, "loss_step")
    assert scalars(tmp_path / "run", "lr") == scalars(trained, "lr")
    for name, value in weights(trained).items():
        torch.testing.assert_close(weights(tmp_path / "run")[name], value, rtol=0, atol=0)


def test_ctrl_c_reaches_the_caller(tmp_path, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Learner, "on_train_epoch_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tmp_path / "run", TINY)
    signal.signal(signal.SIGINT, handler)  # Lightning ignores further ones


def test_a_finished_run_is_left_as_it_is(trained, tmp_path):
    before = (trained / "last.ckpt").read_bytes()
    assert train(tmp_path, trained, TINY) == trained
    assert (trained / "last.ckpt").read_bytes() == before


def test_another_config_does_not_touch_a_run(trained, tmp_path):
    with pytest.raises(InvalidValueError, match=r"lr.*0\.05"):
        train(tmp_path, trained, dataclasses.replace(TINY, lr=0.01))
    assert read_config(trained) == TINY


def test_another_encoder_to_begin_with_does_not_touch_a_run(trained, tmp_path):
    encoder = export_random(TINY, tmp_path / "encoder", seed=5)
    with pytest.raises(InvalidValueError, match=r"init.*None.*another folder"):
        train(tmp_path, trained, TINY, encoder)


def test_a_run_that_began_with_other_frames_says_so(trained, tmp_path, monkeypatch, caplog):
    train(tmp_path, trained, TINY)
    assert "other frames" not in caplog.text
    monkeypatch.setattr(stage.Frames, "open", lambda _: videos(9, 5))
    train(tmp_path, trained, TINY)
    assert f"the run in {trained} began with other frames" in caplog.text
    (trained / "start.json").rename(tmp_path / "start.json")
    train(tmp_path, trained, TINY)  # an earlier nearpose's
    (tmp_path / "start.json").rename(trained / "start.json")


def test_the_schedule_ends_when_the_minutes_do(tmp_path):
    config = dataclasses.replace(TINY, epochs=10_000, max_minutes=0.08)  # long enough for a busy machine to hesitate
    train(tmp_path, tmp_path / "run", config)
    rates = list(scalars(tmp_path / "run", "lr").values())
    assert len(rates) < 1000
    assert rates[-1] < 0.2 * max(rates)
    minutes = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["minutes"]
    assert 0.08 <= minutes < 0.16
    steps = len(rates)
    train(tmp_path, tmp_path / "run", config)
    assert len(scalars(tmp_path / "run", "lr")) == steps  # the minutes before count when it is run again


def test_ntxent_learns_what_simsiam_may_not_in_so_few_steps(tmp_path):
    train(tmp_path, tmp_path / "run", dataclasses.replace(EASY, loss="ntxent", pairs="distant"))
    losses = list(scalars(tmp_path / "run", "loss_step").values())
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.25


def test_pose_and_identity_are_learnt_from_mixed_pairs(tmp_path):
    config = dataclasses.replace(EASY, loss="pose_identity", pairs="mixed", window="own", together=2)
    train(tmp_path, tmp_path / "run", config)
    losses = list(scalars(tmp_path / "run", "loss_step").values())
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.25


def test_triplets_are_learnt_from(tmp_path):
    train(tmp_path, tmp_path / "run", dataclasses.replace(TINY, loss="tcn", pairs="triplet", epochs=1, warmup_epochs=0))
    losses = list(scalars(tmp_path / "run", "loss_step").values())
    assert len(losses) == 2
    assert min(losses) > 0


def batches(config, rank=0, processes=1):
    """One epoch of what a process of the training gets."""
    data = PairData(stage.Frames.open("nowhere"), config)
    data.trainer = SimpleNamespace(world_size=processes, num_devices=processes, global_rank=rank)
    return list(data.train_dataloader())


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_batch_over_all_processes_holds_anchors_of_a_track_together(together, processes, monkeypatch):
    monkeypatch.setattr(stage.Frames, "open", lambda _: videos(40, 5))
    config = dataclasses.replace(TINY, together=together, batch_size=24)
    alone = []
    for shares in zip(*(batches(config, rank, processes) for rank in range(processes)), strict=True):
        for views, track, times in shares:
            assert views.shape == (24 // processes, 2, 32, 32, 3)
            assert len(track) == len(times) == 24 // processes
        counts = torch.cat([track for _, track, _ in shares]).bincount()
        alone.append((counts[counts > 0] == 1).float().mean().item())
    # Two of 30 tracks' 4 anchors seldom meet by chance, and two that are kept together always do.
    assert (np.mean(alone) > 0.4) == (together == 1)
    assert (max(alone) == 0) == (together == 2)


@pytest.mark.parametrize("processes", [5, 12])
def test_a_batch_that_processes_cannot_share_is_refused(processes):
    with pytest.raises(InvalidValueError, match=rf"batch_size: got 12, must be a multiple of {processes}, .*two pairs"):
        batches(TINY, processes=processes)


def test_a_run_can_continue_from_an_encoder(tmp_path):
    encoder = export_random(TINY, tmp_path / "encoder", seed=5)
    learner = Learner(TINY, encoder)
    crops = videos(2, 3).pictures[:, :32, :32]
    vectors = learner.embed(torch.from_numpy(crops)).numpy()
    assert (vectors * open_encoder(encoder, "openvino").embed(crops)).sum(axis=1).min() > 0.999
    assert learner.method.backbone.training
    with pytest.raises(EncoderMismatchError, match="resnet18_half"):
        Learner(dataclasses.replace(TINY, architecture="resnet18"), encoder)


def test_the_seed_decides_the_first_weights():
    first, again = (Learner(TINY, None).state_dict() for _ in range(2))
    other = Learner(dataclasses.replace(TINY, seed=1), None).state_dict()
    name = "method.backbone.layer1.0.conv1.weight"
    torch.testing.assert_close(first[name], again[name], rtol=0, atol=0)
    assert (first[name] != other[name]).any()


@pytest.mark.parametrize(
    "change",
    [
        {"pairs": "far"},
        {"augmentation": "none"},
        {"loss": "triplet"},
        {"pairs": "triplet"},
        {"margin": 0.0},
        {"batch_size": 0},
        {"batch_size": 3, "processes": 2},
        {"warmup_epochs": 99},
        {"lr": -1.0},
        {"window": "partner"},
        {"together": 0},
        {"temperature": 0.0},
        {"distant": 1.1},
        {"identity": -0.1},
        {"jitter": -0.1},
        {"hue": 0.6},
        {"grey": 1.5},
        {"momentum": -0.9},
        {"weight_decay": math.nan},
        {"max_minutes": 0},
        {"workers": -1},
        {"cache_gb": -1.0},
        {"monitor_every": 0},
    ],
)
def test_a_config_that_cannot_be_is_refused(change):
    with pytest.raises(InvalidValueError, match=next(iter(change))):
        dataclasses.replace(TINY, **change)


def test_the_papers_preset():
    paper = PRESETS["paper"]
    assert (paper.architecture, paper.input_size, paper.projector_width, paper.predictor_width) == (
        "resnet50",
        224,
        2048,
        512,
    )
    assert (paper.batch_size, paper.lr, paper.momentum, paper.weight_decay) == (64, 0.0075, 0.9, 5e-4)
    assert (paper.epochs, paper.warmup_epochs, paper.pairs, paper.augmentation) == (25, 10, "nearby", "lc")


def test_a_folder_without_config_is_no_run(tmp_path):
    with pytest.raises(CorruptArtifactError, match=r"config\.json"):
        read_config(tmp_path)


def test_spread_and_rank_tell_collapse_from_even():
    random = torch.Generator().manual_seed(0)
    even = torch.randn(2000, 16, generator=random)
    assert spread(even) == pytest.approx(1, abs=0.02)
    assert effective_rank(even) == pytest.approx(16, rel=0.02)
    point = torch.randn(1, 16, generator=random).expand(50, 16)
    assert spread(point) == pytest.approx(0, abs=1e-5)
    assert effective_rank(torch.ones(4, 3)) == 0
    line = torch.randn(500, 1, generator=random) * torch.randn(1, 16, generator=random)
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)


class _Collapsed:
    """The parts of a module that the monitor reads."""

    projections = torch.ones(8, 4) + 1e-4 * torch.randn(8, 4, generator=torch.Generator().manual_seed(0))

    def log_dict(self, figures, **_):
        self.logged = figures


def test_a_collapse_is_said_once(caplog):
    monitor, module = CollapseMonitor(), _Collapsed()
    with caplog.at_level(logging.WARNING):
        monitor.on_train_epoch_end(None, module)
        monitor.on_train_epoch_end(None, module)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "collapsed" in caplog.text
    assert module.logged["spread"] < 0.1


@pytest.mark.parametrize("stopped", [True, False])
def test_simsiam_collapses_without_the_stopped_gradient(monkeypatch, tmp_path, caplog, stopped):
    """The published ablation, and that the monitor sees it."""
    cosine = nn.functional.cosine_similarity
    if not stopped:
        unstopped = lambda p1, p2, z1, z2: -(cosine(p1, z2) + cosine(p2, z1)).mean() / 2  # noqa: E731
        monkeypatch.setattr(trainer.simsiam, "simsiam_loss", unstopped)
    monkeypatch.setattr(stage.Frames, "open", lambda _: videos(16, 5))
    config = dataclasses.replace(TINY, epochs=15, lr=1.0, pairs="distant", batch_size=32)
    with caplog.at_level(logging.WARNING):
        train(tmp_path, tmp_path / "run", config)
    assert ("collapsed" in caplog.text) == (not stopped)


def test_two_processes_train_together(small_run, tmp_path, monkeypatch):
    """Spawned processes open real frames; both losses and the monitors must not wait for each other forever."""
    monkeypatch.undo()
    config = dataclasses.replace(TINY, loss="ntxent", processes=2, epochs=2, max_minutes=5, monitor_every=2)
    train(small_run.frames, tmp_path / "run", config)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["epoch"] == 1
