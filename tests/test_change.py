"""Captures are added to an index and removed from it without a rebuild: real captures, frames, encoder and store."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from index.__main__ import main as look
from index.encoder import open_encoder
from index.schema import ArtifactError, InvalidValueError
from index.store import current_version, open_index, verify_version, versions
from service.live import LiveIndex
from tests.captures import write_capture
from trainer import change
from trainer.__main__ import main
from trainer.build import BuildConfig, build
from trainer.captures import CaptureError
from trainer.change import add, remove, watch
from trainer.ingest import IngestConfig, ingest
from trainer.listing import listing_digest


@dataclass(frozen=True)
class Grown:
    """A copy of the small run that a test may change."""

    root: Path

    @property
    def captures(self) -> Path:
        return self.root / "captures"

    @property
    def index(self) -> Path:
        return self.root / "index"

    def film(self, name: str, object_id: str | None = None, **options) -> Path:
        options = {"category": "novelty", "split": "train", "seed": 77} | options
        return write_capture(self.captures / name, object_id=object_id or f"{name}-thing", **options)

    def rows(self) -> dict[str, np.ndarray]:
        """The vectors by the frames' ids."""
        version = open_index(self.index)
        assert len(set(version.table["id"].to_pylist())) == len(version)
        return dict(zip(version.table["id"].to_pylist(), np.array(version.vectors), strict=True))


def edit(capture: Path, **changes) -> None:
    file = capture / "capture.json"
    document = json.loads(file.read_text())
    document["objects"][0] |= {k: v for k, v in changes.items() if k in ("accepted", "category")}
    document |= {k: v for k, v in changes.items() if k in ("split",)}
    file.write_text(json.dumps(document))


@pytest.fixture
def run(small_run, tmp_path):
    for name in ("captures", "frames", "encoder", "index"):
        shutil.copytree(getattr(small_run, name), tmp_path / name)
    return Grown(tmp_path)


def test_a_capture_is_added_and_nothing_else_changes(run):
    before = run.rows()
    run.film("new")
    made = add(run.captures, run.index)
    assert (made.added, made.frames, made.kept, made.faults) == (("new",), 6, 9, ())
    after = run.rows()
    assert set(after) - set(before) == {f"new_{k:05d}" for k in range(6)}
    assert all(np.array_equal(after[name], vector) for name, vector in before.items())
    assert current_version(run.index) == made.version


def test_what_is_added_is_what_a_rebuild_makes(run):
    run.film("new")
    add(run.captures, run.index)
    grown = open_index(run.index)
    ingest(run.captures, run.root / "frames", IngestConfig(workers=1))
    build(run.root / "frames", run.root / "encoder", run.index)
    rebuilt = open_index(run.index)
    assert rebuilt.version != grown.version
    assert set(grown.history.sources.items()) == set(rebuilt.history.sources.items())
    order = [grown.row_of(name) for name in rebuilt.table["id"].to_pylist()]
    assert np.allclose(np.array(grown.vectors)[order], rebuilt.vectors, atol=1e-5)
    names = [name for name in rebuilt.table.column_names if not name.startswith("thumbnail")]
    assert grown.table.select(names).take(order).to_pylist() == rebuilt.table.select(names).to_pylist()
    assert [grown.thumbnail(row) for row in order] == [rebuilt.thumbnail(row) for row in range(len(rebuilt))]
    assert add(run.captures, run.index).version is None


def test_new_frames_are_found_and_drawn(run):
    run.film("new")
    add(run.captures, run.index)
    index = open_index(run.index)
    row = index.row_of("new_00003")
    assert index.search(index.vector(row)[None], 1)[1][0, 0] == row
    assert index.frame(row).box is not None
    assert index.thumbnail(row).startswith(b"\xff\xd8")
    old = np.array([not name.startswith("new_") for name in index.table["id"].to_pylist()])
    nearest = np.flatnonzero(old)[(index.vectors[old] @ index.vector(row)).argmax()]
    assert np.array_equal(index.layout[row], index.layout[nearest])


def test_adding_again_changes_nothing_wherever_the_folder_is(run, monkeypatch):
    run.film("new")
    add(run.captures, run.index)
    version = current_version(run.index)
    (run.captures / "new" / "check.jpg").write_bytes(b"what a check leaves")
    monkeypatch.chdir(run.root)
    for captures in (run.captures, Path("captures"), Path("captures/new"), shutil.copytree("captures", "moved")):
        assert add(Path(captures), run.index).version is None
    assert current_version(run.index) == version


def test_a_changed_capture_is_replaced(run):
    before = run.rows()
    edit(run.captures / "carton-1", category="crate")
    made = add(run.captures, run.index)
    assert made.added == ("carton-1",)
    assert run.rows().keys() == before.keys()
    index = open_index(run.index)
    assert index.frame(index.row_of("carton-1_00000")).category == "crate"
    assert index.categories == ("carton", "crate", "plank", "tower")


def test_the_test_split_is_added_only_when_asked_for(run):
    assert "tower-test-0" in add(run.captures, run.index).waiting
    made = add(run.captures, run.index, BuildConfig(splits=("test",)))
    assert len(made.added) == 6
    edit(run.captures / "tower-0", split="test")
    made = add(run.captures, run.index)
    assert made.withdrawn[0] == "tower-0"
    assert "tower-0_00000" not in run.rows()


def test_what_nobody_accepted_waits_and_can_be_withdrawn(run):
    new = run.film("new")
    edit(new, accepted=False)
    assert "new" in add(run.captures, run.index).waiting
    edit(new, accepted=True)
    assert add(run.captures, run.index).added == ("new",)
    edit(new, accepted=False)
    made = add(run.captures, run.index)
    assert (made.added, made.withdrawn) == ((), ("new",))
    assert "new_00000" not in run.rows()


def test_watching_adds_what_is_accepted(run, monkeypatch):
    monkeypatch.setattr(change, "_POLL_S", 0.02)
    new = run.film("new")
    edit(new, accepted=False)
    changes = watch(run.captures, run.index)
    threading.Timer(0.3, edit, [new], {"accepted": True}).start()
    assert next(changes).added == ("new",)
    (new / "capture.json").write_text("not JSON")
    broken = next(changes)
    assert (broken.version, len(broken.faults)) == (None, 1)
    assert "new_00000" in run.rows()
    run.film("newer")
    assert next(changes).added == ("newer",)


def test_watching_waits_for_the_first_capture_but_not_for_the_folder(run, monkeypatch):
    monkeypatch.setattr(change, "_POLL_S", 0.02)
    shutil.rmtree(run.captures)
    with pytest.raises(CaptureError, match="not a folder"):
        next(watch(run.captures, run.index))
    run.captures.mkdir()
    changes = watch(run.captures, run.index)
    waiting = next(changes)
    assert waiting.version is None
    assert "no captures found" in waiting.faults[0]
    run.film("first")
    assert next(changes).added == ("first",)


def test_a_file_that_goes_while_a_folder_is_listed_is_no_fault(tmp_path, monkeypatch):
    for name in ("capture.json", ".capture.json.part"):
        (tmp_path / name).write_text("{}")
    before, stat = listing_digest(tmp_path), Path.stat

    def renamed(path, **options):
        if path.name.endswith(".part"):
            raise FileNotFoundError(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", renamed)
    assert listing_digest(tmp_path) != before


def test_what_is_linked_to_is_listed_as_well(tmp_path):
    (tmp_path / "disk" / "walk").mkdir(parents=True)
    (tmp_path / "captures").mkdir()
    digests = [listing_digest(tmp_path / "captures")]
    (tmp_path / "captures" / "walk").symlink_to(tmp_path / "disk" / "walk")
    for name in ("capture.json", "0.jpg"):
        (tmp_path / "disk" / "walk" / name).write_text(name)
        digests.append(listing_digest(tmp_path / "captures"))
    assert len(set(digests)) == 3
    (tmp_path / "disk" / "walk" / "round").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "captures")
    listing_digest(tmp_path / "captures")  # comes to an end


def test_a_capture_that_cannot_be_read_does_not_keep_others_out(run):
    (run.film("bad") / "capture.json").write_text("{}")
    run.film("good")
    made = add(run.captures, run.index)
    assert made.added == ("good",)
    assert "bad" in made.faults[0]
    with pytest.raises(CaptureError, match="objects: got"):
        add(run.captures / "bad", run.index)


@pytest.mark.parametrize("name", ["plank-2", "plank-2-thing"])
def test_an_object_or_a_capture_is_removed_and_comes_back_when_asked_for(run, name):
    edit_id(run.captures / "plank-2", "plank-2-thing")
    add(run.captures, run.index)
    before = run.rows()
    version, frames = remove(name, run.index)
    assert (current_version(run.index), frames) == (version, 6)
    gone = set(before) - set(run.rows())
    assert gone == {f"plank-2_{k:05d}" for k in range(6)}
    made = add(run.captures, run.index)
    assert (made.version, made.left_out) == (None, ("plank-2",))
    assert add(run.captures / "plank-2", run.index).added == ("plank-2",)
    assert run.rows().keys() == before.keys()
    remove(name, run.index)
    edit(run.captures / "plank-2", category="board")
    assert add(run.captures, run.index).added == ("plank-2",)


def edit_id(capture: Path, name: str) -> None:
    file = capture / "capture.json"
    document = json.loads(file.read_text())
    document["objects"][0]["id"] = name
    file.write_text(json.dumps(document))


def test_what_cannot_be_removed_is_refused(run):
    with pytest.raises(InvalidValueError, match="name: got 'unheard-of', must be an object or a capture"):
        remove("unheard-of", run.index)
    for name in sorted({name.rsplit("_", 1)[0] for name in run.rows()})[1:]:
        remove(name, run.index)
    with pytest.raises(InvalidValueError, match="no index is empty"):
        remove("carton-0", run.index)


def test_calibrations_are_carried_over_and_said_to_be(run, capsys):
    built = current_version(run.index)
    run.film("new")
    add(run.captures, run.index)
    grown = open_index(run.index)
    assert (grown.history.calibrated_in, grown.history.calibrated_frames) == (built, 54)
    assert look(["info", "--index", str(run.index)]) == 0
    told = capsys.readouterr().out
    assert f"carried over:    confidence and known of {built}, which had 54 frames" in told
    assert "captures:        10" in told
    for number in range(4):
        run.film(f"more-{number}", seed=number)
    add(run.captures, run.index)
    history = open_index(run.index).history
    assert (history.calibrated_in, history.calibrated_frames, history.laid_out_in) == (None, 84, built)


@pytest.mark.parametrize("step", ["ingest_sources", "embed_frames", "write_version"])
def test_interrupted_nothing_is_lost_and_it_goes_on(run, monkeypatch, step):
    run.film("new")
    before, version = run.rows(), current_version(run.index)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(change, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            add(run.captures, run.index)
    assert current_version(run.index) == version
    assert run.rows().keys() == before.keys()
    assert add(run.captures, run.index).added == ("new",)
    for name in versions(run.index):
        verify_version(run.index / "versions" / name)


def test_several_at_a_time_lose_nothing_of_each_other(run):
    names = [f"new-{number}" for number in range(3)]
    captures = [run.film(name, seed=number) for number, name in enumerate(names)]
    threads = [threading.Thread(target=add, args=(capture, run.index)) for capture in captures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name.rsplit("_", 1)[0] for name in run.rows()} >= set(names)


def test_a_running_service_switches(run):
    live = LiveIndex(run.index, open_encoder, poll_s=0.01)
    live.refresh()
    encoder = live.snapshot.predictor.encoder
    run.film("new")
    made = add(run.captures, run.index)
    live.refresh()
    assert live.snapshot.index.version == made.version
    assert live.snapshot.predictor.encoder is encoder
    assert "novelty" in live.snapshot.index.categories


def test_an_index_that_does_not_say_where_its_frames_are_from_is_refused(run):
    manifest = run.index / "versions" / current_version(run.index) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"history": None}))
    with pytest.raises(ArtifactError, match="rebuild it once"):
        add(run.captures, run.index)
    assert look(["info", "--index", str(run.index)]) == 0


def test_commands(run, capsys):
    run.film("new")
    paths = [str(run.captures), str(run.index)]
    assert main(["add", *paths]) == 0
    assert "added 6 frames of new" in capsys.readouterr().out
    assert main(["add", *paths]) == 0
    assert "nothing to add" in capsys.readouterr().out
    assert main(["remove", "new-thing", str(run.index)]) == 0
    assert "removed 6 frames of new-thing" in capsys.readouterr().out
    assert main(["remove", "new-thing", str(run.index)]) == 1
    assert "name: got 'new-thing'" in capsys.readouterr().err


def test_a_kind_of_search_and_its_candidates_are_taken_over(run):
    wanted = BuildConfig(kind="ivf-sq", reduce=16, recall=0.9)
    build(run.root / "frames", run.root / "encoder", run.index, wanted)
    before = open_index(run.index)
    run.film("new")
    add(run.captures, run.index)
    grown = open_index(run.index)
    assert (grown.plan.kind, grown.plan.dimension, grown.search_config) == ("ivf-sq", 16, before.search_config)
    assert len(grown) == len(before) + 6
    assert grown.search(grown.vector(grown.row_of("new_00003"))[None], 1)[1][0, 0] == grown.row_of("new_00003")
    remove("new", run.index)
    smaller = open_index(run.index)
    assert smaller.table["id"].to_pylist() == before.table["id"].to_pylist()
    assert smaller.plan.kind == "ivf-sq"
    queries = np.asarray(before.vectors, np.float32)
    assert np.allclose(smaller.search(queries, 5)[0], before.search(queries, 5)[0], atol=1e-3)
