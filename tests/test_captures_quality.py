"""Pictures are shrunk with their cameras and rects; blurred objects are found, plain ones are not taken for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from index.schema import Frame, View
from tests.captures_scene import CAMERA, HEIGHT, WIDTH, draw, expected, orbit
from trainer.captures import Reason, Shot
from trainer.captures.quality import sharpness, shrunk, without_blurred

COIL = Path(__file__).resolve().parents[2] / "shared" / "data" / "coil100"


def shot(image: np.ndarray, frame: Frame) -> Shot:
    return Shot(image, (frame,), "s", "train", 0.0, jpeg=b"original")


def test_a_small_picture_is_left_alone() -> None:
    given = shot(draw(orbit(1)[0]), expected(orbit(1)[0]))
    assert shrunk(given, HEIGHT) is given


def test_camera_and_rect_follow_the_picture() -> None:
    pose = orbit(1)[0]
    small = shrunk(shot(draw(pose), expected(pose)), 120)
    assert small.image is not None
    assert small.image.shape == (120, 90, 3)
    assert small.jpeg is None
    (frame,) = small.frames
    assert frame.view.camera == CAMERA.resize(90, 120)
    np.testing.assert_allclose(frame.view.rect, np.array(expected(pose).view.rect) / 2)
    np.testing.assert_allclose(frame.view.rect, frame.box.rect(frame.view.camera))


@pytest.mark.parametrize("max_side", [101, 113, 127, 239])
def test_a_rect_to_the_edge_stays_in_the_picture(max_side: int) -> None:
    frame = Frame("a", "cup", "mug", View(None, None, (0, 0, WIDTH, HEIGHT)))
    small = shrunk(shot(np.zeros((HEIGHT, WIDTH, 3), np.uint8), frame), max_side)
    height, width = small.image.shape[:2]
    assert small.frames[0].view.rect == (0, 0, width, height)


def sequence(images: list[np.ndarray]) -> list[Shot]:
    frame = Frame("a", "cup", "mug", View(None, None, (10, 10, 110, 110)))
    return [replace(shot(image, frame), time_s=k / 5) for k, image in enumerate(images)]


def blurred(image: np.ndarray, length: int) -> np.ndarray:
    return cv2.blur(image, (length, 1))


def test_a_blurred_picture_among_sharp_ones_is_dropped_and_says_why() -> None:
    rng = np.random.default_rng(0)
    images = [cv2.blur(rng.integers(0, 255, (120, 120, 3), np.uint8), (2, 2)) for _ in range(7)]
    images[3] = cv2.blur(images[3], (9, 9))
    found = without_blurred(sequence(images), 0.2, 1.0)
    assert [len(shot.frames) for shot in found] == [1, 1, 1, 0, 1, 1, 1]
    assert [shot.rejected for shot in found if not shot.frames] == [(Reason.BLURRED,)]


def test_a_plain_object_survives_by_its_own_measure() -> None:
    image = np.full((120, 120, 3), 128, np.uint8)
    cv2.circle(image, (60, 60), 30, (150, 128, 128), -1, cv2.LINE_AA)
    assert sharpness(image, (10, 10, 110, 110)) < 30
    assert all(shot.frames for shot in without_blurred(sequence([image] * 5), 0.2, 1.0))


def test_a_picture_of_nothing_is_dropped() -> None:
    found = without_blurred(sequence([np.full((120, 120, 3), 7, np.uint8)] * 3), 0.2, 1.0)
    assert not any(shot.frames for shot in found)


def test_pictures_that_could_not_be_read_pass_through() -> None:
    unreadable = Shot(None, (), "s", "train", 0.0, (Reason.UNREADABLE,))
    assert without_blurred([unreadable], 0.2, 1.0)[0].rejected == (Reason.UNREADABLE,)


def test_each_object_is_measured_against_itself() -> None:
    rng = np.random.default_rng(0)
    image = np.full((120, 240, 3), 128, np.uint8)
    image[:, :120] = rng.integers(0, 255, (120, 120, 3))
    cv2.circle(image, (180, 60), 30, (150, 128, 128), -1, cv2.LINE_AA)
    frames = tuple(
        Frame(name, "cup", name, View(None, None, (x, 10, x + 100, 110))) for name, x in (("busy", 10), ("plain", 130))
    )
    found = without_blurred([Shot(image, frames, "s", "train", k / 5) for k in range(4)], 0.2, 1.0)
    assert all(shot.frames == frames for shot in found)


@pytest.mark.skipif(not COIL.is_dir(), reason="needs ../shared/data/coil100")
@pytest.mark.parametrize("number", [8, 22, 23, 57, 69])
def test_a_full_turn_of_a_real_object_is_kept_but_for_what_moves(number: int) -> None:
    files = sorted(COIL.glob(f"obj{number}__*.png"))
    images = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    assert all(shot.frames for shot in without_blurred(sequence(images), 0.2, 1.0))
    images[4] = blurred(blurred(images[4], 11), 11)
    found = without_blurred(sequence(images), 0.2, 1.0)
    assert [k for k, shot in enumerate(found) if not shot.frames] == [4]
