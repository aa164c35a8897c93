"""Cameras from pictures alone: on a rendered walk, on real photographs, and a clear word where it cannot work."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.importers import alignment, pose_errors
from tests import recordings
from tests.real_captures import SHARED
from trainer.captures.shot import CaptureError
from trainer.demo.orbit import look_at
from trainer.import_capture import import_capture
from trainer.importers import ImportConfig, middlebury
from trainer.importers.pictures import turned, upright_turns
from trainer.importers.sfm import picture_pairs, read

pytest.importorskip("pycolmap")


@pytest.fixture(scope="module")
def filmed():
    return recordings.film("book", frames=9, seed=1, height=320, arc_deg=70)


def photos(pictures, folder):
    for k, picture in enumerate(pictures):
        recordings.save(folder / f"IMG_{k + 1}.jpg", picture)
    return folder


@pytest.mark.parametrize("kind", ["photos", "video"])
def test_cameras_of_a_rendered_walk(filmed, tmp_path, kind):
    if kind == "photos":
        source = photos(filmed.pictures, tmp_path / "walk")
    else:
        source = tmp_path / "walk.mp4"
        writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"mp4v"), 5.0, (240, 320))
        for picture in filmed.pictures:
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        writer.release()
    result = import_capture(source, tmp_path / "captures", ImportConfig(focal=filmed.camera.fx, threads=1))
    found = np.array([frame.world_from_camera for frame in result.recording.frames])
    assert len(found) == len(filmed.pictures)
    assert not result.recording.metric
    assert "9 of 9 pictures fit together" in result.text()
    rotations, positions = pose_errors(found, filmed.world_from_camera)
    assert np.median(rotations) < 1.0
    assert np.median(positions) < 0.01 * result.recording.distance() * alignment(found, filmed.world_from_camera)[0]
    ground, up = result.recording.ground, alignment(found, filmed.world_from_camera)[1]
    assert np.degrees(np.arccos((up @ ground.normal)[1])) < 2.0


def test_exif_gives_the_first_focal_length(filmed, tmp_path):
    for k, picture in enumerate(filmed.pictures[:3]):
        exif = Image.Exif()
        exif[0x0112] = 1
        exif.get_ifd(0x8769)[0xA405] = round(filmed.camera.fx * 36 / 320)
        Image.fromarray(picture).save(tmp_path / f"{k}.jpg", exif=exif)
    (tmp_path / "work").mkdir()
    recording = read(tmp_path, ImportConfig(threads=1), tmp_path / "work")
    assert "as EXIF said" in recording.notes[-1]


def test_too_little_texture(tmp_path):
    rng = np.random.default_rng(0)
    plain = [np.full((320, 240, 3), 120 + k, np.uint8) + rng.integers(0, 3, (320, 240, 3), np.uint8) for k in range(4)]
    with pytest.raises(CaptureError, match=r"walk: too little texture: \d+ features in the median picture"):
        import_capture(photos(plain, tmp_path / "walk"), tmp_path / "captures")
    assert list((tmp_path / "captures").iterdir()) == []


def test_a_camera_that_only_turns(tmp_path):
    from trainer.demo.film import DemoConfig, Take, stage
    from trainer.demo.orbit import phone_camera
    from trainer.demo.render import Renderer

    config = DemoConfig(seed=1, width=240, height=320)
    renderer = Renderer(stage(config, Take("book", 0, 0, "train", "book/batch-1/0")))
    camera = phone_camera(np.random.default_rng(0), 240, 320)
    eye = np.array([0.0, 0.5, 0.7])
    aims = [np.array([x, 0.0, 0.0]) for x in np.linspace(-0.15, 0.15, 5)]
    pictures = [renderer.render(camera, look_at(eye, aim, 0.0)) for aim in aims]
    with pytest.raises(CaptureError, match=r"no parallax"):
        import_capture(photos(pictures, tmp_path / "walk"), tmp_path / "captures", ImportConfig(threads=1))


def test_pictures_of_different_things(filmed, tmp_path):
    rng = np.random.default_rng(1)
    noise = [cv2.resize(rng.integers(0, 255, (80, 60, 3), np.uint8), (240, 320)) for _ in range(7)]
    source = photos([*filmed.pictures[:3], *noise], tmp_path / "walk")
    with pytest.raises(CaptureError, match=r"walk: (only \d of 10 pictures fit together|none of 10 pictures fit)"):
        import_capture(source, tmp_path / "captures", ImportConfig(threads=1))


def test_too_few_pictures_and_pictures_of_two_shapes(filmed, tmp_path):
    with pytest.raises(CaptureError, match=r"2 pictures: structure from motion needs 3"):
        import_capture(photos(filmed.pictures[:2], tmp_path / "few"), tmp_path / "captures")
    mixed = [filmed.pictures[0], np.ascontiguousarray(np.rot90(filmed.pictures[1])), filmed.pictures[2]]
    with pytest.raises(CaptureError, match=r"IMG_2\.jpg: the upright picture is 320 x 240, must be 240 x 320"):
        import_capture(photos(mixed, tmp_path / "mixed"), tmp_path / "captures")


def test_pairs_of_a_long_video_reach_far_but_are_few():
    assert len(picture_pairs(60)) == 60 * 59 // 2
    pairs = picture_pairs(300)
    assert len(pairs) < 300 * 16
    assert len(set(pairs)) == len(pairs)
    assert max(b - a for a, b in pairs) >= 256
    assert all(a < b < 300 for a, b in pairs)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data sets are not there")
def test_a_dozen_real_photographs_on_their_side(tmp_path):
    source = SHARED / "middlebury" / "templeRing"
    names = [f"templeR{k:04d}.png" for k in (*range(13, 20), *range(42, 47))]
    for name in names:
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_bytes((source / name).read_bytes())
    calibrated = middlebury.read(source)
    turns = upright_turns(calibrated)
    found = import_capture(tmp_path / "photos", tmp_path / "captures", ImportConfig(threads=1))
    poses = [turned(frame, turn).world_from_camera for frame, turn in zip(calibrated.frames, turns, strict=True)]
    truth = np.array([poses[int(name[7:11]) - 1] for name in names])
    rotations, positions = pose_errors(np.array([f.world_from_camera for f in found.recording.frames]), truth)
    assert np.median(rotations) < 1.5
    assert np.median(positions) < 0.005
