"""The recipe of the encoder that ships: what a file may say, and that the stages make what they promise."""

from __future__ import annotations

import csv
import dataclasses
import shutil

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from index.backbone import build_embedder
from index.encoder import WEIGHTS, Spec, open_encoder
from index.identity_map import read_identity_map
from index.schema import CorruptArtifactError, ForeignArtifactError, InvalidValueError
from tests.views import scenes
from trainer import pretrain as stage
from trainer.__main__ import main
from trainer.config import PRESETS, TrainConfig, read_config
from trainer.demo import DemoConfig
from trainer.demo.crops import CropsConfig
from trainer.export import export_pretrained
from trainer.frames import Frames
from trainer.identity import IdentityConfig
from trainer.pretrain import RECIPE, Finish, Recipe, pretrain
from trainer.rebuild import Stages
from trainer.whiten import HeadConfig

TINY = """
[crops]
objects = 4
valid = 1
frames = 4
places = 1
size = 32
workers = 1

[train]
architecture = "resnet18_half"
input_size = 32
loss = "pose_identity"
pairs = "mixed"
window = "own"
projector_width = 16
batch_size = 4
epochs = 1
warmup_epochs = 0
workers = 0

[head]
layers = { layer3 = { weight = 0.5, grid = 2 }, layer4 = 1.0 }
dimension = 8

[[rounds]]

[[rounds]]
crops = { seed = 7 }
train = { lr = 0.001 }
"""


LAYERS = {"layer3": {"weight": 0.5, "grid": 2}, "layer4": 1.0}  # of TINY

FINISH_TABLE = """
[finish]
crops = { seed = 9 }
identity = { dimension = 2, steps = 3 }
"""


def recipe(folder, text):
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_its_tables(tmp_path):
    read = Recipe.read(recipe(tmp_path, TINY))
    first, second = read.rounds
    assert first.crops == CropsConfig(objects=4, valid=1, frames=4, places=1, size=32, workers=1)
    assert first.train.loss == "pose_identity"
    assert first.train.lr == TrainConfig().lr
    assert second.crops == dataclasses.replace(first.crops, seed=7)
    assert second.train == dataclasses.replace(first.train, lr=0.001)
    assert read.head == HeadConfig(LAYERS, dimension=8)
    assert read.finish is None
    assert Recipe.read(recipe(tmp_path, "")) == Recipe()
    told = Recipe.read(recipe(tmp_path, TINY + FINISH_TABLE)).finish
    assert told == Finish(dataclasses.replace(first.crops, seed=9), IdentityConfig(dimension=2, steps=3))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tools]\nhammer = 1", "tools.*crops, train, head"),
        ("[[rounds]]\nhead = 1", r"recipe\.rounds\.1.*head.*crops, train"),
        ("[[rounds]]\n[[rounds]]\ntrain = { rate = 1 }", r"recipe\.rounds\.2\.train.*rate.*lr"),
        ("rounds = []", r"recipe\.rounds.*one"),
        ("rounds = [3]", r"recipe\.rounds\.1.*3.*table"),
        ("[crops]\nobject = 1", r"recipe\.crops.*object.*objects"),
        ("[train]\nlearning_rate = 1", r"recipe\.train.*learning_rate.*lr"),
        ("[head]\nwidth = 1", r"recipe\.head.*width.*dimension"),
        ("crops = 3", r"recipe\.crops.*3.*table"),
        ("[crops]\nobjects = 'many'", r"recipe\.crops.*many"),
        ("[head]\nlayers = 3", r"recipe\.head.*3"),
        ("[head]\nlayers = { layer3 = { weight = 1, grid = 0 } }", r"head\.layers.*0"),
        ("[crops]\nobjects = 0", r"crops\.objects.*0"),
        ("[train]\npairs = 'far'", "pairs.*far"),
        ("[head]\npower = 2", r"head\.power.*2"),
        ("[head]\npose_steps = -1", r"head\.pose_steps.*-1"),
        ("[head]\npose_steps = 1\ncomponents = 8", r"head\.components.*8.*384"),
        ("[finish]\nhead = 1", r"recipe\.finish.*head.*crops, identity"),
        ("[finish]\nidentity = { rate = 1 }", r"recipe\.finish\.identity.*rate.*steps"),
        ("[finish]\ncrops = { objects = 0 }", r"crops\.objects.*0"),
    ],
)
def test_what_a_recipe_may_not_say_is_named(tmp_path, text, words):
    with pytest.raises(InvalidValueError, match=words):
        Recipe.read(recipe(tmp_path, text))


def test_a_file_that_is_no_recipe_is_named(tmp_path):
    for path in (recipe(tmp_path, "[crops"), tmp_path / "nowhere.toml"):
        with pytest.raises(CorruptArtifactError) as caught:
            Recipe.read(path)
        assert caught.value.path == path


def test_the_shipped_recipe_can_be_followed():
    shipped = Recipe.read(RECIPE)
    seeds = [each.crops.seed for each in (*shipped.rounds, shipped.finish)]
    assert len({DemoConfig().seed, *seeds}) == 1 + len(seeds)  # no object of the demo or of another round is in a set
    for each in shipped.rounds:
        assert each.train.architecture == PRESETS["continue"].architecture
        assert each.train.input_size == PRESETS["continue"].input_size
        assert each.train.batch_size % each.train.processes == 0
    described = {"layers": shipped.head.layers, "dimension": shipped.head.dimension}
    architecture = shipped.rounds[-1].train.architecture
    assert build_embedder(architecture, {}, described).num_features == shipped.head.dimension


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, by the command."""
    root = tmp_path_factory.mktemp("pretrain")
    assert main(["pretrain", "--run", str(root / "run"), "--recipe", str(recipe(root, TINY))]) == 0
    return root / "run"


def test_every_round_leaves_frames_training_and_encoder(run):
    assert len(Stages(run).done) == 6
    for folder in (run / "round-1", run / "round-2"):
        assert len(Frames.open(folder / "frames")) == 16
        assert read_config(folder / "training").loss == "pose_identity"
        spec = Spec.read(folder / "encoder")
        assert spec.head == {"layers": LAYERS, "dimension": 3}  # 12 frames, 4 a dimension
        assert (spec.dimension, spec.training["epochs"]) == (3, 1)
    assert {path.name for path in (run / "release").iterdir()} == {"encoder.json", "weights.safetensors"}


def test_a_round_draws_objects_of_its_own_and_starts_from_the_weights_before(run):
    first, second = (run / f"round-{number}" for number in (1, 2))
    assert Frames.open(first / "frames").jpeg(0) != Frames.open(second / "frames").jpeg(0)
    before, after = (load_file(folder / "encoder" / WEIGHTS) for folder in (first, second))
    kernels = [weights["backbone.conv1.0.weight"].float().flatten() for weights in (before, after)]
    # Three small steps cannot lead far from the weights, nor noise anywhere near them.
    assert not torch.equal(*kernels)
    assert torch.nn.functional.cosine_similarity(*kernels, dim=0) > 0.99


def test_what_it_releases_is_its_encoder(run, tmp_path):
    crops = scenes(5, 32)
    vectors = open_encoder(export_pretrained(tmp_path / "encoder", run / "release"), "openvino").embed(crops)
    np.testing.assert_allclose(vectors, open_encoder(run / "round-2" / "encoder", "openvino").embed(crops), atol=1e-5)


def test_head_and_identity_map_are_fitted_to_objects_of_their_own(run, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.identity._LEAST_TRACKS", 2)
    planned = Recipe.read(
        recipe(tmp_path, TINY.replace("dimension = 8", "dimension = 8\npose_steps = 2") + FINISH_TABLE)
    )
    again = shutil.copytree(run, tmp_path / "run")
    encoder = pretrain(again, planned)
    assert encoder == again / "encoder"
    assert Spec.read(again / "round-2" / "encoder").head == {}
    assert (Spec.read(encoder).dimension, Spec.read(encoder).training["pose_steps"]) == (3, 2)
    identity_map = read_identity_map(encoder)
    assert identity_map.shape == (2, 3)
    assert np.array_equal(read_identity_map(export_pretrained(tmp_path / "encoder", again / "release")), identity_map)
    networks = [load_file(folder / "encoder" / WEIGHTS) for folder in (again, again / "round-2")]
    kernels = [
        weights[name] for weights, name in zip(networks, ("backbone.conv1.0.weight", "conv1.0.weight"), strict=True)
    ]
    assert torch.equal(*kernels)  # the network is the last round's
    written = (encoder / "encoder.json").stat().st_mtime_ns
    pretrain(again, planned)
    assert (encoder / "encoder.json").stat().st_mtime_ns == written


def test_curves_have_a_row_an_epoch(run):
    with (run / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert set(rows[0]) == {"epoch", "loss_epoch", "spread", "rank", "category_accuracy"}
    assert all(np.isfinite(float(value)) for value in rows[0].values())
    assert cv2.imread(str(run / "curves.png")).std() > 1


def untouched(run):
    """When every stage's output was written."""
    kept = ("round-1", "round-2", "stages.json")
    return {p: p.stat().st_mtime_ns for name in kept for p in (run / name, *(run / name).rglob("*"))}


def test_a_second_run_does_nothing(run, tmp_path):
    before = untouched(run)
    assert pretrain(run, Recipe.read(recipe(tmp_path, TINY))) == run / "round-2" / "encoder"
    assert untouched(run) == before


def test_another_head_is_fitted_without_training(run, tmp_path):
    again = shutil.copytree(run, tmp_path / "run")
    trainings = again / "round-1" / "training", again / "round-2" / "training"
    before = {p: time for p, time in untouched(again).items() if any(p.is_relative_to(t) for t in trainings)}
    head = HeadConfig({"layer4": 1.0}, dimension=2)
    pretrain(again, dataclasses.replace(Recipe.read(recipe(tmp_path, TINY)), head=head))
    assert Spec.read(again / "release").head == {"layers": {"layer4": 1.0}, "dimension": 2}
    assert before.items() <= untouched(again).items()


def test_another_set_of_crops_needs_another_folder(run, tmp_path):
    read = Recipe.read(recipe(tmp_path, TINY))
    other = dataclasses.replace(read.rounds[0], crops=dataclasses.replace(read.rounds[0].crops, seed=9))
    with pytest.raises(ForeignArtifactError, match=r"crops\.json"):
        pretrain(run, dataclasses.replace(read, rounds=(other,)))


def test_a_gpu_gets_worker_processes_and_a_cpu_keeps_the_recipes(monkeypatch):
    config = TrainConfig(processes=2, workers=0, batch_size=8)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert stage.for_this_machine(config) == config
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("trainer.pretrain.cpu_count", lambda: 6)
    assert stage.for_this_machine(config) == dataclasses.replace(config, processes=1, workers=6)
