"""Frame-to-frame matching as a video (figure 7): each frame of a query beside the indexed frame nearest to it."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from index.picture import Image
from trainer.report.answers import HIT, Answers
from trainer.report.pictures import BAD, GOOD, TRUE, boxed

_HEIGHT = 288
_MOST_FRAMES = 40
_FPS = 5


def matching_video(answers: Answers, track: NDArray[np.int64]) -> bytes:
    """MP4 (H.264). track: the rows of one query video, in time order.

    Left the query, its true box white, the answer green where it is good and red where not; right the frame whose box
    the answer is.
    """
    return encode_mp4((_pair(answers, int(row)) for row in track[:_MOST_FRAMES]), _FPS)


def _pair(answers: Answers, row: int) -> Image:
    queries, references = answers.queries, answers.references
    answer = (answers.boxes[row], GOOD if answers.iou[row] > HIT else BAD)
    left = boxed(queries, row, [(queries.frame(row).box, TRUE), answer], _HEIGHT)
    nearest = int(answers.nearest[row])
    right = boxed(references, nearest, [(references.frame(nearest).box, GOOD)], _HEIGHT)
    return np.hstack([left, np.full((_HEIGHT, 4, 3), 127, np.uint8), _fitted(right, left.shape[1])])


def _fitted(image: Image, width: int) -> Image:
    """``image`` in the middle of a picture of its height and ``width``, made smaller where it is too wide."""
    scale = min(1.0, width / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:, :width]
    top, left = (image.shape[0] - small.shape[0]) // 2, (width - small.shape[1]) // 2
    canvas = np.zeros((image.shape[0], width, 3), np.uint8)
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def encode_mp4(images: Iterable[Image], fps: int) -> bytes:
    """Pictures (h, w, 3) RGB of one size as H.264 that every browser plays."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        # The index first, so that a browser shows the first picture at once.
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = None
            for image in images:
                if stream is None:
                    stream = container.add_stream("libx264", rate=Fraction(fps))
                    stream.height, stream.width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
                    stream.pix_fmt, stream.options = "yuv420p", {"crf": "30", "preset": "slow", "threads": "1"}
                even = np.ascontiguousarray(image[: stream.height, : stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            if stream is not None:
                container.mux(stream.encode())
        return path.read_bytes()
