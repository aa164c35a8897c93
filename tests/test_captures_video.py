"""Videos: which pictures are kept, when, and what is said of a broken one."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.video import video_facts, video_frames
from tests.captures_scene import write_video
from trainer.captures import CaptureError
from trainer.captures.video import Sampler

CLIP = Path(__file__).resolve().parents[2] / "shared" / "data" / "objectron" / "shoe_batch-25_10.mp4"


def kept(times: list[float], fps: float) -> list[int]:
    sampler = Sampler(fps)
    return [k for k, time_s in enumerate(times) if sampler.keeps(time_s)]


def test_every_sixth_of_thirty_per_second_is_kept_though_their_times_shake() -> None:
    rng = np.random.default_rng(0)
    times = (np.arange(301) / 30 + rng.uniform(-0.004, 0.004, 301)).tolist()
    assert kept(times, 5.0) == list(range(0, 301, 6))


def test_a_slow_stream_is_kept_whole() -> None:
    assert kept([0, 0.4, 0.8, 1.2], 5.0) == [0, 1, 2, 3]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200).map(sorted), st.floats(0.5, 30))
def test_never_more_than_the_rate_and_the_first_always(times: list[float], fps: float) -> None:
    numbers = kept(times, fps)
    assert numbers[0] == 0
    assert len(numbers) <= (times[-1] - times[0]) * fps + 2


def images(count: int) -> list[np.ndarray]:
    return [np.full((48, 64, 3), 8 * k, np.uint8) for k in range(count)]


def test_pictures_come_in_order_with_their_times_and_colours(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    frames = []
    for frame in video_frames(write_video(tmp_path / "a.mp4", [red] * 10, rate=25)):
        image = frame.decode()
        assert image is not None
        frames.append((frame.index, round(frame.time_s * 25)))
        assert image.shape == (48, 64, 3)
        assert image[..., 0].mean() > 180
        assert image[..., 2].mean() < 20
    assert frames == [(k, k) for k in range(10)]


def test_only_what_is_asked_for_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, decoded, opened = write_video(tmp_path / "a.mp4", images(12)), [], cv2.VideoCapture

    class Counting:
        def __init__(self, name: str) -> None:
            self._capture = opened(name)

        def __getattr__(self, name: str):
            if name == "retrieve":
                decoded.append(name)
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Counting)
    for frame in video_frames(path):
        if frame.index % 6 == 0:
            frame.decode()
    assert len(decoded) == 2


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"a\.mp4: missing"):
        list(video_frames(tmp_path / "a.mp4"))


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(CaptureError, match=r"a\.mp4: not a readable video"):
        list(video_frames(tmp_path / "a.mp4"))


def test_a_truncated_video_gives_what_it_has_and_then_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "a.avi", [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(40)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read = []
    with pytest.raises(CaptureError, match=r"a\.avi: truncated: ends after \d+ of 40 pictures"):
        read.extend(frame.index for frame in video_frames(path))
    assert 5 < len(read) < 35


@pytest.mark.skipif(not CLIP.is_file(), reason="needs ../shared/data/objectron")
def test_a_real_clip_gives_five_per_second() -> None:
    sampler = Sampler(5.0)
    shapes = [frame.decode().shape for frame in video_frames(CLIP) if sampler.keeps(frame.time_s)]
    assert shapes == [(800, 600, 3)] * 21


def turned(video: Path) -> Path:
    """The video, with a word in its container's track header that it is to be shown a quarter clockwise."""
    data = bytearray(video.read_bytes())
    at = data.index(b"tkhd") + 44  # the matrix, ISO/IEC 14496-12, 8.3.2
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    video.write_bytes(data)
    return video


def test_a_videos_size_is_that_of_its_pictures_as_they_are_read(tmp_path: Path) -> None:
    video = turned(write_video(tmp_path / "turned.mp4", [np.zeros((48, 64, 3), np.uint8)] * 3, rate=15))
    for as_stored, size in ((False, (48, 64)), (True, (64, 48))):
        facts = video_facts(video, as_stored)
        assert (facts.width, facts.height, facts.pictures, facts.rate) == (*size, 3, 15)
        for frame in video_frames(video, as_stored):
            picture = frame.decode()
            assert picture is not None
            assert picture.shape[1::-1] == size
