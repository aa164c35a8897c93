"""The contact sheet of a capture: its frames with the ground as a grid and the boxes, those with faults framed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from index.schema import Array, Box, Camera, Plane
from trainer.captures.shot import Image
from trainer.picture import TRUTH, Colour, draw_box

_HEIGHT = 320
_COLUMNS, _MOST = 6, 24
_GRID: Colour = (90, 160, 255)
_FAULT: Colour = (235, 60, 50)
_CELLS = 6
_GRID_SHARE = 0.2  # half of its side, of the distance
_GAP = 4


@dataclass(frozen=True, eq=False)
class Tile:
    """A frame's thumbnail, and what is wrong with it."""

    number: int
    image: Image
    fault: str | None


def thumbnail(image: Image) -> Image:
    """The picture, ``_HEIGHT`` pixels high."""
    width = max(1, round(image.shape[1] * _HEIGHT / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def marked(small: Image, camera: Camera, plane: Plane | None, boxes: Sequence[Box], looked_at: Array) -> Image:
    """A thumbnail of ``camera``'s picture with its boxes, and the ground as a grid below them.

    Without boxes the grid is below what all the capture's cameras look at, ``looked_at`` (3,) in this one's frame.
    """
    view = camera.resize(small.shape[1], small.shape[0])
    drawn = np.ascontiguousarray(small.copy())
    if plane is not None:
        middle, half = looked_at, _GRID_SHARE * float(np.linalg.norm(looked_at))
        if boxes:
            middle, half = boxes[0].center, 1.2 * float(np.hypot(boxes[0].size[0], boxes[0].size[2]))
        _draw_grid(drawn, view, plane, middle - plane.height(middle) * plane.normal, half)
    for box in boxes:
        if box.in_front():
            drawn = draw_box(drawn, box, view, TRUTH, 1)
    return drawn


def _draw_grid(image: Image, camera: Camera, plane: Plane, middle: Array, half: float) -> None:
    """Lines on the ground around ``middle``, ``half`` metres to each side."""
    x = np.cross(plane.normal, (0.0, 0.0, 1.0))
    x = x / np.linalg.norm(x) if np.linalg.norm(x) > 1e-6 else np.array([1.0, 0, 0])
    z = np.cross(x, plane.normal)
    for step in np.linspace(-half, half, _CELLS + 1):
        for along, across in ((x, z), (z, x)):
            _line(image, camera, middle + step * across - half * along, middle + step * across + half * along)


def _line(image: Image, camera: Camera, start: Array, end: Array) -> None:
    if min(start[2], end[2]) <= 1e-3 * abs(max(start[2], end[2])):
        return  # some of it is behind the camera
    a, b = np.round((camera.project(np.stack([start, end])) - 0.5) * 16).astype(int)
    if max(np.abs(a).max(), np.abs(b).max()) < 1 << 20:
        cv2.line(image, a.tolist(), b.tolist(), _GRID, 1, cv2.LINE_AA, 4)


def contact_sheet(tiles: Sequence[Tile]) -> Image:
    """Some of the tiles, evenly spaced, and as many as fit of those with faults; (h, w, 3) RGB."""
    shown = _chosen(tiles)
    width = max(tile.image.shape[1] for tile in shown)
    cells = [_labelled(tile, width) for tile in shown]
    columns = min(_COLUMNS, len(cells))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)])


def _chosen(tiles: Sequence[Tile]) -> list[Tile]:
    faulty = [tile for tile in tiles if tile.fault][: _MOST // 2]
    rest = [tile for tile in tiles if not tile.fault]
    room = min(len(rest), _MOST - len(faulty))
    spread = [rest[round(k)] for k in np.linspace(0, len(rest) - 1, room)] if room else []
    return sorted([*faulty, *spread], key=lambda tile: tile.number)


def _labelled(tile: Tile, width: int) -> Image:
    cell = np.zeros((_HEIGHT + _GAP, width + _GAP, 3), np.uint8)
    cell[:_HEIGHT, : tile.image.shape[1]] = tile.image
    text, colour = f"{tile.number}{': ' + tile.fault if tile.fault else ''}", _FAULT if tile.fault else (255, 255, 255)
    if tile.fault:
        cv2.rectangle(cell, (1, 1), (tile.image.shape[1] - 2, _HEIGHT - 2), _FAULT, 2)
    for ink, weight in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(cell, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, ink, weight, cv2.LINE_AA)
    return cell
