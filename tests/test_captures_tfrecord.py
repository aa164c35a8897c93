"""Objectron's record files: framing, both kinds of records, the same geometry as in the videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.captures_scene import (
    RATE,
    SEQUENCE,
    assert_same,
    expected,
    orbit,
    sequence_example,
    single_example,
    write_objectron,
    write_records,
)
from trainer.captures import CaptureError, Reason, Shot, list_sources
from trainer.captures.tfrecord import records, tfrecord_sources

POSES = orbit(13)


def shots_of(root: Path) -> list[Shot]:
    return [shot for source in list_sources(root) for shot in source.read()]


def test_a_sequence_gives_the_frames_of_its_video(tmp_path: Path) -> None:
    write_records(tmp_path / "records" / "cup" / "cup_test-00000-of-00001", [sequence_example(POSES)])
    write_objectron(tmp_path / "videos", POSES)
    from_records, from_video = shots_of(tmp_path / "records"), shots_of(tmp_path / "videos")
    assert len(from_records) == len(from_video) == 3
    for one, other in zip(from_records, from_video, strict=True):
        assert_same(one.frames[0], other.frames[0], 1e-6)
        assert one.frames[0].id == other.frames[0].id
        assert (one.sequence, one.split) == (other.sequence, other.split) == (SEQUENCE, "test")
        assert one.time_s == pytest.approx(other.time_s, abs=1e-3)


def test_the_stored_bytes_are_kept(tmp_path: Path) -> None:
    example = single_example(POSES[0])
    write_records(tmp_path / "cup_train-0", [example])
    assert shots_of(tmp_path)[0].jpeg == example.features.feature["image/encoded"].bytes_list.value[0]


def test_single_pictures_are_sequences_of_one(tmp_path: Path) -> None:
    write_records(tmp_path / "cup_test-0", [single_example(pose) for pose in POSES[:3]])
    shots = shots_of(tmp_path)
    assert [shot.sequence for shot in shots] == [f"cup_test-0/{k:05d}" for k in range(3)]
    for shot, pose in zip(shots, POSES, strict=False):
        assert_same(shot.frames[0], expected(pose))


def test_several_instances_in_a_picture(tmp_path: Path) -> None:
    example = single_example(POSES[0])
    features = example.features.feature
    for name in ("point_3d", "point_2d"):
        features[name].float_list.value.extend(list(features[name].float_list.value))
    features["object/visibility"].float_list.value[:] = [0.05, 0.9]
    features["instance_num"].int64_list.value[:] = [2]
    write_records(tmp_path / "cup_test-0", [example])
    (shot,) = shots_of(tmp_path)
    assert shot.rejected == (Reason.HIDDEN,)
    assert [frame.object_id for frame in shot.frames] == ["cup_test-0/00000#1"]
    assert_same(shot.frames[0], expected(POSES[0]))


@pytest.mark.parametrize(
    ("name", "category", "split"),
    [
        ("cereal_box/cereal_box_train-00003-of-00100", "cereal_box", "train"),
        ("cup_test.tfrecord", "cup", "test"),
        ("chair/part-3.tfrecord", "chair", "train"),
    ],
)
def test_category_and_split_are_in_the_name(tmp_path: Path, name: str, category: str, split: str) -> None:
    write_records(tmp_path / name, [single_example(POSES[0])])
    (source,) = tfrecord_sources(tmp_path, 5.0)
    assert (source.key, source.category, source.listed) == (name, category, split)


def test_files_that_only_have_such_a_name_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "cup_annotations_train").write_text("cup/batch-1/3\n" * 3)
    (tmp_path / "cup_train").write_bytes(b"short")
    assert tfrecord_sources(tmp_path, 5.0) == []


def test_a_picture_that_cannot_be_decoded_is_reported(tmp_path: Path) -> None:
    broken, missing = single_example(POSES[0]), single_example(POSES[0])
    broken.features.feature["image/encoded"].bytes_list.value[0] = b"\xff\xd8\xff no picture"
    del missing.features.feature["image/encoded"]
    write_records(tmp_path / "cup_test-0", [broken, missing])
    assert [(shot.image, shot.rejected) for shot in shots_of(tmp_path)] == [(None, (Reason.UNREADABLE,))] * 2


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        ("point_3d", Reason.BROKEN_BOX),
        ("plane/center", Reason.BROKEN_PLANE),
    ],
)
def test_features_that_are_too_short_have_a_reason(tmp_path: Path, feature: str, reason: Reason) -> None:
    example = single_example(POSES[0])
    example.features.feature[feature].float_list.value.pop()
    write_records(tmp_path / "cup_test-0", [example])
    assert shots_of(tmp_path)[0].rejected == (reason,)


def test_a_record_without_annotation_has_a_reason(tmp_path: Path) -> None:
    example = single_example(POSES[0])
    for name in ("point_3d", "instance_num"):
        del example.features.feature[name]
    write_records(tmp_path / "cup_test-0", [example])
    assert shots_of(tmp_path)[0].rejected == (Reason.NO_ANNOTATION,)


def test_sequences_without_timestamps_run_at_the_rate_of_the_videos(tmp_path: Path) -> None:
    record = sequence_example(POSES)
    del record.feature_lists.feature_list["image/timestamp"]
    write_records(tmp_path / "cup_test-0", [record])
    assert [round(shot.time_s * RATE) for shot in shots_of(tmp_path)] == [0, 6, 12]


def damaged(path: Path, change) -> Path:
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data) or bytes(data))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: bytes(data[:-3]), "truncated in the record at byte"),
        (lambda data: bytes(data) + b"12345", "truncated in the record at byte"),
        (lambda data: data.__setitem__(len(data) - 100, data[-100] ^ 1), "checksum of the record at byte"),
    ],
)
def test_damage_is_named_and_what_came_before_is_read(tmp_path: Path, change, message: str) -> None:
    path = write_records(tmp_path / "cup_test-0", [single_example(POSES[0]), single_example(POSES[1])])
    damaged(path, change)
    read = []
    with pytest.raises(CaptureError, match=rf"cup_test-0: {message}"):
        read.extend(list_read(path))
    assert read


def list_read(path: Path):
    yield from records(path)


def test_a_damaged_length_is_not_followed(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfrecord", [single_example(POSES[0])])
    damaged(path, lambda data: data.__setitem__(5, 0xFF))
    with pytest.raises(CaptureError, match="checksum of the length at byte 0"):
        list(records(path))


def test_a_message_that_is_no_example_is_named(tmp_path: Path) -> None:
    class Garbage:
        def SerializeToString(self) -> bytes:  # noqa: N802
            return b"\xff\xff\xff"

    write_records(tmp_path / "a.tfrecord", [Garbage()])
    with pytest.raises(CaptureError, match=r"a\.tfrecord: record 0 is no SequenceExample"):
        shots_of(tmp_path)


def test_framing_is_that_of_the_format(tmp_path: Path) -> None:
    """Golden bytes: the record that TensorFlow's documentation describes, for a known payload."""
    # CRC-32C("123456789") is 0xe3069283; the mask turns it right by 15 bits and adds 0xa282ead8.
    length = (9).to_bytes(8, "little")
    from google_crc32c import value

    def mask(crc: int) -> bytes:
        return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    assert value(b"123456789") == 0xE3069283
    (tmp_path / "a").write_bytes(length + mask(value(length)) + b"123456789" + mask(0xE3069283))
    assert list(records(tmp_path / "a")) == [b"123456789"]
