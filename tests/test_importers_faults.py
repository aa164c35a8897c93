"""Everything that can be wrong with a recording: a word naming file, field and value, and nothing half written."""

from __future__ import annotations

import json
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from index.capture import capture_folders
from index.schema import Camera, InvalidValueError, NearposeError
from tests import recordings
from tests.recordings import Filmed
from trainer.captures.shot import CaptureError
from trainer.import_capture import import_capture
from trainer.importers import ImportConfig


@pytest.fixture(scope="module")
def filmed() -> Filmed:
    """Plain pictures: nobody looks at what they show."""
    camera = Camera(90.0, 90.0, 30.0, 40.0, 60, 80)
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[:, 0, 3] = np.arange(6) / 10
    poses[:, :3, :3] = np.diag([1.0, -1, -1])  # OpenCV's axes, level, in a world whose y is up
    pictures = [np.full((80, 60, 3), 40 * k, np.uint8) for k in range(6)]
    return Filmed(pictures, camera, poses, np.eye(3), np.zeros(3), np.ones(3), -1.0)


def refused(source: Path, tmp_path: Path, message: str, **options: Any) -> None:
    """The import fails with ``message`` and leaves nothing behind."""
    captures = tmp_path / "captures"
    with pytest.raises(NearposeError, match=message):
        import_capture(source, captures, ImportConfig(name="walk", **options))
    assert list(captures.iterdir()) == []


def edited(file: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(file.read_text())
    changed = change(document)
    file.write_text(json.dumps(document if changed is None else changed))


ODOMETRY = [
    (r"000002, 0\.2", r"000002, nan", r"odometry\.csv, line 4: x: got 'nan', must be a finite number"),
    (r"000002, 0\.2", r"000002, 0.2x", r"odometry\.csv, line 4: x: got '0\.2x', must be a finite number"),
    (r"(000002, .*), [^,]+, [^,]+\n", r"\1, 0.5, 0.5\n", r"odometry\.csv: frame 2, quaternion: .* of length 1"),
    (r"000002,", r"000001,", r"odometry\.csv, line 4: timestamp, frame: .*rising"),
    (r"(000002, .*), [^,]+\n", r"\1\n", r"odometry\.csv, line 4: .* 9 values, as the header has"),
    (r"timestamp, frame", r"time, frame", r"odometry\.csv: header: .* with the columns timestamp"),
    (r"(000003, )", r"000093, ", r"odometry\.csv"),
    (r"\n.*", r"", r"odometry\.csv: no poses in it"),
]


@pytest.mark.parametrize(("pattern", "by", "message"), ODOMETRY)
def test_a_stray_scanner_odometry_that_cannot_be(filmed, tmp_path, pattern, by, message):
    source = recordings.stray_scanner(filmed, tmp_path / "stray")
    file = source / "odometry.csv"
    flags = re.DOTALL if by == "" else 0
    file.write_text(re.sub(pattern, by, file.read_text(), count=1, flags=flags))
    refused(source, tmp_path, message)


def test_more_poses_than_pictures(filmed, tmp_path):
    source = recordings.stray_scanner(filmed, tmp_path / "stray")
    file = source / "odometry.csv"
    lines = file.read_text().splitlines()
    for k in range(6, 12):
        lines.append(f"{1000 + k / 5}, {k:06d}, 0, 0, 0, 0, 0, 0, 1")
    file.write_text("\n".join(lines))
    refused(source, tmp_path, r"odometry\.csv: frame: got 11, must be below 6, as in rgb\.mp4")


def test_a_truncated_video(filmed, tmp_path):
    source = recordings.stray_scanner(filmed, tmp_path / "stray")
    video = source / "rgb.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    refused(source, tmp_path, r"rgb\.mp4: not a readable video")


def test_a_camera_matrix_of_the_other_orientation(filmed, tmp_path):
    source = recordings.stray_scanner(filmed, tmp_path / "stray")
    (source / "camera_matrix.csv").write_text("90, 0, 30\n0, 90, 55\n0, 0, 1\n")
    refused(source, tmp_path, r"camera_matrix\.csv: cy: got .*55.*about half of 60: the video's pictures are 80 x 60")


@pytest.mark.parametrize("text", ["90, 0, 30\n", "a, b, c\n0, 1, 2\n3, 4, 5\n", "90, 0, nan\n0, 90, 30\n0, 0, 1\n", ""])
def test_a_camera_matrix_that_is_none(filmed, tmp_path, text):
    source = recordings.stray_scanner(filmed, tmp_path / "stray")
    (source / "camera_matrix.csv").write_text(text)
    refused(source, tmp_path, r"camera_matrix\.csv")


METADATA = [
    (lambda d: d["poses"].pop(), r"metadata: poses: got 5, must be as many as rgbd/ has pictures, 6", 2),
    (lambda d: d["poses"][1].__setitem__(4, float("nan")), r"metadata: poses: got .*n x 7 finite numbers", 1),
    (lambda d: d["poses"][1].__setitem__(3, 0.5), r"metadata: poses\[1\], quaternion: .*of length 1", 1),
    (lambda d: d["poses"][1].pop(), r"metadata: poses: got .*n x 7 finite numbers", 1),
    (lambda d: d.pop("poses"), r"metadata: poses: got None", 1),
    (lambda d: d.pop("K"), r"metadata: K: got None, must be 9 finite numbers", 1),
    (lambda d: d.__setitem__("w", "wide"), r"metadata: w: got 'wide', must be from 1 to 65536", 1),
    (lambda d: d.pop("fps"), r"metadata: fps: got None", 1),
    (
        lambda d: d.__setitem__("frameTimestamps", [0, 1, 2, 2, 3, 4]),
        r"metadata: frameTimestamps\[3\]: got .*more than 2",
        1,
    ),
    (lambda d: d.__setitem__("frameTimestamps", [0, 1]), r"frameTimestamps: got 2, must be as many as poses, 6", 1),
    (lambda d: d.__setitem__("perFrameIntrinsicCoeffs", [[1, 1, 1, 1]]), r"perFrameIntrinsicCoeffs: got 1, must be", 1),
    (
        lambda d: d.update(w=d["h"], h=d["w"]),
        r"0\.jpg: size of 0\.jpg: got \(60, 80\), .*portrait and landscape are swapped",
        1,
    ),
]


@pytest.mark.parametrize(("change", "message", "times"), METADATA)
def test_a_record3d_metadata_that_cannot_be(filmed, tmp_path, change, message, times):
    packed = recordings.record3d(filmed, tmp_path / "walk.r3d")
    source = tmp_path / "unpacked"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(source)

    def changed(document: dict[str, Any]) -> None:
        for _ in range(times):
            change(document)

    if times == 2:  # a pose fewer is a picture that was saved last; more are another recording's
        message = message.replace("got 5", "got 4")
    edited(source / "metadata", changed)
    refused(source, tmp_path, message)


def rezipped(source: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(source, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return source


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/tmp/nearpose-outside.txt", "rgbd/../../outside.txt", "..\\outside.txt"]
)
def test_an_archive_that_climbs_out(filmed, tmp_path, name):
    source = rezipped(recordings.record3d(filmed, tmp_path / "walk.r3d"), {name: b"here"})
    refused(source, tmp_path, r"walk\.r3d: file name: got .*outside.txt.*must be a file inside")
    assert not Path("/tmp/nearpose-outside.txt").exists()


def test_a_zip_bomb(filmed, tmp_path):
    source = rezipped(recordings.record3d(filmed, tmp_path / "walk.r3d"), {"bomb": bytes(70 << 20)})
    refused(source, tmp_path, r"walk\.r3d: unpacked size: got 'more than 50 x \d+', must be at most 50 times")


def test_a_zip_bomb_whose_header_lies(filmed, tmp_path):
    source = rezipped(recordings.record3d(filmed, tmp_path / "walk.r3d"), {"bomb": bytes(70 << 20)})
    data = source.read_bytes()
    source.write_bytes(data.replace(struct.pack("<I", 70 << 20), struct.pack("<I", 1000)))
    refused(source, tmp_path, r"walk\.r3d")


def test_a_truncated_archive(filmed, tmp_path):
    source = recordings.record3d(filmed, tmp_path / "walk.r3d")
    source.write_bytes(source.read_bytes()[:-100])
    refused(source, tmp_path, r"walk\.r3d: not a zip archive, or a truncated one")


def test_an_archive_with_a_broken_picture(filmed, tmp_path):
    source = recordings.record3d(filmed, tmp_path / "walk.r3d")
    data = bytearray(source.read_bytes())
    data[data.index(b"\xff\xd8\xff") + 40] ^= 0xFF
    source.write_bytes(data)
    refused(source, tmp_path, r"walk\.r3d: the archive cannot be read \(Bad CRC-32")


def at(frame: int, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["frames"][frame].__setitem__(name, value)


MIRRORED = np.diag([1.0, 1, -1, 1]).tolist()
STRETCHED = np.diag([2.0, 2, 2, 1]).tolist()
TRANSFORMS = [
    (
        at(2, "file_path", "../../secret.jpg"),
        r"frames\[2\]\.file_path: got '\.\./\.\./secret\.jpg', must be a file inside",
    ),
    (at(2, "file_path", "/etc/passwd"), r"frames\[2\]\.file_path: got '/etc/passwd', must be a file inside"),
    (at(2, "file_path", 7), r"frames\[2\]\.file_path"),
    (at(2, "transform_matrix", MIRRORED), r"frames\[2\]\.transform_matrix: .* this one mirrors"),
    (at(2, "transform_matrix", STRETCHED), r"frames\[2\]\.transform_matrix: .* a rotation: orthonormal"),
    (at(2, "transform_matrix", [[1, 2], [3, 4]]), r"frames\[2\]\.transform_matrix: .*3 x 4 finite numbers"),
    (at(2, "transform_matrix", None), r"frames\[2\]\.transform_matrix: got None"),
    (
        lambda d: d["frames"][2]["transform_matrix"][1].__setitem__(3, float("nan")),
        r"frames\[2\]\.transform_matrix: .*finite",
    ),
    (lambda d: d["frames"][2]["transform_matrix"][3].__setitem__(0, 0.1), r"frames\[2\]\.transform_matrix, last row"),
    (lambda d: d.__setitem__("fl_x", -3), r"frames\[0\]\.fl_x: got -3, must be from 1 to"),
    (lambda d: d.pop("fl_x") and None, r"frames\[0\]\.fl_x or camera_angle_x: got None"),
    (
        lambda d: d.update(camera_model="EQUIRECTANGULAR"),
        r"frames\[0\]\.camera_model: got 'EQUIRECTANGULAR', must be one of",
    ),
    (lambda d: d.update(w=80, h=60), r"portrait and landscape are swapped"),
    (lambda d: d.update(w=61), r"size of frame_1\.jpg: got \(60, 80\), must be that of its camera, 61 x 80"),
    (lambda d: d.pop("frames") and None, r"transforms\.json: frames: got None, must be a list of frames"),
    (lambda d: [], r"transforms\.json: not a JSON object"),
    (
        lambda d: [at(k, "file_path", "gone")(d) for k in range(6)] and d,
        r"none of the pictures of its 6 frames are there",
    ),
]


@pytest.mark.parametrize(("change", "message"), TRANSFORMS)
def test_a_transforms_json_that_cannot_be(filmed, tmp_path, change, message):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    edited(source / "transforms.json", change)
    refused(source, tmp_path, message)


def test_frames_without_a_picture_are_counted(filmed, tmp_path):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    (source / "images" / "frame_3.jpg").unlink()
    result = import_capture(source, tmp_path / "captures")
    assert "1 of 6 frames skipped: their pictures are missing" in result.text()
    assert len(result.recording.frames) == 5


def test_a_picture_through_a_link_that_leads_out(filmed, tmp_path):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    shutil.move(source / "images" / "frame_3.jpg", tmp_path / "secret.jpg")
    (source / "images" / "frame_3.jpg").symlink_to(tmp_path / "secret.jpg")
    refused(source, tmp_path, r"file_path: got '\./images/frame_3\.jpg', must be a file inside")


def test_a_picture_that_is_none(filmed, tmp_path):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    (source / "images" / "frame_3.jpg").write_bytes(b"\xff\xd8\xffbroken")
    refused(source, tmp_path, r"frame_3\.jpg: not a readable picture")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"])
def test_a_text_that_is_no_json(filmed, tmp_path, text):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    (source / "transforms.json").write_bytes(text.encode("latin-1"))
    refused(source, tmp_path, r"transforms\.json: not (JSON|a text file)")


LINES = [
    (0, {"image": "../x.jpg"}, r"line 1: image: got '\.\./x\.jpg', must be a file inside"),
    (0, {"image": "gone.jpg"}, r"gone\.jpg: missing; .*line 1 names it"),
    (1, {"timestamp": 1}, r"line 2: timestamp: got 1\.0, must be more than 77"),
    (1, {"transform": list(range(15))}, r"line 2: transform: .*16 finite numbers"),
    (1, {"transform": [1, 0, 0, 5, 0, 1, 0, 6, 0, 0, 1, 7, 0, 0, 0, 1]}, r"transform: .*looks written row by row"),
    (1, {"transform": np.diag([1.0, 1, -1, 1]).ravel().tolist()}, r"line 2: transform: .*mirrors"),
    (1, {"intrinsics": [90, 90, 40]}, r"line 2: intrinsics: .*4 finite numbers"),
    (1, {"intrinsics": [-90, 90, 40, 30]}, r"line 2: intrinsics, fx: got -90"),
]


@pytest.mark.parametrize(("line", "change", "message"), LINES)
def test_a_line_of_an_ar_session_that_cannot_be(filmed, tmp_path, line, change, message):
    source = recordings.ar_frames(filmed, tmp_path / "session")
    lines = [json.loads(text) for text in (source / "frames.jsonl").read_text().splitlines()]
    lines[line] |= change
    (source / "frames.jsonl").write_text("\n".join(map(json.dumps, lines)))
    refused(source, tmp_path, message)


def test_frames_without_tracking_are_counted(filmed, tmp_path):
    source = recordings.ar_frames(filmed, tmp_path / "session")
    text = (source / "frames.jsonl").read_text().replace('"normal"', '"limited"', 2)
    (source / "frames.jsonl").write_text(text)
    result = import_capture(source, tmp_path / "captures")
    assert "2 frames skipped: the phone had lost its position" in result.text()


@pytest.mark.parametrize(
    ("pattern", "by", "message"),
    [
        (r"^6", "7", r"thing_par\.txt, line 1: got \['7'\], must be the number of lines, 6"),
        (r"thing0001.png \S+", "thing0001.png", r"line 3: got 21, must be a picture's name and 21 numbers"),
        (r"thing0001.png \S+", "thing0001.png nan", r"line 3: .*21 finite numbers"),
        (r"thing0001.png", "../thing0001.png", r"line 3: got '\.\./thing0001\.png', must be a file inside"),
    ],
)
def test_a_middlebury_file_that_cannot_be(filmed, tmp_path, pattern, by, message):
    source = recordings.middlebury(filmed, tmp_path / "thing")
    file = source / "thing_par.txt"
    file.write_text(re.sub(pattern, by, file.read_text(), count=1))
    refused(source, tmp_path, message)


SCENES = [
    ("scene_gt.json", lambda d: d.pop("3"), r"scene_gt\.json: 3: got None"),
    (
        "scene_gt.json",
        lambda d: d["3"][0].__setitem__("cam_R_m2c", [1, 0, 0, 0, 1, 0, 0, 0, -1]),
        r"3\[0\]\.cam_R_m2c: .*mirrors",
    ),
    ("scene_gt.json", lambda d: d["3"][0].__setitem__("obj_id", 9), None),
    ("scene_gt.json", lambda d: [d.__setitem__(k, []) for k in d] and d, r"scene_gt\.json: no objects in it"),
    ("scene_camera.json", lambda d: d["3"].pop("cam_K"), r"scene_camera\.json: 3\.cam_K: got None"),
    ("scene_camera.json", lambda d: [d.pop(k) for k in list(d)[1:]] and d, r"scene_gt\.json: 1: got None"),
    ("../../models/models_info.json", lambda d: d["4"].pop("min_y"), r"models_info\.json: 4\.min_y: got None"),
    ("../../models/models_info.json", lambda d: d.pop("4"), r"models_info\.json: 4: got None, must be there"),
]


@pytest.mark.parametrize(("name", "change", "message"), SCENES)
def test_a_bop_scene_that_cannot_be(filmed, tmp_path, name, change, message):
    source = recordings.bop(filmed, tmp_path / "dataset")

    edited(source / name, lambda document: change(document) and None)
    if message is None:  # another object in one picture: that one is skipped, and the rest is a scene
        result = import_capture(source, tmp_path / "captures")
        assert "1 of 6 pictures skipped" in result.text()
    else:
        refused(source, tmp_path, message)


def test_a_bop_scene_without_its_models(filmed, tmp_path):
    source = recordings.bop(filmed, tmp_path / "dataset")
    shutil.rmtree(tmp_path / "dataset" / "models")
    refused(source, tmp_path, r"no models\*/models_info\.json in it, or one or two folders above")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "cameras.txt",
            lambda text: text.replace("PINHOLE", "FOV").rstrip() + " 0.9\n",
            r"model: got 'FOV', must be one of",
        ),
        (
            "images.txt",
            lambda text: text.replace(" 2.jpg", " ../2.jpg"),
            r"image name: got '\.\./2\.jpg', must be a file",
        ),
        ("cameras.txt", lambda text: "", r"not a readable COLMAP model"),
        ("images.txt", lambda text: text.replace(".jpg", ".jpeg"), r"none of the model's 6 pictures found"),
    ],
)
def test_a_colmap_model_that_cannot_be(filmed, tmp_path, name, change, message):
    pytest.importorskip("pycolmap")
    source = recordings.colmap(filmed, tmp_path / "model")
    file = source / "sparse" / "0" / name
    file.write_text(change(file.read_text()))
    refused(source, tmp_path, message)


def test_a_truncated_binary_colmap_model(filmed, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    source = recordings.colmap(filmed, tmp_path / "model")
    folder = source / "sparse" / "0"
    model = pycolmap.Reconstruction(folder)
    for file in folder.iterdir():
        file.unlink()
    model.write_binary(folder)
    images = folder / "images.bin"
    images.write_bytes(images.read_bytes()[:-60])
    refused(source, tmp_path, r"not a readable COLMAP model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"camera_distance": (0, 99, 1.0)}, r"import\.camera_distance: got 99, must be a frame's number, from 0 to 5"),
        ({"camera_distance": (2, 2, 1.0)}, r"two frames whose cameras stood apart"),
        ({"scale_points": (0, 1, 2, 3, 4, 1.0)}, r"import\.scale_points: .*no ground was found"),
        ({"camera_height": 1.0}, r"import\.camera_height: got None, must be left out: no ground was found"),
        ({"camera_height": 1.0, "camera_distance": (0, 1, 1.0)}, r"one length alone"),
        ({"metric": True, "camera_distance": (0, 1, 1.0)}, r"must be left out: this is in metres"),
        ({"format": "polaroid"}, r"format: got 'polaroid', must be one of stray-scanner"),
    ],
)
def test_lengths_that_say_nothing(filmed, tmp_path, options, message):
    refused(recordings.transforms(filmed, tmp_path / "nerf"), tmp_path, message, **options)


def test_a_height_beside_a_known_ground(filmed, tmp_path):
    source = recordings.ar_frames(filmed, tmp_path / "session")
    refused(source, tmp_path, r"camera_height: got 1\.2, must be left out: the ground is known by", camera_height=1.2)


def test_a_focal_length_is_not_taken_where_the_source_says_it(filmed, tmp_path):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    refused(source, tmp_path, r"import\.focal: got 900, must be left out: transforms says it itself", focal=900)


def test_an_import_that_was_killed_between_its_renames_loses_nothing(filmed, tmp_path):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    folder = import_capture(source, tmp_path / "captures").folder
    (folder / "mine.txt").write_text("here")
    folder.rename(folder.with_name(".nerf.old"))
    shutil.copytree(folder.with_name(".nerf.old"), folder.with_name(".nerf.part"))
    assert capture_folders(tmp_path / "captures") == []  # neither is read
    with pytest.raises(CaptureError, match="there is a capture of this name"):
        import_capture(source, tmp_path / "captures")
    assert (folder / "mine.txt").read_text() == "here"


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0},
        {"camera_height": -1},
        {"focal": float("nan")},
        {"up": "w"},
        {"name": "../x"},
        {"name": ".."},
        {"max_side": 1},
    ],
)
def test_options_that_cannot_be(options):
    (name,) = options
    with pytest.raises(InvalidValueError, match=f"import.{name}"):
        ImportConfig(**options)


def test_a_source_that_is_not_there(tmp_path):
    refused(tmp_path / "nothing", tmp_path, r"nothing: missing")


def test_an_exif_turn_is_not_applied_to_calibrated_pictures(filmed, tmp_path):
    source = recordings.transforms(filmed, tmp_path / "nerf")
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    orientation = b"\xff\xe1\x00\x22Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01" + tag
    for file in (source / "images").iterdir():
        data = file.read_bytes()
        file.write_bytes(data[:2] + orientation + b"\x00\x00\x00\x00" + data[2:])
        assert cv2.imread(str(file)).shape[:2] == (60, 80)  # turned, as a viewer shows it
    result = import_capture(source, tmp_path / "captures")
    assert cv2.imread(str(result.folder / "00000.jpg")).shape[:2] == (80, 60)


def test_an_interrupted_import_leaves_nothing_and_the_next_one_works(filmed, tmp_path, monkeypatch):
    source = recordings.transforms(filmed, tmp_path / "nerf")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.import_capture.write_capture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_capture(source, tmp_path / "captures")
    assert list((tmp_path / "captures").iterdir()) == []
    monkeypatch.undo()
    assert import_capture(source, tmp_path / "captures").folder.is_dir()


def test_a_missing_pycolmap_is_told(filmed, tmp_path, monkeypatch):
    source = recordings.colmap(filmed, tmp_path / "model")
    monkeypatch.setitem(__import__("sys").modules, "pycolmap", None)
    with pytest.raises(CaptureError, match=r"needs pycolmap: pip install 'nearpose\[sfm\]'"):
        import_capture(source, tmp_path / "captures")
