"""Up and ground of worlds that do not say them: known cameras, known points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from index.schema import Camera
from trainer.demo.orbit import look_at
from trainer.importers.ground import find_ground, up_from_cameras, upright_world
from trainer.importers.pictures import turned, upright_turns
from trainer.importers.recording import RecordedFrame, Recording, similar

CAMERA = Camera(400, 400, 180, 240, 360, 480)
UP = np.array([0.0, 1, 0])


def orbit(count: int = 24, arc: float = 2 * np.pi, up: float = 0.5, rolls: tuple[float, ...] = (0.0,)) -> Recording:
    """Cameras on a circle of one metre around what stands on y = 0, rolled in turn by ``rolls`` radians."""
    frames = []
    for k, angle in enumerate(np.linspace(0, arc, count, endpoint=False)):
        eye = np.array([np.cos(up) * np.sin(angle), np.sin(up), np.cos(up) * np.cos(angle)])
        pose = np.linalg.inv(look_at(eye, np.array([0, 0.1, 0]), rolls[k % len(rolls)]))
        frames.append(RecordedFrame(Path(f"{k}.jpg"), k / 5, CAMERA, pose))
    return Recording("test", tuple(frames))


def with_points(recording: Recording, *clouds: np.ndarray) -> Recording:
    return Recording(recording.source, recording.frames, points=np.concatenate(clouds))


def slab(height: float, half: float, count: int, seed: int, noise: float = 0.001) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack(
        [rng.uniform(-half, half, count), rng.normal(height, noise, count), rng.uniform(-half, half, count)], 1
    )


def ball(count: int = 300) -> np.ndarray:
    directions = np.random.default_rng(9).normal(size=(count, 3))
    return 0.09 * directions / np.linalg.norm(directions, axis=1, keepdims=True) + [0, 0.1, 0]


@given(st.integers(0, 2**31), st.sampled_from([(0.0,), (np.pi / 2,), (np.pi / 2, -np.pi / 2)]))
@settings(max_examples=30, deadline=None)
def test_up_is_told_by_how_cameras_are_held_in_any_world(seed, rolls):
    turn = Rotation.random(rng=seed).as_matrix()
    recording = similar(orbit(rolls=rolls, up=0.25), 2.3, turn, np.array([1.0, 2, 3]))
    np.testing.assert_allclose(up_from_cameras(recording), turn @ UP, atol=1e-6)


def test_cameras_that_see_one_side_alone_do_not_tell_up():
    assert up_from_cameras(orbit(arc=0.05)) is None


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_pictures_are_turned_until_up_is_up(quarters):
    recording = Recording("test", orbit(rolls=(quarters * np.pi / 2,)).frames, up=UP)
    for frame, turn in zip(recording.frames, upright_turns(recording), strict=True):
        upright = turned(frame, turn)
        in_camera = upright.world_from_camera[:3, :3].T @ UP
        assert np.degrees(np.arctan2(abs(in_camera[0]), -in_camera[1])) < 1e-6
        point = np.array([0.05, 0.12, -0.03])
        assert (upright.camera.width > upright.camera.height) == (turn % 2 == 1)
        seen = [f.camera.project((np.linalg.inv(f.world_from_camera) @ [*point, 1])[:3]) for f in (frame, upright)]
        centre = [np.array([f.camera.width, f.camera.height]) / 2 for f in (frame, upright)]
        angle = turn * np.pi / 2
        clockwise = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        np.testing.assert_allclose(seen[1] - centre[1], clockwise @ (seen[0] - centre[0]), atol=1e-9)


@pytest.mark.parametrize("measured", [True, False])
def test_the_table_is_the_ground_not_the_floor_below_it(measured):
    floor = slab(-0.7, 3, 3000, 1)
    floor = floor[np.abs(floor[:, [0, 2]]).max(axis=1) > 0.5]  # hidden by the table
    recording = with_points(orbit(), slab(0.0, 0.45, 400, 0), floor, ball())
    ground = find_ground(recording, UP, measured)
    assert abs(ground.height(np.zeros(3))) < 0.002
    assert ground.normal @ UP > np.cos(np.radians(0.5))
    assert "sparse points" in ground.found_by
    assert "GUESS" not in ground.found_by


def test_the_top_of_the_object_is_not_the_ground():
    top = slab(0.2, 0.08, 300, 2)
    sides = np.random.default_rng(3).uniform([-0.08, 0, -0.08], [0.08, 0.2, 0.08], (200, 3))
    ground = find_ground(with_points(orbit(), top, sides), UP, True)
    assert ground.found_by.startswith("A GUESS")
    assert -0.01 < -ground.height(np.zeros(3)) < 0.02


def test_a_tilted_guess_is_put_right_by_the_points():
    tilted = Rotation.from_euler("x", 8, degrees=True).as_matrix() @ UP
    ground = find_ground(with_points(orbit(), slab(0.0, 0.6, 800, 0), ball()), tilted, False)
    assert np.degrees(np.arccos(ground.normal @ UP)) < 0.3
    assert ground.found_by.startswith("RANSAC")


def test_too_few_points_tell_nothing():
    assert find_ground(with_points(orbit(), slab(0.0, 0.4, 20, 0)), UP, True) is None


def test_a_new_world_is_upright_on_the_ground_and_its_shapes_stay():
    recording = with_points(orbit(), slab(0.0, 0.6, 800, 0), ball())
    turn = Rotation.random(rng=4).as_matrix()
    lost = similar(recording, 1.7, turn, np.array([4.0, -2, 1]))
    found = find_ground(lost, turn @ UP, True)
    lost = Recording(lost.source, lost.frames, ground=found, points=lost.points)
    new = similar(lost, 1.0, *upright_world(lost, found.normal))
    np.testing.assert_allclose(new.ground.normal, UP, atol=1e-9)
    assert abs(new.ground.point[1]) < 1e-9
    assert np.hypot(*new.aim()[[0, 2]]) < 1e-9
    np.testing.assert_allclose(new.positions[0][0], 0, atol=1e-9)
    assert new.distance() == pytest.approx(1.7 * recording.distance())
