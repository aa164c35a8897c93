"""Crops of made-up objects: the same seed draws the same, and what is drawn is what is said of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from index.encoder import letterbox
from index.schema import Box, CorruptArtifactError, ForeignArtifactError, InvalidValueError, clipped_rect
from trainer.demo import DemoConfig, crops
from trainer.demo.crops import CropsConfig, draw_crops, draw_demo_crops
from trainer.demo.film import stage, takes, walk
from trainer.demo.objects import CATEGORIES
from trainer.demo.orbit import box_in_camera
from trainer.demo.render import Renderer
from trainer.frames import Frames

TINY = CropsConfig(seed=5, objects=5, valid=2, things=0.4, frames=4, places=2, size=32)
DEMO = DemoConfig(seed=3, train_objects=1, test_objects=0, frames=2, width=90, height=120)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Of two objects, so that there are three."""
    monkeypatch.setattr(crops, "_CHUNK", 2)


def files(out):
    return {str(p.relative_to(out)): (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crops, "_CHUNK", 2)
        return draw_crops(tmp_path_factory.mktemp("drawn") / "frames", TINY)


@pytest.fixture(scope="module")
def frames(drawn):
    return Frames.open(drawn)


def test_every_object_is_seen_in_every_frame(frames):
    assert len(frames) == 5 * 4
    assert len(frames.tracks()) == len(set(frames.object_id)) == 5
    assert (frames.sequence == frames.object_id).all()
    np.testing.assert_allclose(frames.time_s, np.tile([0, 0.2, 0.4, 0.6], 5))
    assert (frames.split == np.repeat(["valid", "valid", "train", "train", "train"], 4)).all()
    assert len({frames.frame(row).id for row in range(20)}) == 20


@pytest.mark.parametrize(("share", "names"), [(0.0, set(CATEGORIES[:5])), (1.0, {"thing"})])
def test_things_are_a_share_and_the_others_the_demos_categories_in_turn(share, names):
    config = replace(TINY, things=share)
    subjects = [crops._subject(config, k, np.random.default_rng(k)) for k in range(5)]
    assert {subject.category for subject in subjects} == names


def test_the_rectangle_is_the_whole_picture(frames):
    for row in range(len(frames)):
        height, width, _ = frames.image(row).shape
        view = frames.frame(row).view
        assert (view.camera.width, view.camera.height) == (width, height)
        assert max(height, width) == 32
        np.testing.assert_array_equal(frames.rect[row], [0, 0, width, height])


def test_the_box_projects_onto_the_picture_but_for_loose_sides(frames):
    margins = []
    for row in range(len(frames)):
        frame = frames.frame(row)
        camera, plane = frame.view.posed()
        x0, y0, x1, y1 = frame.box.rect(camera)
        width, height = x1 - x0, y1 - y0
        margins.append([x0 / width, y0 / height, (camera.width - x1) / width, (camera.height - y1) / height])
        bottoms = frame.box.corners[np.argsort(plane.normal @ frame.box.corners.T)[:4]]
        np.testing.assert_allclose(bottoms @ plane.normal + plane.offset, 0, atol=1e-6)
    # Up to 8 % of the object were outside the camera's picture before it was framed.
    assert np.max(margins) <= 0.10 + 1e-6
    assert np.min(margins) >= -0.11 - 1e-6
    assert np.mean(np.array(margins) >= -0.03 - 1e-6) > 0.8
    assert (np.ptp(margins, axis=0) > 0.05).all()


def test_an_object_is_seen_in_every_one_of_its_places(monkeypatch):
    used = set()

    class Counted(Renderer):
        def render(self, *arguments):
            used.add(id(self))
            return super().render(*arguments)

    monkeypatch.setattr(crops, "Renderer", Counted)
    rows = list(crops._object_crops(replace(TINY, frames=12, places=3, size=16), 0))
    assert len(rows) == 12
    assert len(used) == 3


def test_the_same_seed_draws_the_same_bytes(drawn, tmp_path):
    again = draw_crops(tmp_path / "frames", replace(TINY, workers=1))
    assert {name: data for name, (data, _) in files(again).items()} == {
        name: data for name, (data, _) in files(drawn).items()
    }


def test_drawing_goes_on_where_it_was_interrupted(drawn, tmp_path):
    out = shutil.copytree(drawn, tmp_path / "frames")
    before = files(out)
    (out / "frames.parquet").unlink()
    (out / "parts" / "00002-00004.parquet").unlink()
    (out / "shards" / "00002-00004.tar").write_bytes(b"half a shard")
    draw_crops(out, replace(TINY, workers=1))
    after = files(out)
    assert {name: data for name, (data, _) in after.items()} == {name: data for name, (data, _) in before.items()}
    kept = {name for name in after if after[name][1] == before[name][1]}
    assert {name for name in kept if name.startswith(("shards", "parts"))} == {
        f"{folder}/{part}.{suffix}"
        for part in ("00000-00002", "00004-00005")
        for folder, suffix in (("shards", "tar"), ("parts", "parquet"))
    }


def test_crops_of_another_configuration_are_refused(drawn, tmp_path):
    (tmp_path / "crops.json").write_bytes((drawn / "crops.json").read_bytes())
    assert "workers" not in json.loads((tmp_path / "crops.json").read_text())
    with pytest.raises(ForeignArtifactError, match=r"crops\.json"):
        draw_crops(tmp_path, replace(TINY, seed=6))
    with pytest.raises(ForeignArtifactError, match=r"crops\.json"):
        draw_demo_crops(tmp_path, DEMO)
    (tmp_path / "crops.json").unlink()
    draw_demo_crops(tmp_path / "demo", replace(DEMO, train_objects=0, test_objects=1, frames=1), 32)
    with pytest.raises(ForeignArtifactError, match="size"):
        draw_demo_crops(tmp_path / "demo", replace(DEMO, train_objects=0, test_objects=1, frames=1), 48)
    (tmp_path / "crops.json").write_text("{")
    with pytest.raises(CorruptArtifactError, match=r"crops\.json"):
        draw_crops(tmp_path, TINY)


@pytest.mark.parametrize(
    ("field", "value"),
    [("objects", 0), ("frames", 0), ("places", 0), ("size", 8), ("workers", 0), ("things", 1.1), ("valid", 5)],
)
def test_a_configuration_that_cannot_be_is_refused(field, value):
    with pytest.raises(InvalidValueError, match=rf"crops\.{field}"):
        replace(TINY, **{field: value})


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return Frames.open(draw_demo_crops(tmp_path_factory.mktemp("demo") / "frames", DEMO))


def test_the_demos_crops_are_of_the_demos_takes(demo):
    planned = takes(DEMO)
    assert list(demo.sequence[::2]) == [take.sequence for take in planned]
    assert list(demo.object_id[::2]) == [take.object_id for take in planned]
    assert list(demo.category[::2]) == [take.category for take in planned]
    assert list(demo.split[::2]) == [take.split for take in planned]
    np.testing.assert_allclose(demo.time_s, np.tile([0, 0.2], len(planned)))


def test_a_demo_crop_is_what_the_encoder_would_cut_out_of_the_film(demo):
    for number in (0, 3, 4):
        take = takes(DEMO)[number]
        scene = stage(DEMO, take)
        camera, poses = walk(DEMO, take, scene)
        size = scene.subject.size
        box = box_in_camera(poses[1], Box(np.eye(3), np.array([0, size[1] / 2, 0]), size))
        np.testing.assert_allclose(demo.frame(2 * number + 1).box.corners, box.corners, atol=1e-6)
        large = camera.resize(4 * camera.width, 4 * camera.height)
        rect = clipped_rect(box.rect(large), large.width, large.height)
        film = letterbox(Renderer(scene).render(large, poses[1]), rect, 64)
        crop = letterbox(demo.image(2 * number + 1), demo.rect[2 * number + 1], 64)
        off = np.abs(film.astype(int) - crop).mean()
        assert off < 4
        assert np.abs(np.roll(film, 4, axis=1).astype(int) - crop).mean() > 2 * off
