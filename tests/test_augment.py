"""Augmentation against torchvision's functions, and the sets against the paper's description of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from tests.views import scenes
from trainer import augment
from trainer.augment import AUGMENTATIONS, Augmentation, change_pixels, draw_crop


@pytest.fixture(scope="module")
def image():
    return scenes(1, 64, seed=3)[0]


def reference(function, image, *arguments):
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    return function(tensor, *arguments).permute(1, 2, 0).numpy()


def assert_close(ours, theirs, most):
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= most
    assert difference.mean() < 1


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_change_as_in_torchvision(image, name, factor):
    ours = getattr(augment, f"adjust_{name}")(image, factor)
    assert_close(ours, reference(getattr(functional, f"adjust_{name}"), image, factor), most=2)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.07, 0.3])
def test_hue_turns_as_in_torchvision(image, turn):
    # Our hue has 256 steps on the circle, each at most 6 levels of a channel.
    assert_close(augment.adjust_hue(image, turn), reference(functional.adjust_hue, image, turn), most=6)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_torchvisions(image, sigma):
    ours = augment.blur(image, sigma)
    assert_close(ours, reference(functional.gaussian_blur, image, [7, 7], [sigma * 64 / 224]), most=2)


def test_no_saturation_is_grey(image):
    grey = augment.adjust_saturation(image, 0.0)
    assert (grey == grey[..., :1]).all()


@pytest.mark.parametrize(("name", "smallest"), [("ulc", 0.8), ("lc", 0.6)])
def test_light_crops_keep_the_aspect_and_most_of_the_window(name, smallest):
    crops = np.array([draw_crop(AUGMENTATIONS[name], np.random.default_rng(i)) for i in range(500)])
    assert ((crops >= 0) & (crops <= 1)).all()
    width, height = (crops[:, 2:] - crops[:, :2]).T
    np.testing.assert_allclose(width, height)
    assert smallest <= (width * height).min() < smallest + 0.05
    assert (width * height).max() > 0.95


def test_full_crops_are_simclrs():
    crops = np.array([draw_crop(AUGMENTATIONS["full"], np.random.default_rng(i)) for i in range(2000)])
    assert ((crops >= 0) & (crops <= 1)).all()
    width, height = (crops[:, 2:] - crops[:, :2]).T
    assert 0.2 <= (width * height).min() < 0.25
    inside = (width < 1) | (height < 1)  # the fallback is the whole window
    ratio = (width / height)[inside]
    assert 3 / 4 <= ratio.min() < 0.78
    assert 1.28 < ratio.max() <= 4 / 3 + 1e-9


def test_pixel_sets_do_not_move_anything():
    assert draw_crop(AUGMENTATIONS["px"], np.random.default_rng(0)) == (0, 0, 1, 1)
    assert AUGMENTATIONS["lc"].flip == 0


def test_each_change_happens_as_often_as_its_probability():
    image = scenes(1, 224)[0]  # large enough for most blurs to change a pixel
    always = Augmentation(jittered=0, grey=0, blurred=0)
    assert (change_pixels(image, always, np.random.default_rng(0)) == image).all()
    for name, share in (("jittered", 0.8), ("grey", 0.2), ("blurred", 0.5)):
        some = dataclasses.replace(always, **{name: share})
        changed = [(change_pixels(image, some, np.random.default_rng(i)) != image).any() for i in range(300)]
        assert np.mean(changed) == pytest.approx(share, abs=0.09)


def test_a_seed_gives_the_same_view(image):
    views = [change_pixels(image, AUGMENTATIONS["lc"], np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(views[0], views[1])
    assert (views[0] != views[2]).any()
