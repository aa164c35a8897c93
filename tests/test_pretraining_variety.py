"""Made-up things, places and cameras: what the pre-training crops are varied with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from index.schema import Array, Box, Camera, clipped_rect
from trainer.demo.meshes import extents
from trainer.demo.objects import DemoObject
from trainer.demo.orbit import box_in_camera, hand_held_orbit, phone_camera
from trainer.demo.render import Renderer, render_crop
from trainer.demo.scene import Light, Scene
from trainer.demo.sensor import sensed
from trainer.demo.stages import build_stage
from trainer.demo.things import LARGEST, MOST_TRIANGLES, SMALLEST, build_thing

SEEDS = range(40)
CROP = 48


def thing(seed: int) -> DemoObject:
    return build_thing(np.random.default_rng(seed))


@pytest.fixture(scope="module")
def things() -> list[DemoObject]:
    return [thing(seed) for seed in range(120)]


@pytest.fixture(scope="module")
def scenes(things) -> list[Scene]:
    return [build_stage(things[seed], np.random.default_rng(seed)) for seed in SEEDS]


def geometry(subject: DemoObject) -> Iterator[bytes]:
    for part in subject.parts:
        for array in (part.vertices, part.normals, part.uvs, part.triangles, part.material.texture):
            yield np.ascontiguousarray(array).tobytes()


def shot(scene: Scene, seed: int) -> tuple[Camera, Array, tuple[float, float, float, float]]:
    """A phone's camera, a pose of it and the object's rectangle."""
    rng = np.random.default_rng(seed)
    size, camera = scene.subject.size, phone_camera(rng, 180, 240)
    pose = hand_held_orbit(rng, size, camera, 2)[0]
    box = box_in_camera(pose, Box(np.eye(3), np.array([0, size[1] / 2, 0]), size))
    return camera, pose, clipped_rect(box.rect(camera), camera.width, camera.height)


# Things


@pytest.mark.parametrize("seed", [0, 7, 23])
def test_the_same_seed_makes_the_same_thing_and_another_seed_another(seed):
    assert list(geometry(thing(seed))) == list(geometry(thing(seed)))
    assert list(geometry(thing(seed))) != list(geometry(thing(seed + 1)))


def test_things_fill_their_boxes_and_stand_on_the_floor(things):
    for subject in things:
        low, high = extents(subject.parts)
        assert subject.category == "thing"
        np.testing.assert_allclose(low, [-subject.size[0] / 2, 0, -subject.size[2] / 2], atol=1e-9)
        np.testing.assert_allclose(high - low, subject.size, atol=1e-9)
        assert SMALLEST * 0.999 <= np.linalg.norm(subject.size) <= LARGEST * 1.001


def test_things_are_sound_meshes_of_few_triangles(things):
    for subject in things:
        assert sum(len(part.triangles) for part in subject.parts) < MOST_TRIANGLES
        for part in subject.parts:
            assert np.isfinite(part.vertices).all()
            assert np.isfinite(part.uvs).all()
            assert part.triangles.max() < len(part.vertices)
            np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-6)
            assert 0.1 <= part.material.roughness <= 0.95
            assert part.material.texture.dtype == np.uint8


def test_sizes_proportions_and_colours_vary_widely(things):
    sizes = np.array([subject.size for subject in things])
    diagonals, upright = np.linalg.norm(sizes, axis=1), sizes[:, 1] / sizes[:, [0, 2]].max(axis=1)
    assert diagonals.max() / diagonals.min() > 15
    assert np.percentile(upright, 90) / np.percentile(upright, 10) > 4
    colors = np.array([subject.parts[0].material.texture.mean(axis=(0, 1)) for subject in things])
    assert (colors.std(axis=0) > 40).all()


# Places


def test_the_same_seed_makes_the_same_place(things):
    first, second = (build_stage(things[0], np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.floor.texture, second.floor.texture)
    np.testing.assert_array_equal(first.room.panorama, second.room.panorama)
    assert len(first.clutter) == len(second.clutter)
    np.testing.assert_array_equal(first.light.lamp, second.light.lamp)


def brightness(light: Light) -> float:
    """Of the light that falls on a floor, as exposed."""
    return float((light.lamp * light.direction[1] + light.sky).mean() * light.exposure)


def test_light_is_positive_and_neither_dark_nor_blinding(scenes):
    for scene in scenes:
        light = scene.light
        assert (light.lamp >= 0).all()
        assert (light.sky > 0).all()
        assert (light.bounce > 0).all()
        assert 0.55 <= light.exposure <= 1.5
        assert np.linalg.norm(light.direction) == pytest.approx(1)
        assert light.direction[1] >= np.sin(0.25)
        assert 0.25 < brightness(light) < 4


def test_floors_are_tiles_that_the_renderer_can_halve(scenes):
    for scene in scenes:
        height, width, _ = scene.floor.texture.shape
        assert height == width
        assert height % 64 == 0


def test_cameras_stay_inside_the_room(scenes):
    for seed, scene in enumerate(scenes):
        rng = np.random.default_rng(seed)
        for pose in hand_held_orbit(rng, scene.subject.size, phone_camera(rng, 180, 240), 12):
            eye = -pose[:3, :3].T @ pose[:3, 3]
            assert np.abs(eye[[0, 2]]).max() < scene.room.half
            assert 0 < eye[1] < scene.room.height


def test_many_places_are_black_and_many_are_not(things):
    rng = np.random.default_rng(1)
    floors = [build_stage(things[0], rng).floor.texture for _ in range(60)]
    black = sum(floor.mean() < 16 for floor in floors)
    assert 4 <= black <= 22


def test_every_thing_is_seen_in_its_crop(scenes):
    shares, contrasts = [], []
    for seed, scene in enumerate(scenes):
        camera, pose, rect = shot(scene, seed)
        renderer = Renderer(scene)
        crop = render_crop(renderer, camera, pose, rect, CROP)
        assert crop.shape == (CROP, CROP, 3)
        x0, y0, x1, y1 = rect
        shares.append(renderer.subject_mask(camera, pose).sum() / ((x1 - x0) * (y1 - y0)))
        contrasts.append(crop.std())
    assert min(shares) > 0.02
    assert max(shares) <= 1.1
    assert 0.35 < np.median(shares) < 0.85
    assert np.median(contrasts) > 20


# Cameras


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth picture with an edge, all of whose levels leave room above and below."""
    ramp = np.linspace(70, 150, 112)
    picture = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 110.0), axis=-1).astype(np.uint8)
    picture[40:70, 40:70] = (180, 90, 60)
    return picture


def test_a_sensed_picture_is_another_of_the_same_shape(picture):
    before = picture.copy()
    for seed in range(60):
        result = sensed(picture, np.random.default_rng(seed))
        assert result.shape == picture.shape
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, sensed(picture, np.random.default_rng(seed)))
        assert not np.array_equal(result, picture)
        assert 0.5 < result.mean() / picture.mean() < 1.7
    np.testing.assert_array_equal(picture, before)


def test_a_fifth_of_the_pictures_stays_nearly_untouched(picture):
    rng = np.random.default_rng(0)
    changes = np.array([np.abs(sensed(picture, rng).astype(int) - picture).mean() for _ in range(300)])
    assert 0.12 < (changes < 2).mean() < 0.5
    assert np.percentile(changes, 90) > 8


@pytest.mark.parametrize("shape", [(1, 1), (112, 1), (3, 80), (37, 112)])
def test_any_shape_can_be_sensed(shape):
    rng = np.random.default_rng(2)
    for _ in range(60):
        assert sensed(np.full((*shape, 3), 90, np.uint8), rng).shape == (*shape, 3)
