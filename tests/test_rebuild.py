"""All stages in a row, and which of them run again."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from index.encoder import Spec, open_encoder
from index.identity_map import read_identity_map
from index.predict import open_predictor
from index.store import current_version
from tests.captures import write_capture, write_captures
from tests.views import scenes
from trainer import rebuild as stage
from trainer.__main__ import main
from trainer.config import PRESETS
from trainer.export import export_pretrained, export_random
from trainer.identity import IdentityConfig
from trainer.ingest import IngestConfig
from trainer.pretrained import release
from trainer.rebuild import RebuildConfig, Stages, rebuild

TINY = dataclasses.replace(
    PRESETS["scratch"],
    input_size=32,
    projector_width=32,
    predictor_width=16,
    batch_size=8,
    epochs=1,
    warmup_epochs=0,
    max_minutes=None,
    processes=1,
)
CONFIG = RebuildConfig(ingest=IngestConfig(workers=1), train=TINY, init=None)


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


def test_what_an_interrupted_stage_left_is_not_what_was_there_before(tmp_path):
    output = tmp_path / "output"

    def interrupted():
        output.write_text("half of b")
        raise KeyboardInterrupt

    Stages(tmp_path).run("stage", {"of": "a"}, output, lambda: output.write_text("a"))
    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path).run("stage", {"of": "b"}, output, interrupted)
    assert Stages(tmp_path).done == {}
    assert Stages(tmp_path).summary() == ""
    assert Stages(tmp_path).run("stage", {"of": "a"}, output, lambda: output.write_text("a"))
    assert output.read_text() == "a"


class Learning:
    """Stands for ``train`` and ``export``: says how each training began."""

    def __init__(self, monkeypatch):
        self.ends, self.began, self.exported = True, [], 0
        monkeypatch.setattr(stage, "train", self._train)
        monkeypatch.setattr(stage, "export", self._export)

    def _train(self, _frames, training, config, _init):
        self.began.append("goes on" if training.exists() else "from its start")
        training.mkdir(exist_ok=True)
        (training / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
        if not self.ends:
            raise KeyboardInterrupt

    def _export(self, _training, encoder, *_):
        self.exported += 1
        encoder.mkdir(exist_ok=True)

    def interrupted(self, run, config):
        self.ends = False
        with pytest.raises(KeyboardInterrupt):
            self.finished(run, config)
        self.ends = True

    @staticmethod
    def finished(run, config):
        stage._train_and_export(Stages(run), run, config, config.train)


@pytest.mark.parametrize("repeated", [True, False])
def test_a_repeated_training_that_was_interrupted_goes_on(repeated, tmp_path, monkeypatch):
    learning = Learning(monkeypatch)
    learning.finished(tmp_path, CONFIG)
    learning.interrupted(tmp_path, dataclasses.replace(CONFIG, retrain=True))
    learning.finished(tmp_path, dataclasses.replace(CONFIG, retrain=repeated))
    assert learning.began == ["from its start", "from its start", "goes on"]
    assert learning.exported == 2
    assert len(list(tmp_path.glob("training-until-*"))) == 1


def test_a_training_by_another_config_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    learning, other = Learning(monkeypatch), dataclasses.replace(CONFIG, train=dataclasses.replace(TINY, seed=5))
    learning.finished(tmp_path, CONFIG)
    learning.interrupted(tmp_path, other)
    learning.finished(tmp_path, other)
    assert learning.began == ["from its start", "from its start", "goes on"]
    learning.finished(tmp_path, CONFIG)  # not with what the other left
    assert learning.began[3:] == ["from its start"]


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


def test_enough_videos_give_the_encoder_an_identity_map(run, tmp_path, monkeypatch):
    assert read_identity_map(run / "run" / "encoder") is None  # too few of them to know others by
    monkeypatch.setattr("trainer.identity._LEAST_TRACKS", 5)
    again = shutil.copytree(run / "run", tmp_path / "run")
    config = dataclasses.replace(CONFIG, identity=IdentityConfig(dimension=3))
    rebuild(run / "captures", again, config)
    predictor = open_predictor(again / "index")
    assert predictor.index.identity_map.shape == (3, predictor.encoder.dimension)
    assert predictor.index.identities.shape == (len(predictor.index), 3)
    assert predictor.neighbours_of(0).matches[0].known in (True, False)


def test_another_config_trains_again_and_keeps_the_old_training(run):
    encoder = (run / "run" / "encoder" / "encoder.json").read_bytes()
    rebuild(run / "captures", run / "run", dataclasses.replace(CONFIG, train=dataclasses.replace(TINY, seed=5)))
    assert (run / "run" / "encoder" / "encoder.json").read_bytes() != encoder
    assert len(list((run / "run").glob("training-until-*"))) == 1


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Stands for the weights that ship."""
    out = tmp_path_factory.mktemp("shipped")
    return release(export_random(TINY, out / "encoder", seed=3), out / "pretrained")


def ship(monkeypatch, folder):
    monkeypatch.setattr(stage, "PRETRAINED", folder)
    monkeypatch.setattr(stage, "export_pretrained", lambda out, *_: export_pretrained(out, folder))


@pytest.fixture
def few(tmp_path):
    """Two captures, none of them to test with."""
    for seed in range(2):
        write_capture(
            tmp_path / "captures" / str(seed), object_id=f"box-{seed}", category="box", split="train", seed=seed
        )
    return tmp_path / "captures"


def test_without_a_training_config_the_encoder_is_the_one_that_ships(few, shipped, tmp_path, monkeypatch):
    ship(monkeypatch, shipped)
    run, encoder = tmp_path / "run", tmp_path / "run" / "encoder"
    config = RebuildConfig(ingest=IngestConfig(workers=1))
    rebuild(few, run, config)
    assert set(Stages(run).done) == {"ingest", "export", "build"}
    assert len(open_predictor(run / "index").index) == 12
    crops = scenes(5, 32)
    ours = open_encoder(encoder, "openvino").embed(crops)
    assert (ours * open_encoder(shipped, "torch-cpu").embed(crops)).sum(axis=1).min() > 0.999
    before = (encoder / "encoder.json").stat().st_mtime_ns
    rebuild(few, run, config)
    assert (encoder / "encoder.json").stat().st_mtime_ns == before
    # A newer nearpose ships other weights.
    newer = release(export_random(TINY, tmp_path / "newer", seed=4), tmp_path / "release")
    ship(monkeypatch, newer)
    rebuild(few, run, config)
    assert Spec.read(encoder).files["weights.safetensors"] == Spec.read(newer).files["weights.safetensors"]
    assert open_predictor(run / "index")


def test_training_continues_from_the_given_encoder(few, shipped, tmp_path):
    config = dataclasses.replace(CONFIG, train=dataclasses.replace(TINY, lr=1e-9, weight_decay=0.0), init=shipped)
    rebuild(few, tmp_path / "run", config)
    weights, first = (load_file(f / "weights.safetensors") for f in (tmp_path / "run" / "encoder", shipped))
    assert Spec.read(tmp_path / "run" / "encoder").head["layers"] == CONFIG.head.layers
    for name in ("conv1.0.weight", "layer4.1.conv2.weight"):
        torch.testing.assert_close(weights[f"backbone.{name}"], first[name], rtol=1e-3, atol=1e-6)
    rebuild(few, tmp_path / "run", dataclasses.replace(config, init=None))
    assert len(list((tmp_path / "run").glob("training-until-*"))) == 1
    other = load_file(tmp_path / "run" / "encoder" / "weights.safetensors")
    assert (other["backbone.conv1.0.weight"] != weights["backbone.conv1.0.weight"]).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rebuild", "nowhere", "RUN"], "nowhere"),
        (["train", "nowhere", "RUN", "--preset", "huge"], "preset"),
        (["train", "nowhere", "RUN", "--preset", "pretrained"], "preset"),
        (["train", "nowhere", "RUN", "--loss", "hope"], "loss"),
        (["rebuild", "nowhere", "RUN", "--epochs", "3"], "epochs"),
        (["rebuild", "nowhere", "RUN", "--retrain"], "retrain"),
        (["rebuild", "nowhere", "RUN", "--preset", "huge"], "preset"),
        (["pretrain", "--run", "RUN", "--recipe", "nowhere"], "nowhere"),
        (["build", "nowhere", "nowhere", "RUN"], "nowhere"),
        (["export", "nowhere", "RUN"], "nowhere"),
    ],
)
def test_errors_name_what_is_wrong_and_exit_with_one(arguments, words, tmp_path, capsys):
    assert main([str(tmp_path / a) if a in ("nowhere", "RUN") else a for a in arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
