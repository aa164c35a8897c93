"""The exported encoder is the trained network, and replaces an older artefact as a whole."""

from __future__ import annotations

import logging
import shutil
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from index.backbone import IMAGENET_MEAN, IMAGENET_STD, build_backbone, unit_features
from index.encoder import Spec, open_encoder
from index.schema import CorruptArtifactError
from tests.views import scenes, videos
from trainer import export as stage
from trainer import train as training
from trainer.export import export, export_random
from trainer.train import TrainConfig, train

CONFIG = TrainConfig(
    architecture="resnet18_half",
    input_size=32,
    projector_width=16,
    predictor_width=8,
    batch_size=10,
    lr=0.1,
    epochs=2,
    warmup_epochs=0,
    workers=0,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Frames, "open", lambda _: videos(8, 5))
        return train(tmp_path_factory.mktemp("frames"), tmp_path_factory.mktemp("run"), CONFIG)


@pytest.fixture(scope="module")
def artefact(checkpoint, tmp_path_factory):
    return export(checkpoint, tmp_path_factory.mktemp("exported") / "encoder")


@pytest.fixture(scope="module")
def random_artefact(tmp_path_factory):
    return export_random(CONFIG, tmp_path_factory.mktemp("random") / "encoder", seed=0)


def vectors_in_training(checkpoint, crops):
    """The trained network in PyTorch, float32, as the checkpoint has it."""
    state = torch.load(checkpoint / "last.ckpt", weights_only=True)["state_dict"]
    backbone = build_backbone(CONFIG.architecture).eval()
    prefix = "method.backbone."
    backbone.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    with torch.no_grad():
        return unit_features(backbone, torch.from_numpy(crops), IMAGENET_MEAN, IMAGENET_STD).numpy()


@pytest.mark.parametrize("device", ["openvino", "torch-cpu"])
def test_the_encoder_embeds_as_the_network_that_was_trained(checkpoint, artefact, device):
    references, queries = scenes(300, 32, seed=1), scenes(150, 32, seed=2)
    encoder = open_encoder(artefact, device)
    exported = [encoder.embed(crops) for crops in (references, queries)]
    trained = [vectors_in_training(checkpoint, crops) for crops in (references, queries)]
    for ours, theirs in zip(exported, trained, strict=True):
        assert (ours * theirs).sum(axis=1).min() > 0.999
    nearest = [(q @ r.T).argmax(axis=1) for r, q in (exported, trained)]
    assert np.mean(nearest[0] == nearest[1]) >= 0.99


def test_the_artefact_says_how_it_was_made(artefact):
    spec = Spec.read(artefact)
    assert (spec.architecture, spec.input_size, spec.dimension) == ("resnet18_half", 32, 256)
    assert spec.training["config"]["lr"] == CONFIG.lr
    assert (spec.training["epochs"], spec.training["steps"]) == (2, 4)
    assert {path.name for path in artefact.iterdir()} == {"encoder.json", *spec.files}


def test_kernels_are_stored_in_half_precision_and_statistics_in_full(artefact):
    kinds = {(tensor.ndim > 1, tensor.dtype) for tensor in load_file(artefact / "weights.safetensors").values()}
    assert kinds == {(True, torch.float16), (False, torch.float32), (False, torch.int64)}


def test_the_same_checkpoint_gives_the_same_digest(checkpoint, artefact, tmp_path):
    assert Spec.read(export(checkpoint, tmp_path / "encoder")).digest == Spec.read(artefact).digest


def test_an_older_artefact_is_replaced_as_a_whole(random_artefact, tmp_path):
    out = shutil.copytree(random_artefact, tmp_path / "encoder")
    (out / "leftover").touch()
    before = Spec.read(out).digest
    export_random(CONFIG, out, seed=1)
    assert Spec.read(out).digest != before
    assert not (out / "leftover").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_a_failed_export_leaves_the_older_artefact(random_artefact, tmp_path, monkeypatch):
    out = shutil.copytree(random_artefact, tmp_path / "encoder")
    before = Spec.read(out).digest

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(stage, "_graph", fail)
    with pytest.raises(OSError, match="disk full"):
        export_random(CONFIG, out, seed=1)
    assert Spec.read(out).digest == before
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_a_random_encoder_is_its_seed_and_leaves_the_callers_randomness_alone(random_artefact, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    again, other = (Spec.read(export_random(CONFIG, tmp_path / str(seed), seed)) for seed in (0, 1))
    assert torch.rand(1) == expected
    assert Spec.read(random_artefact).digest == again.digest != other.digest
    assert again.training == {"random_seed": 0}


def test_export_speaks_to_nobody(tmp_path, monkeypatch, capfd):
    """Neither over the network nor in the log: OpenVINO's own converter would do both."""
    spoken = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: spoken.append(arguments) or [])
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: spoken.append(address))
    handlers = list(logging.getLogger().handlers)
    export_random(CONFIG, tmp_path / "encoder", seed=0)
    assert spoken == []
    assert logging.getLogger().handlers == handlers
    assert "decomp" not in capfd.readouterr().err


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_an_unreadable_checkpoint_is_named(checkpoint, tmp_path, damage):
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    if damage == "truncated":
        (tmp_path / "last.ckpt").write_bytes((checkpoint / "last.ckpt").read_bytes()[:1000])
    with pytest.raises(CorruptArtifactError, match=r"last\.ckpt"):
        export(tmp_path, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
