"""The demo captures: what is filmed is what is annotated, and the same seed films the same."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from index.encoder import letterbox
from index.schema import (
    Box,
    Camera,
    CorruptArtifactError,
    ForeignArtifactError,
    InvalidValueError,
    NearposeError,
    clipped_rect,
)
from trainer.captures import list_sources
from trainer.captures.protos.annotation_data_pb2 import Sequence
from trainer.cli import main
from trainer.demo import DemoConfig, film
from trainer.demo.film import stage, takes, walk
from trainer.demo.meshes import Material, arc, block, ellipse, lathe, moved, rounded_rectangle, slab, tube, turned
from trainer.demo.objects import CATEGORIES, build_object
from trainer.demo.orbit import box_in_camera, look_at
from trainer.demo.raster import triangle_colors, visible_triangles
from trainer.demo.render import Renderer, render_crop

TINY = DemoConfig(seed=3, train_objects=1, test_objects=1, frames=3, width=90, height=120, workers=2)
GREY = Material(np.full((8, 8, 3), 128, np.uint8))


@dataclass(frozen=True)
class Filmed:
    out: Path
    sequences: dict[str, Sequence]


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Filmed:
    out = film(tmp_path_factory.mktemp("demo") / "captures", TINY)
    files = sorted((out / "annotations").rglob("*.pbdata"))
    names = [str(file.relative_to(out / "annotations").with_suffix("")) for file in files]
    return Filmed(out, {n: Sequence.FromString(f.read_bytes()) for n, f in zip(names, files, strict=True)})


def subject_box(size) -> Box:
    return Box(np.eye(3), np.array([0, size[1] / 2, 0]), size)


# Shapes and objects


def volume(parts) -> float:
    """Of a closed surface, by the divergence theorem: negative when it is inside out."""
    corners = np.concatenate([part.vertices[part.triangles] for part in parts])
    return float(np.einsum("ni,ni->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (block((1, 2, 3), (0.5, 2, 3), GREY), 3.0),
        (lathe([(0, 0), (1, 0), (1, 2), (0, 2)], GREY, 200), 2 * np.pi),
        (lathe([(0, 0), (1, 0), (1, 2), (0, 2)], GREY, 200, depth=0.5), np.pi),
        (tube([(0, 0, 0), (1, 1, 1)], 0.5, GREY, 200), np.pi / 4 * np.sqrt(3)),
        (tube(arc((1, 2, 3), (2, 0, 0), (0, 2, 0), steps=200), 0.1, GREY, 100), 2 * np.pi**2 * 2 * 0.01),
        (slab(ellipse(2, 4, 200), 1, 2, GREY), 2 * np.pi),
        (slab(rounded_rectangle(2, 1, 0.25, 50), 0, 1, GREY), 2 - (4 - np.pi) * 0.25**2),
        (turned(moved(block((0, 0, 0), (1, 1, 1), GREY), (1, 2, 3)), "x", 1.0, (3, 2, 1)), 1.0),
    ],
)
def test_shapes_are_closed_and_face_outwards(parts, expected):
    assert volume(parts) == pytest.approx(expected, rel=2e-3)
    for part in parts:
        np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_object_fills_its_box_and_stands_on_the_floor(category):
    for seed in range(3):
        thing = build_object(category, np.random.default_rng(seed))
        vertices = np.concatenate([part.vertices for part in thing.parts])
        np.testing.assert_allclose(vertices.min(axis=0), [-thing.size[0] / 2, 0, -thing.size[2] / 2], atol=1e-9)
        np.testing.assert_allclose(vertices.max(axis=0), thing.size * (0.5, 1, 0.5), atol=1e-9)
        assert all(
            np.isfinite(part.normals).all() and part.triangles.max() < len(part.vertices) for part in thing.parts
        )


def test_proportions_vary_widely_within_a_category():
    for category in CATEGORIES:
        sizes = np.array([build_object(category, np.random.default_rng([9, i])).size for i in range(10)])
        proportions = np.log(sizes) - np.log(sizes).mean(axis=1, keepdims=True)
        assert proportions.std(axis=0).max() > 0.14, category


def test_an_unknown_category_is_named():
    with pytest.raises(InvalidValueError, match="tricycle"):
        build_object("tricycle", np.random.default_rng(0))


# Pictures


def test_an_off_centre_camera_sees_a_triangle_where_it_projects_to():
    camera = Camera(300, 260, -40, 120, 120, 90)
    corners = np.array([[[0.9, -0.5, 2.2], [1.1, -0.52, 2.1], [1.0, -0.3, 2.4]]], np.float32)
    seen, label = visible_triangles(corners, triangle_colors(np.zeros(1, np.int32)), camera, 0.1, 10)
    rows, columns = np.nonzero(seen == 0)
    pixels = camera.project(corners[0])
    assert len(rows) == pytest.approx(abs(np.linalg.det(np.diff(pixels, axis=0))) / 2, rel=0.1)
    np.testing.assert_allclose([columns.min(), rows.min()], pixels.min(axis=0), atol=1.5)
    np.testing.assert_allclose([columns.max() + 1, rows.max() + 1], pixels.max(axis=0), atol=1.5)
    assert (label[seen == 0] > 0).all()
    assert (label[seen == -1] == 0).all()


def test_many_triangles_keep_their_numbers_and_those_behind_the_camera_are_left_out():
    count = 1000
    x, y = np.arange(count) % 40 + 0.5, np.arange(count) // 40 + 0.5
    offsets = np.array([[-0.4, -0.4], [0.4, -0.4], [0.0, 0.4]])
    flat = np.stack([x, y], axis=1)[:, None] + offsets
    corners = np.concatenate([flat, np.ones((count, 3, 1))], axis=2).astype(np.float32)
    corners[::7, 0, 2] = -1
    camera = Camera(1, 1, 0, 0, 40, 25)
    seen, _ = visible_triangles(corners, triangle_colors(np.arange(count, dtype=np.int32)), camera, 0.1, 10)
    expected = np.where(np.arange(count) % 7 == 0, -1, np.arange(count))
    np.testing.assert_array_equal(seen.ravel(), expected)


@pytest.fixture(scope="module")
def shots():
    """A renderer, its scene, camera and two poses for every category."""
    made = {}
    for take in takes(replace(TINY, test_objects=0)):
        scene = stage(TINY, take)
        camera, poses = walk(TINY, take, scene)
        made[take.category] = (scene, Renderer(scene), camera, poses)
    return made


def test_the_object_is_seen_inside_its_rect_and_reaches_across_it(shots):
    for category, (scene, renderer, camera, poses) in shots.items():
        for pose in poses:
            x0, y0, x1, y1 = box_in_camera(pose, subject_box(scene.subject.size)).rect(camera)
            rows, columns = np.nonzero(renderer.subject_mask(camera, pose))
            assert columns.min() >= x0 - 1, category
            assert rows.min() >= y0 - 1, category
            assert columns.max() <= x1, category
            assert rows.max() <= y1, category
            # The box is tight: the object reaches across most of its rectangle, also where clutter hides a little.
            assert np.ptp(columns) * np.ptp(rows) > 0.4 * (x1 - x0) * (y1 - y0), category


def test_clutter_stands_apart_and_seldom_hides_the_object(shots):
    hidden = []
    for scene, renderer, camera, poses in shots.values():
        reach = np.hypot(*scene.subject.size[[0, 2]]) / 2
        for part in scene.clutter:
            assert np.hypot(part.vertices[:, 0], part.vertices[:, 2]).min() > reach
        if scene.subject.category in ("cup", "chair"):
            alone = Renderer(replace(scene, clutter=()))
            free = [alone.subject_mask(camera, pose).sum() for pose in poses]
            hidden += [1 - renderer.subject_mask(camera, p).sum() / f for p, f in zip(poses, free, strict=True)]
    assert np.mean(hidden) < 0.05


def test_the_object_casts_a_shadow_and_the_lamp_lights_it(shots):
    """Darker floor beside the object, on the side away from the lamp."""
    scene = shots["cereal_box"][0]
    reach, height = np.hypot(*scene.subject.size[[0, 2]]) / 2, scene.subject.size[1]
    away = -scene.light.direction * (1, 0, 1) / np.hypot(*scene.light.direction[[0, 2]])
    pose = look_at(np.array([0.3, 4.0, 0.2]) * scene.scale, np.zeros(3), 0.0)
    camera = Camera(300, 300, 100, 100, 200, 200)
    picture = cv2.blur(Renderer(replace(scene, clutter=())).render(camera, pose), (3, 3)).mean(axis=2)
    shadow, lit = (
        picture[tuple(camera.project(pose[:3, :3] @ spot + pose[:3, 3]).astype(int)[::-1])]
        for spot in (away * (reach + 0.02 * height), -away * (reach + 0.5 * height))
    )
    assert shadow < 0.8 * lit


def test_a_camera_that_looks_away_sees_the_room(shots):
    scene, renderer, camera, _ = shots["cup"]
    away = look_at(np.array([0, 0.5, 1.0]) * scene.scale, np.array([0.01, 0.6, 9.0]) * scene.scale, 0.0)
    assert not renderer.subject_mask(camera, away).any()
    picture = renderer.render(camera, away)
    assert picture.shape == (120, 90, 3)
    assert picture.std() > 1


def test_a_direct_crop_is_what_the_encoder_would_cut_out(shots):
    for category in ("book", "camera"):
        scene, renderer, camera, poses = shots[category]
        large = camera.resize(4 * camera.width, 4 * camera.height)
        box = box_in_camera(poses[0], subject_box(scene.subject.size))
        rect = clipped_rect(box.rect(large), large.width, large.height)
        cut = letterbox(renderer.render(large, poses[0]), rect, 64)
        drawn = render_crop(renderer, large, poses[0], rect, 64)
        assert drawn.shape == (64, 64, 3)
        assert np.abs(cut.astype(int) - drawn).mean() < 3, category
        apart = np.abs(np.roll(cut, 5, axis=1).astype(int) - drawn).mean()
        assert apart > 2 * np.abs(cut.astype(int) - drawn).mean(), category


# Videos and annotations


def test_the_plan_films_test_objects_twice_and_no_object_in_both_splits():
    planned = takes(DemoConfig())
    assert len(planned) == len({take.sequence for take in planned}) == 324
    videos = Counter(take.object_id for take in planned)
    of_split = {s: {t.object_id for t in planned if t.split == s} for s in ("train", "test")}
    assert not of_split["train"] & of_split["test"]
    assert {videos[name] for name in of_split["train"]} == {1}
    assert {videos[name] for name in of_split["test"]} == {2}
    assert {name: len(names) for name, names in of_split.items()} == {"train": 252, "test": 36}


def test_the_same_object_stands_in_two_places():
    first, second = (stage(TINY, take) for take in takes(TINY)[1:3])
    np.testing.assert_array_equal(first.subject.size, second.subject.size)
    for a, b in zip(first.subject.parts, second.subject.parts, strict=True):
        np.testing.assert_array_equal(a.material.texture, b.material.texture)
    assert not np.array_equal(first.floor.texture, second.floor.texture)
    assert not np.array_equal(first.room.panorama, second.room.panorama)
    assert not np.allclose(first.light.direction, second.light.direction)


def test_filming_goes_on_where_it_stopped_and_makes_the_same_bytes_again(filmed, tmp_path):
    out = tmp_path / "captures"
    shutil.copytree(filmed.out, out)
    redone = {"bike/batch-1/0", "shoe/batch-1/2"}
    before = {p.relative_to(out): (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}
    (out / "videos/bike/batch-1/0/video.MOV").unlink()
    (out / "annotations/shoe/batch-1/2.pbdata").unlink()
    film(out, replace(TINY, workers=1))
    after = {p.relative_to(out): (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}
    assert {name: data for name, (data, _) in after.items()} == {name: data for name, (data, _) in before.items()}
    rewritten = {str(name) for name in after if after[name][1] != before[name][1] and name.parts[0] != "index"}
    assert rewritten == {
        *(f"videos/{name}/video.MOV" for name in redone),
        *(f"annotations/{name}.pbdata" for name in redone),
    }


def test_captures_of_another_configuration_are_refused(filmed, tmp_path):
    (tmp_path / "index").mkdir()
    shutil.copy(filmed.out / "index/demo.json", tmp_path / "index")
    with pytest.raises(ForeignArtifactError, match=r"demo\.json"):
        film(tmp_path, replace(TINY, seed=4))
    (tmp_path / "index/demo.json").write_text("{")
    with pytest.raises(CorruptArtifactError, match=r"demo\.json"):
        film(tmp_path, TINY)


@pytest.mark.parametrize(
    ("field", "value"), [("seed", -1), ("frames", 0), ("train_objects", -1), ("workers", 0), ("width", 100)]
)
def test_a_configuration_that_cannot_be_is_refused(field, value):
    with pytest.raises(InvalidValueError, match=rf"demo\.{field}"):
        replace(DemoConfig(), **{field: value})


def test_another_seed_makes_other_objects():
    first, second = (stage(replace(TINY, seed=seed), takes(TINY)[0]).subject for seed in (0, 1))
    assert not np.allclose(first.size, second.size)


def test_lists_name_every_sequence_once(filmed):
    index = filmed.out / "index"
    for category in CATEGORIES:
        lists = [(index / f"{category}_annotations{s}").read_text().splitlines() for s in ("", "_train", "_test")]
        assert lists == [[f"{category}/batch-1/{k}" for k in ks] for ks in ((0, 1, 2), (0,), (1, 2))]
    with (index / "objects.csv").open(newline="") as file:
        rows = {row["sequence"]: row["object_id"] for row in csv.DictReader(file)}
    assert rows.keys() == filmed.sequences.keys()
    assert rows["shoe/batch-1/0"] == "shoe-0000"
    assert rows["shoe/batch-1/1"] == rows["shoe/batch-1/2"] == "shoe-0001"
    assert "workers" not in json.loads((index / "demo.json").read_text())


def points_3d(annotation) -> np.ndarray:
    return np.array([[k.point_3d.x, k.point_3d.y, k.point_3d.z] for k in annotation.keypoints])


def points_2d(annotation) -> np.ndarray:
    return np.array([[k.point_2d.x, k.point_2d.y, k.point_2d.depth] for k in annotation.keypoints])


def test_world_and_camera_agree(filmed):
    for sequence in filmed.sequences.values():
        (thing,) = sequence.objects
        unit = np.array([[k.x, k.y, k.z] for k in thing.keypoints])
        in_world = unit * thing.scale @ np.reshape(thing.rotation, (3, 3)).T + thing.translation
        bottoms = in_world[[1, 2, 5, 6]]
        assert np.ptp(bottoms[:, 1]) < 1e-5
        assert unit[0].tolist() == [0, 0, 0]
        assert unit[2].tolist() == [-0.5, -0.5, 0.5]
        for frame in sequence.frame_annotations:
            view, transform = (np.reshape(m, (4, 4)) for m in (frame.camera.view_matrix, frame.camera.transform))
            np.testing.assert_allclose(view @ transform, np.eye(4), atol=1e-5)
            in_camera = in_world @ view[:3, :3].T + view[:3, 3]
            np.testing.assert_allclose(in_camera, points_3d(frame.annotations[0]), atol=2e-5)
            normal, center = np.array(frame.plane_normal), np.array(frame.plane_center)
            assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-5)
            assert normal @ center < 0  # the normal points to the camera's side
            np.testing.assert_allclose((in_camera[[1, 2, 5, 6]] - center) @ normal, 0, atol=2e-5)


def test_projections_agree(filmed):
    """Both published ways from a point to its pixel: OpenGL's matrix, and the intrinsics with their rows swapped."""
    for sequence in filmed.sequences.values():
        for frame in sequence.frame_annotations:
            camera, points = frame.camera, points_3d(frame.annotations[0])
            expected = points_2d(frame.annotations[0])
            assert (camera.image_resolution_width, camera.image_resolution_height) == (1920, 1440)
            np.testing.assert_allclose(-points[:, 2], expected[:, 2], atol=1e-6)
            assert (points[:, 2] < 0).all()
            clip = np.c_[points, np.ones(9)] @ np.reshape(camera.projection_matrix, (4, 4)).T
            ndc = clip[:, :3] / clip[:, 3:]
            np.testing.assert_allclose((1 + ndc[:, [1, 0]]) / 2, expected[:, :2], atol=1e-5)
            assert (np.abs(ndc[:, 2]) < 1).all()
            k = np.reshape(camera.intrinsics, (3, 3))
            u = (k[1, 1] * points[:, 1] / -points[:, 2] + k[1, 2]) / 1440
            v = (k[0, 0] * points[:, 0] / -points[:, 2] + k[0, 2]) / 1920
            # K counts pixels from their centres, which is half a sensor pixel.
            np.testing.assert_allclose(np.c_[u, v], expected[:, :2], atol=0.51 / 1440)


def test_the_walk_keeps_the_object_in_the_picture():
    config = replace(TINY, frames=24)
    for take in takes(replace(config, test_objects=0)):
        thing = build_object(take.category, np.random.default_rng(1))
        camera, poses = walk(config, take, replace(stage(TINY, take), subject=thing))
        box = subject_box(thing.size)
        for pose in poses:
            seen = box_in_camera(pose, box)
            assert seen.in_front()
            x0, y0, x1, y1 = seen.rect(camera)
            a, b, c, d = clipped_rect((x0, y0, x1, y1), camera.width, camera.height)
            assert (c - a) * (d - b) >= 0.92 * (x1 - x0) * (y1 - y0)
        eyes = np.array([-pose[:3, :3].T @ pose[:3, 3] for pose in poses]) - box.center
        elevations = np.degrees(np.arcsin(eyes[:, 1] / np.linalg.norm(eyes, axis=1)))
        assert elevations.min() >= 15 - 1e-6
        assert elevations.max() <= 60 + 1e-6
        azimuths = np.degrees(np.unwrap(np.arctan2(eyes[:, 0], eyes[:, 2])))
        assert 100 < np.ptp(azimuths) < 390


def test_the_reader_of_objectron_finds_the_truth(filmed):
    sources = {source.key: source for source in list_sources(filmed.out)}
    assert sources.keys() == filmed.sequences.keys()
    for take in takes(TINY)[1::9]:
        scene = stage(TINY, take)
        camera, poses = walk(TINY, take, scene)
        shots = list(sources[take.sequence].read())
        assert [shot.time_s for shot in shots] == pytest.approx([0, 0.2, 0.4])
        assert {shot.split for shot in shots} == {take.split}
        for shot, pose in zip(shots, poses, strict=True):
            assert shot.rejected == ()
            (frame,) = shot.frames
            assert take.object_id in frame.object_id
            seen, plane = frame.view.posed()
            np.testing.assert_allclose(seen.matrix, camera.matrix, atol=1e-3)
            np.testing.assert_allclose(plane.normal, pose[:3, 1], atol=1e-5)
            truth = box_in_camera(pose, subject_box(scene.subject.size))
            np.testing.assert_allclose(frame.box.corners, truth.corners, atol=1e-4)
            assert np.abs(shot.image.astype(int) - Renderer(scene).render(camera, pose)).mean() < 12
            break  # one picture a video: a renderer takes a while to make


def test_a_video_that_cannot_be_written_says_so(tmp_path):
    from trainer.demo.film import write_video

    with pytest.raises(OSError, match="video"):
        write_video(tmp_path / "video.unknown", iter([]), (90, 120))
    assert issubclass(ForeignArtifactError, NearposeError)


def test_the_command_films_what_it_is_told(tmp_path, capsys):
    told = replace(DemoConfig(), train_objects=2, test_objects=1, seed=5, frames=7)
    for take in takes(told):  # as though they had been filmed before: those are kept
        for path in (f"videos/{take.sequence}/video.MOV", f"annotations/{take.sequence}.pbdata"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
    command = ["film", str(tmp_path), "--train-objects", "2", "--test-objects", "1", "--seed", "5", "--frames", "7"]
    assert main(command) == 0
    assert json.loads((tmp_path / "index" / "demo.json").read_text()) | {"workers": 2} == asdict(told)
    assert (tmp_path / "index" / "cup_annotations_test").read_text() == "cup/batch-1/2\ncup/batch-1/3\n"
    assert main([*command, "--workers", "0"]) == 1
    assert "demo.workers: got 0" in capsys.readouterr().err
    assert main(["film", str(tmp_path)]) == 1
    assert "another configuration" in capsys.readouterr().err


def test_the_commands_help_tells_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["film", "--help"])
    told = re.findall(r"--([a-z-]+) [A-Z_]+\s[^(]*\(default:\s+(\d+)\)", capsys.readouterr().out)
    names = ("train_objects", "test_objects", "seed", "frames", "workers")
    assert {name.replace("-", "_"): int(default) for name, default in told} == {
        name: getattr(DemoConfig(), name) for name in names
    }
