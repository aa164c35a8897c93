"""Which frames make a pair, and that both views show the same window of them."""

from __future__ import annotations

import numpy as np
import pytest

from index.encoder import letterbox
from index.schema import InvalidValueError
from tests.views import videos
from trainer.augment import AUGMENTATIONS, Augmentation
from trainer.pairs import PairDataset, Pairing, PairOrder, Pictures, cut_view

STILL = Augmentation(jittered=0, grey=0, blurred=0)
SIZE = 32


def dataset(frames, kind="nearby", augmentation=AUGMENTATIONS["lc"], seed=0, budget=1e9, window="anchor", size=SIZE):
    return PairDataset(Pairing.of(frames, kind), Pictures(frames, size, budget), augmentation, seed, window)


def drawn(frames, kind, times=20, distant=0.5):
    pairing = Pairing.of(frames, kind, distant)
    rng = np.random.default_rng(0)
    return np.array([pairing.draw(i, rng) for _ in range(times) for i in range(len(pairing))])


@pytest.mark.parametrize("kind", ["same", "nearby", "distant", "mixed"])
def test_no_pair_leaves_its_track(kind):
    frames = videos(4, 6)
    # Two objects in one video: two tracks.
    frames.object_id[3:6] = "another"
    anchors, partners = drawn(frames, kind).T
    assert (frames.sequence[anchors] == frames.sequence[partners]).all()
    assert (frames.object_id[anchors] == frames.object_id[partners]).all()


def test_same_is_the_frame_itself():
    anchors, partners = drawn(videos(2, 5), "same", times=1).T
    np.testing.assert_array_equal(anchors, np.arange(10))
    np.testing.assert_array_equal(partners, anchors)


def test_nearby_is_the_next_frame_at_5_fps():
    anchors, partners = drawn(videos(2, 5), "nearby", times=1).T
    np.testing.assert_array_equal(anchors, [0, 1, 2, 3, 5, 6, 7, 8])
    np.testing.assert_array_equal(partners, anchors + 1)


def test_nearby_is_200_ms_later_at_any_rate():
    anchors, partners = drawn(videos(1, 12, every_s=1 / 15), "nearby", times=1).T
    np.testing.assert_array_equal(partners - anchors, 3 * np.ones(9) if len(anchors) == 9 else [3] * 9 + [2])


@pytest.mark.parametrize(("gap", "near"), [(0.3, True), (0.31, False)])
def test_a_gap_of_more_than_one_and_a_half_delta_is_not_nearby(gap, near):
    frames = videos(1, 4)
    frames.time_s[2:] += gap - 0.2
    anchors = Pairing.of(frames, "nearby").anchors
    assert (1 in anchors) == near


def test_distant_is_uniform_over_the_others():
    frames = videos(1, 5)
    pairing, rng = Pairing.of(frames, "distant"), np.random.default_rng(0)
    for anchor in range(5):
        partners = np.array([pairing.draw(anchor, rng)[1] for _ in range(2000)])
        counts = np.bincount(partners, minlength=5)
        assert counts[anchor] == 0
        assert np.abs(np.delete(counts, anchor) - 500).max() < 90


def test_a_frame_alone_in_its_track_is_its_own_distant_partner():
    assert drawn(videos(1, 1), "distant", times=1).tolist() == [[0, 0]]
    assert len(Pairing.of(videos(1, 1), "nearby")) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixed_is_nearby_but_for_a_share_of_distant(share):
    frames = videos(2, 10)
    anchors, partners = drawn(frames, "mixed", times=200, distant=share).T
    assert set(anchors) == set(Pairing.of(frames, "nearby").anchors)
    assert (anchors != partners).all()
    # One of the nine others of its track is the next frame.
    assert (partners != anchors + 1).mean() == pytest.approx(share * 8 / 9, abs=0.03)


def test_distant_ones_among_mixed_are_uniform_over_the_others():
    pairing, rng = Pairing.of(videos(1, 5), "mixed", 1.0), np.random.default_rng(0)
    counts = np.bincount([pairing.draw(2, rng)[1] for _ in range(2000)], minlength=5)
    assert counts[2] == 0
    assert np.abs(np.delete(counts, 2) - 500).max() < 90


def test_a_triplet_is_a_neighbour_and_a_frame_more_than_two_away():
    frames = videos(2, 7)
    pairing, rng = Pairing.of(frames, "triplet"), np.random.default_rng(0)
    drawn = np.array([pairing.draw(i, rng) for _ in range(200) for i in range(len(pairing))])
    assert set(drawn[:, 0]) == set(range(14))
    assert len(set(frames.track_numbers()[drawn].T[0] - frames.track_numbers()[drawn].T[2])) == 1
    assert (np.abs(drawn[:, 1] - drawn[:, 0]) == 1).all()
    assert (np.abs(drawn[:, 2] - drawn[:, 0]) > 2).all()
    middle = drawn[drawn[:, 0] == 3]
    assert np.bincount(middle[:, 1])[[2, 4]].min() > 70  # either side
    assert set(middle[:, 2]) == {0, 6}


def test_frames_without_a_negative_are_no_anchors():
    assert len(Pairing.of(videos(1, 3), "triplet")) == 0
    assert Pairing.of(videos(1, 4), "triplet").anchors.tolist() == [0, 3]


def test_a_triplets_item_has_three_views_of_one_window():
    views, track, times = dataset(videos(2, 7), "triplet")[0, 3]
    assert views.shape == (3, SIZE, SIZE, 3)
    assert (track, times.shape) == (0, (3,))


def test_an_unknown_kind_is_refused():
    with pytest.raises(InvalidValueError, match="pairs"):
        Pairing.of(videos(1, 2), "far")


def test_both_views_are_cut_by_the_anchors_window():
    """The scene glides 2 px a frame under a window that stands still, so the second view is the first, shifted."""
    frames = videos(1, 2)
    frames.rect[:] = [[10, 20, 74, 84], [0, 0, 96, 96]]
    views = dataset(frames, augmentation=STILL)[0, 0][0]
    if not np.allclose(views[0], letterbox(frames.image(0), frames.rect[0], SIZE), atol=60):
        views = views[:, :, ::-1]  # this pair is mirrored
    shifted = np.roll(views[0], 1, axis=1)  # 2 px of the picture are 1 px of the view
    inner = np.s_[:, 2:-2]
    assert np.abs(views[1][inner].astype(int) - shifted[inner]).mean() < 4


@pytest.mark.parametrize(("window", "alike"), [("own", True), ("anchor", False)])
def test_each_view_is_cut_by_its_own_window_when_asked(window, alike):
    """The windows glide with the scene, 2 px a frame, so that each one's own shows the same."""
    frames = videos(1, 2)
    frames.rect[:] = [[10, 20, 74, 84], [12, 20, 76, 84]]
    first, second = dataset(frames, augmentation=STILL, window=window, size=64)[0, 0][0]
    assert np.array_equal(first, second) == alike


def test_an_unknown_window_is_refused():
    with pytest.raises(InvalidValueError, match="window"):
        dataset(videos(1, 2), window="partner")


def test_an_item_names_its_track_and_times():
    frames = videos(3, 5)
    frames.object_id[7:10] = "another"  # two objects in the second video: four tracks
    pairs = dataset(frames, "distant")
    tracks = set()
    for index in range(len(pairs)):
        _, track, times = pairs[0, index]
        rows = [np.flatnonzero(np.isclose(frames.time_s, t) & (frames.track_numbers() == track)) for t in times]
        assert [len(found) for found in rows] == [1, 1]
        assert rows[0] == pairs._pairing.anchors[index]
        assert times.dtype == np.float32
        tracks.add(track)
    assert tracks == {0, 1, 2, 3}


@pytest.mark.parametrize("rect", [(8, 16, 88, 80), (10.3, 5.8, 50.1, 90.9), (0, 0, 96, 96), (30, 0, 40, 96)])
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_the_whole_crop_is_the_encoders_letterbox(rect, scale):
    import cv2

    picture = videos(1, 1).pictures[0]
    reduced = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    view = cut_view(reduced, np.array(rect) * reduced.shape[0] / 96, (0, 0, 1, 1), False, SIZE)
    expected = letterbox(picture, rect, SIZE)
    assert np.abs(view.astype(int) - expected).mean() < 8  # one reads through bilinear weights, the other through areas
    mirrored = cut_view(reduced, np.array(rect) * reduced.shape[0] / 96, (0, 0, 1, 1), True, SIZE)
    np.testing.assert_allclose(mirrored[:, ::-1], view, atol=2)


def test_a_crop_is_that_part_of_the_window():
    picture = videos(1, 1).pictures[0]
    whole = cut_view(picture, np.array([0, 0, 96, 96.0]), (0, 0, 1, 1), False, 96)
    part = cut_view(picture, np.array([0, 0, 96, 96.0]), (0.25, 0.5, 0.75, 1), False, 48)
    np.testing.assert_allclose(part, whole[48:, 24:72], atol=1)


def test_flips_are_common_to_both_views_and_fair():
    frames = videos(1, 1)
    views = dataset(frames, "same", STILL)
    first = views[0, 0][0]
    mirrored = []
    for epoch in range(200):
        a, b = views[epoch, 0][0]
        np.testing.assert_array_equal(a, b)
        mirrored.append((a != first[0]).any())
    assert 0.35 < np.mean(mirrored) < 0.65


def test_full_augmentation_flips_each_view_by_itself():
    views = dataset(videos(1, 1), "same", Augmentation(flip=0.5, jittered=0, grey=0, blurred=0))
    assert {bool((a != b).any()) for a, b in (views[epoch, 0][0] for epoch in range(40))} == {True, False}


def test_an_item_depends_on_its_ticket_and_the_seed_alone():
    frames = videos(2, 6)
    ours, again, other = dataset(frames), dataset(frames, budget=0), dataset(frames, seed=1)
    again[0, 7]
    views = ours[3, 5][0]
    np.testing.assert_array_equal(views, again[3, 5][0])
    assert (views != ours[4, 5][0]).any()
    assert (views != other[3, 5][0]).any()
    assert views.shape == (2, SIZE, SIZE, 3)
    assert views.dtype == np.uint8


def test_pictures_are_reduced_once_while_the_budget_lasts():
    frames = videos(1, 4)
    decoded = []
    object.__setattr__(frames, "image", lambda row: decoded.append(row) or frames.pictures[row])
    size = Pictures(frames, SIZE, 1e9)[0][0].nbytes
    decoded.clear()
    pictures = Pictures(frames, SIZE, 2.5 * size)
    for _ in range(3):
        for row in range(4):
            picture, scale = pictures[row]
            assert picture.shape[1] == round(96 * scale)
            assert scale * 80 == pytest.approx(1.4 * SIZE)
    assert [decoded.count(row) for row in range(4)] == [1, 1, 3, 3]


def test_every_epoch_has_another_order_and_every_anchor():
    order = PairOrder(pairs=20, batch_size=5, seed=0)
    epochs = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        tickets = list(order)
        assert {e for e, _ in tickets} == {epoch}
        epochs.append([index for _, index in tickets])
    assert epochs[0] == epochs[2] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(20))


def test_processes_share_an_epoch_without_overlap():
    orders = [PairOrder(pairs=23, batch_size=4, seed=0, rank=rank, processes=2) for rank in (0, 1)]
    shares = [{index for _, index in order} for order in orders]
    assert [len(order) for order in orders] == [8, 8]
    assert len(shares[0] | shares[1]) == 16


@pytest.mark.parametrize("together", [1, 2, 3, 20])
def test_anchors_of_a_track_come_together_and_every_one_once(together):
    sizes = np.array([7, 4, 1, 6, 2])
    groups = np.repeat(np.arange(5), sizes)
    order = PairOrder(20, 5, seed=0, groups=groups, together=together)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        epochs.append([index for _, index in order])
        assert sorted(epochs[-1]) == list(range(20))
        changes = np.count_nonzero(np.diff(groups[epochs[-1]]))
        assert changes < np.ceil(sizes / together).sum()  # fewer than one after every bundle, the last ends the epoch
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_tracks_anchors_are_bundled_at_random():
    """Else the same views would always be each other's negatives."""
    order = PairOrder(12, 12, seed=0, groups=np.repeat([0, 1], 6), together=2)
    companions = set()
    for epoch in range(60):
        order.set_epoch(epoch)
        indices = [index for _, index in order]
        companions.add(indices[indices.index(0) ^ 1])
    assert companions == {1, 2, 3, 4, 5}


def test_processes_share_bundles_evenly():
    """Of every bundle of 4, 2 go to each of two processes, next to each other."""
    groups = np.repeat(np.arange(6), 8)
    shares = []
    for rank in (0, 1):
        order = PairOrder(48, 8, seed=3, rank=rank, processes=2, groups=groups, together=4)
        shares.append([index for _, index in order])
    assert len(shares[0]) == len(shares[1]) == 24
    assert sorted(shares[0] + shares[1]) == list(range(48))
    tracks = np.stack([groups[share] for share in shares]).reshape(2, 12, 2)
    assert (tracks == tracks[:1, :, :1]).all()


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(InvalidValueError, match="batch_size"):
        PairOrder(pairs=7, batch_size=4, seed=0, processes=2)
