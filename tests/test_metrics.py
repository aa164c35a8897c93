"""Average precision and intervals over sequences, against slow references."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.metrics import average_precisions, category_mean


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
