"""Public encoders with weights of a file: the artefact embeds as the network does, its own normalisation included."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import get_model, get_model_weights

from index.backbone import build_backbone
from index.encoder import Spec, open_encoder
from index.schema import CorruptArtifactError, InvalidValueError
from tests.views import scenes
from trainer.export import export_public, export_untrained
from trainer.public import public_encoder


def saved(network, path):
    """A file of the weights as public ones are: with the classifier."""
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state}, path)
    return path


def expected_vectors(network, crops, mean, std):
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255
    pixels = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        rows = network.eval()(pixels).numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def crops():
    return scenes(6, 64, seed=3)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_timm_encoder_of_a_file_embeds_as_the_network(suffix, crops, tmp_path):
    torch.manual_seed(1)
    network = timm.create_model("resnet18", num_classes=1000)
    file = saved(network, tmp_path / f"resnet18{suffix}")
    artefact = export_public("resnet18", str(file), tmp_path / "encoder", input_size=64)
    network.reset_classifier(0)
    expected = expected_vectors(network, crops, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    vectors = open_encoder(artefact, "openvino").embed(crops)
    assert (vectors * expected).sum(axis=1).min() > 0.9999
    spec = Spec.read(artefact)
    assert (spec.architecture, spec.input_size, spec.dimension) == ("resnet18", 64, 512)
    assert spec.training == {"public": "resnet18", "weights": file.name}


def test_a_transformer_has_its_own_normalisation_and_takes_another_size(crops, tmp_path):
    torch.manual_seed(1)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=1000)
    file = saved(network, tmp_path / "vit.safetensors")
    artefact = export_public("vit_tiny_patch16_224", str(file), tmp_path / "encoder", input_size=64)
    spec = Spec.read(artefact)
    assert (spec.mean, spec.std) == ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    assert spec.architecture_kwargs == {"img_size": 64}
    loaded = public_encoder("vit_tiny_patch16_224", str(file), 64).network
    expected = expected_vectors(loaded, crops, spec.mean, spec.std)
    for device in ("openvino", "torch-cpu"):
        assert (open_encoder(artefact, device).embed(crops) * expected).sum(axis=1).min() > 0.999
    untrained = Spec.read(export_untrained(artefact, tmp_path / "untrained", 0))
    assert (untrained.architecture_kwargs, untrained.mean) == (spec.architecture_kwargs, spec.mean)


def test_a_torchvision_encoder_is_the_network_without_its_classifier(crops, tmp_path):
    torch.manual_seed(1)
    network = get_model("mobilenet_v3_small", weights=None)
    file = saved(network, tmp_path / "mobilenet.pth")
    artefact = export_public("torchvision:mobilenet_v3_small", str(file), tmp_path / "encoder", input_size=64)
    network.classifier[-1] = torch.nn.Identity()
    expected = expected_vectors(network, crops, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (open_encoder(artefact, "openvino").embed(crops) * expected).sum(axis=1).min() > 0.9999
    assert public_encoder("torchvision:mobilenet_v3_small", str(file)).input_size == 224


def test_a_torchvision_encoder_is_given_what_its_weights_were_made_for(tmp_path, monkeypatch):
    file = saved(get_model("efficientnet_b1", weights=None), tmp_path / "b1.safetensors")
    public = public_encoder("torchvision:efficientnet_b1", str(file))
    assert (public.input_size, public.mean) == (240, (0.485, 0.456, 0.406))
    halves = get_model_weights("efficientnet_v2_l")  # too large to be made here
    monkeypatch.setattr("torchvision.models.get_model_weights", lambda _: halves)
    other = public_encoder("torchvision:efficientnet_b1", str(file))
    assert (other.input_size, other.mean, other.std) == (480, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "efficientnet_b0"])
def test_torchvision_networks_give_what_their_classifier_is_given(name):
    network = build_backbone(f"torchvision:{name}").eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, network.num_features)


def test_a_file_that_holds_code_is_refused(tmp_path):
    class Surprise:
        def __reduce__(self):
            return (tmp_path.joinpath("surprised").touch, ())

    torch.save({"state_dict": Surprise()}, tmp_path / "weights.pth")
    with pytest.raises(CorruptArtifactError, match=r"weights\.pth.*no file of tensors"):
        public_encoder("resnet18", str(tmp_path / "weights.pth"))
    assert not (tmp_path / "surprised").exists()


@pytest.mark.parametrize("architecture", ["resnet18", "torchvision:resnet18"])
def test_weights_of_another_network_are_refused(architecture, tmp_path):
    file = saved(timm.create_model("resnet26"), tmp_path / "resnet26.safetensors")
    with pytest.raises(CorruptArtifactError, match=f"no weights of {architecture}"):
        public_encoder(architecture, str(file))


@pytest.mark.parametrize("architecture", ["resnet19", "torchvision:resnet19", "torchvision:squeezenet1_0"])
def test_an_architecture_that_there_is_not_is_refused(architecture, tmp_path):
    with pytest.raises(InvalidValueError, match="architecture"):
        public_encoder(architecture, str(tmp_path / "no.safetensors"))


def test_what_the_hub_does_not_give_is_said(monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", lambda name, **kwargs: offline() if kwargs.get("pretrained") else None)
    monkeypatch.setattr("trainer.public.build_backbone", lambda _: None)
    with pytest.raises(CorruptArtifactError, match="hub: gives no weights of resnet18"):
        public_encoder("resnet18", "hub")
