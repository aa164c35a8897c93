"""A small real index with a painted picture behind each frame, and an encoder that needs no training."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from starlette.testclient import TestClient

from index.confidence import Calibration
from index.encoder import letterbox
from index.recognition import Recognition
from index.schema import CorruptArtifactError, Frame
from index.store import Content
from index.stores import Location, store_at
from index.table import table_from_frames
from service.app import create_app
from service.settings import Settings
from tests.scenes import standing_frame

COLOURS = {"cup": (200, 40, 40), "shoe": (40, 180, 60), "book": (50, 70, 210)}
AZIMUTHS = (0.1, 0.4, 0.7, 1.0)
THRESHOLD = 0.9
RECOGNITION = Recognition(1, Calibration((-100 * THRESHOLD, 100.0, 0.0), 0), 0.5, 0)  # known from that score on


class ColourEncoder:
    """A crop's 4 x 4 mean colours as a unit vector: the colour says which object, the outline how it stands."""

    input_size, dimension, digest = 32, 48, "colours-1"

    def __init__(self) -> None:
        self.entered, self.release = threading.Semaphore(0), threading.Event()
        self.release.set()

    def crop(self, image, rect):
        return letterbox(image, rect, self.input_size)

    def embed(self, crops):
        self.entered.release()
        assert self.release.wait(timeout=30)
        means = crops.reshape(-1, 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(len(crops), -1) - 90.5
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def indexed_frames(prefix: str = "v1") -> list[Frame]:
    """One object a category, from four sides; a frame's id has slashes, as those of real captures do."""
    return [
        standing_frame(id=f"{prefix}/{category}/{i}", category=category, object_id=f"{category}-1", azimuth=azimuth)
        for category in COLOURS
        for i, azimuth in enumerate(AZIMUTHS)
    ]


def picture_of(frame: Frame) -> np.ndarray:
    """(640, 480, 3) uint8 RGB: the frame's box in its category's colour, on a grey floor."""
    picture = np.full((frame.view.camera.height, frame.view.camera.width, 3), 120, np.uint8)
    hull = cv2.convexHull(np.round(frame.view.camera.project(frame.box.corners)).astype(np.int32))
    return cv2.fillConvexPoly(picture, hull, COLOURS[frame.category])


def encoded(pixels: np.ndarray, extension: str = ".jpg") -> bytes:
    """RGB pixels as a file."""
    bgr = pixels[:, :, ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(extension, bgr)[1].tobytes()


def write_sample(folder: Path, frame: Frame) -> Path:
    """A sample for the page: the frame's picture, and what is asked with it; returns the folder."""
    folder.mkdir(parents=True)
    (folder / "image.jpg").write_bytes(encoded(picture_of(frame)))
    fields = query_fields(frame)
    parts = {name: json.loads(fields[name]) for name in ("camera", "plane")}
    (folder / "fields.json").write_text(json.dumps({**parts, "rect": frame.view.rect}))
    return folder


def build_index(root: Location, prefix: str = "v1", digest: str = ColourEncoder.digest) -> str:
    """Writes a version whose frames' ids begin with ``prefix``; returns its name."""
    encoder = ColourEncoder()
    frames = indexed_frames(prefix)
    pictures = [picture_of(frame) for frame in frames]
    crops = [encoder.crop(picture, frame.view.rect) for picture, frame in zip(pictures, frames, strict=True)]
    thumbnails = [encoded(picture[::4, ::4]) for picture in pictures]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "encoder"  # as readable as any folder, which the temporary one is not
        folder.mkdir()
        (folder / "encoder.json").write_text(json.dumps({"digest": digest}))
        vectors, table = encoder.embed(np.stack(crops)), table_from_frames(frames)
        content = Content(vectors, table, thumbnails, folder, digest, recognition=[RECOGNITION])
        return store_at(root).write(content)


def open_colours(folder: Path, device: str = "auto") -> ColourEncoder:
    """Opens what ``build_index`` put beside the vectors."""
    digest = json.loads((folder / "encoder.json").read_text())["digest"]
    if digest == "broken":
        raise CorruptArtifactError(folder / "encoder.json", "made to fail")
    encoder = ColourEncoder()
    encoder.digest = digest
    return encoder


def wait_until(condition, timeout_s: float = 120) -> None:
    """Returns as soon as ``condition()`` holds; a fresh clone's first service compiles the fit, some 20 s of a core."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@contextlib.contextmanager
def client_of(index: Location, open_encoder=open_colours, *, ready: bool = True, **settings) -> Iterator[TestClient]:
    """A client of the whole app, with its lifespan, but without a socket."""
    app = create_app(Settings(index=index, poll_s=0.02, **settings), open_encoder)
    with TestClient(app, raise_server_exceptions=False) as client:
        if ready:
            wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def query_fields(frame: Frame) -> dict[str, str | list[str]]:
    """The form fields of ``POST /pose`` for a frame, apart from the image."""
    camera, plane = frame.view.camera, frame.view.plane
    names = ("fx", "fy", "cx", "cy", "width", "height")
    return {
        "camera": json.dumps({name: getattr(camera, name) for name in names}),
        "plane": json.dumps({"normal": plane.normal.tolist(), "point": (-plane.normal * plane.offset).tolist()}),
        "rect": [json.dumps(frame.view.rect)],
    }


def posted(client: TestClient, frame: Frame, image: bytes | None = None, path: str = "/pose", **changes):
    """Posts a frame's picture and fields; ``changes`` replace fields, None leaves one out."""
    fields = {**query_fields(frame), **changes}
    data = {name: value for name, value in fields.items() if value is not None}
    image = encoded(picture_of(frame)) if image is None else image
    return client.post(path, data=data, files={"image": ("upload.jpg", image, "image/jpeg")})
