"""Calibration: that it finds the probabilities that outcomes were drawn with, and knows when it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from index.confidence import SHIPPED, Calibration, calibrate, signs_of
from index.predict import DEFAULT_K
from index.schema import Box
from index.search import FrameIndex
from tests.scenes import standing_frame
from trainer.calibrate import box_calibration

UP = np.array([0, 1.0, 0])


def test_finds_the_probabilities_that_outcomes_were_drawn_with():
    rng = np.random.default_rng(0)
    signs = rng.uniform([0, 0.2, -2], [1, 1, 0], (20000, 3))
    truth = Calibration((-2.0, 3.0, 1.5, 0.4), 0)
    chances = np.array([truth.probability(row) for row in signs])
    found = calibrate(signs, rng.random(len(signs)) < chances)
    assert found.frames == 20000
    told = np.array([found.probability(row) for row in signs])
    assert np.abs(told - chances).max() < 0.03


def test_too_few_frames_or_one_outcome_tell_nothing():
    signs = np.random.default_rng(0).random((200, 3))
    assert calibrate(signs[:20], np.arange(20) % 2 == 0) is None
    assert calibrate(signs, np.ones(200, bool)) is None


def test_a_probability_never_rounds_to_certainty():
    sure = Calibration((1e9, 0.0, 0.0, 0.0), 1)
    assert 0.99 < sure.probability((1, 1, 0)) < 1
    assert Calibration.from_manifest(None) is SHIPPED
    assert Calibration.from_manifest({"weights": [1, 2, 3, 4], "frames": 9}) == Calibration((1.0, 2.0, 3.0, 4.0), 9)


def test_more_doubt_is_a_smaller_overlap():
    box = Box(np.eye(3), np.array([0, 0, 1.0]), np.array([0.2, 0.1, 0.05]))
    overlaps = [signs_of(box, np.eye(7) * deviation**2, UP, 1.0)[1] for deviation in (1e-6, 0.01, 0.05, 0.2)]
    assert overlaps[0] == pytest.approx(1, abs=1e-3)
    assert overlaps == sorted(overlaps, reverse=True)
    assert signs_of(box, np.eye(7) * 1e-12, UP, 0.7)[::2] == (0.7, pytest.approx(np.log(0.25)))


def test_an_index_is_calibrated_by_looking_its_frames_up_without_their_object():
    rng = np.random.default_rng(0)
    frames, vectors = [], []
    for i in range(120):
        size = (0.1, 0.14, 0.08) if i % 3 else (0.5, 0.02, 0.05)
        frames.append(standing_frame(id=str(i), object_id=f"o{i // 2}", size=size, azimuth=rng.uniform(-0.3, 0.3)))
        vectors.append(rng.normal(size=8))
    unit = np.array(vectors, np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    index = FrameIndex.from_frames(unit, frames)
    calibration = box_calibration(index)
    assert 100 < calibration.frames <= 120  # one may be refused


def test_of_a_large_index_only_the_frames_that_are_asked_for_are_held(monkeypatch):
    frames = [standing_frame(id=str(i), object_id=f"o{i}") for i in range(400)]
    unit = np.linalg.qr(np.random.default_rng(0).normal(size=(400, 400)))[0].astype(np.float32)
    index, read = FrameIndex.from_frames(unit, frames), []
    kept = index.frame
    monkeypatch.setattr(index, "frame", lambda row: (read.append(row), kept(row))[1])
    box_calibration(index, samples=3)
    assert 3 < len(set(read)) <= 3 * (1 + DEFAULT_K)


def test_one_object_calibrates_nothing():
    frames = [standing_frame(id=str(i)) for i in range(3)]
    index = FrameIndex.from_frames(np.eye(3, dtype=np.float32), frames)
    assert box_calibration(index) is None
