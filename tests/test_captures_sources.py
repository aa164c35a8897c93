"""Formats are recognised by what lies there; what is not recognised is answered with what was looked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from index.schema import InvalidValueError
from tests.captures_scene import (
    capture_document,
    orbit,
    single_example,
    write_folder,
    write_objectron,
    write_records,
    write_video,
)
from tests.captures_scene import draw as drawn
from trainer.captures import FORMATS, CaptureError, list_sources

POSES = orbit(2)


def write(root: Path, format: str) -> Path:
    if format == "objectron":
        write_objectron(root, POSES)
    elif format == "tfrecord":
        write_records(root / "cup" / "cup_train-0", [single_example(POSES[0])])
    elif format == "folder":
        write_folder(root / "mug", capture_document(POSES), POSES)
    else:
        write_video(root / "Punch" / "v_Punch_g01_c01.avi", [drawn(pose) for pose in POSES])
        (root / "ucfTrainTestlist").mkdir()
        for name in ("train", "test"):
            (root / "ucfTrainTestlist" / f"{name}list01.txt").write_text("Punch/v_Punch_g01_c01.avi\r\n")
    return root


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_is_recognised_and_its_sources_pickle(tmp_path: Path, format: str) -> None:
    (source,) = list_sources(write(tmp_path, format), fps=7)
    assert list_sources(tmp_path, format, fps=7) == [source]
    assert source.fps == 7
    copy = pickle.loads(pickle.dumps(source))
    assert (copy.key, copy.files()) == (source.key, source.files())
    assert all(file.is_file() for file in source.files())
    assert [len(shot.frames) for shot in copy.read()] == [len(shot.frames) for shot in source.read()]


def test_an_empty_folder_is_answered_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"no captures found.*video\.MOV.*v_\*\.avi.*capture\.json.*_train"):
        list_sources(tmp_path)
    with pytest.raises(CaptureError, match=r"no captures found. Looked for folder: <sequence>/capture\.json$"):
        list_sources(tmp_path, "folder")


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="nowhere: not a folder"):
        list_sources(tmp_path / "nowhere")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidValueError, match="format: got 'bop', must be one of objectron, ucf101, folder, tfrecord"
    ):
        list_sources(tmp_path, "bop")


def test_two_formats_in_one_place_have_to_be_told_apart(tmp_path: Path) -> None:
    write(write(tmp_path, "folder"), "tfrecord")
    with pytest.raises(CaptureError, match=r"several formats \(folder, tfrecord\)"):
        list_sources(tmp_path)
    assert [source.key for source in list_sources(tmp_path, "folder")] == ["mug"]


def test_errors_survive_the_way_between_processes() -> None:
    error = CaptureError("a/b", "missing")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "a/b: missing"
