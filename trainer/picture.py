"""Pictures of answers: boxes drawn on photographs, and sheets of queries beside their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from index.encoder import letterbox
from index.picture import Image, decode_picture
from index.predict import Prediction, Predictor
from index.schema import Box, Camera
from index.store import IndexVersion
from trainer.frames import Frames
from trainer.inference import predict_frame

Colour = tuple[int, int, int]

TRUTH: Colour = (70, 200, 90)
ANSWER: Colour = (255, 140, 0)
_EDGES = [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)]
_FRONT = [1, 5, 7, 3]  # the corners with z > 0
_SUBPIXEL = 4  # cv2 draws with this many fractional bits


def draw_box(image: Image, box: Box, camera: Camera, colour: Colour, thickness: int = 2) -> Image:
    """A copy of ``image`` (h, w, 3) RGB with the box's edges, and its front face crossed."""
    drawn = np.ascontiguousarray(image.copy())
    # Our pixel (0, 0) is a corner; cv2's is a centre.
    corners = np.round((camera.project(box.corners) - 0.5) * 2**_SUBPIXEL).astype(int)
    lines = [(a, b, thickness) for a, b in _EDGES] + [(_FRONT[0], _FRONT[2], 1), (_FRONT[1], _FRONT[3], 1)]
    for a, b, width in lines:
        cv2.line(drawn, corners[a].tolist(), corners[b].tolist(), colour, width, cv2.LINE_AA, _SUBPIXEL)
    return drawn


def write_picture(path: Path, image: Image) -> Path:
    """Writes (h, w, 3) RGB as the format that the suffix names."""
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f"could not write {path}")
    return path


def answer_sheet(predictor: Predictor, frames: Frames, rows: Sequence[int], columns: int = 3) -> Image:
    """A tile a query, ``columns`` beside each other: the picture with the true box (green) and the answer (orange),
    then the crops of its four nearest frames. The frames' pictures must be of one size."""
    tiles = [_tile(predictor, frames, row) for row in rows]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def typical_rows(frames: Frames) -> list[int]:
    """One frame a category, by rule and not by result: the middle one of its first track."""
    tracks: dict[str, list[int]] = {}
    for track in frames.tracks():
        tracks.setdefault(str(frames.category[track[0]]), track.tolist())
    return [rows[len(rows) // 2] for _, rows in sorted(tracks.items())]


def _tile(predictor: Predictor, frames: Frames, row: int) -> Image:
    prediction = predict_frame(predictor, frames, row)
    picture = _answer(frames, row, prediction)
    side = picture.shape[0] // 2
    crops = [_neighbour_crop(predictor, neighbour.row, side) for neighbour in prediction.neighbours[:4]]
    crops += [np.zeros((side, side, 3), np.uint8)] * (4 - len(crops))
    return np.hstack([picture[: 2 * side], np.vstack([np.hstack(crops[:2]), np.hstack(crops[2:])])])


def _answer(frames: Frames, row: int, prediction: Prediction) -> Image:
    frame, picture = frames.frame(row), frames.image(row)
    camera, _ = frame.view.posed()
    if frame.box is not None:
        picture = draw_box(picture, frame.box, camera, TRUTH)
    if prediction.fit is not None:
        picture = draw_box(picture, prediction.fit.box, camera, ANSWER)
    return picture


def _neighbour_crop(predictor: Predictor, row: int, side: int) -> Image:
    index = predictor.index
    if not isinstance(index, IndexVersion):
        raise TypeError("an index in memory has no pictures")
    picture = decode_picture(index.thumbnail(row))
    view = index.frame(row).view
    scale = picture.shape[1] / view.camera.width if view.camera else 1.0
    x0, y0, x1, y1 = (scale * value for value in view.rect)
    return letterbox(picture, (x0, y0, x1, y1), side)
