"""All stages in a row, and which of them run again."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from index.predict import open_predictor
from index.store import current_version
from tests.captures import write_capture, write_captures
from trainer.__main__ import main
from trainer.ingest import IngestConfig
from trainer.rebuild import RebuildConfig, Stages, rebuild
from trainer.train import PRESETS

TINY = dataclasses.replace(
    PRESETS["demo"],
    input_size=32,
    projector_width=32,
    predictor_width=16,
    batch_size=8,
    epochs=1,
    warmup_epochs=0,
    max_minutes=None,
    processes=1,
)
CONFIG = RebuildConfig(ingest=IngestConfig(workers=1), train=TINY)


def test_a_stage_runs_when_its_inputs_change_or_its_output_is_gone(tmp_path):
    ran = []
    output = tmp_path / "output"

    def go(inputs):
        return Stages(tmp_path / "run").run("stage", inputs, output, lambda: (ran.append(inputs), output.touch()))

    assert go({"a": 1})
    assert not go({"a": 1})
    assert go({"a": 2})
    output.unlink()
    assert go({"a": 2})
    assert ran == [{"a": 1}, {"a": 2}, {"a": 2}]
    assert "stage" in Stages(tmp_path / "run").summary()


def test_a_stage_that_fails_runs_again(tmp_path):
    output = tmp_path / "output"
    output.touch()

    def fail():
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        Stages(tmp_path).run("stage", {}, output, fail)
    assert Stages(tmp_path).run("stage", {}, output, lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("rebuild")
    write_captures(root / "captures")
    rebuild(root / "captures", root / "run", CONFIG)
    return root


def test_a_rebuild_makes_everything(run):
    predictor = open_predictor(run / "run" / "index")
    assert len(predictor.index) > 40
    assert (run / "run" / "evaluation.json").is_file()
    assert set(Stages(run / "run").done) == {"ingest", "train", "export", "build", "evaluate"}


def test_an_unchanged_rebuild_does_nothing(run):
    before = current_version(run / "run" / "index")
    rebuild(run / "captures", run / "run", CONFIG)
    assert current_version(run / "run" / "index") == before


def test_a_new_capture_is_indexed_without_training(run):
    encoder = (run / "run" / "encoder" / "encoder.json").read_bytes()
    write_capture(run / "captures" / "new", object_id="new-thing", category="novelty", split="train", seed=77)
    rebuild(run / "captures", run / "run", CONFIG)
    assert "novelty" in open_predictor(run / "run" / "index").index.categories
    assert (run / "run" / "encoder" / "encoder.json").read_bytes() == encoder
    shutil.rmtree(run / "captures" / "new")
    rebuild(run / "captures", run / "run", CONFIG)
    assert "novelty" not in open_predictor(run / "run" / "index").index.categories


def test_another_config_trains_again_and_keeps_the_old_training(run):
    encoder = (run / "run" / "encoder" / "encoder.json").read_bytes()
    rebuild(run / "captures", run / "run", dataclasses.replace(CONFIG, train=dataclasses.replace(TINY, seed=5)))
    assert (run / "run" / "encoder" / "encoder.json").read_bytes() != encoder
    assert len(list((run / "run").glob("training-until-*"))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rebuild", "nowhere", "RUN"], "nowhere"),
        (["train", "nowhere", "RUN", "--preset", "huge"], "preset"),
        (["train", "nowhere", "RUN", "--loss", "hope"], "loss"),
        (["build", "nowhere", "nowhere", "RUN"], "nowhere"),
        (["export", "nowhere", "RUN"], "nowhere"),
    ],
)
def test_errors_name_what_is_wrong_and_exit_with_one(arguments, words, tmp_path, capsys):
    assert main([str(tmp_path / a) if a in ("nowhere", "RUN") else a for a in arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
