"""UCF101: lists as they are published, a rectangle and no pose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.captures_scene import write_video
from trainer.captures import CaptureError, list_sources
from trainer.captures.ucf101 import listed_splits, ucf101_sources

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "ucf101"


def write(root: Path, *, below: str = "", lists: dict[str, str] | None = None) -> Path:
    """Three clips, 320x240; the lists have CRLF lines and, for one class, other capitals than the folder."""
    rng = np.random.default_rng(0)
    names = ["Punch/v_Punch_g01_c01", "Punch/v_Punch_g08_c01", "HandstandPushups/v_HandStandPushups_g01_c01"]
    for name in names:
        write_video(root / below / f"{name}.avi", [rng.integers(0, 255, (240, 320, 3), np.uint8)] * 11, rate=25)
    folder = root / "ucfTrainTestlist"
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Punch\r\n2 HandstandPushups\r\n")
    (folder / "trainlist01.txt").write_bytes(b"Punch/v_Punch_g08_c01.avi 1\r\n")
    (folder / "testlist01.txt").write_bytes(
        b"Punch/v_Punch_g01_c01.avi\r\nHandstandPushups/v_HandstandPushups_g01_c01.avi\r\n\r\n"
    )
    return root


@pytest.mark.parametrize("below", ["", "videos"])
def test_splits_and_classes_follow_the_lists(tmp_path: Path, below: str) -> None:
    sources = list_sources(write(tmp_path, below=below))
    assert [(source.key, source.split) for source in sources] == [
        ("HandstandPushups/v_HandStandPushups_g01_c01", "test"),
        ("Punch/v_Punch_g01_c01", "test"),
        ("Punch/v_Punch_g08_c01", "train"),
    ]


def test_frames_have_the_central_square_and_no_pose(tmp_path: Path) -> None:
    shots = list(list_sources(write(tmp_path))[1].read())
    assert [shot.time_s for shot in shots] == pytest.approx([0, 0.2, 0.4])
    (frame,) = shots[1].frames
    assert (frame.id, frame.category, frame.object_id) == ("v_Punch_g01_c01_00005", "Punch", "v_Punch_g01_c01")
    assert (frame.view.camera, frame.view.plane, frame.box) == (None, None, None)
    assert frame.view.rect == (40, 0, 280, 240)


def test_a_split_without_lists_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"trainlist02\.txt: missing"):
        list_sources(write(tmp_path), ucf101_split=2)


def test_videos_in_neither_list_are_left_out_and_counted(tmp_path: Path, caplog) -> None:
    write(tmp_path)
    (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").write_text("")
    assert len(list_sources(tmp_path)) == 2
    assert "1 videos left out" in caplog.text


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/ucf101")
@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_real_lists_name_every_video_once(split: int) -> None:
    splits = listed_splits(REAL / "ucfTrainTestlist", split)
    assert len(splits) == 13320
    assert set(splits.values()) == {"train", "test"}
    sources = ucf101_sources(REAL, 5.0, split)
    assert len(sources) == 96
    if split == 1:
        groups = {(int(source.video.stem.split("_g")[1][:2]) <= 7, source.split) for source in sources}
        assert groups == {(True, "test"), (False, "train")}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/ucf101")
def test_real_clips_are_read_to_their_end() -> None:
    for source in ucf101_sources(REAL, 5.0, 1)[::24]:
        shots = list(source.read())
        assert all(shot.image.shape == (240, 320, 3) for shot in shots)
        assert len(shots) >= 10
        np.testing.assert_allclose(np.diff([shot.time_s for shot in shots]), 0.2, atol=0.021)
