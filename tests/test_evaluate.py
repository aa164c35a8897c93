"""The evaluation: its figures against slow definitions, its table, and the sample request."""

from __future__ import annotations

import json

import numpy as np
import pytest

from index.iou import iou_3d
from index.predict import DEFAULT_K, open_predictor
from index.schema import InvalidValueError
from trainer.baselines import RawPixels
from trainer.evaluate import EvaluateConfig, evaluate, table
from trainer.frames import Frames
from trainer.inference import embed_frames, predict_frame
from trainer.picture import answer_sheet, draw_box, typical_rows
from trainer.sample import compare, curl_command, write_sample, write_samples


@pytest.fixture(scope="module")
def evaluation(small_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "evaluation.json"
    return evaluate(small_run.frames, small_run.encoder, small_run.index, out)


def rows_of(evaluation):
    return {row["name"]: row for row in json.loads(evaluation.read_text())["rows"]}


def test_figures_are_what_the_predictions_give(small_run, evaluation):
    frames = Frames.open(small_run.frames)
    queries = frames.select(frames.split == "test")
    predictor = open_predictor(small_run.index)
    hits, right = {}, {}
    for i in range(len(queries)):
        truth, prediction = queries.frame(i), predict_frame(predictor, queries, i)
        iou = iou_3d(prediction.fit.box.corners[None], truth.box.corners[None])[0]
        hits.setdefault(truth.category, []).append(iou > 0.5)
        right.setdefault(truth.category, []).append(prediction.neighbours[0].frame.category == truth.category)
    row = rows_of(evaluation)["trained encoder"]
    assert row["iou_service"]["value"] == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
    assert row["category"]["value"] == pytest.approx(np.mean([np.mean(r) for r in right.values()]))
    assert row["iou_by_category"] == pytest.approx({c: np.mean(h) for c, h in hits.items()})


def test_rows_and_their_order_make_sense(evaluation):
    rows = rows_of(evaluation)
    assert list(rows) == [
        "random box",
        "random in-category box",
        "raw 16x16 pixels",
        "random network",
        "trained encoder",
    ]
    assert rows["random box"]["iou_paper"]["value"] < rows["random in-category box"]["iou_paper"]["value"]
    assert rows["random box"]["category"] is None
    # Colours belong to the object here, so that even raw pixels find its other video.
    assert rows["raw 16x16 pixels"]["reid_other_video"]["value"] > 0.6
    for row in rows.values():
        for figure in ("iou_paper", "category", "reid_other_video"):
            if row[figure]:
                assert row[figure]["low"] <= row[figure]["value"] <= row[figure]["high"]


def test_the_table_shows_every_row(evaluation):
    text = table(evaluation)
    for name in rows_of(evaluation):
        assert name in text
    assert f"k = {DEFAULT_K}" in text


def test_the_open_set_trial_is_reported(evaluation):
    trials = json.loads(evaluation.read_text())["open_set"]
    assert list(trials) == ["1", "3"]  # no video has ten frames
    for shares in trials.values():
        assert 0 <= shares["accepts"] <= shares["right"] <= 1
        assert 0 <= shares["false_accepts"] <= 1
    assert " 3 frames of an object: the best match is right in " in table(evaluation)


def test_fewer_queries_are_spread_evenly(small_run, tmp_path):
    config = EvaluateConfig(queries=6)
    out = evaluate(small_run.frames, small_run.encoder, small_run.index, tmp_path / "e.json", config)
    content = json.loads(out.read_text())
    assert (content["queries"], content["query_sequences"]) == (6, 6)


def test_without_a_test_split_there_is_nothing_to_evaluate(small_run, tmp_path, monkeypatch):
    whole = Frames.open(small_run.frames)
    monkeypatch.setattr(Frames, "open", lambda path: whole.select(whole.split == "train"))
    with pytest.raises(InvalidValueError, match="test split"):
        evaluate(small_run.frames, small_run.encoder, small_run.index, tmp_path / "e.json")


def test_raw_pixels_are_an_encoder(small_run):
    frames = Frames.open(small_run.frames)
    vectors = embed_frames(RawPixels(), frames)
    assert vectors.shape == (len(frames), 768)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert RawPixels().embed(np.empty((0, 64, 64, 3), np.uint8)).shape == (0, 768)


def test_the_sample_is_a_request_with_its_truth(small_run, tmp_path):
    sample = write_sample(small_run.frames, small_run.index, tmp_path / "sample")
    fields = json.loads((sample / "fields.json").read_text())
    assert set(fields) == {"camera", "plane", "rect"}
    truth = json.loads((sample / "truth.json").read_text())
    frames = Frames.open(small_run.frames)
    row = int(np.flatnonzero([frames.frame(i).id == truth["frame"] for i in range(len(frames))])[0])
    box = frames.frame(row).box
    answer = {"rotation": box.rotation.tolist(), "center": box.center.tolist(), "size": box.size.tolist()}
    iou, picture = compare(sample, {"objects": [{"box": answer}]})
    assert iou == pytest.approx(1)
    assert picture.is_file()
    assert compare(sample, {"objects": [{"box": None}]})[0] == 0
    assert "-F rect='[" in curl_command(sample, "http://127.0.0.1:8000")


def test_boxes_are_drawn_where_they_project(small_run):
    frames = Frames.open(small_run.frames)
    frame, image = frames.frame(0), frames.image(0)
    camera, _ = frame.view.posed()
    drawn = draw_box(image, frame.box, camera, (255, 0, 255))
    changed = np.argwhere((drawn != image).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0) + 1
    assert np.allclose((left, top, right, bottom), frame.view.rect, atol=3)


def test_an_answer_sheet_has_a_tile_a_query(small_run):
    frames = Frames.open(small_run.frames)
    rows = typical_rows(frames)
    assert sorted(frames.category[rows]) == ["carton", "plank", "tower"]
    sheet = answer_sheet(open_predictor(small_run.index), frames, rows, columns=2)
    height, width = frames.image(0).shape[:2]
    assert sheet.shape == (2 * height, 2 * (width + height), 3)
    assert sheet[height:, width + height :].max() == 0  # three tiles leave the fourth place empty
    assert sheet[:height].std() > 10


def test_samples_are_one_test_frame_of_every_category(small_run, tmp_path):
    frames = Frames.open(small_run.frames)
    tests = frames.select(frames.split == "test")
    folders = sorted(write_samples(small_run.frames, tmp_path / "samples").iterdir())
    assert [folder.name for folder in folders] == sorted(set(tests.category.tolist()))
    jpegs = {tests.jpeg(row) for row in range(len(tests))}
    for folder in folders:
        assert (folder / "image.jpg").read_bytes() in jpegs
        assert json.loads((folder / "truth.json").read_text())["category"] == folder.name
        assert json.loads((folder / "fields.json").read_text()).keys() == {"camera", "plane", "rect"}
