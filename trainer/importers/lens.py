"""Distorting lenses, and pictures as a pinhole camera would have taken them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from index.schema import Array, Camera, InvalidValueError
from trainer.captures.shot import Image

# Which of a camera model's extra parameters are OpenCV's coefficients (k1, k2, p1, p2, k3, k4, k5, k6), or, of a
# fisheye, (k1, k2, k3, k4). The names are COLMAP's, which nerfstudio uses as well.
_PERSPECTIVE = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": ("k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
}
_FISHEYE = {
    "SIMPLE_FISHEYE": (),
    "SIMPLE_RADIAL_FISHEYE": ("k1",),
    "RADIAL_FISHEYE": ("k1", "k2"),
    "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4"),
}
_MODELS = _PERSPECTIVE | _FISHEYE


@dataclass(frozen=True)
class Distortion:
    """OpenCV's coefficients of a lens; none: there is no distortion."""

    kind: Literal["perspective", "fisheye"] = "perspective"
    coefficients: tuple[float, ...] = ()

    @property
    def none(self) -> bool:
        return self.kind == "perspective" and not any(self.coefficients)

    def undistorted(self, image: Image, camera: Camera) -> Image:
        """The picture that a pinhole ``camera`` sees, black where this picture shows nothing."""
        if self.none:
            return image
        matrix = camera.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # OpenCV's pixel (0, 0) is a centre
        size = (camera.width, camera.height)
        if self.kind == "fisheye":
            maps = cv2.fisheye.initUndistortRectifyMap(matrix, self._padded(4), np.eye(3), matrix, size, cv2.CV_32FC1)
        else:
            maps = cv2.initUndistortRectifyMap(matrix, self._padded(8), np.eye(3), matrix, size, cv2.CV_32FC1)
        return np.asarray(cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR), np.uint8)

    def _padded(self, length: int) -> Array:
        return np.array([*self.coefficients, *[0.0] * (length - len(self.coefficients))])


NO_DISTORTION = Distortion()


def distortion_of(model: str, given: Mapping[str, float], field: str) -> Distortion:
    """The distortion that a camera model's parameters, by name, describe; those that are not given are 0.

    Raises InvalidValueError, calling the model ``field``, for one that is not known here.
    """
    if model not in _MODELS:
        raise InvalidValueError(field, model, f"one of {', '.join(_MODELS)}")
    coefficients = tuple(float(given.get(name, 0.0)) for name in _MODELS[model])
    return Distortion("fisheye" if model in _FISHEYE else "perspective", coefficients)


def named_parameters(model: str, extra: Sequence[float]) -> dict[str, float]:
    """The extra parameters of a known ``model`` by name, in COLMAP's order."""
    return dict(zip(_MODELS.get(model, ()), extra, strict=False))
