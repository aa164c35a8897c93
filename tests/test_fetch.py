"""Objectron fetched from a server with the bucket's layout that cuts, refuses, lies and is slow; the disk budget."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest

from index.schema import InvalidValueError
from tests.bucket import PAGE, Bucket
from tests.captures_scene import orbit, sequence_example, write_objectron, write_records
from tests.service_fixtures import wait_until
from trainer.__main__ import main
from trainer.captures import CaptureError, list_sources
from trainer.captures.kept import kept_pictures
from trainer.captures.objectron import objectron_sources
from trainer.captures.quality import shrunk
from trainer.captures.tfrecord import thinned_records
from trainer.fetch import FetchConfig, download, fetch, plan_of, summary
from trainer.fetch.budget import DiskBudget, DiskFullError
from trainer.fetch.download import DownloadError, Patience, Server, StoppedError
from trainer.frames import Frames
from trainer.ingest import IngestConfig, ingest

ROOT = Path(__file__).parent.parent
VIDEO = "videos/cup/batch-1/3/video.MOV"
ANNOTATION = "annotations/cup/batch-1/3.pbdata"
PATIENCE = Patience(attempts=4, backoff_s=0.01, timeout_s=5)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Six videos as Objectron has them: five cups of which one is for testing, and a shoe."""
    root = tmp_path_factory.mktemp("published")
    for number in range(3, 8):
        split = "test" if number == 3 else "train"
        write_objectron(root, orbit(13 + number), sequence=f"cup/batch-1/{number}", split=split)
    write_objectron(root, orbit(13), sequence="shoe/batch-1/3", split="train")
    (root / "index" / "shoe_annotations_test").write_text("shoe/batch-9/1\n")  # which is missing
    return root


@pytest.fixture
def bucket(published) -> Bucket:
    return Bucket.of(published)


def config(url: str, **changes) -> FetchConfig:
    return FetchConfig(**{"categories": ("cup",), "url": url, "jobs": 2, "patience": PATIENCE} | changes)


def report(captures: Path) -> dict:
    return json.loads((captures / "fetch.json").read_text())


def names(captures: Path) -> set[str]:
    return {path.parent.relative_to(captures / "videos").as_posix() for path in captures.rglob("video.tar")}


def test_ingest_makes_the_same_frames_of_it_as_of_the_whole_videos(bucket, published, tmp_path):
    with bucket.served() as url:
        fetch(tmp_path / "captures", config(url), announce=lambda _: None)
    assert not list((tmp_path / "captures").rglob("*.MOV"))
    assert not list((tmp_path / "captures" / ".fetch").iterdir())
    cups = tmp_path / "cups"
    shutil.copytree(published, cups, ignore=lambda folder, _: ["shoe"] if folder.endswith("videos") else [])
    whole, kept = (
        Frames.open(ingest(folder, tmp_path / f"frames-{folder.name}", IngestConfig(workers=1)))
        for folder in (cups, tmp_path / "captures")
    )
    assert len(whole) == len(kept) > 15
    for k in range(len(whole)):
        (ours, theirs) = kept.frame(k), whole.frame(k)
        assert (ours.id, ours.object_id, ours.category) == (theirs.id, theirs.object_id, theirs.category)
        np.testing.assert_allclose(ours.view.rect, theirs.view.rect)
        np.testing.assert_allclose(ours.view.camera.matrix, theirs.view.camera.matrix)
        np.testing.assert_allclose(ours.box.corners, theirs.box.corners)
        assert kept.jpeg(k) == whole.jpeg(k)
    for column in ("sequence", "split"):
        assert (getattr(kept, column) == getattr(whole, column)).all()
    np.testing.assert_allclose(kept.time_s, whole.time_s, atol=1e-6)


def test_large_pictures_are_kept_small_and_give_the_same_frames(bucket, published, tmp_path):
    small = IngestConfig(max_side=120, workers=1)
    with bucket.served() as url:
        fetch(tmp_path / "captures", config(url, keep=small, categories=("shoe",)), announce=lambda _: None)
    pictures = [picture.decode() for picture in kept_pictures(next((tmp_path / "captures").rglob("video.tar")))]
    assert {picture.shape for picture in pictures} == {(120, 90, 3)}
    (whole,) = [s for s in list_sources(published) if s.key == "shoe/batch-1/3"]
    (kept,) = objectron_sources(tmp_path / "captures", 5.0)
    for ours, theirs in zip(kept.read(), whole.read(), strict=True):
        (frame,), (reference,) = ours.frames, shrunk(theirs, 120).frames
        np.testing.assert_allclose(frame.view.rect, reference.view.rect, atol=1e-3)
        np.testing.assert_allclose(frame.view.camera.matrix, reference.view.camera.matrix, atol=1e-3)
        assert ours.time_s == pytest.approx(theirs.time_s, abs=1e-6)


def test_a_second_run_asks_for_nothing_that_is_there(bucket, tmp_path):
    with bucket.served() as url:
        fetch(tmp_path, config(url), announce=lambda _: None)
        asked = len(bucket.asked)
        fetch(tmp_path, config(url), announce=lambda _: None)
    assert len(bucket.asked) == asked
    assert report(tmp_path)["there"] == 5
    assert report(tmp_path)["fetched"] == report(tmp_path)["left"] == 0


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_larger_limit_adds_to_what_a_smaller_one_chose(bucket, tmp_path, limit):
    with bucket.served() as url:
        smaller, larger = (
            {item.key for item in plan_of(tmp_path, config(url, limit=n)).items} for n in (limit, limit + 1)
        )
    assert len(smaller) == limit
    assert len(larger) == limit + 1
    assert smaller <= larger


def test_train_and_test_are_fetched_in_proportion(bucket, tmp_path):
    for split, count in (("train", 80), ("test", 20)):
        lines = [f"cup/batch-{split == 'test':d}/{k}" for k in range(count)]
        bucket.files[f"v1/index/cup_annotations_{split}"] = "\n".join(lines).encode()  # without a last newline
    with bucket.served() as url:
        items = plan_of(tmp_path, config(url, limit=10)).items
    assert sum("batch-1" in item.key for item in items) == 2
    assert len({item.key for item in items}) == 10


# What goes wrong once, or a few times, and is got over.
@pytest.mark.parametrize(
    ("key", "faults"),
    [
        (VIDEO, ["cut", "cut", "cut"]),
        (VIDEO, ["503", "502", "500"]),
        (VIDEO, ["429"]),
        (VIDEO, ["page"]),
        (VIDEO, ["flipped"]),
        (VIDEO, ["short"]),
        (VIDEO, ["hang-up", "cut", "flipped"]),
        (ANNOTATION, ["cut", "page"]),
        (ANNOTATION, ["flipped"]),
        ("v1/index/cup_annotations_train", ["503", "cut"]),
    ],
)
def test_faults_that_pass_are_got_over(bucket, tmp_path, key, faults):
    bucket.faults = {key: faults.copy()}
    if key == VIDEO:
        bucket.faults[key].insert(0, "")  # the piece that the plan measures the rate by may be this one
    with bucket.served() as url:
        fetch(tmp_path, config(url), announce=lambda _: None)
    assert report(tmp_path)["failed"] == {}
    assert len(names(tmp_path)) == 5
    assert report(tmp_path)["unverified"] == 0


def load(bucket: Bucket, folder: Path, key: str = VIDEO, patience: Patience = PATIENCE) -> bytes:
    """One file, downloaded into ``folder``."""
    part = folder / "it.part"
    with bucket.served() as url:
        server = Server(patience)
        try:
            server.download(f"{url}/{key}", part)
        finally:
            server.close()
    return part.read_bytes()


def test_a_cut_download_goes_on_where_it_was_cut(bucket, tmp_path):
    bucket.faults = {VIDEO: ["cut"]}
    assert load(bucket, tmp_path) == bucket.files[VIDEO]
    size = len(bucket.files[VIDEO])
    assert bucket.gets(VIDEO) == [None, f"bytes={size // 2 - 1}-"]
    assert bucket.sent[VIDEO] <= size + 2


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_what_an_earlier_run_received_is_not_asked_for_again(bucket, tmp_path, share):
    size = int(share * len(bucket.files[VIDEO]))
    (tmp_path / "it.part").write_bytes(bucket.files[VIDEO][:size])
    assert load(bucket, tmp_path) == bucket.files[VIDEO]
    assert bucket.sent[VIDEO] == len(bucket.files[VIDEO]) - size + 1


@pytest.mark.parametrize("there", [b"something else", b"x" * 10_000_000])
def test_a_part_of_something_else_is_found_out(bucket, tmp_path, there):
    (tmp_path / "it.part").write_bytes(there)
    assert load(bucket, tmp_path) == bucket.files[VIDEO]


def test_a_server_without_ranges_begins_anew(bucket, tmp_path):
    bucket.ranges, bucket.faults = False, {VIDEO: ["cut"]}
    assert load(bucket, tmp_path) == bucket.files[VIDEO]


def test_cuts_do_not_end_a_download_that_gets_on(bucket, tmp_path):
    bucket.faults = {VIDEO: ["cut"] * 8}  # more than there are attempts, but each brings half of the rest
    assert load(bucket, tmp_path) == bucket.files[VIDEO]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_kept_by_every_thread(bucket, form):
    wait = "1" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    bucket.faults = {VIDEO: [f"429:{wait}"]}
    answered: dict[str, float] = {}
    with bucket.served() as url:
        server = Server(PATIENCE)
        began = time.monotonic()

        def ask(key: str) -> None:
            server.rate(f"{url}/{key}", 10)
            answered[key] = time.monotonic() - began

        refused = threading.Thread(target=ask, args=(VIDEO,))
        refused.start()
        wait_until(lambda: len(bucket.asked) == 1)
        wait_until(lambda: server.paused)
        ask(ANNOTATION)
        refused.join()
        server.close()
    assert min(answered.values()) > 0.9


def test_a_server_that_asks_for_a_day_is_left_alone(bucket, tmp_path):
    bucket.faults = {VIDEO: ["503:86400"]}
    with pytest.raises(DownloadError, match=r"HTTP 503; the server asks to wait 86400 s"):
        load(bucket, tmp_path)
    assert len(bucket.gets(VIDEO)) == 1


def test_waits_double_and_are_drawn_at_random(bucket, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(download.random, "uniform", lambda low, high: drawn.append((low, high)) or 0.0)
    bucket.faults = {VIDEO: ["503*"]}
    with pytest.raises(DownloadError, match=r"HTTP 503 \(6 attempts\)"):
        load(bucket, tmp_path, patience=Patience(attempts=6, backoff_s=2.0))
    assert drawn == [(0, 2), (0, 4), (0, 8), (0, 16), (0, 32)]
    assert len(bucket.gets(VIDEO)) == 6


# What stays wrong: said of that video, and of it alone.
@pytest.mark.parametrize(
    ("key", "fault", "said"),
    [
        (VIDEO, "404*", r"video\.MOV: HTTP 404$"),
        (VIDEO, "503*", r"HTTP 503 \(4 attempts\)"),
        (VIDEO, "page*", r"a page of HTML"),
        (VIDEO, "flipped*", r"its (md5|crc32c) does not fit"),
        (VIDEO, "short*", r"its (md5|crc32c) does not fit"),
        (VIDEO, "hang-up*", r"RemoteProtocolError"),
        (ANNOTATION, "404*", r"3\.pbdata: HTTP 404$"),
        (ANNOTATION, "page*", r"a page of HTML"),
    ],
)
def test_faults_that_stay_are_reported_and_the_others_are_fetched(bucket, tmp_path, key, fault, said, caplog):
    bucket.faults = {key: [fault]}
    with bucket.served() as url:
        fetch(tmp_path, config(url), announce=lambda _: None)
        assert list(report(tmp_path)["failed"]) == [VIDEO]
        assert re.search(said, report(tmp_path)["failed"][VIDEO])
        assert "1 failed" in summary(tmp_path)
        assert len(names(tmp_path)) == 4
        if key == ANNOTATION:
            assert bucket.gets(VIDEO) in ([], ["bytes=0-16777215"])  # no large video for nothing
        bucket.faults = {}
        fetch(tmp_path, config(url), announce=lambda _: None)
    assert report(tmp_path)["failed"] == {}
    assert len(names(tmp_path)) == 5


@pytest.mark.parametrize(
    ("key", "content", "said"),
    [
        (VIDEO, PAGE, r"not a readable video"),
        (VIDEO, b"", r"not a readable video"),
        (ANNOTATION, PAGE, r"not a serialised Sequence"),
    ],
)
def test_files_that_are_wrong_in_the_bucket_are_not_kept(bucket, tmp_path, key, content, said):
    bucket.files[key] = content
    with bucket.served() as url:
        fetch(tmp_path, config(url), announce=lambda _: None)
    assert re.search(said, report(tmp_path)["failed"][VIDEO])
    assert len(names(tmp_path)) == 4
    assert not list((tmp_path / ".fetch").iterdir())


def test_a_video_that_ends_early_is_found_out_without_checksums(bucket, tmp_path):
    bucket.hashes = False
    bucket.files[VIDEO] = bucket.files[VIDEO][: len(bucket.files[VIDEO]) // 2]
    with bucket.served() as url:
        fetch(tmp_path, config(url), announce=lambda _: None)
    assert list(report(tmp_path)["failed"]) == [VIDEO]
    assert report(tmp_path)["unverified"] == 4
    assert "4 by their length alone" in summary(tmp_path)


@pytest.mark.parametrize("content", [b"", PAGE, b"shoe/batch-1/2\n"])
def test_a_list_that_is_none_ends_the_run(bucket, tmp_path, content):
    bucket.files["v1/index/cup_annotations_train"] = content
    with bucket.served() as url, pytest.raises(DownloadError, match=r"must hold lines like cup/batch-1/2"):
        fetch(tmp_path, config(url), announce=lambda _: None)
    assert not (tmp_path / "index" / "cup_annotations_train").exists()


def test_a_server_that_is_down_is_not_asked_for_every_video(bucket, tmp_path):
    lines = [f"cup/batch-9/{k}" for k in range(200)]
    bucket.files["v1/index/cup_annotations_train"] = "\n".join(lines).encode()
    bucket.files = {key: data for key, data in bucket.files.items() if key.startswith("v1/index")}
    with bucket.served() as url, pytest.raises(DownloadError, match=r"10 files in a row failed; the last: .*HTTP 404"):
        fetch(tmp_path, config(url), announce=lambda _: None)
    assert sum(key.startswith("annotations") for _, key, _ in bucket.asked) < 20
    assert report(tmp_path)["left"] == 201


def test_a_video_in_both_lists_is_fetched_once(bucket, tmp_path):
    for split in ("train", "test"):
        bucket.files[f"v1/index/cup_annotations_{split}"] = b"cup/batch-1/3"
    with bucket.served() as url:
        assert len(plan_of(tmp_path, config(url, jobs=2)).items) == 1


def test_a_run_of_which_nothing_succeeds_is_an_error(bucket, tmp_path):
    bucket.faults = {VIDEO: ["404*"]}
    bucket.files["v1/index/cup_annotations_train"] = b"cup/batch-1/3"
    bucket.files["v1/index/cup_annotations_test"] = b"cup/batch-1/3"
    with bucket.served() as url, pytest.raises(DownloadError, match="in a row failed"):
        fetch(tmp_path, config(url), announce=lambda _: None)


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_connections_than_jobs(bucket, tmp_path, jobs):
    with bucket.served() as url:
        fetch(tmp_path, config(url, jobs=jobs), announce=lambda _: None)
    assert bucket.most_at_once <= jobs


class _Watch:
    """The most bytes that a folder ever held, looked at all the time."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ended, self.most = folder, threading.Event(), 0
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.0005):
            total = 0
            for path in self._folder.rglob("*"):
                with contextlib.suppress(OSError):
                    total += path.stat().st_size if path.is_file() else 0
            self.most = max(self.most, total)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def grown(video: bytes, size: int) -> bytes:
    """The video with a box at its end, of ``size`` bytes in all, that no reader looks into."""
    box = size - len(video)
    return video + box.to_bytes(4, "big") + b"free" + b"\0" * (box - 8)


def padded(bucket: Bucket, size: int) -> None:
    """Makes every video of the bucket ``size`` bytes long."""
    bucket.files = {key: grown(data, size) if key.endswith(".MOV") else data for key, data in bucket.files.items()}


def test_the_disk_budget_is_kept_and_is_enough(bucket, tmp_path):
    """Five videos of 3 MB go through 8 MB, two at a time although four may be: of each only pictures stay."""
    padded(bucket, 3_000_000)
    with bucket.served() as url, _Watch(tmp_path) as watch:
        fetch(tmp_path, config(url, jobs=4, disk_gb=0.008), announce=lambda _: None)
    assert len(names(tmp_path)) == 5
    assert 3_000_000 < watch.most <= 8_000_000
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 3_000_000


def test_a_budget_that_is_used_up_ends_the_run_and_a_larger_one_goes_on(bucket, tmp_path):
    padded(bucket, 1_000_000)
    large = "videos/cup/batch-1/6/video.MOV"
    bucket.files[large] = grown(bucket.files[large], 3_000_000)
    with bucket.served() as url:
        with (
            _Watch(tmp_path) as watch,
            pytest.raises(DiskFullError, match=r"0\.003 GB more do not fit into 0\.0025 GB"),
        ):
            fetch(tmp_path, config(url, jobs=1, disk_gb=0.0025), announce=lambda _: None)
        assert watch.most <= 2_500_000
        assert {"cup/batch-1/4", "cup/batch-1/5"} <= names(tmp_path)
        assert "cup/batch-1/6" not in names(tmp_path)
        assert (report(tmp_path)["fetched"], report(tmp_path)["left"]) == (2, 3)
        fetch(tmp_path, config(url, disk_gb=0.01), announce=lambda _: None)
    assert len(names(tmp_path)) == 5


def test_a_full_disk_ends_the_run_with_its_reason_and_the_next_goes_on(bucket, tmp_path, capsys):
    """The system refuses to let files grow, as it does on a full disk."""
    padded(bucket, 1_000_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with bucket.served() as url:
        command = ["fetch", "objectron", str(tmp_path), "--categories", "cup", "--url", url, "--jobs", "2"]
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            assert main(command) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        told = capsys.readouterr().err.splitlines()[-1]
        assert told == f"error: {tmp_path}: File too large; the same command goes on from here"
        assert (report(tmp_path)["fetched"], report(tmp_path)["left"]) == (0, 5)
        assert main(command) == 0
    assert len(names(tmp_path)) == 5


def test_the_budget_lets_nobody_wait_forever():
    budget = DiskBudget(10, {"there": 4})
    budget.promise("a", 6)
    raised = []

    def ask(key: str) -> None:
        try:
            budget.promise(key, 3)
        except DiskFullError as error:
            raised.append(str(error))
        finally:
            budget.settle(key, 0)

    threads = [threading.Thread(target=ask, args=(key,)) for key in "bcd"]
    for thread in threads:
        thread.start()
    assert not raised
    budget.settle("a", 5)
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert len(raised) == 3


def test_an_interrupted_run_keeps_what_it_received(bucket, tmp_path):
    padded(bucket, 4_000_000)
    with bucket.served() as url:
        server = Server(PATIENCE)
        part = tmp_path / "it.part"
        with pytest.raises(StoppedError):
            server.download(f"{url}/{VIDEO}", part, received=lambda _: server.stopped.set())
        server.close()
        assert 0 < part.stat().st_size < 4_000_000
        assert part.read_bytes() == bucket.files[VIDEO][: part.stat().st_size]


def test_a_killed_run_goes_on(bucket, tmp_path):
    padded(bucket, 20_000_000)
    captures = tmp_path / "captures"
    with bucket.served() as url:
        command = [sys.executable, "-m", "trainer", "fetch", "objectron", str(captures)]
        command += ["--categories", "cup", "--url", url, "--jobs", "1"]
        run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: names(captures) and any((captures / ".fetch").glob("*.part")), 120)
        run.kill()
        run.wait()
        there = names(captures)
        received = sum(path.stat().st_size for path in captures.rglob("*.part"))
        assert 1 <= len(there) < 5
        before = sum(bucket.sent.values())
        fetch(captures, config(url), announce=lambda _: None)
    assert report(captures)["there"] == len(there)
    assert len(names(captures)) == 5
    probe, small = 1 << 24, sum(len(data) for key, data in bucket.files.items() if not key.endswith(".MOV"))
    assert sum(bucket.sent.values()) - before <= (5 - len(there)) * 20_000_000 - received + probe + small + 10


def test_records_are_fetched_by_the_listing_and_thinned(tmp_path):
    published = tmp_path / "published"
    poses = orbit(19)
    files = {}
    for split, count in (("train", 3), ("test", 1)):
        for k in range(count):
            name = f"v1/sequences/cup/cup_{split}-{k:05d}-of-{count:05d}"
            files[name] = write_records(published / name, [sequence_example(poses)]).read_bytes()
    bucket = Bucket(files | {"v1/sequences/cupboard/cup_train": b""})
    with bucket.served() as url:
        fetch(tmp_path / "captures", config(url, format="tfrecord"), announce=lambda _: None)
    assert report(tmp_path / "captures")["fetched"] == 4
    sources = list_sources(tmp_path / "captures")
    assert [source.listed for source in sources] == ["test", "train", "train", "train"]
    for source in sources:
        whole = next(s for s in list_sources(published) if s.key.endswith(source.path.name))
        for ours, theirs in zip(source.read(), whole.read(), strict=True):
            assert ours.time_s == pytest.approx(theirs.time_s)
            assert ours.jpeg == theirs.jpeg
            np.testing.assert_array_equal(ours.frames[0].box.corners, theirs.frames[0].box.corners)
        assert source.path.stat().st_size < whole.path.stat().st_size / 3


def test_steps_without_rising_timestamps_keep_the_times_that_they_are_read_with(tmp_path):
    record = sequence_example(orbit(19))
    del record.feature_lists.feature_list["image/timestamp"]
    path = write_records(tmp_path / "cup_train", [record])
    (tmp_path / "thin").mkdir()
    (tmp_path / "thin" / "cup_train").write_bytes(thinned_records(path, 5.0))
    before, after = (
        [shot.time_s for source in list_sources(folder, "tfrecord") for shot in source.read()]
        for folder in (tmp_path / "thin", tmp_path)
    )
    assert before == pytest.approx(after[: len(before)])
    assert before == pytest.approx([0.0, 0.2, 0.4, 0.6])


@pytest.mark.parametrize("answer", [PAGE, b"<Error/>", b"{}"])
def test_a_bucket_that_is_not_listed_says_so(tmp_path, answer):
    bucket = Bucket({"x": b""}, listing=answer)
    with bucket.served() as url, pytest.raises(DownloadError, match=r"listing is|lists no"):
        fetch(tmp_path, config(url, format="tfrecord"), announce=lambda _: None)


def test_the_plan_counts_bytes_and_hours(bucket, tmp_path, capsys):
    total = sum(len(data) for key, data in bucket.files.items() if "videos/cup" in key)
    with bucket.served() as url:
        plan = plan_of(tmp_path, config(url, disk_gb=2))
        assert main(["fetch", "objectron", str(tmp_path), "--categories", "cup", "--url", url, "--plan"]) == 0
        assert len(plan_of(tmp_path, config(url, categories=("cup", "cup"))).items) == 5
    assert (len(plan.items), plan.there, plan.known, plan.bytes, plan.limit) == (5, 0, 5, total, 2e9)
    assert plan.rate > 0
    assert "to fetch: 5 files, " in capsys.readouterr().out
    assert not names(tmp_path)
    hour = dataclasses.replace(plan, bytes=72 * 10**9, rate=1e7, jobs=4).text()
    assert "2 hours at the 10 MB/s of one connection, 0.5 if 4 bring as much each" in hour
    assert "estimated from 3 of them" in dataclasses.replace(plan, known=3).text()


def test_missing_videos_do_not_stop_the_plan(bucket, tmp_path):
    with bucket.served() as url:
        fetch(tmp_path, config(url, categories=("cup", "shoe")), announce=lambda _: None)
    assert list(report(tmp_path)["failed"]) == ["videos/shoe/batch-9/1/video.MOV"]
    assert "shoe/batch-1/3" in names(tmp_path)


def test_a_folder_keeps_its_settings(bucket, tmp_path):
    with bucket.served() as url:
        fetch(tmp_path, config(url), announce=lambda _: None)
        with pytest.raises(InvalidValueError, match=r"fetch\.fps: got 2\.0, must be 5\.0, as before"):
            fetch(tmp_path, config(url, keep=IngestConfig(fps=2.0)))
        with pytest.raises(InvalidValueError, match=r"fetch\.format"):
            fetch(tmp_path, config(url, format="tfrecord"))


def test_a_whole_video_that_is_there_is_not_fetched(bucket, published, tmp_path):
    for folder in ("videos/cup/batch-1", "annotations/cup/batch-1"):
        shutil.copytree(published / folder, tmp_path / folder)
    with bucket.served() as url:
        assert plan_of(tmp_path, config(url)).items == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"categories": ("cups",)}, r"categories: got 'cups', must be among bike"),
        ({"categories": ()}, "at least one"),
        ({"limit": 0}, "limit"),
        ({"jobs": 0}, "jobs"),
        ({"disk_gb": 0.0}, "disk_gb"),
        ({"format": "zip"}, "format"),
        ({"url": "gs://objectron"}, "url"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change, said):
    with pytest.raises(InvalidValueError, match=said):
        FetchConfig(**change)


@pytest.mark.parametrize("content", [b"not a tar", b""])
def test_a_kept_video_that_is_none_is_an_error_of_that_source(tmp_path, content):
    (tmp_path / "video.tar").write_bytes(content)
    with pytest.raises(CaptureError, match=r"video\.tar"):
        list(kept_pictures(tmp_path / "video.tar"))
