"""Processes that die, disks that fill, files that are damaged: what was there before stays, and goes on answering."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index.schema import ArtifactError, CorruptArtifactError
from index.store import current_version, open_index, verify_version, versions, write_index
from service.live import LiveIndex
from tests.service_fixtures import build_index, open_colours, wait_until
from tests.test_store import encoder, some_frames, unit_vectors, write  # noqa: F401  # a fixture

KILLS = int(os.environ.get("NEARPOSE_KILLS", "12"))


def test_a_build_may_be_killed_at_any_moment(tmp_path, encoder):  # noqa: F811
    root, rng = tmp_path / "index", np.random.default_rng(0)
    write(root, encoder)
    command = [sys.executable, "-m", "tests.index_writer", str(root)]
    here = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        for _ in range(KILLS):
            before = current_version(root)
            writer.stdin.write("\n")
            writer.stdin.flush()
            child = int(writer.stdout.readline())
            if rng.random() < 0.7:  # the others die in their first version
                wait_until(lambda old=before: current_version(root) != old)
            time.sleep(rng.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            check(root)
        writer.stdin.close()
    write(root, encoder)
    assert [p.name for p in (root / "versions").iterdir() if p.name[0] == "."] == []
    assert sorted(p.name for p in root.iterdir()) == ["CURRENT", "versions"]


def check(root: Path) -> None:
    """That the current version is whole, and so is every one that can be rolled back to."""
    index = open_index(root)
    assert len({index.thumbnail(row) for row in range(len(index))}) in (1, 20)  # of one version all, or the first's
    for name in versions(root):
        verify_version(root / "versions" / name)


def test_a_draft_that_is_being_written_is_left_alone(tmp_path, encoder):  # noqa: F811
    root = tmp_path / "index"
    write(root, encoder)
    draft = root / "versions" / ".another.draft-1"  # of a writer on a file system that kept nobody from beginning
    draft.mkdir()
    lock = os.open(draft, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    write(root, encoder)
    assert draft.is_dir()
    os.close(lock)
    write(root, encoder)
    assert not draft.exists()


def test_builds_at_the_same_time_take_turns(tmp_path, encoder):  # noqa: F811
    root, begun = tmp_path / "index", threading.Event()

    def thumbnails():
        yield from [b"slow"] * 10
        begun.set()
        time.sleep(0.2)
        yield from [b"slow"] * 10

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(write_index, root, unit_vectors(20), some_frames(20), thumbnails(), encoder, "digest")
        begun.wait()
        quick = write(root, encoder, n=3)
        assert versions(root) == [slow.result(), quick]
    assert current_version(root) == quick


def test_a_full_disk_leaves_the_old_version(tmp_path, encoder):  # noqa: F811
    root = tmp_path / "index"
    name = write(root, encoder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(ArtifactError, match="is there room on the disk"):
            write(root, encoder, n=400)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert current_version(root) == name
    assert [p.name for p in (root / "versions").iterdir()] == [name]


def test_a_clock_that_was_put_back_does_not_cost_the_newest_version(tmp_path, encoder):  # noqa: F811
    root = tmp_path / "index"
    ahead = [write(root, encoder, seed=seed) for seed in range(2)]
    for name in ahead:
        (root / "versions" / name).rename(root / "versions" / f"2999{name[4:]}")
    name = write(root, encoder, seed=2, keep=2)
    assert current_version(root) == name
    assert open_index(root).thumbnail(0) == b"jpeg 2 0"


@pytest.mark.parametrize("file", ["manifest.json", "vectors.npy", "frames.parquet", "encoder/encoder.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_version_does_not_replace_the_one_that_answers(tmp_path, file, damage):
    root = tmp_path / "index"
    live = LiveIndex(root, open_colours, poll_s=60)
    good = build_index(root, "v1")
    live.refresh()
    second = build_index(root, "v2")
    path = root / "versions" / second / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(
            content[:middle] if damage == "truncated" else content[:middle] + b"\0" + content[middle + 1 :]
        )
    with pytest.raises(CorruptArtifactError):
        open_index(root)
    live.refresh()
    assert live.snapshot.index.version == good
    assert live.failure.version == second
    path.write_bytes(content)
    live._failed_at = 0  # it is tried again after a while
    live.refresh()
    assert live.snapshot.index.version == second
    assert live.failure is None
