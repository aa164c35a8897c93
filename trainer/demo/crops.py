"""Crops of made-up objects as a ``frames`` artefact, drawn straight through off-centre cameras: no video in between.

What ``trainer.pretrain`` learns from. Each object stands on a turntable in a few *places* at once, as on a film set
whose floor, walls, things around and light can be exchanged: a hand-held camera walks around it, and every frame shows
one of the places, by chance. Two frames of a track share the object, but as a rule nothing else, so what is learnt
from pairs is neither the floor nor the light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from index.picture import encode_jpeg
from index.schema import (
    Array,
    Box,
    Camera,
    Frame,
    InvalidValueError,
    Plane,
    Rect,
    View,
    clipped_rect,
)
from index.shards import ShardWriter
from index.table import row_from_frame
from trainer.demo.film import DemoConfig, Take, check_least, claim, in_processes, stage, takes, walk
from trainer.demo.objects import CATEGORIES, DemoObject, build_object
from trainer.demo.orbit import box_in_camera, hand_held_orbit, phone_camera
from trainer.demo.render import Renderer, window_camera
from trainer.demo.sensor import sensed
from trainer.demo.stages import build_stage
from trainer.demo.things import build_thing
from trainer.frames import FRAMES_SCHEMA, write_table

_CHUNK = 20  # objects a shard: what an interrupted run draws again at most, for each worker
_CONFIG = "crops.json"
_MAP_SIZE = 512  # half the cost of setting up a place, and no difference at this size
_QUALITY = 92  # of the stored JPEGs; the sensor has added its own losses before
_LOOSEST = 0.10  # how much larger a rectangle's side may be than the object's, as a share: boxes by hand are not tight
_TIGHTEST = -0.03


@dataclass(frozen=True)
class CropsConfig:
    """How much to draw, and what.

    Attributes:
        seed: the same seed draws the same crops, byte by byte.
        objects: how many.
        valid: how many of them are held out, to watch the training.
        things: share of objects that are of no category; the others are of the demo's nine, in equal numbers.
        frames: of each object, at 5 frames per second.
        places: in which each object is seen.
        size: of the crops' longer side, pixels.
        workers: processes that draw at the same time, a core each.
    """

    seed: int = 1
    objects: int = 2000
    valid: int = 45
    things: float = 0.4
    frames: int = 20
    places: int = 3
    size: int = 112
    workers: int = 2

    def __post_init__(self) -> None:
        check_least("crops", self, seed=0, objects=1, valid=0, frames=1, places=1, size=16, workers=1)
        if not 0 <= self.things <= 1:
            raise InvalidValueError("crops.things", self.things, "from 0 to 1")
        if self.valid >= self.objects:
            raise InvalidValueError("crops.valid", self.valid, f"less than the {self.objects} objects")


def draw_crops(out: Path, config: CropsConfig) -> Path:
    """Draw the frames artefact ``out``; shards that are already there are kept. Returns ``out``.

    Raises ForeignArtifactError when ``out`` holds crops of another configuration.
    """
    return _write_frames(out, asdict(config), config.objects, partial(_object_crops, config), config.workers)


def draw_demo_crops(out: Path, config: DemoConfig, size: int = 112) -> Path:
    """The frames of the demo's captures (``film``), only as crops: the same objects, places and cameras, no videos."""
    planned = takes(config)
    return _write_frames(
        out, asdict(config) | {"size": size}, len(planned), partial(_take_crops, config, planned, size), config.workers
    )


Row = tuple[bytes, Frame, dict[str, Any]]  # JPEG, metadata, sequence with split and time


def _object_crops(config: CropsConfig, number: int) -> Iterator[Row]:
    """One object of the pre-training set."""
    rng = np.random.default_rng([config.seed, number])
    subject = _subject(config, number, rng)
    renderers = [Renderer(build_stage(subject, rng), _MAP_SIZE) for _ in range(config.places)]
    camera = phone_camera(rng, 360, 480)
    poses = hand_held_orbit(rng, subject.size, camera, config.frames)
    split = "valid" if number < config.valid else "train"
    name = f"{subject.category}-{number:05d}"
    for i, pose in enumerate(poses):
        view, box = _seen(camera, pose, subject, partial(_loosened, rng), config.size)
        picture = sensed(renderers[rng.integers(len(renderers))].render(_camera(view), pose), rng)
        frame = Frame(f"{name}/{i:03d}", subject.category, name, view, box)
        yield encode_jpeg(picture, _QUALITY), frame, {"sequence": name, "split": split, "time_s": i / 5}


def _subject(config: CropsConfig, number: int, rng: np.random.Generator) -> DemoObject:
    if rng.random() < config.things:
        return build_thing(rng)
    return build_object(CATEGORIES[number % len(CATEGORIES)], rng)


def _take_crops(config: DemoConfig, planned: Sequence[Take], size: int, number: int) -> Iterator[Row]:
    """One video of the demo."""
    take = planned[number]
    scene = stage(config, take)
    camera, poses = walk(config, take, scene)
    renderer = Renderer(scene)
    for i, pose in enumerate(poses):
        view, box = _seen(camera, pose, scene.subject, lambda rect: rect, size)
        frame = Frame(f"{take.sequence}/{i:03d}", take.category, take.object_id, view, box)
        extra = {"sequence": take.sequence, "split": take.split, "time_s": i / 5}
        yield encode_jpeg(renderer.render(_camera(view), pose), 90), frame, extra


def _seen(
    camera: Camera, camera_from_scene: Array, subject: DemoObject, framed: Callable[[Rect], Rect], size: int
) -> tuple[View, Box]:
    """The view whose whole picture is ``framed`` of the object's rectangle, the longer side ``size`` pixels."""
    box = box_in_camera(camera_from_scene, Box(np.eye(3), np.array([0, subject.size[1] / 2, 0]), subject.size))
    x0, y0, x1, y1 = framed(clipped_rect(box.rect(camera), camera.width, camera.height))
    scale = size / max(x1 - x0, y1 - y0)
    width, height = (max(1, round(length * scale)) for length in (x1 - x0, y1 - y0))
    window = window_camera(camera, (x0, y0, x1, y1), width, height)
    plane = Plane.from_point(camera_from_scene[:3, 1], camera_from_scene[:3, 3])
    return View(window, plane, window.rect), box


def _camera(view: View) -> Camera:
    return view.posed()[0]


def _loosened(rng: np.random.Generator, rect: Rect) -> Rect:
    """As people draw rectangles: each side a little off."""
    x0, y0, x1, y1 = rect
    left, top, right, bottom = rng.uniform(_TIGHTEST, _LOOSEST, 4)
    return (
        x0 - left * (x1 - x0),
        y0 - top * (y1 - y0),
        x1 + right * (x1 - x0),
        y1 + bottom * (y1 - y0),
    )


def _write_frames(
    out: Path, config: dict[str, Any], count: int, crops: Callable[[int], Iterator[Row]], workers: int
) -> Path:
    """``crops(0)`` to ``crops(count - 1)`` as a frames artefact, ``_CHUNK`` of them a shard."""
    claim(out / _CONFIG, config)
    for folder in ("shards", "parts"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    left = [chunk for chunk in chunks if not _part(out, chunk).is_file()]
    done = in_processes(partial(_write_chunk, out, crops), left, workers)
    for _ in tqdm(done, "draw", len(chunks), initial=len(chunks) - len(left), unit="shard"):
        pass
    table = pa.concat_tables([pq.read_table(_part(out, chunk), schema=FRAMES_SCHEMA) for chunk in chunks])
    write_table(table, out / "frames.parquet")
    return out


def _part(out: Path, chunk: range) -> Path:
    return out / "parts" / f"{chunk.start:05d}-{chunk.stop:05d}.parquet"


def _write_chunk(out: Path, crops: Callable[[int], Iterator[Row]], chunk: range) -> None:
    part = _part(out, chunk)
    rows = []
    with ShardWriter(out / "shards" / f"{part.stem}.tar") as writer:
        for number in chunk:
            for jpeg, frame, extra in crops(number):
                offset, length = writer.append(f"{frame.id}.jpg", jpeg)
                place = {"shard": f"shards/{part.stem}.tar", "offset": offset, "length": length}
                rows.append(row_from_frame(frame) | extra | place)
    write_table(pa.Table.from_pylist(rows, schema=FRAMES_SCHEMA), part)
