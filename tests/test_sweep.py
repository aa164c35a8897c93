"""Sweeps: which rows, under what budget; rows in processes of their own that fail alone and are not done twice."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from index.encoder import Spec
from index.schema import InvalidValueError
from trainer.__main__ import main
from trainer.baselines import RawPixels
from trainer.evaluate import EvaluateConfig, Evaluation
from trainer.rebuild import Stages
from trainer.report.source import read_source
from trainer.report.write import report
from trainer.retrieve import retrieve
from trainer.sweep.board import DONE, FAILED, Board, Status
from trainer.sweep.job import EVALUATION, Job, make_encoder, run
from trainer.sweep.lines import Line, chosen
from trainer.sweep.plan import SweepConfig, budget, jobs_of
from trainer.sweep.run import PROBLEM, failed, last_line, sweep

TINY = budget("scratch", epochs=1, input_size=32, batch_size=8, projector_width=32, predictor_width=8)


def test_names_groups_and_folders_choose_rows(small_run):
    names = [strategy.name for strategy in chosen(["raw", "table2", "raw", "nearby-px", str(small_run.encoder)])]
    assert names[:2] == ["raw", "nearby-lc"]
    assert names[-2:] == ["nearby-px", "given-encoder"]
    assert len(names) == len(set(names))
    with pytest.raises(InvalidValueError, match="table5"):
        chosen(["nearest"])
    with pytest.raises(InvalidValueError, match="kind"):
        Line("x", "x", "given")


def test_a_budget_is_a_presets_with_another_length():
    epochs = budget("paper", epochs=5)
    assert (epochs.epochs, epochs.warmup_epochs, epochs.max_minutes) == (5, 2, None)
    minutes = budget("scratch", minutes=2, input_size=48)
    assert (minutes.max_minutes, minutes.input_size, minutes.processes) == (2, 48, 1)
    for preset in ("large", "continue"):
        with pytest.raises(InvalidValueError, match="preset"):
            budget(preset)
    with pytest.raises(InvalidValueError, match="epochs"):
        budget("scratch", minutes=1, epochs=1)
    with pytest.raises(InvalidValueError, match="seeds"):
        SweepConfig(tuple(chosen(["raw"])), TINY, seeds=0)


def test_only_what_is_drawn_at_random_has_several_seeds(small_run, tmp_path):
    config = SweepConfig(tuple(chosen(["nearby-lc", "raw", "random"])), TINY, seeds=2)
    rows = [(job.name, job.seed) for _, job in jobs_of(small_run.frames, tmp_path, config)]
    assert rows == [("nearby-lc", 0), ("raw", 0), ("random", 0), ("nearby-lc", 1), ("random", 1)]


def test_a_job_is_read_as_it_was_written(small_run, tmp_path):
    config = SweepConfig(tuple(chosen([str(small_run.encoder)])), TINY)
    ((folder, job),) = jobs_of(small_run.frames, tmp_path, config)
    job.write(folder)
    assert Job.read(folder) == job


def test_rows_learn_from_other_frames_where_they_are_given(small_run, tmp_path):
    own = SweepConfig(tuple(chosen(["nearby-lc"])), TINY)
    other = dataclasses.replace(own, source=_first_tracks(small_run.frames, tmp_path / "unlabelled", 2))
    weights = []
    for name, config in (("own", own), ("other", other)):
        ((folder, job),) = jobs_of(small_run.frames, tmp_path / name, config)
        job.write(folder)
        assert Job.read(folder) == job
        make_encoder(job, folder, Stages(folder))
        weights.append(Spec.read(folder / "encoder").digest)
        assert job.frames == small_run.frames.resolve()  # what it is measured on
    assert weights[0] != weights[1]


def test_rows_learn_anew_where_their_frames_have_changed(small_run, tmp_path):
    frames, config = tmp_path / "frames", SweepConfig(tuple(chosen(["nearby-lc"])), TINY)

    def learnt(out):
        ((folder, job),) = jobs_of(frames, tmp_path / out, config)
        make_encoder(job, folder, Stages(folder))
        return Spec.read(folder / "encoder").digest

    shutil.copytree(small_run.frames, frames)
    before = learnt("sweep")
    shutil.rmtree(frames)
    _first_tracks(small_run.frames, frames, 2)
    assert before != learnt("sweep") == learnt("another")


def test_what_was_measured_of_other_frames_is_not_reported(small_run, tmp_path, monkeypatch):
    frames, out = tmp_path / "frames", tmp_path / "sweep"
    config = SweepConfig(tuple(chosen(["bounds"])), TINY, evaluate=EvaluateConfig(queries=12))
    shutil.copytree(small_run.frames, frames)
    ((folder, job),) = jobs_of(frames, out, config)
    job.write(folder)
    run(folder)
    pq.write_table(pq.read_table(frames / "frames.parquet").slice(1), frames / "frames.parquet")

    def interrupted(*_):
        assert not (folder / EVALUATION).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.sweep.run._Processes.start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(frames, out, config)


def test_a_sweep_that_learns_from_other_frames_is_another_sweep(small_run, tmp_path):
    config = SweepConfig(tuple(chosen(["bounds"])), TINY, evaluate=EvaluateConfig(queries=12))
    sweep(small_run.frames, tmp_path, config)
    with pytest.raises(InvalidValueError, match="source"):
        sweep(small_run.frames, tmp_path, dataclasses.replace(config, source=small_run.frames))


def _first_tracks(frames: Path, out: Path, count: int) -> Path:
    """A copy of ``frames`` with the first ``count`` sequences of its training split alone."""
    shutil.copytree(frames, out)
    table = pq.read_table(out / "frames.parquet")
    train = table.filter(pc.equal(table["split"], "train"))
    names = pc.unique(train["sequence"])[:count]
    pq.write_table(train.filter(pc.is_in(train["sequence"], names)), out / "frames.parquet")
    return out


@pytest.fixture(scope="module")
def swept(small_run, tmp_path_factory):
    """A sweep of three rows of which one cannot work, and its rows' states."""
    root = tmp_path_factory.mktemp("sweep")
    broken = root / "broken"
    broken.mkdir()
    (broken / "encoder.json").write_text("{}")
    config = SweepConfig(tuple(chosen(["raw", "nearby-lc", str(broken)])), TINY, 1, 2, EvaluateConfig(queries=12))
    return small_run.frames, root / "sweep", config, sweep(small_run.frames, root / "sweep", config)


def test_a_row_that_fails_is_reported_and_stops_no_other(swept):
    _, out, _, status = swept
    assert [row.state for row in status.values()] == [DONE, DONE, FAILED]
    assert "encoder.json" in failed(status)["given-broken 0"]
    source = read_source(out)
    assert [entry.name for entry in source.entries] == ["nearby-lc", "raw", "given-broken"]
    assert "encoder.json" in source.entries[-1].problem


def test_rows_learn_what_they_say(swept):
    _, out, _, _ = swept
    spec = Spec.read(out / "rows" / "nearby-lc" / "seed-0" / "encoder")
    assert spec.training["config"]["pairs"] == "nearby"
    assert not spec.head  # pooled features, as in the paper
    (row,) = Evaluation.read(out / "rows" / "nearby-lc" / "seed-0" / EVALUATION).rows
    assert row.name == "Nearby - LC + PX"
    assert row.pose("paper") is not None


def test_finished_rows_are_kept_and_the_others_go_on_where_they_were(swept):
    frames, out, config, _ = swept
    folder = out / "rows" / "nearby-lc" / "seed-0"
    (folder / EVALUATION).unlink()
    kept = [folder / "encoder" / "encoder.json", out / "rows" / "raw" / "seed-0" / EVALUATION]
    before = [path.stat().st_mtime_ns for path in kept]
    again = sweep(frames, out, config)
    assert [row.state for row in again.values()] == [DONE, DONE, FAILED]
    assert again["raw 0"].now == "kept"
    assert (folder / EVALUATION).exists()
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_random_boxes_are_a_row_as_well(small_run, tmp_path):
    config = SweepConfig(tuple(chosen(["bounds"])), TINY, evaluate=EvaluateConfig(queries=12))
    ((folder, job),) = jobs_of(small_run.frames, tmp_path, config)
    job.write(folder)
    run(folder)
    rows = Evaluation.read(folder / EVALUATION).rows
    assert [row.name for row in rows] == ["random box", "random in-category box"]
    assert all(row.pose("paper") for row in rows)
    (tmp_path / "sweep.json").write_text(json.dumps({"frames": str(small_run.frames), "budget": None}))
    content = json.loads(report(tmp_path, tmp_path / "report").with_name("report.json").read_text())
    table1 = next(table for table in content["tables"] if table["id"] == "table1")
    shown = {row["label"]: row["cells"][-1]["value"] for row in table1["rows"] if not row["published"]}
    assert shown == {
        "Random fit": rows[0].pose("paper").overall.iou_50.value,
        "Random in-category fit": rows[1].pose("paper").overall.iou_50.value,
    }


def test_of_frames_without_boxes_classes_are_retrieved(small_run, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "shards").symlink_to(small_run.frames / "shards")
    table = pq.read_table(small_run.frames / "frames.parquet")
    place = table.schema.get_field_index("box")
    blank = table.set_column(place, table.schema.field("box"), pa.nulls(len(table), table.schema.field("box").type))
    pq.write_table(blank, frames / "frames.parquet")
    out, config = tmp_path / "sweep", SweepConfig(tuple(chosen(["random", "raw"])), TINY)
    for folder, job in jobs_of(frames, out, config):
        job.write(folder)
        run(folder)
    (out / "sweep.json").write_text(json.dumps({"frames": str(frames), "budget": dataclasses.asdict(TINY)}))
    content = json.loads(report(out, tmp_path / "report").with_name("report.json").read_text())
    tables = {table["id"]: table for table in content["tables"]}
    assert set(tables) == {"table2", "table4"}  # there is no pose
    cells = {row["label"]: row["cells"] for row in tables["table4"]["rows"]}
    expected = retrieve(frames, RawPixels())["recall"]
    assert [cell["value"] for cell in cells["Raw 16x16 pixels"][:4]] == [e["value"] for e in expected["voted"].values()]
    assert cells["Random embeddings"][4]["value"] is not None
    assert content["failures"] is None


def test_a_row_ends_with_its_sweep():
    child = "import os, sys, time; from trainer.sweep.watch import end_with; end_with(int(sys.argv[1])); time.sleep(60)"
    start = "[sys.executable, '-c', sys.argv[1], str(os.getpid())]"
    parent = f"import os, subprocess, sys; c = subprocess.Popen({start}); print(c.pid, flush=True); c.wait()"
    with subprocess.Popen([sys.executable, "-c", parent, child], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        process.kill()
    deadline = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Whether the process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_sweep_of_another_budget_is_refused(swept):
    frames, out, config, _ = swept
    with pytest.raises(InvalidValueError, match="budget"):
        sweep(frames, out, dataclasses.replace(config, base=dataclasses.replace(TINY, epochs=2)))


def test_the_command_ends_in_the_report_and_says_what_failed(swept, capsys):
    frames, out, _, _ = swept
    broken = out.parent / "broken"
    command = ["sweep", str(frames), str(out), "--strategies", "raw", str(broken), "--epochs", "1"]
    command += ["--input-size", "32", "--batch-size", "8", "--queries", "12"]
    plan = json.loads((out / "sweep.json").read_text())
    plan["budget"] |= {"projector_width": 1024, "predictor_width": 256}  # which the command has no options for
    (out / "sweep.json").write_text(json.dumps(plan))
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "given-broken 0 failed" in captured.err
    assert (out / "report" / "report.html").is_file()
    assert json.loads((out / "report" / "report.json").read_text())["rows"][-1]["problem"]
    assert (out / "rows" / "given-broken" / "seed-0" / PROBLEM).is_file()


def test_the_last_line_of_a_log_is_a_bars_newest_state(tmp_path):
    log = tmp_path / "log.txt"
    assert last_line(log) == ""
    log.write_bytes(b"start\nepoch 0:  1%\repoch 0: 50%\repoch 0: 99%\r\n  \n")
    assert last_line(log) == "epoch 0: 99%"


def test_the_board_tells_changes_and_shows_every_row():
    told = io.StringIO()
    rows = {"a": Status(), "b": Status()}
    with Board(rows, Console(file=told, width=80)) as board:
        board.update()
        rows["a"].begin()
        rows["a"].now = "epoch 1 [50%]"
        board.update()
        board.update()
        rows["a"].end(FAILED, "no encoder")
        rows["b"].end(DONE, "")
    assert told.getvalue().splitlines() == ["a: running", "a: failed no encoder", "b: done"]
    shown = io.StringIO()
    Console(file=shown, width=80).print(board.table())
    assert "2 of 2 rows" in shown.getvalue()
    assert "no encoder" in shown.getvalue()
