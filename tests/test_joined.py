"""Several indexes searched as one, against the one index of all their frames."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.growing import GrowingIndex
from index.joined import JoinedIndex
from index.predict import Predictor
from index.schema import InvalidValueError
from index.search import FrameIndex
from tests.scenes import standing_frame
from tests.service_fixtures import ColourEncoder, indexed_frames, picture_of

DIMENSION = 8
CATEGORIES, OBJECTS = ("book", "cup", "shoe"), ("a", "b", "c", "d")


def frames_of(names: list[tuple[str, str]], prefix: str) -> list:
    frames = [(f"{prefix}/{i}", category, name) for i, (category, name) in enumerate(names)]
    return [standing_frame(id=id, category=category, object_id=name) for id, category, name in frames]


def grid(rng: np.random.Generator, count: int) -> np.ndarray:
    """Vectors whose products are exact in float32, however they are summed, so that equal means equal."""
    return rng.integers(-3, 4, (count, DIMENSION)).astype(np.float32)


def grown(vectors, frames, steps) -> GrowingIndex:
    index, start = GrowingIndex(DIMENSION), 0
    for stop in (*sorted(steps), len(frames)):
        index.append(frames[start:stop], vectors[start:stop])
        start = stop
    return index


def assert_nearest(similarities, rows, index, query, wanted, k):
    """The definition: the k largest products among the wanted rows, each with a row that has it."""
    products = (index.vectors @ query)[wanted]
    expected = np.full(k, -np.inf, np.float32)
    expected[: len(products)] = np.sort(products)[::-1][:k]
    assert similarities.tolist() == expected.tolist()
    found = rows[rows >= 0]
    assert len(set(found.tolist())) == len(found) == min(k, len(products))
    assert set(found.tolist()) <= set(wanted.tolist())
    assert (index.vectors[found] @ query).tolist() == similarities[: len(found)].tolist()


named = st.lists(st.tuples(st.sampled_from(CATEGORIES), st.sampled_from(OBJECTS)), max_size=150)


@settings(deadline=None)
@given(
    names=st.tuples(named.filter(len), named, named),
    steps=st.sets(st.integers(0, 150), max_size=5),
    k=st.integers(1, 20),
    category=st.none() | st.sampled_from(CATEGORIES),
    exclude=st.none() | st.sampled_from((*OBJECTS, "unknown")),
    seed=st.integers(0, 2**32 - 1),
)
def test_joined_is_the_index_of_all(names, steps, k, category, exclude, seed):
    rng = np.random.default_rng(seed)
    parts = [(grid(rng, len(of_part)), frames_of(of_part, f"p{i}")) for i, of_part in enumerate(names)]
    growing = grown(*parts[1], [s for s in steps if s <= len(names[1])])
    joined = JoinedIndex(FrameIndex.from_frames(*parts[0]), growing.view(), grown(*parts[2], []).view())
    whole = FrameIndex.from_frames(np.vstack([v for v, _ in parts]), [f for _, frames in parts for f in frames])
    assert (len(joined), joined.dimension) == (len(whole), whole.dimension)
    assert (joined.categories, joined.objects) == (whole.categories, whole.objects)
    for row in range(0, len(whole), 7):
        frame = whole.frame(row)
        assert (joined.frame(row).id, joined.object_of(row)) == (frame.id, frame.object_id)
        assert joined.row_of(frame.id) == row
        assert joined.vector(row).tolist() == whole.vector(row).tolist()
    queries = grid(rng, 3)
    if category is not None and category not in whole.categories:
        with pytest.raises(InvalidValueError, match="category"):
            joined.search(queries, k, category, exclude)
        return
    all_frames = [f for _, frames in parts for f in frames]
    wanted = np.array(
        [(category in (None, f.category)) and f.object_id != exclude for f in all_frames],
        dtype=bool,
    ).nonzero()[0]
    for query, similarities, rows in zip(queries, *joined.search(queries, k, category, exclude), strict=True):
        assert_nearest(similarities, rows, whole, query, wanted, k)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=90), st.integers(0, 99))
def test_keeping_rows_is_the_index_of_those_rows(kept, seed):
    rng = np.random.default_rng(seed)
    names = [(CATEGORIES[i % 3], OBJECTS[i % 4]) for i in range(len(kept))]
    vectors, frames = grid(rng, len(kept)), frames_of(names, "p")
    rows = np.flatnonzero(kept)
    view = grown(vectors, frames, [len(kept) // 2]).keeping(rows.tolist()).view()
    assert view.vectors.tolist() == vectors[rows].tolist()
    assert [view.frame(row).id for row in range(len(view))] == [frames[row].id for row in rows]
    assert view.categories == tuple(sorted({frames[row].category for row in rows}))


def test_a_view_does_not_see_what_comes_later():
    rng = np.random.default_rng(0)
    index = GrowingIndex(DIMENSION)
    index.append(frames_of([("cup", "a")], "first"), grid(rng, 1))
    before = index.view()
    index.append(frames_of([("shoe", "b")] * 200, "second"), grid(rng, 200))
    assert (len(before), before.categories, before.objects) == (1, ("cup",), ("a",))
    assert before.search(grid(rng, 1), 5)[1].tolist() == [[0, -1, -1, -1, -1]]
    with pytest.raises(KeyError):
        before.row_of("second/0")
    assert index.view().row_of("second/0") == 1


def test_readers_and_a_writer_at_the_same_time():
    rng = np.random.default_rng(1)
    index, stop, wrong = GrowingIndex(DIMENSION), threading.Event(), []

    def read():
        while not stop.is_set():
            view = index.view()
            similarities, rows = view.search(np.ones((1, DIMENSION), np.float32), 5)
            products = view.vectors.sum(axis=1)
            if len(view) and similarities[0, 0] != products.max():
                wrong.append(len(view))
            if any(view.frame(row).id != f"p/{row}" for row in rows[0] if row >= 0):
                wrong.append(rows)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    frames = frames_of([("cup", "a")] * 600, "p")
    for row in range(600):
        index.append(frames[row : row + 1], grid(rng, 1))
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(index) == 600


def test_an_empty_part_adds_nothing():
    rng = np.random.default_rng(2)
    base = FrameIndex.from_frames(grid(rng, 5), frames_of([("cup", "a")] * 5, "p"))
    joined = JoinedIndex(base, GrowingIndex(DIMENSION).view())
    assert joined.search(grid(rng, 2), 3, "cup")[1].shape == (2, 3)
    with pytest.raises(InvalidValueError, match="one of cup"):
        joined.search(grid(rng, 2), 3, "boat")
    with pytest.raises(IndexError):
        joined.frame(5)


def test_parts_of_different_lengths_are_refused():
    base = FrameIndex.from_frames(np.ones((1, DIMENSION), np.float32), frames_of([("cup", "a")], "p"))
    with pytest.raises(InvalidValueError, match="dimension: got 3, must be 8"):
        JoinedIndex(base, GrowingIndex(3).view())
    with pytest.raises(InvalidValueError, match="vectors"):
        GrowingIndex(3).append(frames_of([("cup", "a")], "p"), np.ones((1, 4), np.float32))


def test_the_predictor_works_on_it_as_on_one_index():
    encoder, frames = ColourEncoder(), indexed_frames()
    pictures = [picture_of(frame) for frame in frames]
    crops = [encoder.crop(picture, frame.view.rect) for picture, frame in zip(pictures, frames, strict=True)]
    vectors = encoder.embed(np.stack(crops))
    whole = FrameIndex.from_frames(vectors, frames)
    growing = GrowingIndex(encoder.dimension)
    growing.append(frames[5:], vectors[5:])
    joined = JoinedIndex(FrameIndex.from_frames(vectors[:5], frames[:5]), growing.view())
    query = standing_frame(azimuth=0.45, category="shoe")
    answers = [Predictor(encoder, index).predict(picture_of(query), [query.view])[0][0] for index in (joined, whole)]
    ids = [[neighbour.frame.id for neighbour in answer.neighbours] for answer in answers]
    assert ids[0] == ids[1]
    assert np.allclose(answers[0].fit.box.corners, answers[1].fit.box.corners, atol=1e-6)
    nearest = [Predictor(encoder, index).neighbours_of(7, 3).neighbours for index in (joined, whole)]
    assert [n.frame.id for n in nearest[0]] == [n.frame.id for n in nearest[1]]
