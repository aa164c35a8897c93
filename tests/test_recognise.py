"""What an index says of objects: the map that tells them apart, thresholds that keep their promise, open-set trials."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from index.growing import GrowingIndex
from index.identity import Recogniser
from index.identity_map import to_identities
from index.recognition import SHIPPED
from index.schema import InvalidValueError
from index.search import FrameIndex
from index.table import table_from_frames
from tests.scenes import standing_frame
from trainer import recognise
from trainer.evaluate import stage
from trainer.evaluate.subject import Subject, Trial
from trainer.frames import FRAMES_SCHEMA, Frames
from trainer.identity import IdentityConfig, discriminants, fit_identity
from trainer.open_set import enrolments, open_set
from trainer.recognise import Video, as_known, as_stranger, queries, recognitions, videos_of

FRAMES, DIMENSION, NUISANCE = 6, 24, 8


def filmed(objects: int, videos: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of frames, their objects and videos. The first dimensions are the view's, and the largest."""
    rng = np.random.default_rng(seed)
    own = np.repeat(rng.normal(size=(objects, DIMENSION)), videos * FRAMES, axis=0)
    own[:, :NUISANCE] = 3 * rng.normal(size=(len(own), NUISANCE))
    rows = (own + 0.3 * rng.normal(size=own.shape)).astype(np.float32)
    names = np.repeat([f"object-{i}" for i in range(objects)], videos * FRAMES)
    sequence = np.array([f"{name}/{i // FRAMES % videos}" for i, name in enumerate(names)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), names, sequence


def as_frames(names: np.ndarray, sequence: np.ndarray) -> Frames:
    base = standing_frame()
    frames = [dataclasses.replace(base, id=str(i), object_id=str(name)) for i, name in enumerate(names)]
    extra = {
        "sequence": sequence.tolist(),
        "split": ["test"] * len(names),
        "time_s": [0.2 * i for i in range(len(names))],
        "shard": [""] * len(names),
        "offset": [0] * len(names),
        "length": [0] * len(names),
    }
    table = table_from_frames(frames)
    for name, values in extra.items():
        table = table.append_column(FRAMES_SCHEMA.field(name), pa.array(values, FRAMES_SCHEMA.field(name).type))
    return Frames(None, table)


def index_of(vectors: np.ndarray, names: np.ndarray, sequence: np.ndarray) -> FrameIndex:
    return FrameIndex(vectors, as_frames(names, sequence).table)


def found_by_nearest(vectors: np.ndarray, names: np.ndarray, sequence: np.ndarray) -> float:
    """The share of frames whose nearest frame of another video is of their object."""
    similarities = np.where(sequence[:, None] == sequence, -np.inf, vectors @ vectors.T)
    return float((names[similarities.argmax(axis=1)] == names).mean())


@pytest.mark.parametrize("steps", [0, 150])
def test_the_map_tells_objects_apart_that_it_was_not_fitted_to(steps):
    vectors, _, sequence = filmed(80, 1)
    tracks = np.unique(sequence, return_inverse=True)[1]
    identity_map = fit_identity(vectors, tracks, IdentityConfig(dimension=12, steps=steps))
    assert identity_map.shape == (12, DIMENSION)
    assert identity_map.dtype == np.float32
    others, names, videos = filmed(30, 2, seed=1)
    before, after = (found_by_nearest(v, names, videos) for v in (others, to_identities(identity_map, others)))
    assert before < 0.3
    assert after > 0.9


def test_the_same_seed_fits_the_same_map():
    vectors, _, sequence = filmed(60, 1)
    tracks = np.unique(sequence, return_inverse=True)[1]
    first, second = (fit_identity(vectors, tracks, IdentityConfig(steps=5)) for _ in range(2))
    assert np.array_equal(first, second)


def test_discriminants_make_the_scatter_within_tracks_a_sphere():
    vectors, _, sequence = filmed(60, 1)
    tracks = np.unique(sequence, return_inverse=True)[1]
    directions, weights = discriminants(vectors, tracks, 1e-9)
    mapped = vectors @ directions.T
    apart = mapped - np.stack([mapped[tracks == track].mean(axis=0) for track in range(60)])[tracks]
    assert apart.T @ apart / (len(vectors) - 60) == pytest.approx(np.eye(len(directions)), abs=1e-3)
    assert weights.tolist() == sorted(weights, reverse=True)
    assert directions[:8, :NUISANCE] == pytest.approx(0, abs=0.3 * np.abs(directions[:8]).max())


def test_tracks_that_do_not_change_are_refused():
    with pytest.raises(InvalidValueError, match="tracks"):
        discriminants(np.repeat(np.eye(4, dtype=np.float32), 3, axis=0), np.repeat(np.arange(4), 3), 0.3)


@pytest.mark.parametrize("change", [{"dimension": 0}, {"shrinkage": 0.0}, {"views": 1}, {"temperature": 0.0}], ids=str)
def test_a_fit_that_cannot_be_is_refused(change):
    with pytest.raises(InvalidValueError, match="identity"):
        IdentityConfig(**change)


def test_queries_are_spread_over_their_video():
    videos = videos_of(index_of(*filmed(4, 2)), filmed(4, 2)[2])
    assert [len(video.rows) for video in videos] == [FRAMES] * 8
    for query in queries(videos, 3, 10**9):
        assert set(query.rows) <= set(query.video.rows)
        assert np.diff(query.rows).tolist() == [2, 2]
    assert not list(queries(videos, FRAMES + 1, 10**9))


def test_of_more_videos_than_queries_some_of_all_categories_are_asked():
    names = [f"bike-{k:02d}" for k in range(30)] + [f"shoe-{k:02d}" for k in range(30)]
    videos = [Video(np.arange(4 * k, 4 * k + 4), name) for k, name in enumerate(names)]
    asked = [query.video.object_id[:4] for query in queries(videos, 2, 20)]
    assert (asked.count("bike"), asked.count("shoe")) == (10, 10)


def test_strangers_that_objects_are_told_from_are_of_all_categories(monkeypatch):
    strangers = [(float(k), 0.0) for k in range(1000)]
    told = []
    monkeypatch.setattr(recognise, "as_known", lambda *_: ((0.0, 0.0), True))
    monkeypatch.setattr(recognise, "calibrate", lambda signs, right: told.append(signs[~right][:, 0]))
    videos = [Video(np.arange(4), f"object-{k // 2:02d}") for k in range(40)]
    recognise._own_calibration(None, videos, 1, strangers)
    assert (told[0].min(), told[0].max(), len(told[0])) == (0, 999, 160)


def test_a_query_is_not_answered_by_what_it_is_told_to_leave_out():
    vectors, names, sequence = filmed(30, 2)
    recogniser = Recogniser(index_of(vectors, names, sequence))
    for query in queries(videos_of(recogniser.index, sequence), 1, 40):
        alone = FrameIndex.from_frames(*_without(vectors, names, names != query.video.object_id))
        stranger = Recogniser(alone).evidence(vectors[query.rows])
        assert as_stranger(recogniser, query) == pytest.approx((stranger.scores[0], stranger.rival(0)))
        known = Recogniser(FrameIndex.from_frames(*_without(vectors, names, sequence != sequence[query.rows[0]])))
        evidence = known.evidence(vectors[query.rows])
        signs, right = as_known(recogniser, query)
        assert signs == pytest.approx((evidence.scores[0], evidence.rival(0)))
        assert right == (evidence.objects[0] == query.video.object_id)


def _without(vectors: np.ndarray, names: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, list]:
    base = standing_frame()
    rows = np.flatnonzero(kept)
    return vectors[rows], [dataclasses.replace(base, id=str(row), object_id=str(names[row])) for row in rows]


@pytest.mark.parametrize("videos", [1, 2])
def test_thresholds_let_the_wanted_share_of_strangers_pass(videos):
    vectors, names, sequence = filmed(150, videos)
    index = index_of(vectors, names, sequence)
    index.recognition = recognitions(index, sequence, 0.1)
    assert [r.views for r in index.recognition] == [r.views for r in SHIPPED]
    own = index.recognition[0].calibration != SHIPPED[0].calibration
    assert own == (videos > 1)  # objects that were filmed once tell nothing of being seen again
    assert index.recognition[2] == SHIPPED[2]  # no video has ten frames
    strangers = filmed(300, 1, seed=5)[0][::FRAMES]
    recogniser = Recogniser(index)
    passed = np.mean([recogniser.matches(row[None], 1)[0].known for row in strangers])
    assert 0.03 < passed < 0.2


def test_few_objects_take_what_ships_and_one_takes_nothing():
    vectors, names, sequence = filmed(5, 2)
    assert recognitions(index_of(vectors, names, sequence), sequence, 0.05) == SHIPPED
    vectors, names, sequence = filmed(1, 2)
    assert recognitions(index_of(vectors, names, sequence), sequence, 0.05) == ()


def test_every_object_is_a_stranger_in_one_trial_and_known_in_another():
    vectors, names, sequence = filmed(10, 2, seed=2)
    tested = as_frames(names, sequence)
    masks = list(enrolments(tested))
    assert len(masks) == 4
    assert {int(mask.sum()) for mask in masks} == {5 * FRAMES}
    assert np.sum(masks, axis=0).tolist() == [1] * len(names)
    index = index_of(*filmed(60, 1))
    index.recognition = SHIPPED
    answers = open_set(index, vectors, tested, 3)
    assert len(answers.indexed) == 4 * (5 * 2 + 5 * 4)  # two queries a video: one of the known, both of the strangers
    assert answers.indexed.mean() == pytest.approx(1 / 3)
    assert answers.accepts() <= answers.right[answers.indexed].mean()
    assert answers.accepts_at(0.1) >= answers.accepts_at(0.01)
    assert open_set(index, *_filmed_once(), 1) is None


def test_a_trial_has_a_bound_and_indexes_whole_videos_however_few_frames_are_asked(monkeypatch):
    vectors, names, sequence = filmed(10, 2, seed=2)
    trial, index = Trial.of(split_in_two(as_frames(names, sequence)), 20), index_of(*filmed(60, 1))
    index.recognition = SHIPPED[:1]
    subject = Subject("", "encoder", None, index, trial, vectors)
    indexed, append = [], GrowingIndex.append
    monkeypatch.setattr(GrowingIndex, "append", lambda self, *rows: (indexed.append(len(rows[0])), append(self, *rows)))
    answers = []
    monkeypatch.setattr(stage, "open_set", lambda *told: answers.append(open_set(*told)) or answers[-1])
    assert [part.views for part in stage._known(subject, 20)] == [1]
    assert indexed == [5 * FRAMES] * 4
    assert len(answers[0].indexed) == 4 * 20


def split_in_two(tested: Frames) -> Frames:
    """The frames as the test split, and one more as the other."""
    table = pa.concat_tables([tested.table, tested.table.slice(0, 1)])
    splits = pa.array(["test"] * len(tested) + ["train"])
    return Frames(tested.path, table.set_column(table.schema.get_field_index("split"), table.field("split"), splits))


def _filmed_once() -> tuple[np.ndarray, Frames]:
    vectors, names, sequence = filmed(10, 1)
    return vectors, as_frames(names, sequence)
