"""A recording of any format in, a capture folder out: upright, undistorted, on its ground, in metres where possible."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from index.schema import Array, InvalidValueError
from trainer.captures.shot import CaptureError, decode_image
from trainer.importers import ImportConfig, Recording, read_recording
from trainer.importers.files import opened
from trainer.importers.ground import find_ground, up_from_cameras, upright_world
from trainer.importers.pictures import write_pictures
from trainer.importers.place import Place, annotation, place
from trainer.importers.recording import similar
from trainer.importers.scale import ground_by_camera_height, with_scale
from trainer.importers.sparse import Features, features, pairs
from trainer.importers.write import unfinished, write_capture

# Points are looked for in this many pictures, each with the two that follow.
_LOOKED_AT = 40
_REACH = 2


@dataclass(frozen=True, eq=False)
class Imported:
    """A finished import: the capture's folder, what it holds, and about where the object is in it (None: no up)."""

    folder: Path
    recording: Recording
    place: Place | None

    def text(self) -> str:
        """What was done and assumed, and what the user adds to ``capture.json``, as lines to print."""
        recording = self.recording
        lines = [f"{self.folder}: {len(recording.frames)} pictures, {recording.source}"]
        lines += [f"  {note}" for note in recording.notes]
        lines.append(f"  scale: {'metres' if recording.metric else 'UNKNOWN, all lengths are in a unit of its own'}")
        ground = recording.ground
        lines.append(f"  ground: {ground.found_by}" if ground else "  ground: NOT FOUND, add plane to capture.json")
        if not recording.objects and self.place:
            lines += ["", *self._to_add(self.place)]
        return "\n".join(lines)

    def _to_add(self, place: Place) -> list[str]:
        seen, guessed = "points off the ground that the cameras look at", "where the cameras look; size guessed"
        how = seen if place.seen else guessed
        text = annotation(place, self.folder.name).replace("\n", "\n  ")
        return [
            f"Now the box. With the mouse: python -m service annotate {self.folder.parent}, and open the page.",
            f'Or by hand: in {self.folder / "capture.json"}, replace "objects": [] by',
            f"  {text}",
            f"with the object's category, and its center, size and rotation put right (this is a guess: {how}).",
            "The box's y axis (the rotation's second column) is up, its z (the third) the object's front.",
            f"Then: python -m trainer check {self.folder}, and look at check.jpg.",
        ]


def import_capture(source: Path, captures: Path, config: ImportConfig | None = None) -> Imported:
    """Makes ``captures``/<name> of ``source``: a folder, an archive or a video.

    Raises CaptureError or InvalidValueError naming file, field and value; nothing is then left in ``captures``.
    """
    source, captures, config = Path(source), Path(captures), config or ImportConfig()
    folder = captures / (config.name or _name(source))
    with unfinished(folder, config.force) as out, opened(source) as found, TemporaryDirectory() as work:
        recording = _read(found, config, Path(work))
        up, measured = _up(recording)
        recording = write_pictures(replace(recording, up=up), out, config.max_side)
        recording = _settled(recording, measured, config)
        write_capture(recording, out, config.split)
    up = _final_up(recording)
    return Imported(folder, recording, None if up is None else place(recording, up))


def _name(source: Path) -> str:
    path = source.resolve()
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", path.name if path.is_dir() else path.stem).strip("-.")
    return name or "capture"


def _read(found: Path, config: ImportConfig, work: Path) -> Recording:
    recording = read_recording(found, config, work)
    if not recording.frames:
        raise CaptureError(found, "no pictures with a pose in it")
    if config.up_axis is not None:
        recording = replace(recording, up=config.up_axis)
    if config.metric and not recording.metric:
        recording = replace(recording, metric=True).noted("scale: metres, as you said")
    return recording


def _up(recording: Recording) -> tuple[Array | None, bool]:
    """Which way is up, and whether the source says so."""
    if recording.up is not None:
        return recording.up, True
    return up_from_cameras(recording), False


def _settled(recording: Recording, measured: bool, config: ImportConfig) -> Recording:
    """With points, ground and scale; in a world of its own where the source's has no up."""
    if not len(recording.points) and not recording.objects:
        recording = _with_points(recording)
    recording = _with_ground(recording, measured, config)
    up = _final_up(recording)
    if not measured and up is not None:
        recording = similar(recording, 1.0, *upright_world(recording, up))
    return with_scale(recording, config)


def _with_points(recording: Recording) -> Recording:
    """With what some of the written pictures show."""
    step = max(1, -(-len(recording.frames) // _LOOKED_AT))
    looked_at: list[Features] = []
    for frame in recording.frames[::step]:
        image = decode_image(frame.file.read_bytes())
        if image is None:
            raise CaptureError(frame.file, "not a readable picture")
        looked_at.append(features(image, frame.camera, frame.world_from_camera))
    compared = [pair for _, _, pair in pairs(looked_at, _REACH)]
    told = [pair.agreement for pair in compared if pair.agreement is not None]
    recording = replace(recording, points=np.concatenate([np.empty((0, 3)), *(pair.points for pair in compared)]))
    if told and np.median(told) < 0.5:
        share = f"they explain {np.median(told):.0%} of what neighbouring pictures have in common"
        recording = recording.noted(f"THE POSES DO NOT FIT THE PICTURES: {share}")
    return recording


def _with_ground(recording: Recording, measured: bool, config: ImportConfig) -> Recording:
    given = config.camera_height
    if recording.ground is not None and recording.metric and given is not None:
        known = f"left out: the ground is known by {recording.ground.found_by}"
        raise InvalidValueError("import.camera_height", given, known)
    if recording.ground is not None or recording.up is None:
        return recording
    if recording.metric and given is not None:
        return ground_by_camera_height(recording, recording.up, given)
    return replace(recording, ground=find_ground(recording, recording.up, measured))


def _final_up(recording: Recording) -> Array | None:
    return recording.ground.normal if recording.ground else recording.up
