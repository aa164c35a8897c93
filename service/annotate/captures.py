"""The captures of a folder, as the annotator's page sees them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from index.capture import CAPTURE_FILE, CaptureDocument, CaptureError, capture_folders, faults
from index.capture_pose import posed_camera
from index.findings import read_findings
from index.points import POINTS, read_points
from index.schema import InvalidValueError, NearposeError
from service.annotate.answers import (
    CameraShape,
    CaptureAnswer,
    CaptureEntry,
    FindingShape,
    FrameShape,
    SavedAnswer,
    object_shape,
    plane_shape,
)
from service.annotate.pictures import MissingPictureError, Pictures
from service.annotate.store import Saved, UnknownCaptureError, read

_MOST_POINTS = 5000
FrameUrl = Callable[[int], str]


class Captures:
    """The capture folders in ``root``, or ``root`` itself where it is one. Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, tuple[tuple[int, ...], Listed]] = {}  # by folder: two may lead to one file

    def folder(self, name: str) -> Path:
        """The folder of that name: one that is looked up, never a path that is put together.

        Raises UnknownCaptureError.
        """
        if name == self._root.resolve().name and (self._root / CAPTURE_FILE).is_file():
            return self._root
        if name in self._names() and (self._root / name / CAPTURE_FILE).is_file():
            return self._root / name
        raise UnknownCaptureError("name", name, "that of a capture in the folder")

    def _names(self) -> set[str]:
        """What else there is in the folder, where it is not a capture itself."""
        try:
            names = {entry.name for entry in os.scandir(self._root)}
        except OSError:
            return set()
        return set() if CAPTURE_FILE in names else {name for name in names if not name.startswith(".")}

    def file(self, name: str) -> Path:
        """The ``capture.json`` of that name, wherever it lies. Raises UnknownCaptureError."""
        return (self.folder(name) / CAPTURE_FILE).resolve()

    def listed(self) -> list[Listed]:
        """All of them. A file that has not changed is not read again."""
        return [self._entry(folder) for folder in capture_folders(self._root)]

    def _entry(self, folder: Path) -> Listed:
        file = (folder / CAPTURE_FILE).resolve()
        name = folder.resolve().name if folder == self._root else folder.name
        try:
            name.encode()
            stamp = _stamp(file)
        except UnicodeError:
            readable = name.encode(errors="replace").decode()
            return Listed(_unusable(readable, "rename its folder: the name is not UTF-8"))
        except OSError:
            return Listed(_unusable(name, "it cannot be read"))
        known = self._listed.get(folder)
        if known is None or known[0] != stamp:
            known = self._listed[folder] = (stamp, _read_entry(name, file))
        return known[1]


@dataclass(frozen=True)
class Listed:
    """A capture in the list, and the names that it uses."""

    entry: CaptureEntry
    categories: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()


def _read_entry(name: str, file: Path) -> Listed:
    """A capture's counts, or why it cannot be read."""
    try:
        document = read(file).document
    except NearposeError as error:
        return Listed(_unusable(name, str(error)))
    objects = document.objects
    entry = CaptureEntry(
        name=name,
        frames=len(document.frames),
        objects=len(objects),
        boxes=sum(item.box is not None for item in objects),
        accepted=sum(item.accepted for item in objects),
        problem=_problem(document),
    )
    return Listed(entry, frozenset(item.category for item in objects), frozenset(item.id for item in objects))


def _unusable(name: str, problem: str) -> CaptureEntry:
    return CaptureEntry(name=name, frames=0, objects=0, boxes=0, accepted=0, problem=problem)


def _stamp(file: Path) -> tuple[int, ...]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def capture_answer(name: str, folder: Path, saved: Saved, pictures: Pictures, url: FrameUrl) -> CaptureAnswer:
    """All of a capture. What is wrong with a frame is said there and hides no other."""
    document = saved.document
    points, colors, fault = _points(folder)
    return CaptureAnswer(
        name=name,
        revision=saved.revision,
        axes=document.axes,
        scale=document.scale,
        source=document.source,
        split=document.split,
        plane=plane_shape(document.plane),
        plane_from=document.plane_from,
        objects=[object_shape(item) for item in document.objects],
        frames=[_frame(folder, document, number, pictures, url) for number in range(len(document.frames))],
        points=points,
        colors=colors,
        findings=[*_findings(folder), *fault],
        problem=_problem(document),
    )


def saved_answer(revision: str, folder: Path, document: CaptureDocument) -> SavedAnswer:
    """What is told of a capture once its annotation was replaced."""
    *_, fault = _points(folder)
    return SavedAnswer(revision=revision, findings=[*_findings(folder), *fault], problem=_problem(document))


def _findings(folder: Path) -> list[FindingShape]:
    return [FindingShape(frame=found.frame, kind=found.kind, text=found.text) for found in read_findings(folder)]


def _problem(document: CaptureDocument) -> str | None:
    return next((str(fault) for fault in faults(document)), None)


def _frame(folder: Path, document: CaptureDocument, number: int, pictures: Pictures, url: FrameUrl) -> FrameShape:
    frame = document.frames[number]
    size, camera, pose, problem = None, None, None, None
    try:
        size = pictures.size(folder, document, number)
        camera, pose = posed_camera(document, frame, *size)
    except MissingPictureError as error:
        problem = str(error)
    except InvalidValueError as error:
        problem = f"frames[{number}].{error}"
    width, height = size or (None, None)
    return FrameShape(
        image=url(number),
        width=width,
        height=height,
        camera=CameraShape(**vars(camera)) if camera else None,
        world_from_camera=pose.world_from_camera.tolist() if pose else None,
        time_s=pictures.time_s(folder, document, number),
        rects=frame.rects,
        problem=problem,
    )


Triple = tuple[float, float, float]
Colour = tuple[int, int, int]


def _points(folder: Path) -> tuple[list[Triple], list[Colour] | None, list[FindingShape]]:
    """Some points and their colours; instead of those that cannot be read a word on why."""
    try:
        points, colors = read_points(folder / POINTS, _MOST_POINTS)
    except FileNotFoundError:
        return [], None, []
    except (CaptureError, OSError) as error:
        reason = error.reason if isinstance(error, CaptureError) else "it cannot be read"
        return [], None, [FindingShape(frame=None, kind="points", text=f"{POINTS}: {reason}")]
    rounded = [(_short(x), _short(y), _short(z)) for x, y, z in points]
    return rounded, None if colors is None else colors.tolist(), []


def _short(value: float) -> float:
    """Six digits: half the bytes."""
    return float(f"{value:.6g}")
