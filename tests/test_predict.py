"""From a picture to neighbours, matches and a box, with a real encoder and a real index."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from index.encoder import open_encoder
from index.iou import iou_3d
from index.predict import Predictor, open_predictor
from index.schema import EncoderMismatchError, InvalidValueError, Plane, RayMissesPlaneError, View
from index.store import open_index
from trainer.frames import Frames


@pytest.fixture(scope="module")
def predictor(small_run):
    return open_predictor(small_run.index)


@pytest.fixture(scope="module")
def frames(small_run):
    return Frames.open(small_run.frames)


def test_an_indexed_frame_finds_itself(predictor, frames):
    row = int(np.flatnonzero(frames.split == "train")[3])
    truth = frames.frame(row)
    (prediction,), timing = predictor.predict(frames.image(row), [truth.view], k=1)
    assert prediction.neighbours[0].frame.id == truth.id
    assert prediction.neighbours[0].similarity == pytest.approx(1, abs=1e-3)
    assert prediction.category == truth.category
    assert truth.object_id in {match.object_id for match in prediction.matches}
    assert iou_3d(prediction.fit.box.corners[None], truth.box.corners[None])[0] > 0.99
    assert min(dataclasses.astuple(timing)) >= 0


def test_a_crop_answers_as_the_full_picture_does(predictor, frames):
    image, view = frames.image(5), frames.frame(5).view
    x0, y0, x1, y1 = (round(v) for v in view.rect)
    view = View(view.camera, view.plane, (x0, y0, x1, y1))
    (full,), _ = predictor.predict(image, [view])
    (crop,), _ = predictor.predict(image[y0:y1, x0:x1], [view], windows=[(0, 0, x1 - x0, y1 - y0)])
    assert [n.frame.id for n in full.neighbours] == [n.frame.id for n in crop.neighbours]
    assert np.array_equal(full.fit.box.corners, crop.fit.box.corners)


def test_several_views_are_answered_in_order(predictor, frames):
    image, view = frames.image(0), frames.frame(0).view
    other = View(view.camera, view.plane, (0, 0, 40, 40))
    together, _ = predictor.predict(image, [view, other])
    for prediction, single in zip(together, (view, other), strict=True):
        (alone,), _ = predictor.predict(image, [single])
        assert [n.row for n in prediction.neighbours] == [n.row for n in alone.neighbours]


def test_filters_reach_the_search(predictor, frames):
    image, view = frames.image(0), frames.frame(0).view
    (prediction,), _ = predictor.predict(image, [view], category="tower")
    assert {n.frame.category for n in prediction.neighbours} == {"tower"}
    (prediction,), _ = predictor.predict(image, [view], exclude_object=frames.frame(0).object_id)
    assert frames.frame(0).object_id not in {m.object_id for m in prediction.matches}


def test_matches_gather_the_neighbours_by_object(predictor, frames):
    (prediction,), _ = predictor.predict(frames.image(0), [frames.frame(0).view], k=10)
    assert sum(match.frames for match in prediction.matches) == 10
    scores = [match.score for match in prediction.matches]
    assert scores == sorted(scores, reverse=True)
    assert not any(match.known for match in prediction.matches[1:])


def test_pictures_of_one_object_share_their_matches(predictor, frames):
    rows = np.flatnonzero(frames.object_id == frames.object_id[0])[:3]
    views = [frames.frame(int(row)).view for row in rows]
    cameras = [np.eye(4)] * len(rows)
    predictions, timing = predictor.predict_views([frames.image(int(row)) for row in rows], views, cameras)
    assert {prediction.matches for prediction in predictions} == {predictions[0].matches}
    alone = [predictor.predict(frames.image(int(row)), [v])[0][0] for row, v in zip(rows, views, strict=True)]
    scores = [next(m.score for m in p.matches if m.object_id == frames.object_id[0]) for p in alone]
    assert predictions[0].matches[0].score == pytest.approx(np.mean(scores), abs=1e-4)
    assert timing.search_ms > 0


def test_without_camera_and_plane_there_is_no_box_and_no_problem(predictor, frames):
    (prediction,), _ = predictor.predict(frames.image(0), [View(None, None, frames.frame(0).view.rect)])
    assert prediction.fit is None
    assert prediction.problem is None
    assert prediction.neighbours


def test_geometry_that_refuses_is_reported(predictor, frames):
    view = frames.frame(0).view
    ceiling = Plane.from_point([0, 0, 1.0], [0, 0, -1.0])
    (prediction,), _ = predictor.predict(frames.image(0), [View(view.camera, ceiling, view.rect)])
    assert prediction.fit is None
    assert isinstance(prediction.problem, RayMissesPlaneError)


@pytest.mark.parametrize("k", [0, -1, 101])
def test_k_is_bounded(predictor, frames, k):
    with pytest.raises(InvalidValueError, match="k: got"):
        predictor.predict(frames.image(0), [frames.frame(0).view], k)
    with pytest.raises(InvalidValueError, match="k: got"):
        predictor.neighbours_of(0, k)


def test_an_indexed_frame_is_not_its_own_neighbour(predictor):
    prediction = predictor.neighbours_of(4, k=3)
    assert len(prediction.neighbours) == 3
    assert 4 not in {n.row for n in prediction.neighbours}


def test_an_index_refuses_another_encoder(small_run, tmp_path):
    from trainer.config import TrainConfig
    from trainer.export import export_random

    other = export_random(TrainConfig(architecture="resnet18_half", input_size=32), tmp_path / "other", seed=1)
    with pytest.raises(EncoderMismatchError, match=json.loads((other / "encoder.json").read_text())["digest"]):
        Predictor(open_encoder(other), open_index(small_run.index))
