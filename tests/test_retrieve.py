"""Retrieval of classes by nearest frames and videos: against slow definitions, and against published figures."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from index.encoder import open_encoder
from index.schema import InvalidValueError
from tests.real_captures import SHARED
from trainer.__main__ import main
from trainer.baselines import RawPixels
from trainer.frames import Frames
from trainer.retrieve import KS, Clips, pooled_hits, retrieval, retrieve, voted_hits

FEATURES = SHARED / "ucf101" / "features_vgg16" / "vgg16_relu6_meanpool.npz"


def clips(rng, videos: int, frames: int, classes: int, noise: float) -> Clips:
    """Frames around one direction a class."""
    centre = np.random.default_rng(0).normal(size=(classes, 8))
    video = np.repeat(np.arange(videos), frames)
    label = video % classes
    vectors = centre[label] + rng.normal(0, noise, (len(video), 8))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Clips(unit, np.array([f"v_g{v // 2:02}_c{v % 2:02}" for v in video]), np.array([f"class{c}" for c in label]))


def slow_voted_hits(queries: Clips, references: Clips, k: int) -> list[bool]:
    """Section 6.2 word by word; equally frequent classes by the sum of their voters' similarities."""
    result = []
    for video in sorted(set(queries.video.tolist())):
        votes: Counter[str] = Counter()
        closeness: Counter[str] = Counter()
        for frame in np.flatnonzero(queries.video == video):
            similarities = references.vectors @ queries.vectors[frame]
            for row in sorted(range(len(similarities)), key=lambda row: -similarities[row])[:k]:
                votes[references.label[row]] += 1
                closeness[references.label[row]] += float(similarities[row])
        total = sum(votes.values())
        ranked = sorted(votes, key=lambda name: (votes[name] / total, closeness[name]), reverse=True)
        truth = queries.label[np.flatnonzero(queries.video == video)[0]]
        result.append(truth in ranked[:k])
    return result


@pytest.mark.parametrize("k", [1, 3, 7])
def test_votes_are_the_papers(k):
    rng = np.random.default_rng(1)
    queries, references = clips(rng, 14, 5, 6, 1.6), clips(rng, 18, 5, 6, 1.6)
    expected = slow_voted_hits(queries, references, k)
    assert voted_hits(queries, references, k).tolist() == expected
    assert 0 < np.mean(expected) < 1 or k == 7


def test_pooled_hits_are_those_of_mean_vectors():
    rng = np.random.default_rng(2)
    queries, references = clips(rng, 15, 4, 5, 1.8), clips(rng, 15, 4, 5, 1.8)
    expected = []
    for video in np.unique(queries.video):
        query = queries.vectors[queries.video == video].mean(axis=0)
        scores = {}
        for name in np.unique(references.video):
            mean = references.vectors[references.video == name].mean(axis=0)
            scores[name] = query @ mean / np.linalg.norm(mean)
        nearest = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
        truth = queries.label[queries.video == video][0]
        expected.append(truth in [references.label[references.video == name][0] for name in nearest])
    assert pooled_hits(queries, references, 2).tolist() == expected
    assert 0 < np.mean(expected) < 1


def test_separate_classes_are_always_found_and_the_interval_says_so():
    rng = np.random.default_rng(3)
    figures = retrieval(clips(rng, 10, 3, 5, 0.01), clips(rng, 10, 3, 5, 0.01), (1, 5))
    for row in figures.values():
        assert {(e.value, e.low, e.high) for e in row.values()} == {(1.0, 1.0, 1.0)}


def test_the_order_of_videos_and_classes_does_not_matter():
    rng = np.random.default_rng(4)
    queries, references = clips(rng, 12, 4, 6, 1.5), clips(rng, 12, 4, 6, 1.5)
    order = rng.permutation(len(references.video))
    shuffled = Clips(references.vectors[order], references.video[order], references.label[order])
    for hits in (voted_hits, pooled_hits):
        assert hits(queries, references, 3).tolist() == hits(queries, shuffled, 3).tolist()


@pytest.mark.skipif(not FEATURES.is_file(), reason="the features of UCF101 are not there")
def test_mean_pooled_features_of_ucf101_give_the_known_recall():
    stored = np.load(FEATURES)
    vectors = stored["features"].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    video, label = np.arange(len(vectors)).astype(str), stored["label"].astype(str)
    train, test = (
        Clips(vectors[stored["subset"] == s], video[stored["subset"] == s], label[stored["subset"] == s])
        for s in (1, 2)
    )
    figures = retrieval(test, train)["pooled"]
    assert [round(figures[f"R@{k}"].value, 3) for k in KS] == [0.875, 0.933, 0.949, 0.975]


def test_the_command_measures_an_encoder(small_run, tmp_path, capsys):
    out = tmp_path / "new" / "retrieval.json"
    assert main(["retrieve", str(small_run.frames), str(small_run.encoder), "--out", str(out), "-k", "1", "5"]) == 0
    content = json.loads(out.read_text())
    assert content == retrieve(small_run.frames, open_encoder(small_run.encoder), (1, 5))
    frames = Frames.open(small_run.frames)
    assert content["query_videos"] == len(set(frames.sequence[frames.split == "test"]))
    assert list(content["recall"]["voted"]) == ["R@1", "R@5"]
    assert "R@5" in capsys.readouterr().out


def test_no_neighbours_are_refused(small_run, tmp_path, capsys):
    out = tmp_path / "retrieval.json"
    assert main(["retrieve", str(small_run.frames), str(small_run.encoder), "--out", str(out), "-k", "1", "0"]) == 1
    assert "k: got [0], must be at least 1" in capsys.readouterr().err
    assert not out.exists()


def test_without_a_training_split_there_is_nothing_to_retrieve(small_run, monkeypatch):
    whole = Frames.open(small_run.frames)
    monkeypatch.setattr(Frames, "open", lambda path: whole.select(whole.split == "test"))
    with pytest.raises(InvalidValueError, match="train split"):
        retrieve(small_run.frames, RawPixels())
