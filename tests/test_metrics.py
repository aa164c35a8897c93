"""Figures of boxes against Objectron's own evaluator, of rankings and intervals against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, precision_recall_curve

from index.iou import iou_3d
from index.schema import box_corners
from tests.scenes import CAMERA_FROM_OBJECTRON, DATA, rotation_about
from trainer.metrics import (
    Gallery,
    Sampled,
    Things,
    average_precisions,
    category_mean,
    detection,
    errors_between,
    rankings,
    turned_to_best,
)
from trainer.metrics import objectron as official
from trainer.metrics.objectron import average_precision, matched
from trainer.metrics.retrieval import RECALLS, relevant_ranks


@pytest.fixture(scope="module")
def oracle():
    return np.load(DATA / "metrics.npz")


def test_errors_of_pairs_are_the_official_ones(oracle):
    predicted, true = oracle["pred_3d"], oracle["gt_3d"]
    azimuth, elevation = official.viewpoint_errors(predicted, true)
    np.testing.assert_allclose(azimuth, oracle["azimuth_error"], atol=1e-6)
    np.testing.assert_allclose(elevation, oracle["polar_error"], atol=1e-6)
    np.testing.assert_allclose(official.add(predicted, true), oracle["add"], atol=1e-12)
    np.testing.assert_allclose(official.adds(predicted, true), oracle["adds"], atol=1e-12)


def test_the_error_in_the_picture_is_the_official_one_and_in_pixels(oracle):
    """Through a camera of our own: the oracle's boxes, turned into our frame, seen by both."""
    predicted, true = (oracle[name][:, 1:] @ CAMERA_FROM_OBJECTRON.T for name in ("pred_3d", "gt_3d"))
    ahead = (predicted[..., 2] > 0.05).all(axis=1) & (true[..., 2] > 0.05).all(axis=1)
    cameras = np.tile([400.0, 410, 180, 238, 360, 480], (ahead.sum(), 1))
    errors = errors_between(predicted[ahead], true[ahead], cameras)
    places = [
        np.stack([400 * c[..., 0] / c[..., 2] + 180, 410 * c[..., 1] / c[..., 2] + 238], axis=-1)
        for c in (predicted[ahead], true[ahead])
    ]
    np.testing.assert_allclose(errors.pixels, np.linalg.norm(places[0] - places[1], axis=2).mean(axis=1))
    shares = (places[0] - places[1]) / (360, 480)
    np.testing.assert_allclose(errors.shares, np.linalg.norm(shares, axis=2).mean(axis=1))
    # The official figure is that of corners in shares of the picture's sides, the centre left out.
    apart = oracle["pred_2d"][:, 1:] - oracle["gt_2d"][:, 1:]
    np.testing.assert_allclose(np.linalg.norm(apart, axis=2).mean(axis=1), oracle["error_2d"], atol=1e-12)
    # What camera frame the boxes are in does not matter to them.
    np.testing.assert_allclose(errors.azimuth_deg, oracle["azimuth_error"][ahead], atol=1e-6)
    np.testing.assert_allclose(errors.iou, oracle["iou_official"][ahead], atol=1e-6)


def test_average_precision_in_the_files_order_is_the_official_one(oracle):
    ends = np.cumsum(oracle["ap_num_predictions"])[:-1]
    frames = np.split(oracle["ap_values"], ends)
    hits = np.array([[(part >= level).sum() for part in frames] for level in oracle["ap_thresholds"]])
    misses = oracle["ap_num_predictions"] - hits
    ours = average_precision(hits, misses, np.full(len(hits), oracle["ap_num_instances"].sum()))
    np.testing.assert_allclose(ours, oracle["ap_result"], atol=1e-12)


def test_the_precision_of_draws_is_that_of_repeated_predictions(oracle):
    rng = np.random.default_rng(0)
    hits, column = rng.random(40) < 0.6, rng.permutation(40)
    ends = np.array([3, 4, 11, 20, 33, 40])
    counts = np.concatenate([np.ones((1, 40)), rng.integers(0, 3, (5, 40))]).astype(float)
    found = official._drawn_precisions(counts, column, hits, ends, counts.sum(axis=1))
    weights = counts[:, column]
    parts = [np.add.reduceat(weights * side, np.append(0, ends[:-1]), axis=1) for side in (hits, ~hits)]
    np.testing.assert_allclose(found, average_precision(*parts, counts.sum(axis=1)))


def test_area_under_a_curve_is_the_official_one(oracle):
    for recall, precision, expected in zip(
        oracle["prcurve_recall"], oracle["prcurve_precision"], oracle["prcurve_ap"], strict=True
    ):
        there = ~np.isnan(recall)
        assert official.area_under(recall[there], precision[there]) == pytest.approx(expected, abs=1e-12)


CAMERA = np.array([400.0, 400, 180, 240, 360, 480])


def boxes_at(*centers, sizes=0.1):
    """(n, 8, 3): boxes of one size that stand straight before the camera."""
    n = len(centers)
    return box_corners(np.tile(np.eye(3), (n, 1, 1)), np.array(centers, float), np.full((n, 3), sizes))


def things(corners, pictures):
    return Things(corners, np.tile(CAMERA, (len(corners), 1)), np.array(pictures))


def one_group(n):
    return Sampled(np.full(n, "a"), np.arange(n).astype(str), draws=20)


def test_official_precision_depends_on_the_files_order_and_corrected_on_the_confidence():
    true = boxes_at((0, 0, 1), (0, 0, 1))
    good_first = np.stack([true[0], true[0] + 0.5])
    confidence = np.array([0.9, 0.1])
    figures = {}
    for name, order in (("good first", [0, 1]), ("bad first", [1, 0])):
        for mode in ("official", "corrected"):
            asked = things(true, [0, 1])
            found = detection(good_first[order], asked, confidence[order], one_group(2), mode)
            figures[name, mode] = found.ap_iou_50.value
    assert figures["good first", "official"] == 0.5
    assert figures["bad first", "official"] == 0.25
    assert figures["good first", "corrected"] == figures["bad first", "corrected"] == 0.5


def test_officially_several_predictions_may_be_of_one_thing():
    true = boxes_at((-0.1, 0, 1), (0.1, 0, 1))
    predicted = true[[0, 0]] + 0.001 * np.array([1, 2])[:, None, None]
    both = things(true, [7, 7])
    confidence = np.array([0.4, 0.8])
    assert matched(predicted, both, confidence, "official").tolist() == [0, 0]
    assert matched(predicted, both, confidence, "corrected").tolist() == [1, 0]  # the surer one has the first choice
    found = {mode: detection(predicted, both, confidence, one_group(2), mode) for mode in ("official", "corrected")}
    assert found["official"].ap_iou_50.value == 1
    assert found["corrected"].ap_iou_50.value == 0.5


def test_a_query_without_a_box_is_a_thing_that_is_not_found():
    true = boxes_at((0, 0, 1), (0.1, 0, 1))
    predicted = true.copy()
    predicted[1] = np.nan
    for mode in ("official", "corrected"):
        found = detection(predicted, things(true, [0, 1]), np.array([0.5, 0.0]), one_group(2), mode)
        assert found.ap_iou_50.value == 0.5
        assert found.mean_errors["add_m"] == 0


def test_officially_a_frame_counts_where_a_centre_is_in_it():
    true = boxes_at((0, 0, 1), (0.5, 0, 1))  # the second one's centre is right of the picture
    predicted = np.stack([true[0], true[1] + 0.5])
    asked, confidence = things(true, [0, 1]), np.array([0.5, 0.4])
    assert asked.centred().tolist() == [True, False]
    assert detection(predicted, asked, confidence, one_group(2), "official").ap_iou_50.value == 1
    assert detection(predicted, asked, confidence, one_group(2), "corrected").ap_iou_50.value == 0.5


def test_pixels_are_pixels_in_the_corrected_mode():
    true = boxes_at((0, 0, 1))
    predicted = true + np.array([0.05, 0, 0])  # 20 px to the right at 1 m, and a little more or less at the corners
    found = {m: detection(predicted, things(true, [0]), np.ones(1), one_group(1), m) for m in ("official", "corrected")}
    assert found["corrected"].mean_errors["pixels"] == pytest.approx(20, rel=0.02)
    assert found["official"].mean_errors["pixels"] == pytest.approx(20 / 360, rel=0.02)
    assert found["official"].curves["pixels"].values[1] == 1  # 1 px, it says: any box of the picture passes
    assert found["corrected"].curves["pixels"].values[1] == 0


def test_a_turned_box_is_found_whatever_its_yaw():
    rng = np.random.default_rng(0)
    up = rotation_about("x", 0.4)
    true = box_corners(up[None], np.array([[0, 0, 1.0]]), np.array([[0.1, 0.3, 0.1]]))
    turned = box_corners(
        (up @ rotation_about("y", np.radians(35)))[None], np.array([[0, 0, 1.0]]), np.array([[0.1, 0.3, 0.1]])
    )
    assert iou_3d(turned, true)[0] < 0.8
    assert iou_3d(turned_to_best(turned, true), true)[0] == pytest.approx(1)
    # Never worse, and what is not there stays so.
    several = true[[0] * 4] + rng.normal(0, 0.02, (4, 1, 3))
    several[2] = np.nan
    best = turned_to_best(several, true[[0] * 4])
    there = [0, 1, 3]
    assert (iou_3d(best[there], true[[0] * 3]) >= iou_3d(several[there], true[[0] * 3]) - 1e-12).all()
    assert np.isnan(best[2]).all()


def slow_turned_iou(predicted, true):
    """The published way: the box about its own 3-1 axis through its centre, every 5 degrees."""
    best, center = 0.0, predicted.mean(axis=0)
    axis = predicted[2] - predicted[0]
    axis /= np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    for angle in np.radians(np.arange(0, 360, 5)):
        turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        best = max(best, float(iou_3d(((predicted - center) @ turn.T + center)[None], true[None])[0]))
    return best


def test_turning_is_the_published_search(oracle):
    predicted, true = oracle["pred_3d"][:20, 1:], oracle["gt_3d"][:20, 1:]
    expected = [slow_turned_iou(*pair) for pair in zip(predicted, true, strict=True)]
    np.testing.assert_allclose(iou_3d(turned_to_best(predicted, true), true), expected, atol=1e-9)


def slow_average_precision(similarities, relevant, ignored):
    ranking = sorted((j for j in range(len(similarities)) if not ignored[j]), key=lambda j: -similarities[j])
    found, precisions = 0, []
    for rank, j in enumerate(ranking, start=1):
        if relevant[j]:
            found += 1
            precisions.append(found / rank)
    return sum(precisions) / len(precisions) if precisions else float("nan")


def test_average_precision_is_its_definition():
    rng = np.random.default_rng(0)
    similarities = rng.normal(size=(20, 30)).astype(np.float32)
    relevant, ignored = rng.random((20, 30)) < 0.1, rng.random((20, 30)) < 0.2
    expected = [slow_average_precision(*row) for row in zip(similarities, relevant, ignored, strict=True)]
    assert np.allclose(average_precisions(similarities, relevant, ignored), expected, equal_nan=True)
    assert np.isnan(expected).any()


@pytest.fixture(scope="module")
def gallery():
    """Sixty crops of six objects in two videos each, and one of an object of its own."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(61, 8)).astype(np.float32)
    objects = np.append(rng.integers(0, 6, 60), 6)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Gallery(vectors, objects, objects * 2 + rng.integers(0, 2, 61))


@pytest.mark.parametrize("other_video", [False, True])
def test_rankings_without_a_matrix_are_those_of_the_matrix(gallery, other_video):
    queries = np.append(np.arange(5, 40), 60)
    similarities = gallery.vectors[queries] @ gallery.vectors.T
    relevant = gallery.objects[queries][:, None] == gallery.objects
    ignored = queries[:, None] == np.arange(61)
    if other_video:
        ignored = gallery.sequences[queries][:, None] == gallery.sequences
    found = rankings(queries, gallery, other_video=other_video, threads=2)
    expected = average_precisions(similarities, relevant, ignored)
    np.testing.assert_allclose(found.average_precision, expected)
    assert np.isnan(found.average_precision[-1])
    for row in range(len(queries) - 1):
        kept = ~ignored[row]
        precision, recall, _ = precision_recall_curve(relevant[row][kept], similarities[row][kept])
        assert found.area[row] == pytest.approx(auc(recall, precision))
        order = np.argsort(-similarities[row][kept], kind="stable")
        assert found.recall_at_1[row] == relevant[row][kept][order[:1]].any()
        assert found.recall_at_5[row] == relevant[row][kept][order[:5]].any()
        best = [precision[recall >= level - 1e-9].max() for level in RECALLS[1:]]
        np.testing.assert_allclose(found.precision[row, 1:], best)


def test_blocks_and_threads_change_nothing(gallery):
    queries = np.arange(61)
    one, other = (
        list(relevant_ranks(queries, gallery, other_video=False, threads=threads, block=block))
        for threads, block in ((1, 64), (3, 7))
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_ties_are_in_the_gallerys_order():
    same = Gallery(np.ones((4, 1), np.float32), np.array([0, 1, 0, 0]), np.arange(4))
    assert [r.tolist() for r in relevant_ranks(np.array([0, 2]), same, other_video=False)] == [[2, 3], [1, 3]]


def test_categories_count_alike_however_many_queries_they_have():
    values = np.array([1.0] * 90 + [0.0] * 10)
    categories = np.array(["a"] * 90 + ["b"] * 10)
    sequences = np.array([f"a{i % 9}" for i in range(90)] + [f"b{i % 2}" for i in range(10)])
    estimate = category_mean(values, categories, sequences)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


def test_the_interval_is_over_sequences_not_frames():
    rng = np.random.default_rng(1)
    per_sequence = (rng.random(30) < 0.5).astype(float)
    sequences = np.repeat(np.arange(30), 100).astype(str)
    estimate = category_mean(np.repeat(per_sequence, 100), np.full(3000, "a"), sequences)
    standard_error = per_sequence.std() / np.sqrt(30)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * standard_error, rel=0.2)


@pytest.mark.parametrize("n", [6, 7])
def test_the_median_is_the_median_and_its_interval_that_of_repeated_rows(n):
    rng = np.random.default_rng(2)
    values, sequences = rng.exponential(size=n), np.arange(n).astype(str)
    sampled = Sampled(np.full(n, "a"), sequences, draws=400)
    estimate = sampled.median(values)
    assert estimate.value == np.median(values)
    drawn = sampled._by_category[0].drawn[1:]
    slow = [np.median(np.repeat(values, counts)) for counts in drawn]
    assert (estimate.low, estimate.high) == tuple(np.quantile(slow, [0.025, 0.975]))


def test_queries_without_a_figure_do_not_count():
    values = np.array([1.0, np.nan, 3.0, np.nan])
    sampled = Sampled(np.array(["a", "a", "a", "b"]), np.array(["1", "1", "2", "3"]))
    assert sampled.mean(values).value == sampled.median(values).value == 2
    assert sampled.mean(np.full(4, np.nan)) is None
