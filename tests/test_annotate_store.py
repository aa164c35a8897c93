"""Saving an annotation: durable in the right order, one at a time, on the folder that was opened."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from index.capture import BoxDocument, ObjectDocument, PlaneDocument
from service.annotate import store
from service.annotate.store import Annotation, ConflictError, UnknownCaptureError, history, read, save
from service.workers import OverloadedError
from tests.annotation import annotation, bare_capture, content

GROUND = PlaneDocument(normal=(0, 1, 0), point=(0, 0, 0))
TURN = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def drawn(width: float = 0.12) -> Annotation:
    box = BoxDocument(center=(0.05, 0.1, -0.02), size=(width, 0.2, 0.16), rotation=TURN)
    return Annotation(GROUND, (ObjectDocument(id="mug-17", category="cup", box=box),))


@pytest.fixture
def file(tmp_path):
    return bare_capture(tmp_path / "mug") / "capture.json"


def test_what_is_saved_is_read_back(file):
    first = read(file)
    revision = save(file, first.revision, drawn())
    assert (read(file).annotation, read(file).revision) == (drawn(), revision)
    (earlier,) = history(file)
    assert (earlier.revision, earlier.saved_at, earlier.annotation) == (
        first.revision,
        first.saved_at,
        Annotation(first.document.plane, ()),
    )


def test_everything_is_on_the_disk_before_a_name_is_changed_and_before_anyone_is_told(file, monkeypatch):
    calls: list[tuple[str, str]] = []

    def spy(name, original):
        def called(*args, **kwargs):
            what = Path(f"/proc/self/fd/{args[0]}").readlink() if name == "fsync" else Path(args[1])
            calls.append((name, what.name))
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, called)

    spy("fsync", os.fsync)
    spy("rename", os.rename)
    save(file, read(file).revision, drawn())
    assert calls == [
        ("fsync", "mug"),  # the folder of earlier annotations is new
        ("fsync", ".000000001.json.part"),
        ("rename", "000000001.json"),
        ("fsync", ".annotations"),
        ("fsync", ".capture.json.part"),
        ("rename", "capture.json"),
        ("fsync", "mug"),
    ]


def test_threads_save_one_after_the_other(file):
    """All begin with the same revision; each is either saved on top of what it names, or refused."""
    saved, refused = [], []

    def run(number: int) -> None:
        revision = read(file).revision
        for step in range(10):
            try:
                revision = save(file, revision, drawn(1 + number + step / 100))
                saved.append(revision)
            except ConflictError as error:
                revision = error.saved.revision
                refused.append(revision)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(saved) + len(refused) == 40
    assert [earlier.revision for earlier in history(file)][:-1] == saved[-2::-1]
    assert read(file).revision == saved[-1]


def test_who_holds_the_lock_too_long_is_not_waited_for(file, monkeypatch):
    save(file, read(file).revision, drawn())
    monkeypatch.setattr(store, "_BUSY_S", 0.05)
    with (file.parent / ".annotations" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OverloadedError):
            save(file, read(file).revision, drawn(0.3))
    save(file, read(file).revision, drawn(0.3))


def at_the_last_moment(monkeypatch, change) -> None:
    """Runs ``change`` when the new file is written, and before it takes the old one's place."""
    check = store._check_unchanged

    def changed_first(*args):
        change()
        check(*args)

    monkeypatch.setattr(store, "_check_unchanged", changed_first)


def test_an_edit_by_hand_in_the_middle_of_a_save_is_kept(file, monkeypatch):
    edited = file.read_text().replace("A GUESS", "measured")
    at_the_last_moment(monkeypatch, lambda: file.write_text(edited))
    with pytest.raises(ConflictError):
        save(file, read(file).revision, drawn())
    assert file.read_text() == edited
    assert [path.name for path in file.parent.glob(".*")] == [".annotations"]


def test_a_capture_that_is_imported_anew_in_the_middle_of_a_save_is_not_written_to(file, tmp_path, monkeypatch):
    """Its old folder has gone elsewhere and another has its name, even one with the same content."""
    new = bare_capture(tmp_path / "new")

    def exchange() -> None:
        file.parent.rename(tmp_path / "old")
        new.rename(file.parent)

    at_the_last_moment(monkeypatch, exchange)
    revision = read(file).revision
    with pytest.raises(ConflictError):
        save(file, revision, drawn())
    assert content(file.parent)["objects"] == content(tmp_path / "old")["objects"] == []
    assert not (file.parent / ".annotations").exists()


def test_a_capture_that_is_deleted_in_the_middle_of_a_save_stays_deleted(file, monkeypatch):
    at_the_last_moment(monkeypatch, file.unlink)
    with pytest.raises(UnknownCaptureError):
        save(file, read(file).revision, drawn())
    assert not file.exists()


def test_a_save_that_ended_before_its_last_step_leaves_one_earlier_annotation(file, monkeypatch):
    revision = read(file).revision

    def die() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        at_the_last_moment(patched, die)
        with pytest.raises(KeyboardInterrupt):
            save(file, revision, drawn())
    save(file, revision, drawn())
    assert len(history(file)) == 1


def test_what_a_kill_left_half_written_is_written_over(file):
    (file.parent / ".capture.json.part").write_text('{"half')
    save(file, read(file).revision, drawn())
    assert [path.name for path in file.parent.glob(".*")] == [".annotations"]


def test_a_file_keeps_who_may_read_it(file):
    file.chmod(0o640)
    save(file, read(file).revision, drawn())
    assert file.stat().st_mode & 0o777 == 0o640
    assert (file.parent / ".annotations" / "000000001.json").stat().st_mode & 0o777 == 0o640


def test_numbers_and_names_of_the_rest_of_the_file_stay(file):
    document = content(file.parent) | {"source": "Ünï 手机", "fps": 29.97002997002997}
    file.write_text(json.dumps(document))
    save(file, read(file).revision, drawn())
    assert content(file.parent) == document | {"objects": annotation()["objects"]}
    assert "Ünï 手机" in file.read_text()
