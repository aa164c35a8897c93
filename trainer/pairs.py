"""Two views of one object: pairs of frames of one video, cut out by the same window (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from index.schema import InvalidValueError
from trainer.augment import Augmentation, change_pixels, draw_crop
from trainer.frames import Frames

Image = NDArray[np.uint8]
Rows = NDArray[np.int64]
Ticket = tuple[int, int]  # (epoch, index of the anchor): all that a pair is drawn from, beside the seed

PAIRS = ("same", "nearby", "distant", "mixed", "triplet")
WINDOWS = ("anchor", "own")
_DELTA_S = 0.2  # the paper's Δ: consecutive frames at 5 fps
_ALONG = 2  # frames: a triplet's negative is further away than this (paper section 4.2, by Sermanet et al. 2018)
NEARBY_S = 0.31  # a pair that is not further apart is nearby: 1.5 Δ and what rounding adds
_RESOLUTION = 1.4  # pixels of a stored picture per pixel of a view, so that crops inside the window stay sharp


@dataclass(frozen=True)
class Pairing:
    """Which frames may be paired: every anchor with the rows that its partner is drawn from."""

    anchors: Rows  # (m,) rows
    candidates: list[Rows]  # m arrays of rows
    others: list[Rows] | None = None  # the same, for pairs of a second kind
    share: float = 0.0  # of pairs of the second kind
    negatives: list[Rows] | None = None  # of triplets: the rows that an anchor's negative is drawn from

    @classmethod
    def of(cls, frames: Frames, kind: str, distant: float = 0.5) -> Pairing:
        """Pairs of ``kind``: the frame with itself (``same``), with the one Δ = 200 ms later (``nearby``), with any
        other of its track (``distant``), or a share of ``distant`` and the others nearby (``mixed``). A track is one
        object in one sequence; no pair leaves it.

        ``triplet``: a positive one frame before or after, and a negative of the track more than two frames away; a
        frame that has none is no anchor.

        A gap of more than 1.5 Δ is not nearby; a frame without a partner is no anchor, except that a ``distant`` one
        that is alone in its track is paired with itself. Source: paper section 3.5.
        """
        if kind not in PAIRS:
            raise InvalidValueError("pairs", kind, f"one of {', '.join(PAIRS)}")
        if kind == "mixed":
            near, far = cls.of(frames, "nearby"), cls.of(frames, "distant")
            track_of = dict(zip(far.anchors.tolist(), far.candidates, strict=True))
            return cls(near.anchors, near.candidates, [track_of[row] for row in near.anchors.tolist()], distant)
        if kind == "triplet":
            return cls._triplets(frames)
        found: list[tuple[int, Rows]] = []
        for track in frames.tracks():
            if kind == "same":
                found += [(row, track[k : k + 1]) for k, row in enumerate(track)]
            elif kind == "distant":
                found += [(row, track) for row in track]
            else:
                found += _nearby(track, frames.time_s[track])
        return cls(np.array([row for row, _ in found], np.int64), [rows for _, rows in found])

    @classmethod
    def _triplets(cls, frames: Frames) -> Pairing:
        anchors, positives, negatives = [], [], []
        for track in frames.tracks():
            apart = np.abs(np.arange(len(track))[:, None] - np.arange(len(track)))
            for k in np.flatnonzero((apart > _ALONG).any(axis=1)):
                anchors.append(int(track[k]))
                positives.append(track[apart[k] == 1])
                negatives.append(track[apart[k] > _ALONG])
        return cls(np.array(anchors, np.int64), positives, negatives=negatives)

    def __len__(self) -> int:
        return len(self.anchors)

    def draw(self, index: int, rng: Generator) -> tuple[int, ...]:
        """The rows of anchor ``index`` and of a partner, uniform over its candidates other than itself; of a triplet
        also that of a negative."""
        if self.negatives is not None:
            positives, negatives = self.candidates[index], self.negatives[index]
            return int(self.anchors[index]), int(rng.choice(positives)), int(rng.choice(negatives))
        anchor, rows = int(self.anchors[index]), self.candidates[index]
        if self.others is not None and rng.random() < self.share:
            rows = self.others[index]
        partner = int(rows[rng.integers(max(1, len(rows) - 1))])
        # One of all but the last; when that is the anchor itself, the last stands in for it.
        return anchor, int(rows[-1]) if partner == anchor else partner


def _nearby(track: Rows, time_s: NDArray[np.float64]) -> list[tuple[int, Rows]]:
    """Each row of a track with the one whose time is nearest to Δ later, at most Δ / 2 off."""
    found = []
    for k, start in enumerate(time_s):
        off = np.abs(time_s[k + 1 :] - start - _DELTA_S)
        if len(off) and off.min() <= _DELTA_S / 2 + 1e-6:
            nearest = k + 1 + int(off.argmin())
            found.append((int(track[k]), track[nearest : nearest + 1]))
    return found


@dataclass
class Pictures:
    """The frames' pictures, reduced to what views of ``size`` px need and kept in memory while ``budget`` bytes last.

    What no longer fits is decoded again each time.
    """

    frames: Frames
    size: int
    budget: float
    _kept: dict[int, tuple[Image, float]] = field(default_factory=dict, repr=False)

    def __getitem__(self, row: int) -> tuple[Image, float]:
        """The picture (h, w, 3) uint8 RGB and its scale: its pixels per pixel of the stored picture."""
        if row in self._kept:
            return self._kept[row]
        reduced = self._reduced(row)
        if reduced[0].nbytes <= self.budget:
            self.budget -= reduced[0].nbytes
            self._kept[row] = reduced
        return reduced

    def _reduced(self, row: int) -> tuple[Image, float]:
        image, (x0, y0, x1, y1) = self.frames.image(row), self.frames.rect[row]
        scale = _RESOLUTION * self.size / max(x1 - x0, y1 - y0)
        if scale >= 1:
            return image, 1.0
        reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return np.asarray(reduced, np.uint8), float(scale)


Item = tuple[Image, int, NDArray[np.float32]]


class PairDataset(Dataset[Item]):
    """Pairs of augmented views. Item (epoch, index) depends on nothing but itself and the seed."""

    def __init__(
        self, pairing: Pairing, pictures: Pictures, augmentation: Augmentation, seed: int, window: str = "anchor"
    ) -> None:
        if window not in WINDOWS:
            raise InvalidValueError("window", window, f"one of {', '.join(WINDOWS)}")
        self._pairing, self._pictures = pairing, pictures
        self._augmentation, self._seed, self._own_window = augmentation, seed, window == "own"
        self.track = pictures.frames.track_numbers()  # (rows of the frames,)

    def __len__(self) -> int:
        return len(self._pairing)

    def __getitem__(self, ticket: Ticket) -> Item:
        """Views (v, s, s, 3) uint8 RGB, mirrored together in half of the cases; their track; their times (v,), s.

        Two, the pair's, or a triplet's three. All through the anchor's window, or each through its frame's ``own``.
        """
        rng = np.random.default_rng((self._seed, *ticket))
        rows = self._pairing.draw(ticket[1], rng)
        flip, frames = rng.random() < 0.5, self._pictures.frames
        windows = [frames.rect[row if self._own_window else rows[0]] for row in rows]
        views = [self._view(row, window, flip, rng) for row, window in zip(rows, windows, strict=True)]
        return np.stack(views), int(self.track[rows[0]]), frames.time_s[list(rows)].astype(np.float32)

    def _view(self, row: int, window: NDArray[np.float64], flip: bool, rng: Generator) -> Image:
        picture, scale = self._pictures[row]
        crop = draw_crop(self._augmentation, rng)
        flip ^= rng.random() < self._augmentation.flip
        return change_pixels(
            cut_view(picture, window * scale, crop, flip, self._pictures.size), self._augmentation, rng
        )


def cut_view(picture: Image, rect: NDArray[np.float64], crop: tuple[float, ...], flip: bool, size: int) -> Image:
    """A part of the letterboxed rect, in one resampling: (size, size, 3).

    picture: (h, w, 3). rect: x0, y0, x1, y1 in its pixels. crop: x0, y0, x1, y1 in the unit square that the letterbox
    of the rect fills; the whole of it gives ``index.encoder.letterbox``.
    """
    # The part inside the rect is cut out first, so that what is outside is black.
    x0, y0, x1, y1 = np.round(rect).astype(int)
    x0, y0 = min(x0, picture.shape[1] - 1), min(y0, picture.shape[0] - 1)
    part = picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    side = max(rect[2] - rect[0], rect[3] - rect[1])
    corner = (rect[:2] + rect[2:] - side) / 2 - (x0, y0)
    left, top, right, bottom = np.array(crop) * side + (*corner, *corner)
    if flip:
        left, right = right, left
    part_from_view = np.array([[(right - left) / size, 0, left], [0, (bottom - top) / size, top]])
    # OpenCV's (0, 0) is the centre of the first pixel, ours its corner.
    part_from_view[:, 2] += part_from_view[:, :2].sum(axis=1) / 2 - 0.5
    view = cv2.warpAffine(part, part_from_view, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(view, np.uint8)


class PairOrder(Sampler[Ticket]):
    """The tickets of one epoch: every anchor once in a random order that epoch and seed decide.

    Of several processes, each takes its share; what does not fill a whole batch for all of them is left out. With
    ``groups`` (m,), the number of each anchor's track, ``together`` anchors of a track follow each other.
    """

    def __init__(
        self,
        pairs: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        groups: Rows | None = None,
        together: int = 1,
    ) -> None:
        self._pairs, self._seed, self._rank, self._processes = pairs, seed, rank, processes
        self._groups, self._together = groups, together
        self._length = pairs // (batch_size * processes) * batch_size
        self._epoch = 0
        if self._length == 0:
            raise InvalidValueError("batch_size", batch_size * processes, f"at most the number of pairs, {pairs}")

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch, also of a resumed run's first."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Ticket]:
        order = self._order(np.random.default_rng((self._seed, self._epoch)))
        for index in order[self._rank :: self._processes][: self._length]:
            yield self._epoch, int(index)

    def _order(self, rng: Generator) -> Rows:
        order = rng.permutation(self._pairs)
        if self._groups is None or self._together == 1:
            return order
        group = self._groups[order]
        by_group = np.argsort(group, kind="stable")  # each track's anchors, still in random order
        starts = np.flatnonzero(np.diff(group[by_group], prepend=-1))
        place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        bundle = np.cumsum(place % self._together == 0) - 1
        return order[by_group[np.argsort(rng.permutation(bundle[-1] + 1)[bundle], kind="stable")]]
