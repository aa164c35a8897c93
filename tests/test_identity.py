"""Matches by object: scores against their definition, what counts as known, and the identity map."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from index.confidence import Calibration
from index.growing import GrowingIndex
from index.identity import Recogniser
from index.identity_map import read_identity_map, to_identities
from index.joined import JoinedIndex
from index.recognition import SHIPPED, Recognition, of_views
from index.schema import CorruptArtifactError, InvalidValueError
from index.search import FrameIndex
from tests.scenes import standing_frame

OBJECTS = 5


def unit_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def some_index(n: int = 40, d: int = 8) -> FrameIndex:
    """Frames of objects of very different numbers of frames; object-4 has one."""
    names = [f"object-{i % (OBJECTS - 1)}" for i in range(n - 1)] + ["object-4"]
    base = standing_frame()
    frames = [
        dataclasses.replace(base, id=str(i), object_id=name, category="odd" if name[-1] in "13" else "even")
        for i, name in enumerate(names)
    ]
    return FrameIndex.from_frames(unit_rows(n, d), frames)


def scores_by_definition(index: FrameIndex, views: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Of every object that ``rows`` show: the mean over views of the weighted mean of its three best frames."""
    names = np.array([index.object_of(row) for row in rows])
    similarities = views @ index.vectors[rows].T
    return {
        str(name): float(np.mean([_weighted(np.sort(s[names == name])[::-1]) for s in similarities]))
        for name in np.unique(names)
    }


def _weighted(falling: np.ndarray) -> float:
    return float(np.average(falling[:3], weights=[4, 2, 1][: len(falling)]))


@pytest.mark.parametrize("views", [1, 4])
@pytest.mark.parametrize("category", [None, "odd"])
@pytest.mark.parametrize("exclude", [None, "object-1"])
@pytest.mark.parametrize("without", [None, np.arange(10)])
def test_scores_are_those_of_the_definition(views, category, exclude, without):
    index, query = some_index(), unit_rows(views, 8, seed=1)
    rows = np.array(
        [
            row
            for row in range(len(index))
            if (category is None or index.frame(row).category == category)
            and index.object_of(row) != exclude
            and (without is None or row not in without)
        ]
    )
    expected = scores_by_definition(index, query, rows)
    matches = Recogniser(index).matches(query, len(rows), category, exclude, without=without)
    assert {m.object_id: m.score for m in matches} == pytest.approx(expected, abs=1e-6)
    assert [m.object_id for m in matches] == sorted(expected, key=expected.__getitem__, reverse=True)
    assert sum(m.frames for m in matches) == views * len(rows)


def test_frames_beyond_the_candidates_count_as_the_last_of_them():
    rng = np.random.default_rng(0)
    base = standing_frame()
    near = np.array([1.0, 0.0]) + rng.normal(scale=0.01, size=(400, 2))
    vectors = np.concatenate([near, [[0.0, 1.0]]]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frames = [dataclasses.replace(base, id=str(i), object_id="many" if i < 400 else "one") for i in range(401)]
    index = FrameIndex.from_frames(vectors, frames)
    evidence = Recogniser(index).evidence(np.array([[1.0, 0.0]], np.float32))
    similarities = np.sort(vectors @ [1.0, 0.0])[::-1]
    assert evidence.scores == pytest.approx([_weighted(similarities)])
    assert evidence.rival(0) == pytest.approx(similarities[199], abs=1e-6)  # the other one's is no higher


def test_only_the_best_match_can_be_known_and_its_rival_counts():
    index = some_index()
    index.recognition = (Recognition(1, Calibration((0.0, 4.0, -2.0), 0), 0.0, 0),)
    matches = Recogniser(index).matches(unit_rows(1, 8, seed=2), 40)
    assert [m.known for m in matches] == [True] + [False] * (len(matches) - 1)
    first, second, third = matches[:3]
    assert first.probability == pytest.approx(1 / (1 + np.exp(-(4 * first.score - 2 * second.score))))
    assert third.probability == pytest.approx(1 / (1 + np.exp(-(4 * third.score - 2 * first.score))))


def test_a_category_of_one_object_has_no_rival_and_calls_nothing_known():
    base = standing_frame()
    frames = [dataclasses.replace(base, id=str(i), object_id=f"o{i % 2}", category=f"c{i % 2}") for i in range(8)]
    index = FrameIndex.from_frames(unit_rows(8, 8), frames)
    index.recognition = SHIPPED
    (match,) = Recogniser(index).matches(unit_rows(1, 8, seed=3), 3, "c0")
    assert (match.object_id, match.known, match.probability) == ("o0", None, None)
    assert None not in {m.known for m in Recogniser(index).matches(unit_rows(1, 8, seed=3), 8)}


def test_more_views_have_a_meaning_of_their_own():
    assert [of_views(SHIPPED, n).views for n in (1, 2, 3, 9, 10, 50)] == [1, 1, 3, 3, 10, 10]
    assert of_views(SHIPPED[1:], 2) is None
    for recognition in SHIPPED:
        assert Recognition.from_manifest(dataclasses.asdict(recognition)) == recognition


def test_an_index_that_tells_nothing_calls_nothing_known():
    base = standing_frame()
    alone = FrameIndex.from_frames(unit_rows(3, 8), [dataclasses.replace(base, id=str(i)) for i in range(3)])
    alone.recognition = SHIPPED
    for index in (alone, some_index()):
        (match, *_) = Recogniser(index).matches(unit_rows(1, 8), 3)
        assert match.known is match.probability is None


@pytest.mark.parametrize(
    "change", [{"views": 0}, {"threshold": 1.5}, {"calibration": Calibration((1.0, 2.0), 0)}], ids=str
)
def test_a_recognition_that_cannot_be_is_refused(change):
    with pytest.raises(InvalidValueError, match="recognition"):
        dataclasses.replace(SHIPPED[0], **change)


def test_the_map_is_applied_to_queries_as_to_the_index():
    index, identity_map = some_index(), np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)
    index.identity_map = identity_map
    mapped = FrameIndex(to_identities(identity_map, index.vectors), index.table)
    query = unit_rows(2, 8, seed=4)
    expected = Recogniser(mapped).matches(to_identities(identity_map, query), 40)
    assert Recogniser(index).matches(query, 40) == expected
    assert np.linalg.norm(to_identities(identity_map, query), axis=1) == pytest.approx(1, abs=1e-6)
    assert to_identities(None, query) is query


def test_frames_that_do_not_count_are_none_of_their_object():
    whole = some_index()
    rows = [row for row in range(len(whole)) if whole.object_of(row) == "object-0"][:2]
    others = [row for row in range(len(whole)) if whole.object_of(row) != "object-0"]
    kept = [*rows, *others]
    index = FrameIndex.from_frames(whole.vectors[kept], [whole.frame(row) for row in kept])
    matches = Recogniser(index).matches(index.vectors[:1], len(index), without=np.array([0]))
    (match,) = [match for match in matches if match.object_id == "object-0"]
    assert match.score == pytest.approx(float(index.vectors[0] @ index.vectors[1]), abs=1e-6)


@pytest.mark.parametrize("mapped", [False, True])
def test_what_is_enrolled_is_recognised_as_what_is_indexed(mapped):
    whole, query = some_index(), unit_rows(3, 8, seed=5)
    identity_map = np.random.default_rng(6).normal(size=(4, 8)).astype(np.float32) if mapped else None
    frames = [whole.frame(row) for row in range(len(whole))]
    base, added = FrameIndex.from_frames(whole.vectors[:25], frames[:25]), GrowingIndex(8, identity_map)
    for start, stop in ((25, 30), (30, 40)):
        added.append(frames[start:stop], whole.vectors[start:stop])
    for index in (whole, base):
        index.identity_map, index.recognition = identity_map, SHIPPED
    expected = Recogniser(whole).matches(query, 12)
    found = Recogniser(JoinedIndex(base, added.view())).matches(query, 12)
    assert [(m.object_id, m.category, m.frames) for m in found] == [
        (m.object_id, m.category, m.frames) for m in expected
    ]
    for name in ("score", "probability"):
        assert [getattr(m, name) for m in found] == pytest.approx([getattr(m, name) for m in expected], abs=1e-6)


def test_a_file_that_is_no_map_is_named(tmp_path):
    assert read_identity_map(tmp_path) is None
    path = tmp_path / "identity.npy"
    for content in (np.ones((2, 3)), np.ones(3, np.float32), np.full((2, 3), np.nan, np.float32)):
        np.save(path, content)
        with pytest.raises(CorruptArtifactError, match=r"identity\.npy"):
            read_identity_map(tmp_path)
    path.write_bytes(b"no array")
    with pytest.raises(CorruptArtifactError, match=r"identity\.npy"):
        read_identity_map(tmp_path)
