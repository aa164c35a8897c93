"""The evaluation: its figures against slow definitions, its table, and the sample request."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.iou import iou_3d
from index.predict import DEFAULT_K, open_predictor
from index.schema import Box, CorruptArtifactError, ForeignArtifactError, InvalidValueError
from index.table import frame_from_row
from trainer.baselines import RawPixels
from trainer.boxes import METHODS, Asked, Boxes, Fitter
from trainer.build import BuildConfig, build
from trainer.evaluate import EvaluateConfig, Evaluation, conditions, evaluate, evaluate_bounds, records_of, table
from trainer.evaluate.pose import Truths, measured
from trainer.evaluate.records import SCHEMA
from trainer.export import export_untrained
from trainer.frames import FRAMES_SCHEMA, Frames
from trainer.inference import embed_frames, predict_frame
from trainer.picture import answer_sheet, draw_box, typical_rows
from trainer.sample import compare, curl_command, write_sample, write_samples


@pytest.fixture(scope="module")
def evaluation(small_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "evaluation.json"
    return evaluate(small_run.frames, small_run.encoder, small_run.index, out)


def rows_of(evaluation):
    return {row.name: row for row in Evaluation.read(evaluation).rows}


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
    pose = row.pose("service")
    assert pose.overall.iou_50.value == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
    assert row.retrieval.category.value == pytest.approx(np.mean([np.mean(r) for r in right.values()]))
    by_category = {category: figures.iou_50.value for category, figures in pose.by_category.items()}
    assert by_category == pytest.approx({c: np.mean(h) for c, h in hits.items()})


def test_rows_and_their_order_make_sense(evaluation):
    rows = rows_of(evaluation)
    assert list(rows) == [
        "random box",
        "random in-category box",
        "raw 16x16 pixels",
        "random network",
        "trained encoder",
    ]
    bounds = [rows[name].pose("paper").overall.iou_50 for name in ("random box", "random in-category box")]
    assert bounds[0].value < bounds[1].value
    assert rows["random box"].retrieval is rows["random box"].cost is None
    # Colours belong to the object here, so that even raw pixels find its other video.
    assert rows["raw 16x16 pixels"].retrieval.other_video.mean_ap.value > 0.6
    for row in rows.values():
        for pose in row.poses:
            for figure in (pose.overall.iou_50, pose.overall.azimuth_deg.median, pose.corrected.ap_iou_50):
                assert figure.low <= figure.value <= figure.high


def test_an_unknown_symmetric_name_is_refused_with_those_there_are(small_run, tmp_path):
    frames = Frames.open(small_run.frames)
    known = sorted(set(frames.category.tolist()))
    config = EvaluateConfig(symmetric=(known[0], frames.object_id[0], "bottel"))
    with pytest.raises(InvalidValueError, match=rf"^symmetric: got 'bottel', must be .*\({', '.join(known)}\)"):
        evaluate(small_run.frames, small_run.encoder, small_run.index, tmp_path / "evaluation.json", config)
    assert list(tmp_path.iterdir()) == []


def test_the_table_shows_every_row(evaluation):
    text = table(evaluation)
    for name in rows_of(evaluation):
        assert name in text
    assert f"k = {DEFAULT_K}" in text


def test_the_open_set_trial_is_reported(evaluation):
    trials = Evaluation.read(evaluation).open_set
    assert [trial.views for trial in trials] == [1, 3]  # no video has ten frames
    for trial in trials:
        assert 0 <= trial.accepts <= trial.right <= 1
        assert 0 <= trial.false_accepts <= 1
    assert " 3 frames of an object: the best match is right in " in table(evaluation)


def test_records_hold_what_the_figures_are_of(evaluation, small_run):
    table = pq.read_table(records_of(evaluation))
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    content = Evaluation.read(evaluation)
    measured = [(row.name, pose) for row in content.rows for pose in row.poses]
    assert len(rows) == content.data.queries * len({(name, pose.method) for name, pose in measured})
    for name, pose in measured:
        part = [r for r in rows if (r["row"], r["method"]) == (name, pose.method)]
        key = "symmetric_iou" if pose.symmetric else "iou"
        ious = {}
        for record in part:
            ious.setdefault(record["category"], []).append(record[key])
        assert pose.overall.mean_iou.value == pytest.approx(np.mean([np.mean(values) for values in ious.values()]))
    frames = Frames.open(small_run.frames)
    own = next(r for r in rows if (r["row"], r["method"]) == ("trained encoder", "service"))
    assert own["query"] in frames.table["id"].to_pylist()
    assert len(own["neighbours"]) == len(own["similarities"]) == min(DEFAULT_K, content.data.references)
    assert own["similarities"] == sorted(own["similarities"], reverse=True)
    box = Box(np.reshape(own["box"]["rotation"], (3, 3)), own["box"]["center"], own["box"]["size"])
    truth = frames.frame(frames.table["id"].to_pylist().index(own["query"])).box
    assert iou_3d(box.corners[None], truth.corners[None])[0] == pytest.approx(own["iou"])


def test_frames_without_boxes_have_no_errors(small_run):
    frames = Frames.open(small_run.frames)
    empty = pa.nulls(len(frames), frames.table.schema.field("box").type)
    table = frames.table.set_column(frames.table.column_names.index("box"), "box", empty)
    truths = Truths.of(Frames(frames.path, table), ("cup",))
    assert len(truths) == 0
    assert not truths.known.any()
    assert [values.shape for values in truths.conditions.values()] == [(0,)] * 3
    answers = {"paper": Boxes(np.full((len(frames), 15), np.nan), np.zeros(len(frames)))}
    assert measured(answers, truths) == []


def test_slices_and_bins_divide_the_queries(evaluation):
    content = Evaluation.read(evaluation)
    row = content.row("trained encoder")
    for by in ("elevation_deg", "truncation", "size"):
        parts = [s for s in row.pose("service").slices if s.by == by]
        assert sum(part.queries for part in parts) == content.data.queries
    for bins in (row.calibration.similarity, row.calibration.confidence):
        assert sum(part.queries for part in bins) == content.data.queries
    assert (row.cost.dimension, row.cost.architecture, row.cost.reference_bytes) == (256, "resnet18_half", 1024)
    assert row.cost.parameters > 2e6


def test_by_default_nothing_is_measured_that_takes_long(evaluation):
    for row in Evaluation.read(evaluation).rows:
        assert row.label_fractions == row.robustness == ()


def test_a_full_evaluation_has_fewer_labels_and_harder_queries(small_run, tmp_path):
    config = EvaluateConfig(queries=9, full=True, draws=2, fractions=(1.0, 0.3))
    out = evaluate(small_run.frames, small_run.encoder, small_run.index, tmp_path / "e.json", config)
    row = Evaluation.read(out).row("trained encoder")
    whole, part = row.label_fractions
    assert (len(whole.draws), len(part.draws)) == (1, 2)
    assert part.sequences < whole.sequences
    assert whole.iou_50_service == row.pose("service").overall.iou_50
    assert part.iou_50_service.value == pytest.approx(np.mean(part.draws))
    kinds = {(error.kind, error.level) for error in row.robustness}
    assert {("none", 0.0), ("rect", 0.1), ("plane_normal", 10.0), ("plane_offset", 0.05), ("focal", 0.02)} <= kinds
    unharmed = next(error for error in row.robustness if error.kind == "none")
    assert unharmed.iou_50_service == row.pose("service").overall.iou_50
    text = table(out)
    assert "30% of the sequences" in text
    assert "rect off by 0.1" in text


def test_what_is_changed_of_a_query_is_what_was_asked_for(small_run):
    frames = Frames.open(small_run.frames)
    tests = frames.select(frames.split == "test")
    for kind, (change, _) in conditions._CHANGES.items():
        changed = conditions._changed(tests, change, 0.1, seed=0).to_pylist()
        views = [frame_from_row(row).view for row in changed]
        pairs = [(tests.frame(i).view, view) for i, view in enumerate(views)]
        same = {
            "rect": all(a.rect == b.rect for a, b in pairs),
            "focal": all(a.camera == b.camera for a, b in pairs),
            "plane": all(
                np.allclose(a.plane.normal, b.plane.normal) and a.plane.offset == b.plane.offset for a, b in pairs
            ),
        }
        assert [name for name, kept in same.items() if not kept] == [kind.split("_")[0]]
    offsets = conditions._changed(tests, conditions._offset_changed, 0.1, seed=0).to_pylist()
    ratios = [np.log(row["plane"]["offset"] / tests.frame(i).view.plane.offset) for i, row in enumerate(offsets)]
    assert np.std(ratios) == pytest.approx(0.1, rel=0.5)


def test_processes_give_what_one_gives(small_run):
    frames = Frames.open(small_run.frames)
    tests, references = frames.select(frames.split == "test"), frames.select(frames.split != "test")
    rows = np.random.default_rng(0).integers(0, len(references), (len(tests), 3))
    asked = Asked(tests.table, rows, np.full(rows.shape, 0.5, np.float32))
    with Fitter(references.table, processes=1) as one, Fitter(references.table, processes=2) as two:
        alone, together = one.answer(asked, "one"), two.answer(asked, "two")
    for method in METHODS:
        np.testing.assert_array_equal(alone[method].values, together[method].values)
        np.testing.assert_array_equal(alone[method].confidence, together[method].confidence)


def test_a_foreign_evaluation_is_refused(evaluation, tmp_path):
    content = json.loads(evaluation.read_text())
    for change, match in (({"version": 2}, "reads nearpose-evaluation 1"), ({"rows": 3}, "rows")):
        (tmp_path / "e.json").write_text(json.dumps(content | change))
        with pytest.raises(ForeignArtifactError, match=match):
            Evaluation.read(tmp_path / "e.json")
    with pytest.raises(CorruptArtifactError, match="nowhere"):
        Evaluation.read(tmp_path / "nowhere.json")


def test_what_is_no_json_is_said_to_be_none(tmp_path):
    (tmp_path / "e.json").write_text("{")
    with pytest.raises(ForeignArtifactError, match="no evaluation of this version: Invalid JSON"):
        Evaluation.read(tmp_path / "e.json")


@pytest.mark.parametrize(
    "change", [{"queries": 0}, {"k": 0}, {"draws": 0}, {"fractions": (0.0,)}, {"processes": 0}], ids=str
)
def test_a_config_that_cannot_be_is_refused(change):
    with pytest.raises(InvalidValueError, match=next(iter(change))):
        EvaluateConfig(**change)


def test_random_boxes_are_those_of_references_that_have_one(small_run, tmp_path):
    frames = tmp_path / "frames"
    shutil.copytree(small_run.frames, frames)
    rows = pq.read_table(frames / "frames.parquet").to_pylist()
    for row in rows:
        if row["split"] != "test" and not row["sequence"].endswith("-0"):
            row["box"] = None
    pq.write_table(pa.Table.from_pylist(rows, FRAMES_SCHEMA), frames / "frames.parquet")
    boxed = {row["id"] for row in rows if row["box"] is not None}
    assert boxed < {row["id"] for row in rows}
    out = evaluate_bounds(frames, tmp_path / "bounds.json", EvaluateConfig())
    drawn = pq.read_table(records_of(out))["neighbours"].to_pylist()
    assert {name for names in drawn for name in names} <= boxed


def test_fewer_queries_are_spread_evenly(small_run, tmp_path):
    config = EvaluateConfig(queries=6)
    out = evaluate(small_run.frames, small_run.encoder, small_run.index, tmp_path / "new" / "e.json", config)
    data = Evaluation.read(out).data
    assert (data.queries, data.query_sequences) == (6, 6)


def test_without_a_test_split_there_is_nothing_to_evaluate(small_run, tmp_path, monkeypatch):
    whole = Frames.open(small_run.frames)
    monkeypatch.setattr(Frames, "open", lambda path: whole.select(whole.split == "train"))
    with pytest.raises(InvalidValueError, match="test split"):
        evaluate(small_run.frames, small_run.encoder, small_run.index, tmp_path / "e.json")


def test_an_index_that_holds_the_queries_is_refused(small_run, tmp_path):
    index = tmp_path / "index"
    build(small_run.frames, small_run.encoder, index, BuildConfig(splits=("train", "test")))
    with pytest.raises(InvalidValueError, match=r"index: got .36 of 36 queries"):
        evaluate(small_run.frames, small_run.encoder, index, tmp_path / "e.json")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_encoder_that_is_not_the_indexs_is_refused(small_run, tmp_path):
    other = export_untrained(small_run.encoder, tmp_path / "other", seed=1)
    with pytest.raises(InvalidValueError, match="encoder"):
        evaluate(small_run.frames, other, small_run.index, tmp_path / "e.json")


def test_it_is_said_whether_the_queries_objects_are_indexed(evaluation, tmp_path):
    assert "indexed frames of other objects;" in table(evaluation)
    content = Evaluation.read(evaluation)
    replace(content, data=replace(content.data, known_objects=5)).write(tmp_path / "e.json")
    assert "among them the objects of 5 test frames" in table(tmp_path / "e.json")


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
