"""What is done to a view: a crop inside its window, then changes of its pixels.

The sets are those of the paper's table 5; parameters are SimCLR's (Chen et al. 2020, appendix A) at the strength that
the paper uses. Everything is per sample, on uint8 pixels with OpenCV: 60 µs a view of 64 px on one core, a tenth of
what torchvision takes, less than batched float tensors, and without random state on the training device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601, as PIL and torchvision


@dataclass(frozen=True)
class Augmentation:
    """How the two views of a pair are made to differ. Independent per view, but for one horizontal flip per pair."""

    area: tuple[float, float] = (1.0, 1.0)  # a crop's share of the window's area
    ratio: tuple[float, float] = (1.0, 1.0)  # a crop's width over its height
    flip: float = 0.0  # probability of a horizontal flip of one view alone: destroys the pose
    jitter: float = 0.4  # brightness, contrast and saturation are scaled by 1 ± this
    hue: float = 0.1  # turned by at most this share of the colour circle
    jittered: float = 0.8  # probability of that jitter at all
    grey: float = 0.2  # probability of losing all colour
    blurred: float = 0.5  # probability of a Gaussian blur


AUGMENTATIONS = {
    "px": Augmentation(),
    # "< 20 %" and "< 40 % rescale": the authors' configuration draws the crop's area from 0.6-1.4 of the window's, of
    # which only 0.6-1.0 can be cut out.
    "ulc": Augmentation(area=(0.8, 1.0)),
    "lc": Augmentation(area=(0.6, 1.0)),
    "full": Augmentation(area=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5),
}


def draw_crop(augmentation: Augmentation, rng: Generator) -> tuple[float, float, float, float]:
    """A crop (x0, y0, x1, y1) of the unit square, as torchvision's RandomResizedCrop draws it."""
    for _ in range(10):
        area = rng.uniform(*augmentation.area)
        ratio = math.exp(rng.uniform(*np.log(augmentation.ratio)))
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if width <= 1 and height <= 1:
            x0, y0 = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
            return x0, y0, x0 + width, y0 + height
    return 0.0, 0.0, 1.0, 1.0


def change_pixels(image: Image, augmentation: Augmentation, rng: Generator) -> Image:
    """Colour jitter, grey and blur, each with its probability. (s, s, 3) uint8 RGB -> the same."""
    if rng.random() < augmentation.jittered:
        image = jitter_colours(image, augmentation, rng)
    if rng.random() < augmentation.grey:
        image = adjust_saturation(image, 0.0)
    if rng.random() < augmentation.blurred:
        image = blur(image, rng.uniform(0.1, 2.0))
    return image


def jitter_colours(image: Image, augmentation: Augmentation, rng: Generator) -> Image:
    """Brightness, contrast, saturation and hue, in random order (torchvision's ColorJitter)."""
    factors = rng.uniform(max(0.0, 1 - augmentation.jitter), 1 + augmentation.jitter, 3)
    turn = rng.uniform(-augmentation.hue, augmentation.hue)
    for step in rng.permutation(4):
        if step == 3:
            image = adjust_hue(image, turn)
        else:
            image = (adjust_brightness, adjust_contrast, adjust_saturation)[step](image, factors[step])
    return image


def adjust_brightness(image: Image, factor: float) -> Image:
    """Every value times ``factor``, clipped."""
    return _mapped(image, _LEVELS * factor)


def adjust_contrast(image: Image, factor: float) -> Image:
    """Away from (``factor`` > 1) or towards the picture's mean grey."""
    mean = float(np.dot(cv2.mean(image)[:3], _LUMA))
    return _mapped(image, _LEVELS * factor + mean * (1 - factor))


def adjust_saturation(image: Image, factor: float) -> Image:
    """Away from (``factor`` > 1) or towards each pixel's own grey; 0 gives grey."""
    rgb_from_rgb = factor * np.eye(3) + (1 - factor) * np.tile(_LUMA, (3, 1))
    return np.asarray(cv2.transform(image, rgb_from_rgb), np.uint8)


def adjust_hue(image: Image, turn: float) -> Image:
    """Turn the hue by ``turn`` of the colour circle, -0.5 to 0.5."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL))
    turned = hue + np.uint8(round(turn * 256) % 256)  # uint8 wraps around, as the circle does
    return np.asarray(cv2.cvtColor(cv2.merge([turned, saturation, value]), cv2.COLOR_HSV2RGB_FULL), np.uint8)


def blur(image: Image, sigma_at_224: float) -> Image:
    """Gaussian blur with a kernel of a tenth of the side (SimCLR). ``sigma_at_224``: pixels, if the side were 224."""
    side = image.shape[0]
    kernel = max(3, side // 10 // 2 * 2 + 1)
    return np.asarray(cv2.GaussianBlur(image, (kernel, kernel), sigma_at_224 * side / 224), np.uint8)


_LEVELS = np.arange(256, dtype=np.float64)


def _mapped(image: Image, levels: NDArray[np.float64]) -> Image:
    """Every value replaced by its entry in ``levels`` (256,), clipped to uint8."""
    return np.asarray(cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)), np.uint8)
