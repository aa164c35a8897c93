"""The exported encoder is the trained network, and replaces an older artefact as a whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from index.backbone import IMAGENET_MEAN, IMAGENET_STD, build_backbone, joined_layers, network_input, unit_features
from index.encoder import Spec, open_encoder
from index.schema import CorruptArtifactError, EncoderMismatchError, ForeignArtifactError, InvalidValueError
from tests.views import scenes, videos
from trainer import export as stage
from trainer import train as training
from trainer.config import TrainConfig
from trainer.export import export, export_pretrained, export_random, export_refitted
from trainer.pretrained import release
from trainer.train import Learner, train
from trainer.whiten import HeadConfig, fit_head

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


HEAD = HeadConfig({"layer2": {"weight": 0.5, "grid": 2}, "layer4": 1.0}, dimension=16, power=0.7)


@pytest.fixture(scope="module")
def learnt():
    """The frames that heads are fitted to."""
    return videos(40, 5)


@pytest.fixture(scope="module")
def whitened(checkpoint, learnt, tmp_path_factory):
    """The encoder with a head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.Frames, "open", lambda _: learnt)
        out = tmp_path_factory.mktemp("whitened")
        return export(checkpoint, out / "encoder", out / "frames", HEAD)


@pytest.fixture(scope="module")
def random_artefact(tmp_path_factory):
    return export_random(CONFIG, tmp_path_factory.mktemp("random") / "encoder", seed=0)


def trained_backbone(checkpoint):
    """The trained network in PyTorch, float32, as the checkpoint has it."""
    state = torch.load(checkpoint / "last.ckpt", weights_only=True)["state_dict"]
    backbone = build_backbone(CONFIG.architecture).eval()
    prefix = "method.backbone."
    backbone.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return backbone


def vectors_in_training(checkpoint, crops):
    with torch.no_grad():
        return unit_features(trained_backbone(checkpoint), torch.from_numpy(crops), IMAGENET_MEAN, IMAGENET_STD).numpy()


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


@pytest.mark.parametrize("device", ["openvino", "torch-cpu"])
def test_with_a_head_the_encoder_embeds_as_the_trained_stages_whitened(checkpoint, whitened, learnt, device):
    backbone, crops = trained_backbone(checkpoint), scenes(60, 32, seed=7)
    weight, bias = fit_head(backbone, learnt.select(learnt.split == "train"), 32, HEAD)
    pixels = network_input(torch.from_numpy(crops), IMAGENET_MEAN, IMAGENET_STD)
    with torch.no_grad():
        expected = (joined_layers(backbone, HEAD.layers, pixels) @ weight.T + bias).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    encoder = open_encoder(whitened, device)
    assert encoder.dimension == 16
    assert (encoder.embed(crops) * expected).sum(axis=1).min() > 0.999


def test_the_manifest_says_which_head(artefact, whitened):
    spec = Spec.read(whitened)
    assert spec.head == {"layers": HEAD.layers, "dimension": 16}
    assert spec.training["whitening_power"] == 0.7
    assert Spec.read(artefact).head == {}
    # The head determines the vectors, so an index of another is refused.
    for layer2 in ({"weight": 0.6, "grid": 2}, {"weight": 0.5, "grid": 1}):
        other = dataclasses.replace(spec, head={"layers": {"layer2": layer2, "layer4": 1.0}, "dimension": 16})
        assert other.digest != spec.digest


def test_a_head_without_layers_is_none(checkpoint, artefact, learnt, tmp_path, monkeypatch):
    monkeypatch.setattr(stage.Frames, "open", lambda _: learnt)
    spec = Spec.read(export(checkpoint, tmp_path / "encoder", tmp_path, HeadConfig(layers={})))
    assert spec.head == {}
    assert spec.digest == Spec.read(artefact).digest


def test_encoders_from_before_there_were_heads_keep_their_digest(random_artefact, tmp_path):
    manifest = json.loads((random_artefact / "encoder.json").read_text())
    assert manifest.pop("head") == {}
    before = {k: v for k, v in manifest.items() if k not in ("format", "version", "digest", "training")}
    assert manifest["digest"] == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    older = shutil.copytree(random_artefact, tmp_path / "older")
    (older / "encoder.json").write_text(json.dumps(manifest))
    assert Spec.read(older) == Spec.read(random_artefact)


@pytest.fixture(scope="module")
def released(whitened, tmp_path_factory):
    """What of the encoder with a head ships."""
    return release(whitened, tmp_path_factory.mktemp("released") / "pretrained")


def test_a_release_is_manifest_and_weights(whitened, released):
    assert {path.name for path in released.iterdir()} == {"encoder.json", "weights.safetensors"}
    crops = scenes(20, 32)
    expected = open_encoder(whitened, "torch-cpu").embed(crops)
    np.testing.assert_array_equal(open_encoder(released, "torch-cpu").embed(crops), expected)
    with pytest.raises(ForeignArtifactError, match=r"pretrained.*holds weights alone"):
        open_encoder(released, "openvino")


def test_what_was_released_is_exported_as_it_was(whitened, released, tmp_path):
    again = export_pretrained(tmp_path / "encoder", released)
    crops = scenes(20, 32)
    for device in ("openvino", "torch-cpu"):
        expected = open_encoder(whitened, device).embed(crops)
        np.testing.assert_allclose(open_encoder(again, device).embed(crops), expected, atol=1e-5)
    assert Spec.read(again) == Spec.read(whitened)


@pytest.mark.parametrize("source", ["artefact", "whitened"])
def test_another_head_on_the_same_network_is_as_if_it_had_been_exported_with_it(
    checkpoint, learnt, whitened, source, request, tmp_path, monkeypatch
):
    """Whether the artefact had a head before or none, up to the half precision in which its weights lie."""
    monkeypatch.setattr(stage.Frames, "open", lambda _: learnt)
    again = export_refitted(request.getfixturevalue(source), tmp_path / "again", tmp_path, HEAD)
    crops = scenes(40, 32, seed=8)
    ours, theirs = (open_encoder(path, "openvino").embed(crops) for path in (again, whitened))
    assert (ours * theirs).sum(axis=1).min() > 0.99
    assert Spec.read(again).head == Spec.read(whitened).head
    assert Spec.read(again).training["whitening_power"] == HEAD.power


def test_a_release_is_as_good_as_its_weights(released, tmp_path):
    out = shutil.copytree(released, tmp_path / "pretrained")
    weights = out / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(CorruptArtifactError, match="weights"):
        export_pretrained(tmp_path / "encoder", out)
    assert not (tmp_path / "encoder").exists()


def test_training_continues_below_the_head(checkpoint, released):
    learner, trained = Learner(CONFIG, released), trained_backbone(checkpoint)
    for name, value in learner.method.backbone.state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name], rtol=1e-3, atol=1e-6)
    with pytest.raises(EncoderMismatchError, match="resnet18_half"):
        Learner(dataclasses.replace(CONFIG, architecture="resnet18"), released)


def test_a_stage_that_the_backbone_has_not_is_named(checkpoint, learnt, tmp_path, monkeypatch):
    monkeypatch.setattr(stage.Frames, "open", lambda _: learnt)
    with pytest.raises(InvalidValueError, match="layer9"):
        export(checkpoint, tmp_path / "encoder", tmp_path, HeadConfig(layers={"layer9": 1.0}))
    assert not (tmp_path / "encoder").exists()


def test_frames_without_a_train_split_are_named(checkpoint, learnt, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.export.Frames.open", lambda _: learnt.select(np.zeros(len(learnt), bool)))
    with pytest.raises(InvalidValueError, match=r"frames.*train split"):
        export(checkpoint, tmp_path / "encoder", tmp_path)
