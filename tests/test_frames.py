"""From captures to frames: what is kept, what is dropped and why, what a second run does, how it is read back."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.schema import CorruptArtifactError, ForeignArtifactError, InvalidValueError
from tests.captures_scene import (
    CAMERA,
    HEIGHT,
    SEQUENCE,
    WIDTH,
    assert_same,
    capture_document,
    draw,
    expected,
    jpeg,
    orbit,
    write_folder,
    write_objectron,
)
from trainer.captures import CaptureError, Shot
from trainer.frames import FRAMES_SCHEMA, Frames, evenly_of_tracks
from trainer.ingest import IngestConfig, ingest, read_here, summary

POSES = orbit(13)
ONE = IngestConfig(workers=1)


@pytest.fixture(scope="module")
def objectron(tmp_path_factory) -> Path:
    """Two good sequences, one hidden object, one video without annotation."""
    root = tmp_path_factory.mktemp("objectron")
    write_objectron(root, POSES)
    write_objectron(root, POSES[:7], "cup/batch-1/4")
    write_objectron(root, POSES[:7], "shoe/batch-2/0", change=_hide)
    write_objectron(root, POSES[:7], "shoe/batch-2/1")
    (root / "annotations" / "shoe/batch-2/1.pbdata").unlink()
    return root


def _hide(sequence) -> None:
    for frame in sequence.frame_annotations:
        frame.annotations[0].visibility = 0


@pytest.fixture(scope="module")
def frames(objectron: Path, tmp_path_factory) -> Frames:
    return Frames.open(ingest(objectron, tmp_path_factory.mktemp("run") / "frames", ONE))


def test_rows_are_what_was_filmed(frames: Frames) -> None:
    assert len(frames) == 5
    assert frames.sequence.tolist() == [SEQUENCE] * 3 + ["cup/batch-1/4"] * 2
    assert frames.object_id.tolist() == frames.sequence.tolist()
    assert set(frames.split) == {"test"}
    assert set(frames.category) == {"cup"}
    np.testing.assert_allclose(frames.time_s, [0, 0.2, 0.4, 0, 0.2], atol=1e-6)
    assert frames.rect.shape == (5, 4)
    for row, k in enumerate((0, 6, 12, 0, 6)):
        assert_same(frames.frame(row), expected(POSES[k]))
        assert frames.frame(row).view.rect == tuple(frames.rect[row])


def test_pictures_are_those_of_their_rows(frames: Frames) -> None:
    for row, k in enumerate((0, 6, 12)):
        image = frames.image(row)
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(image.astype(float) - draw(POSES[k])).mean() < 15
        assert frames.jpeg(row).startswith(b"\xff\xd8\xff")


def test_shards_are_plain_archives(frames: Frames) -> None:
    shard = frames.path / frames.table["shard"][0].as_py()
    with tarfile.open(shard) as archive:
        assert archive.getnames() == [f"cup_batch-1_3_{k:05d}.jpg" for k in (0, 6, 12)]
        assert archive.extractfile(archive.getmembers()[1]).read() == frames.jpeg(1)


def test_tracks_are_in_time_order(frames: Frames) -> None:
    assert [track.tolist() for track in frames.tracks()] == [[0, 1, 2], [3, 4]]
    shuffled = frames.select(np.array([4, 2, 0, 3, 1]))
    assert [track.tolist() for track in shuffled.tracks()] == [[3, 0], [2, 4, 1]]


def test_selections_keep_pictures_and_rows_together(frames: Frames) -> None:
    by_mask, by_rows = frames.select(frames.sequence == SEQUENCE), frames.select(np.array([2, 0]))
    assert (len(by_mask), len(by_rows)) == (3, 2)
    assert by_rows.frame(0).id == frames.frame(2).id
    assert by_rows.jpeg(0) == frames.jpeg(2)
    np.testing.assert_array_equal(by_rows.rect, frames.rect[[2, 0]])
    empty = frames.select(frames.split == "train")
    assert (len(empty), empty.tracks(), empty.rect.shape, empty.sequence.shape) == (0, [], (0, 4), (0,))


def test_frames_pickle_for_workers(frames: Frames) -> None:
    copy = pickle.loads(pickle.dumps(frames))
    np.testing.assert_array_equal(copy.image(1), frames.image(1))
    assert copy.object_id.tolist() == frames.object_id.tolist()


@pytest.mark.parametrize("row", [-1, 5])
def test_rows_that_are_not_there_are_refused(frames: Frames, row: int) -> None:
    for method in (frames.frame, frames.jpeg, frames.image):
        with pytest.raises(IndexError, match=f"row {row} of 5 frames"):
            method(row)


def test_the_report_counts_everything(frames: Frames) -> None:
    report = json.loads((frames.path / "report.json").read_text())
    assert report["kept"] == {"frames": 5, "objects": 2, "sequences": 2, "categories": 1}
    assert report["dropped"] == {"object hidden": 2}
    assert report["failed"] == 1
    assert report["config"]["fps"] == 5.0
    by_key = {source["key"]: source for source in report["sources"]}
    assert by_key["shoe/batch-2/0"] == {
        "key": "shoe/batch-2/0", "kept": 0, "dropped": {"object hidden": 2}, "error": None, "warning": None
    }  # fmt: skip
    assert "missing: the video has no annotation" in by_key["shoe/batch-2/1"]["error"]
    lines = summary(frames.path).splitlines()
    assert lines[0] == "kept 5 frames, 2 objects, 2 sequences, 1 categories"
    assert lines[1].split() == ["dropped", "2", "object", "hidden"]
    assert lines[2].strip().endswith("1.pbdata: missing: the video has no annotation")


def test_several_processes_write_the_same(objectron: Path, frames: Frames, tmp_path: Path) -> None:
    other = Frames.open(ingest(objectron, tmp_path, IngestConfig(workers=2)))
    assert other.table.equals(frames.table)
    assert [other.jpeg(row) for row in range(5)] == [frames.jpeg(row) for row in range(5)]


@dataclass(frozen=True)
class DeadlySource:
    """Ends its process, as a library does that meets a file it cannot bear."""

    key: str = "deadly"

    def files(self) -> tuple[Path, ...]:
        return ()

    def read(self) -> Iterator[Shot]:
        os._exit(1)


def test_a_process_that_dies_ends_the_run_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.ingest.list_sources", lambda *_, **__: [DeadlySource()])
    with pytest.raises(CaptureError, match="a reading process died; what is finished is kept"):
        ingest(tmp_path, tmp_path / "frames", IngestConfig(workers=2))


def parts(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (out / "parts").iterdir()}


def test_a_second_run_reads_only_what_changed(tmp_path: Path) -> None:
    captures, out = tmp_path / "captures", tmp_path / "frames"
    write_objectron(captures, POSES[:7])
    write_objectron(captures, POSES[:7], "cup/batch-1/4")
    ingest(captures, out, ONE)
    before = parts(out)
    (captures / "annotations" / "cup/batch-1/4.pbdata").touch()
    write_objectron(captures, POSES[:1], "cup/batch-1/5")
    ingest(captures, out, ONE)
    after = parts(out)
    assert {name for name in before if before[name] == after[name]} == {
        n for n in before if n.startswith("cup_batch-1_3")
    }
    assert len(Frames.open(out)) == 5
    report = json.loads((out / "report.json").read_text())
    assert [source["kept"] for source in report["sources"]] == [2, 2, 1]


def test_other_settings_read_everything_again_and_workers_nothing(tmp_path: Path) -> None:
    captures, out = write_objectron(tmp_path / "captures", POSES[:7]), tmp_path / "frames"
    ingest(captures, out, ONE)
    before = parts(out)
    ingest(captures, out, IngestConfig(workers=3))
    assert parts(out) == before
    ingest(captures, out, IngestConfig(workers=1, fps=10))
    assert parts(out) != before
    assert len(Frames.open(out)) == 3


def test_a_run_that_died_between_shard_and_part_leaves_no_part_of_another_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures, out = write_objectron(tmp_path / "captures", POSES[:7]), tmp_path / "frames"
    pictures = [Frames.open(ingest(captures, out, ONE)).jpeg(row) for row in range(2)]

    def power_cut(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("trainer.ingest._write_part", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            ingest(captures, out, IngestConfig(workers=1, max_side=32))
    with pytest.raises(CorruptArtifactError, match="missing"):  # no table tells of places in the shard before
        Frames.open(out)
    again = Frames.open(ingest(captures, out, ONE))  # as before: nothing says that the shard is not what it was
    assert [again.jpeg(row) for row in range(2)] == pictures


def test_two_that_write_to_one_folder_do_so_one_after_the_other(tmp_path: Path) -> None:
    captures, out = write_objectron(tmp_path / "captures", POSES[:7]), tmp_path / "frames"
    first, second, go_on = Event(), Event(), Event()

    def reading(begun: Event, captures: str, out: Path, config: IngestConfig):
        begun.set()
        assert go_on.wait(60)
        return read_here(captures, out, config)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(ingest, captures, out, ONE, partial(reading, first))]
        assert first.wait(60)
        runs.append(pool.submit(ingest, captures, out, ONE, partial(reading, second)))
        assert not second.wait(0.5)
        go_on.set()
        assert [run.result(60) for run in runs] == [out, out]
    assert second.is_set()


@pytest.mark.parametrize("damage", ["part", "shard", "garbage"])
def test_a_source_whose_output_is_damaged_is_written_again(tmp_path: Path, damage: str) -> None:
    captures, out = write_objectron(tmp_path / "captures", POSES[:7]), tmp_path / "frames"
    ingest(captures, out, ONE)
    (part,), (shard,) = (out / "parts").iterdir(), (out / "shards").iterdir()
    if damage == "garbage":
        part.write_bytes(b"PAR1 garbage")
    else:
        {"part": part, "shard": shard}[damage].unlink()
    ingest(captures, out, ONE)
    assert Frames.open(out).image(1).shape == (HEIGHT, WIDTH, 3)


def test_what_is_gone_from_the_captures_goes_from_the_frames(tmp_path: Path) -> None:
    captures, out = tmp_path / "captures", tmp_path / "frames"
    write_objectron(captures, POSES[:7])
    write_objectron(captures, POSES[:7], "cup/batch-1/4")
    ingest(captures, out, ONE)
    (captures / "videos" / "cup/batch-1/4/video.MOV").unlink()
    ingest(captures, out, ONE)
    assert set(Frames.open(out).sequence) == {SEQUENCE}
    assert [len(os.listdir(out / name)) for name in ("shards", "parts")] == [1, 1]  # noqa: PTH208


def test_large_pictures_shrink_with_their_cameras(tmp_path: Path) -> None:
    captures = write_objectron(tmp_path / "captures", POSES[:1])
    frames = Frames.open(ingest(captures, tmp_path / "frames", IngestConfig(workers=1, max_side=120)))
    frame = frames.frame(0)
    assert frames.image(0).shape == (120, 90, 3)
    np.testing.assert_allclose(frame.view.camera.matrix, CAMERA.resize(90, 120).matrix, atol=1e-3)
    np.testing.assert_allclose(frame.view.rect, frame.box.rect(frame.view.camera), atol=1e-9)


def folder(tmp_path: Path, change=None, poses=POSES) -> Path:
    document = capture_document(poses)
    if change:
        change(document)
    return write_folder(tmp_path / "captures" / "mug", document, poses).parent


def test_pictures_that_need_no_shrinking_keep_their_bytes(tmp_path: Path) -> None:
    frames = Frames.open(ingest(folder(tmp_path), tmp_path / "frames", ONE))
    assert [frames.jpeg(row) for row in range(3)] == [jpeg(draw(POSES[k])) for k in (0, 6, 12)]


def test_pictures_other_than_jpeg_are_encoded(tmp_path: Path) -> None:
    captures = folder(tmp_path, lambda document: document["frames"][0].update(image="0000.png"))
    cv2.imwrite(str(captures / "mug" / "0000.png"), cv2.cvtColor(draw(POSES[0]), cv2.COLOR_RGB2BGR))
    frames = Frames.open(ingest(captures, tmp_path / "frames", ONE))
    assert frames.jpeg(0).startswith(b"\xff\xd8\xff")
    assert np.abs(frames.image(0).astype(float) - draw(POSES[0])).mean() < 15


def test_an_exif_orientation_is_applied_before_and_after(tmp_path: Path) -> None:
    """A phone stores the sensor's picture and a note to turn it."""
    from PIL import Image

    captures = folder(tmp_path)
    stored = Image.fromarray(np.rot90(draw(POSES[0])))  # anticlockwise, so that a clockwise turn shows it upright
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    stored.save(stream, "JPEG", exif=exif, quality=95)
    (captures / "mug" / "0000.jpg").write_bytes(stream.getvalue())
    frames = Frames.open(ingest(captures, tmp_path / "frames", ONE))
    assert frames.jpeg(0) == stream.getvalue()
    assert np.abs(frames.image(0).astype(float) - draw(POSES[0])).mean() < 15
    assert_same(frames.frame(0), expected(POSES[0]), 1e-9)


def test_two_objects_share_one_stored_picture(tmp_path: Path) -> None:
    def second(document: dict) -> None:
        document["objects"].append({"id": "bowl", "category": "bowl"})
        document["frames"][0]["rects"] = {"bowl": [20, 30, 120, 160]}

    frames = Frames.open(ingest(folder(tmp_path, second), tmp_path / "frames", ONE))
    assert frames.object_id.tolist() == ["mug-17", "bowl", "mug-17", "mug-17"]
    assert frames.table["offset"][0] == frames.table["offset"][1]
    assert [track.tolist() for track in frames.tracks()] == [[0, 2, 3], [1]]
    assert frames.frame(1).box is None


def test_blurred_pictures_are_dropped_and_counted(tmp_path: Path) -> None:
    poses = orbit(31)
    captures = folder(tmp_path, poses=poses)
    (captures / "mug" / "0012.jpg").write_bytes(jpeg(cv2.blur(draw(poses[12]), (15, 15))))
    out = ingest(captures, tmp_path / "frames", ONE)
    assert [frame.split("_")[1] for frame in Frames.open(out).table["id"].to_pylist()] == [
        "00000", "00006", "00018", "00024", "00030"
    ]  # fmt: skip
    assert json.loads((out / "report.json").read_text())["dropped"] == {"blurred": 1}


def test_a_fault_in_the_middle_keeps_what_came_before(tmp_path: Path) -> None:
    captures = folder(tmp_path)
    (captures / "mug" / "0012.jpg").write_bytes(jpeg(np.zeros((50, 50, 3), np.uint8)))
    out = ingest(captures, tmp_path / "frames", ONE)
    assert len(Frames.open(out)) == 2
    assert "frames[12].camera: got (180, 240), must be of the picture's shape, 50 x 50" in summary(out)


def test_a_run_of_which_nothing_can_be_read_fails_and_says_why(tmp_path: Path) -> None:
    captures = folder(tmp_path, lambda document: document.pop("plane"))
    with pytest.raises(
        CaptureError, match=r"none of 1 sources can be read; the first: .*capture\.json: plane: got None"
    ):
        ingest(captures, tmp_path / "frames", ONE)


def test_a_run_that_keeps_nothing_fails_and_says_why(tmp_path: Path) -> None:
    captures = write_objectron(tmp_path / "captures", POSES[:7], change=_hide)
    with pytest.raises(CaptureError, match=r"no frame can be kept; dropped: \{'object hidden': 2\}"):
        ingest(captures, tmp_path / "frames", ONE)


def test_a_run_over_nothing_fails_and_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"no captures found\. Looked for"):
        ingest(tmp_path, tmp_path / "frames", ONE)


def test_two_frames_of_one_name_are_refused(tmp_path: Path) -> None:
    captures = tmp_path / "captures"
    write_objectron(captures, POSES[:1], "cup/batch-1/3_4")
    write_objectron(captures, POSES[:1], "cup/batch-1_3/4")
    with pytest.raises(CaptureError, match="two frames have the name 'cup_batch-1_3_4_00000'"):
        ingest(captures, tmp_path / "frames", ONE)


@pytest.mark.parametrize(
    "setting",
    [{"fps": 0}, {"max_side": 8}, {"jpeg_quality": 0}, {"blur_ratio": 1}, {"blur_floor": -1}, {"workers": 0}],
)
def test_settings_out_of_bounds_are_refused(setting: dict) -> None:
    with pytest.raises(InvalidValueError, match=f"ingest.{next(iter(setting))}"):
        IngestConfig(**setting)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifactError, match=r"frames\.parquet: missing"):
        Frames.open(tmp_path)


def test_a_truncated_table_is_named(frames: Frames, tmp_path: Path) -> None:
    data = (frames.path / "frames.parquet").read_bytes()
    (tmp_path / "frames.parquet").write_bytes(data[:-20])
    with pytest.raises(CorruptArtifactError, match=r"frames\.parquet: not a readable Parquet file"):
        Frames.open(tmp_path)


def test_a_foreign_table_is_named(frames: Frames, tmp_path: Path) -> None:
    pq.write_table(frames.table.drop_columns(["rect", "shard"]), tmp_path / "frames.parquet")
    with pytest.raises(ForeignArtifactError, match="columns missing or of another type: rect, shard"):
        Frames.open(tmp_path)


def test_damaged_pictures_name_their_shard(frames: Frames, tmp_path: Path) -> None:
    table = frames.table.slice(0, 1)
    (shard := tmp_path / table["shard"][0].as_py()).parent.mkdir()
    pq.write_table(table, tmp_path / "frames.parquet")
    stored = (frames.path / table["shard"][0].as_py()).read_bytes()
    shard.write_bytes(stored[:600])
    with pytest.raises(CorruptArtifactError, match=r"\.tar: truncated"):
        Frames.open(tmp_path).image(0)
    shard.write_bytes(bytes(len(stored)))
    with pytest.raises(CorruptArtifactError, match=r"\.tar: no picture at byte 512"):
        Frames.open(tmp_path).image(0)


def test_the_table_has_the_documented_columns(frames: Frames) -> None:
    stored = pq.read_schema(frames.path / "frames.parquet")
    assert stored.names == FRAMES_SCHEMA.names
    assert stored.names[-6:] == ["sequence", "split", "time_s", "shard", "offset", "length"]


@pytest.mark.parametrize(("tracks", "each", "count", "expected"), [(3, 4, 12, 4), (3, 4, 8, 2), (30, 4, 20, 2)])
def test_a_sample_of_tracks_has_pairs_of_each(
    tmp_path: Path, tracks: int, each: int, count: int, expected: int
) -> None:
    names = [f"video-{i // each}" for i in range(tracks * each)]
    rows = {"sequence": names, "object_id": names, "time_s": [float(i % each) for i in range(len(names))]}
    chosen = evenly_of_tracks(Frames(tmp_path, pa.table(rows)), count)
    members = np.unique(chosen.sequence, return_counts=True)[1]
    assert len(chosen) <= count
    assert (members == expected).all()
    assert len(members) == min(tracks, count // 2)


def test_a_sample_of_tracks_has_none_that_stand_alone(tmp_path: Path) -> None:
    names = ["alone", *["pair"] * 4, "also-alone"]
    rows = {"sequence": names, "object_id": names, "time_s": [0.0] * 6}
    assert evenly_of_tracks(Frames(tmp_path, pa.table(rows)), 4).sequence.tolist() == ["pair"] * 4
