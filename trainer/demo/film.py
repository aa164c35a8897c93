"""The demo captures: procedural objects, filmed by hand, written as Objectron is published.

::

    <out>/videos/<category>/batch-<i>/<j>/video.MOV
    <out>/annotations/<category>/batch-<i>/<j>.pbdata       one serialised Sequence
    <out>/index/<category>_annotations{,_train,_test}       one `<category>/batch-<i>/<j>` a line
    <out>/index/objects.csv                                 `sequence,object_id`: see below
    <out>/index/demo.json                                   the configuration that the captures were made with

Objectron films every object once, and has no name for it. Here each test object is filmed twice, in two places, so that
it can be recognised again by nothing but itself. ``objects.csv`` says which sequence shows which object, a line each
(``shoe/batch-2/7,shoe-0017``), below a line with the two columns' names.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from index.schema import Array, Camera, CorruptArtifactError, ForeignArtifactError, InvalidValueError
from trainer.demo.annotation import annotate
from trainer.demo.objects import CATEGORIES, DemoObject, build_object
from trainer.demo.orbit import hand_held_orbit, phone_camera
from trainer.demo.render import Image, Renderer
from trainer.demo.scene import Scene, build_scene

FPS = 5.0
_BATCH = 10
Work = TypeVar("Work")
_PLACES = {"train": 1, "test": 2}
# What random numbers are drawn for: each use has a stream of its own, so that none depends on how many another drew.
_OBJECT, _PLACE, _WALK = range(3)


def check_least(name: str, config: object, **least: int) -> None:
    """Raises InvalidValueError for the first field of ``config``, called ``name``, that is below its least value."""
    for field, bound in least.items():
        if getattr(config, field) < bound:
            raise InvalidValueError(f"{name}.{field}", getattr(config, field), f"at least {bound}")


@dataclass(frozen=True)
class DemoConfig:
    """How much to film, and how. The defaults make 324 videos of 20 frames in a few minutes on two cores.

    Attributes:
        seed: the same seed makes the same captures, byte by byte.
        train_objects: a category, filmed once each.
        test_objects: a category, other ones, filmed twice each, in two places.
        frames: a video, at 5 frames per second.
        width: of the portrait pictures in pixels: 3/4 of the height, as phones have it.
        height: of the pictures in pixels.
        workers: processes that film at the same time, a core each.
    """

    seed: int = 0
    train_objects: int = 28
    test_objects: int = 4
    frames: int = 20
    width: int = 360
    height: int = 480
    workers: int = 2

    def __post_init__(self) -> None:
        check_least("demo", self, seed=0, train_objects=0, test_objects=0, frames=1, width=12, height=16, workers=1)
        if self.width * 4 != self.height * 3:
            raise InvalidValueError("demo.width", self.width, f"3/4 of the height {self.height}, as on a phone")


@dataclass(frozen=True)
class Take:
    """One video to make: which object, in which of its places."""

    category: str
    number: int
    place: int
    split: str
    sequence: str

    @property
    def object_id(self) -> str:
        return f"{self.category}-{self.number:04d}"


def takes(config: DemoConfig) -> list[Take]:
    """All videos of the captures: for each category its train objects, then its test objects."""
    splits = ["train"] * config.train_objects + ["test"] * config.test_objects
    planned = []
    for category in CATEGORIES:
        shots = [(number, place, split) for number, split in enumerate(splits) for place in range(_PLACES[split])]
        for position, (number, place, split) in enumerate(shots):
            sequence = f"{category}/batch-{1 + position // _BATCH}/{position % _BATCH}"
            planned.append(Take(category, number, place, split, sequence))
    return planned


def film(out: Path, config: DemoConfig) -> Path:
    """Make the captures in ``out``; videos that are already there are kept. Returns ``out``.

    Raises ForeignArtifactError when ``out`` holds captures of another configuration.
    """
    claim(out / "index" / "demo.json", asdict(config))
    planned = takes(config)
    left = [take for take in planned if not all(path.is_file() for path in _files(out, take))]
    done = in_processes(partial(_film_take, out, config), left, config.workers)
    for _ in tqdm(done, "film", len(planned), initial=len(planned) - len(left), unit="video"):
        pass
    _write_index(out / "index", planned)
    return out


def claim(file: Path, config: Mapping[str, Any]) -> None:
    """Write a folder's configuration, but for ``workers``, into its ``file``, or compare it with the one that is there.

    Raises ForeignArtifactError when that is another.
    """
    wanted = {key: value for key, value in config.items() if key != "workers"}
    if file.is_file():
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise CorruptArtifactError(file, f"not JSON ({error})") from None
        if found != wanted:
            raise ForeignArtifactError(file, f"made with another configuration: {found}, not {wanted}")
    write_whole(file, json.dumps(wanted).encode())


def write_whole(path: Path, data: bytes) -> None:
    """All of the file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def _files(out: Path, take: Take) -> tuple[Path, Path]:
    """The video and its annotation."""
    return out / "videos" / take.sequence / "video.MOV", out / "annotations" / f"{take.sequence}.pbdata"


def in_processes(work: Callable[[Work], None], left: Sequence[Work], workers: int) -> Iterator[None]:
    """Do the work in processes of one thread each; yields once per piece that is done."""
    with _one_thread_per_process(), ProcessPoolExecutor(workers, get_context("spawn"), _single_threaded) as pool:
        jobs = [pool.submit(work, take) for take in left]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            for job in jobs:
                job.cancel()


@contextlib.contextmanager
def _one_thread_per_process() -> Iterator[None]:
    """Numerical libraries read this when they are loaded: it must be set before the processes start."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _single_threaded() -> None:
    cv2.setNumThreads(1)


def _film_take(out: Path, config: DemoConfig, take: Take) -> None:
    video, annotation = _files(out, take)
    scene = stage(config, take)
    camera, cameras_from_scene = walk(config, take, scene)
    sequence = annotate(take.category, scene.subject.size, camera, cameras_from_scene, FPS)
    write_whole(annotation, sequence.SerializeToString(deterministic=True))
    renderer = Renderer(scene)
    write_video(video, (renderer.render(camera, pose) for pose in cameras_from_scene), (config.width, config.height))


def _stream(config: DemoConfig, take: Take, use: int) -> np.random.Generator:
    place = 0 if use == _OBJECT else take.place
    return np.random.default_rng([config.seed, CATEGORIES.index(take.category), take.number, place, use])


def stage(config: DemoConfig, take: Take) -> Scene:
    """The take's object, in the take's place."""
    subject: DemoObject = build_object(take.category, _stream(config, take, _OBJECT))
    return build_scene(subject, _stream(config, take, _PLACE))


def walk(config: DemoConfig, take: Take, scene: Scene) -> tuple[Camera, Array]:
    """The take's camera, and its poses ``camera_from_scene`` (frames, 4, 4)."""
    rng = _stream(config, take, _WALK)
    camera = phone_camera(rng, config.width, config.height)
    return camera, hand_held_orbit(rng, scene.subject.size, camera, config.frames)


def write_video(path: Path, pictures: Iterator[Image], size: tuple[int, int]) -> None:
    """Write RGB pictures of ``size`` (width, height) as MPEG-4, all of the file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished{path.suffix}")
    writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), FPS, size)
    if not writer.isOpened():
        raise OSError(f"{unfinished}: OpenCV cannot write MPEG-4 video here")
    try:
        for picture in pictures:
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
    unfinished.replace(path)


def _write_index(folder: Path, planned: Sequence[Take]) -> None:
    for category in CATEGORIES:
        for suffix, splits in (("", ("train", "test")), ("_train", ("train",)), ("_test", ("test",))):
            names = [take.sequence for take in planned if take.category == category and take.split in splits]
            write_whole(folder / f"{category}_annotations{suffix}", "".join(f"{name}\n" for name in names).encode())
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["sequence", "object_id"])
    rows.writerows([take.sequence, take.object_id] for take in planned)
    write_whole(folder / "objects.csv", table.getvalue().encode())
