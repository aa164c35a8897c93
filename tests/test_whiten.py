"""The head of an encoder: stages joined by weight, and the linear map fitted to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from index.backbone import IMAGENET_MEAN, IMAGENET_STD, build_backbone, build_embedder, joined_layers, network_input
from index.encoder import letterbox
from index.schema import InvalidValueError
from tests.views import videos
from trainer.pose_map import pose_map
from trainer.whiten import HeadConfig, fit_head, joined_features, whitening

LAYERS = {"layer2": 0.5, "layer3": 2.0, "layer4": 1.0}
IN_QUARTERS = {"layer2": 0.5, "layer3": {"weight": 2.0, "grid": 2}}


def features(n=400, d=6, seed=0):
    """Correlated, with deviations from 1 to 1/32, away from the origin."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return rng.standard_normal((n, d)) * 0.5 ** np.arange(d) @ rotation + rng.standard_normal(d)


def mapped(x, **config):
    weight, bias = whitening(x, HeadConfig(**config))
    return x @ weight.numpy().T.astype(np.float64) + bias.numpy()


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return build_backbone("resnet18_half").eval()


def inputs(n=3, size=32):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_the_mean_goes_to_zero(power):
    np.testing.assert_allclose(mapped(features(), power=power).mean(axis=0), 0, atol=1e-5)


def test_full_power_makes_every_direction_equally_wide():
    covariance = np.cov(mapped(features(), power=1.0), rowvar=False)
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(6), atol=1e-4)


def test_half_precision_holds_every_weight():
    x = features() * np.r_[np.ones(3), np.full(3, 1e-6)]
    for power in (0.0, 0.7, 1.0):
        assert torch.isfinite(whitening(x, HeadConfig(power=power))[0].half()).all()


def test_no_power_is_a_rotation():
    x = features()
    y = mapped(x, power=0.0)
    np.testing.assert_allclose(
        np.linalg.norm(y[:, None] - y, axis=2), np.linalg.norm(x[:, None] - x, axis=2), atol=1e-5
    )


def test_power_is_the_exponent_of_each_components_deviation():
    plain, half = (mapped(features(), power=power).std(axis=0) for power in (0.0, 0.5))
    np.testing.assert_allclose(half / half[0], np.sqrt(plain / plain[0]), rtol=1e-4)


def test_components_are_the_widest_first():
    x = features()
    reduced, whole = mapped(x, power=0.0, dimension=2), mapped(x, power=0.0)
    assert (np.diff(whole.std(axis=0)) < 0).all()
    np.testing.assert_allclose(reduced, whole[:, :2], atol=1e-6)


@pytest.mark.parametrize(("samples", "dimension"), [(400, 6), (21, 5), (8, 2), (2, 1)])
def test_there_are_four_samples_to_every_dimension(samples, dimension):
    assert mapped(features()[:samples]).shape == (samples, dimension)


def test_directions_without_variance_are_left_out():
    flat = features() @ np.diag([1, 1, 1, 0, 0, 0])
    assert mapped(flat, power=1.0).shape == (400, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"dimension": 0},
        {"sample": 1},
        {"power": -0.1},
        {"power": 1.1},
        {"layers": {"layer3": 1.0, "layer4": 0.0}},
        {"layers": {"layer3": {"weight": 0.0, "grid": 2}}},
        {"layers": {"layer3": {"weight": float("inf"), "grid": 2}}},
        {"layers": {"layer3": "big"}},
        {"layers": {"layer3": {"weight": 1.0, "grid": 0}}},
        {"layers": {"layer3": {"weight": 1.0, "grid": True}}},
        {"layers": {"layer3": {"weight": 1.0, "grid": 1.5}}},
        {"layers": {"layer3": {"grid": 2}}},
        {"layers": {"layer3": {"weight": 1.0, "parts": 2}}},
    ],
)
def test_a_head_that_cannot_be_is_refused(change):
    with pytest.raises(InvalidValueError, match="head"):
        HeadConfig(**change)


def test_each_stage_has_the_length_of_its_weight_in_the_networks_order(backbone):
    joined = joined_layers(backbone, LAYERS, inputs())
    assert joined.shape == (3, 64 + 128 + 256)
    for part, weight in zip(torch.split(joined, [64, 128, 256], dim=1), LAYERS.values(), strict=True):
        torch.testing.assert_close(part.norm(dim=1), torch.full((3,), weight))
    torch.testing.assert_close(joined_layers(backbone, dict(reversed(LAYERS.items())), inputs()), joined)


def test_a_stage_is_the_mean_of_its_activations(backbone):
    seen = {}
    hooks = [
        getattr(backbone, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
        for name in LAYERS
    ]
    backbone(inputs())
    for hook in hooks:
        hook.remove()
    for name in LAYERS:
        means = seen[name].mean(dim=(2, 3))
        torch.testing.assert_close(joined_layers(backbone, {name: 1.0}, inputs()), means / means.norm(dim=1)[:, None])
    pooled = backbone(inputs())
    torch.testing.assert_close(joined_layers(backbone, {"layer4": 1.0}, inputs()), pooled / pooled.norm(dim=1)[:, None])


def test_a_stage_in_a_grid_is_the_means_of_its_parts(backbone):
    """Of 64 px, stage 3 has 4 x 4 activations: its quarters are those of the picture."""
    maps = backbone.forward_intermediates(inputs(size=64), indices=[3], intermediates_only=True)[0]
    quarters = [maps[:, :, y : y + 2, x : x + 2].mean(dim=(2, 3)) for y in (0, 2) for x in (0, 2)]
    expected = torch.stack(quarters, dim=2).flatten(1)
    joined = joined_layers(backbone, IN_QUARTERS, inputs(size=64))
    assert joined.shape == (3, 64 + 4 * 128)
    torch.testing.assert_close(joined[:, 64:], 2 * expected / expected.norm(dim=1)[:, None])
    torch.testing.assert_close(joined[:, :64], joined_layers(backbone, {"layer2": 0.5}, inputs(size=64)))


def test_a_grid_that_does_not_divide_the_activations_has_parts_that_overlap(backbone):
    """Of 48 px, stage 3 has 3 x 3 activations: each quarter has the middle ones as well."""
    maps = backbone.forward_intermediates(inputs(size=48), indices=[3], intermediates_only=True)[0]
    parts = [maps[:, :, y : y + 2, x : x + 2].mean(dim=(2, 3)) for y in (0, 1) for x in (0, 1)]
    expected = torch.stack(parts, dim=2).flatten(1)
    joined = joined_layers(backbone, {"layer3": {"weight": 1.0, "grid": 2}}, inputs(size=48))
    torch.testing.assert_close(joined, expected / expected.norm(dim=1)[:, None])


def test_a_grid_of_one_is_the_stage_as_it_is_without(backbone):
    told = {name: {"weight": weight, "grid": 1} for name, weight in LAYERS.items()}
    torch.testing.assert_close(joined_layers(backbone, told, inputs()), joined_layers(backbone, LAYERS, inputs()))


def test_a_stage_that_there_is_not_is_refused(backbone):
    with pytest.raises(InvalidValueError, match=r"layer5.*layer1.*layer4"):
        joined_layers(backbone, {"layer4": 1.0, "layer5": 1.0}, inputs())
    with pytest.raises(InvalidValueError, match="layer5"):
        build_embedder("resnet18_half", {}, {"layers": {"layer5": 1.0}, "dimension": 4})


def test_the_head_is_fitted_to_the_frames_crops_evenly(backbone):
    frames = videos(10, 5)
    weight, bias = fit_head(backbone, frames, 32, HeadConfig(LAYERS, dimension=8, sample=25))
    rows = np.unique(np.linspace(0, 49, 25).round().astype(int))
    crops = np.stack([letterbox(frames.image(row), frames.rect[row], 32) for row in rows])
    with torch.no_grad():
        joined = joined_layers(backbone, LAYERS, network_input(torch.from_numpy(crops), IMAGENET_MEAN, IMAGENET_STD))
    assert weight.shape == (25 // 4, joined.shape[1])
    assert bias.shape == (25 // 4,)
    np.testing.assert_allclose((joined @ weight.T + bias).mean(dim=0), 0, atol=1e-4)


def test_a_head_that_is_turned_to_pose_is_a_map_of_more_components(backbone):
    frames = videos(10, 5)
    weight, bias = fit_head(backbone, frames, 32, HeadConfig(LAYERS, dimension=4, pose_steps=3, components=8))
    joined = joined_features(backbone, frames, 32, LAYERS)
    components = joined @ (widest := whitening(joined, HeadConfig(dimension=8)))[0].numpy().T + widest[1].numpy()
    turn = pose_map(components.astype(np.float32), frames, 4, 3)
    assert not np.allclose(turn, np.eye(4, 8))
    np.testing.assert_allclose(joined @ weight.numpy().T + bias.numpy(), components @ turn.T, rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_how_the_backbone_was_left(backbone):
    """In training mode its statistics would be the batch's, and would move."""
    frames = videos(2, 3)
    before = joined_features(backbone, frames, 32, LAYERS)
    mean = backbone.layer4[0].bn1.running_mean.clone()
    np.testing.assert_array_equal(joined_features(backbone.train(), frames, 32, LAYERS), before)
    torch.testing.assert_close(backbone.layer4[0].bn1.running_mean, mean, rtol=0, atol=0)
    backbone.eval()
