"""Objectron as it is published: videos, and one annotation file each.

::

    <path>/videos/<class>/batch-<i>/<j>/video.MOV
    <path>/annotations/<class>/batch-<i>/<j>.pbdata       one serialised Sequence
    <path>/index/<class>_annotations_{train,test}         one `<class>/batch-<i>/<j>` per line; no index: all are train
    <path>/index/objects.csv                              optional: `sequence,object_id`, for objects in several videos
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from index.video import video_frames
from trainer.captures.objectron_annotation import SENSOR_SIZE, Annotation, Instance, Video, split_of
from trainer.captures.protos.annotation_data_pb2 import FrameAnnotation, ObjectAnnotation, Sequence
from trainer.captures.shot import CaptureError, Reason, Shot
from trainer.captures.video import Sampler

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ObjectronVideo:
    """One video and its annotation."""

    video: Path
    annotation: Path
    names: Video
    split: str
    fps: float

    @property
    def key(self) -> str:
        return self.names.sequence

    def files(self) -> tuple[Path, ...]:
        return (self.video, self.annotation)

    def read(self) -> Iterator[Shot]:
        annotations = read_annotations(self.annotation)
        sampler = Sampler(self.fps)
        for picture in video_frames(self.video):
            if sampler.keeps(picture.time_s):
                yield self._shot(picture.decode(), annotations.get(picture.index), picture.index, picture.time_s)

    def _shot(self, image: np.ndarray | None, annotation: Annotation | None, index: int, time_s: float) -> Shot:
        if image is None:
            return Shot(None, (), self.key, self.split, time_s, (Reason.UNREADABLE,))
        if annotation is None:
            return Shot(None, (), self.key, self.split, time_s, (Reason.NO_ANNOTATION,))
        height, width = image.shape[:2]
        frames, rejected = self.names.frames(annotation, index, width, height)
        return Shot(image, frames, self.key, self.split, time_s, rejected)


def objectron_sources(path: Path, fps: float) -> list[ObjectronVideo]:
    """The videos of ``path``, in order of their names. Those that the index does not list are left out."""
    splits, object_ids = _listed_splits(path / "index"), _object_ids(path / "index" / "objects.csv")
    sources, unlisted = [], []
    for video in sorted((path / "videos").glob("*/batch-*/*/video.*")):
        folder = video.parent.relative_to(path / "videos")
        sequence = folder.as_posix()
        listed = splits.get(sequence) if splits else "train"
        if listed is None:
            unlisted.append(sequence)
            continue
        names = Video(sequence, folder.parts[0], object_ids.get(sequence, sequence))
        annotation = path / "annotations" / folder.parent / f"{folder.name}.pbdata"
        sources.append(ObjectronVideo(video, annotation, names, split_of(listed, sequence), fps))
    if unlisted:
        logger.warning("%d videos left out: in no list of %s (%s)", len(unlisted), path / "index", unlisted[0])
    return sources


def read_annotations(path: Path) -> dict[int, Annotation]:
    """The annotations of a ``.pbdata`` file by number of the video's picture; CaptureError if it is not one."""
    try:
        sequence = Sequence.FromString(path.read_bytes())
    except FileNotFoundError:
        raise CaptureError(path, "missing: the video has no annotation") from None
    except DecodeError as error:
        raise CaptureError(path, f"not a serialised Sequence ({error})") from None
    frames = sequence.frame_annotations
    numbers = [frame.frame_id for frame in frames]
    if len(set(numbers)) < len(numbers):  # not written: then one annotation follows the other
        numbers = list(range(len(frames)))
    order = _object_numbers(sequence)
    return {number: _annotation(frame, order) for number, frame in zip(numbers, frames, strict=True)}


def _object_numbers(sequence: Sequence) -> dict[int, int]:
    """From an object's id in the file to its place among the objects of the video."""
    named = [instance.id for instance in sequence.objects]
    seen = [instance.object_id for frame in sequence.frame_annotations for instance in frame.annotations]
    return {object_id: number for number, object_id in enumerate(dict.fromkeys(named + seen))}


def _annotation(frame: FrameAnnotation, object_numbers: Mapping[int, int]) -> Annotation:
    camera = frame.camera
    numbers = [object_numbers[instance.object_id] for instance in frame.annotations]
    if len(set(numbers)) < len(numbers):  # ids not written
        numbers = list(range(len(numbers)))
    return Annotation(
        projection=np.array(camera.projection_matrix, np.float64),
        intrinsics=np.array(camera.intrinsics, np.float64),
        sensor=(
            camera.image_resolution_width or SENSOR_SIZE[0],
            camera.image_resolution_height or SENSOR_SIZE[1],
        ),
        plane_normal=np.array(frame.plane_normal, np.float64),
        plane_center=np.array(frame.plane_center, np.float64),
        instances=tuple(map(_instance, numbers, frame.annotations)),
    )


def _instance(number: int, annotation: ObjectAnnotation) -> Instance:
    keypoints = sorted(annotation.keypoints, key=lambda keypoint: keypoint.id)
    in_picture = all(keypoint.HasField("point_2d") for keypoint in keypoints)
    return Instance(
        number=number,
        keypoints=np.array([[k.point_3d.x, k.point_3d.y, k.point_3d.z] for k in keypoints]),
        pixels=np.array([[k.point_2d.x, k.point_2d.y] for k in keypoints]) if in_picture else None,
        visibility=annotation.visibility,
    )


def _listed_splits(index: Path) -> dict[str, str]:
    """``train`` or ``test`` for every sequence that the lists name."""
    splits = {}
    for split in ("train", "test"):
        for file in sorted(index.glob(f"*_annotations_{split}")):
            splits.update(dict.fromkeys(file.read_text().split(), split))
    return splits


def _object_ids(file: Path) -> dict[str, str]:
    """The identity of each sequence's object, by ``objects.csv``; empty without one."""
    if not file.is_file():
        return {}
    with file.open(newline="") as lines:
        rows = csv.DictReader(lines)
        if not {"sequence", "object_id"} <= set(rows.fieldnames or ()):
            raise CaptureError(file, f"columns are {rows.fieldnames}, must be sequence and object_id")
        return {row["sequence"]: row["object_id"] for row in rows}
