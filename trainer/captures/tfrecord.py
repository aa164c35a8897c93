"""Objectron's TFRecord files: whole sequences (SequenceExample) or single pictures (Example), shuffled.

::

    <path>/**/<class>_train*, <class>_test*       (*.tfrecord: the class is the folder's name, the split train)

A record: length (uint64, little-endian), its masked CRC-32C (uint32), the message, its masked CRC-32C (uint32). See
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
"""

from __future__ import annotations

import io
import itertools
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError

from index.schema import Array
from trainer.captures.objectron_annotation import SENSOR_SIZE, Annotation, Instance, Video, split_of
from trainer.captures.protos.example_pb2 import Feature, FeatureList, Int64List, SequenceExample
from trainer.captures.shot import CaptureError, Reason, Shot, decode_image, is_jpeg
from trainer.captures.video import Sampler

Features = Mapping[str, Feature]

_HEADER = struct.Struct("<QI")
START = _HEADER.size  # bytes by which a file is told that its name alone does not tell
_CHECKSUM = struct.Struct("<I")
_NAME = re.compile(r"(?P<category>.+?)_(?P<split>train|test)(?![a-z])")


@dataclass(frozen=True)
class RecordFile:
    """One record file."""

    path: Path
    key: str
    category: str
    listed: str
    fps: float

    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self) -> Iterator[Shot]:
        for number, data in enumerate(records(self.path)):
            try:
                record = SequenceExample.FromString(data)
            except DecodeError as error:
                raise CaptureError(self.path, f"record {number} is no SequenceExample or Example ({error})") from None
            # An Example reads as a SequenceExample that has a context alone.
            steps = _steps(record) or [record.context.feature]
            yield from self._shots(self._sequence(record, number), steps)

    def _sequence(self, record: SequenceExample, number: int) -> str:
        named = _bytes(record.context.feature, "sequence_id").decode(errors="replace")
        return named or f"{self.key}/{number:05d}"

    def _shots(self, sequence: str, steps: Sequence[Features]) -> Iterator[Shot]:
        sampler, names = Sampler(self.fps), Video(sequence, self.category, sequence)
        for number, (features, time_s) in enumerate(zip(steps, _times(steps), strict=True)):
            if sampler.keeps(time_s):
                yield _shot(features, names, split_of(self.listed, sequence), number, time_s)


def _shot(features: Features, names: Video, split: str, number: int, time_s: float) -> Shot:
    data = _bytes(features, "image/encoded")
    image = decode_image(data)
    if image is None:
        return Shot(None, (), names.sequence, split, time_s, (Reason.UNREADABLE,))
    height, width = image.shape[:2]
    frames, rejected = names.frames(_annotation(features), number, width, height)
    return Shot(image, frames, names.sequence, split, time_s, rejected, data if is_jpeg(data) else None)


def _annotation(features: Features) -> Annotation:
    count = _integer(features, "instance_num") or _floats(features, "point_3d").size // 27
    keypoints = _per_instance(features, "point_3d", 27, count)
    pixels = _per_instance(features, "point_2d", 27, count)
    visibility = _per_instance(features, "object/visibility", 1, count)
    return Annotation(
        projection=_floats(features, "camera/projection"),
        intrinsics=_floats(features, "camera/intrinsics"),
        sensor=SENSOR_SIZE,
        plane_normal=_floats(features, "plane/normal"),
        plane_center=_floats(features, "plane/center"),
        instances=tuple(
            Instance(
                number=k,
                keypoints=np.empty((0, 3)) if keypoints is None else keypoints[k].reshape(9, 3),
                pixels=None if pixels is None else pixels[k].reshape(9, 3)[:, :2],
                visibility=1.0 if visibility is None else float(visibility[k, 0]),
            )
            for k in range(count)
        ),
    )


def _steps(record: SequenceExample) -> list[Features]:
    """A sequence's features, step by step. Lists shorter than the pictures' leave the last steps without them."""
    lists = record.feature_lists.feature_list
    length = len(lists["image/encoded"].feature) if "image/encoded" in lists else 0
    return [
        {name: values.feature[k] for name, values in lists.items() if k < len(values.feature)} for k in range(length)
    ]


def _times(steps: Sequence[Features]) -> list[float]:
    """Seconds since the first picture; at the videos' 30 per second where no rising timestamps are given."""
    stamps = [_integer(features, "image/timestamp") for features in steps]
    if any(later <= earlier for earlier, later in itertools.pairwise(stamps)):
        return [k / 30 for k in range(len(steps))]
    return [(stamp - stamps[0]) / 1e6 for stamp in stamps]


def _bytes(features: Features, name: str) -> bytes:
    values = features[name].bytes_list.value if name in features else ()
    return bytes(values[0]) if values else b""


def _integer(features: Features, name: str) -> int:
    values = features[name].int64_list.value if name in features else ()
    return int(values[0]) if values else 0


def _floats(features: Features, name: str) -> Array:
    return np.array(features[name].float_list.value if name in features else (), np.float64)


def _per_instance(features: Features, name: str, length: int, count: int) -> Array | None:
    """(count, length), or None when the feature does not hold that many."""
    values = _floats(features, name)
    return values.reshape(count, length) if count and values.size == count * length else None


def records(path: Path) -> Iterator[bytes]:
    """The messages in a record file. Raises CaptureError where it is truncated or a checksum does not fit."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            offset = file.tell() - len(header)
            if len(header) < _HEADER.size:
                raise CaptureError(path, f"truncated in the record at byte {offset}")
            length, checksum = _HEADER.unpack(header)
            if checksum != _masked_crc(header[:8]):
                raise CaptureError(path, f"checksum of the length at byte {offset} does not fit: not a record file?")
            if file.tell() + length + _CHECKSUM.size > size:
                raise CaptureError(path, f"truncated in the record at byte {offset}")
            data = file.read(length)
            if _CHECKSUM.unpack(file.read(_CHECKSUM.size))[0] != _masked_crc(data):
                raise CaptureError(path, f"checksum of the record at byte {offset} does not fit")
            yield data


def thinned_records(path: Path, fps: float) -> bytes:
    """The content of a record file with about ``fps`` pictures a second of each of its sequences.

    Raises CaptureError where ``path`` is no file of SequenceExamples, or one that is damaged.
    """
    content = io.BytesIO()
    for number, data in enumerate(records(path)):
        try:
            record = SequenceExample.FromString(data)
        except DecodeError as error:
            raise CaptureError(path, f"record {number} is no SequenceExample ({error})") from None
        _thin(record, fps)
        _write_record(content, record.SerializeToString())
    return content.getvalue()


def _thin(record: SequenceExample, fps: float) -> None:
    """Leaves out steps of a sequence, and writes down the times of those that stay."""
    times, sampler = _times(_steps(record)), Sampler(fps)
    kept = [k for k, time_s in enumerate(times) if sampler.keeps(time_s)]
    lists = record.feature_lists.feature_list
    for values in lists.values():
        values.CopyFrom(FeatureList(feature=[values.feature[k] for k in kept if k < len(values.feature)]))
    stamps = [Feature(int64_list=Int64List(value=[round(times[k] * 1e6)])) for k in kept]
    lists["image/timestamp"].CopyFrom(FeatureList(feature=stamps))


def _write_record(file: BinaryIO, data: bytes) -> None:
    header = struct.pack("<Q", len(data))
    for part in (header, data):
        file.write(part + _CHECKSUM.pack(_masked_crc(part)))


def _masked_crc(data: bytes) -> int:
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def tfrecord_sources(path: Path, fps: float) -> list[RecordFile]:
    """The record files below ``path``, in order of their names."""
    return [
        RecordFile(file, file.relative_to(path).as_posix(), *_category_and_split(file), fps)
        for file in sorted(path.rglob("*"))
        if file.is_file() and _is_record_file(file)
    ]


def _category_and_split(file: Path) -> tuple[str, str]:
    if match := _NAME.match(file.name):
        return match["category"], match["split"]
    return file.parent.name, "train"


def told_by_start(file: Path) -> bool:
    """Whether the first START bytes of a file of that name say whether it is a record file."""
    return file.suffix != ".tfrecord" and _NAME.match(file.name) is not None


def _is_record_file(file: Path) -> bool:
    """By its name, and, where that says little, by the checksum at its start."""
    if not told_by_start(file):
        return file.suffix == ".tfrecord"
    with file.open("rb") as content:
        header = content.read(_HEADER.size)
    return len(header) == _HEADER.size and _HEADER.unpack(header)[1] == _masked_crc(header[:8])
