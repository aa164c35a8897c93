"""Pictures made as small as they need be, and the blurred ones among them found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from index.schema import Frame, Rect, View
from trainer.captures.shot import Image, Reason, Shot

# About the scale at which an encoder sees a crop: blur that is gone there does no harm.
_CROP_SIDE = 224


def shrunk(shot: Shot, max_side: int) -> Shot:
    """The shot with its picture's longest side at most ``max_side`` pixels; cameras and rects follow."""
    if shot.image is None or (image := shrunk_image(shot.image, max_side)) is shot.image:
        return shot
    (height, width), size = shot.image.shape[:2], (image.shape[1], image.shape[0])
    frames = tuple(_resized(frame, width, height, *size) for frame in shot.frames)
    return replace(shot, image=image, frames=frames, jpeg=None)


def shrunk_image(image: Image, max_side: int) -> Image:
    """The picture (h, w, 3) with its longest side at most ``max_side`` pixels; itself when it is small enough."""
    height, width = image.shape[:2]
    scale = max_side / max(width, height)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def without_blurred(shots: Sequence[Shot], ratio: float, floor: float) -> list[Shot]:
    """The shots of one sequence, their blurred objects moved from ``frames`` to ``rejected``.

    Blurred is what is less sharp than ``floor``, or than ``ratio`` times the median of its object in this sequence.
    """
    levels = [[sharpness(shot.image, frame.view.rect) for frame in shot.frames] for shot in shots]  # type: ignore[arg-type]
    of_object: defaultdict[str, list[float]] = defaultdict(list)
    for shot, of_shot in zip(shots, levels, strict=True):
        for frame, level in zip(shot.frames, of_shot, strict=True):
            of_object[frame.object_id].append(level)
    least = {name: max(floor, ratio * float(np.median(of_track))) for name, of_track in of_object.items()}
    return [_kept_sharp(shot, of_shot, least) for shot, of_shot in zip(shots, levels, strict=True)]


def _kept_sharp(shot: Shot, levels: Sequence[float], least: dict[str, float]) -> Shot:
    sharp = tuple(frame for frame, level in zip(shot.frames, levels, strict=True) if level >= least[frame.object_id])
    blurred = (Reason.BLURRED,) * (len(shot.frames) - len(sharp))
    return replace(shot, frames=sharp, rejected=shot.rejected + blurred)


def sharpness(image: Image, rect: Rect) -> float:
    """The variance of the Laplacian of a crop, grey levels squared, at about the scale that an encoder sees."""
    x0, y0, x1, y1 = int(rect[0]), int(rect[1]), int(np.ceil(rect[2])), int(np.ceil(rect[3]))
    grey = cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
    scale = _CROP_SIDE / max(grey.shape)
    if scale < 1:
        size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _resized(frame: Frame, width: int, height: int, new_width: int, new_height: int) -> Frame:
    sx, sy = new_width / width, new_height / height
    x0, y0, x1, y1 = frame.view.rect
    rect = (x0 * sx, y0 * sy, min(x1 * sx, new_width), min(y1 * sy, new_height))
    camera = frame.view.camera and frame.view.camera.resize(new_width, new_height)
    return replace(frame, view=View(camera, frame.view.plane, rect))
