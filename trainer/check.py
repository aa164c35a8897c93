"""Finds what is wrong with a capture before it goes into an index: per frame, and on a contact sheet.

A wrong pose does not look wrong in a file. So the pictures are asked: what neighbouring ones have in common must be
where the poses say; the ground must be below the cameras, and up at the top of the pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index.capture import CAPTURE_FILE, CaptureDocument, capture_folders, faults, parse_capture
from index.findings import SHEET, Finding, write_findings
from index.posed import aim
from index.schema import Array, Box, Camera, InvalidValueError, NearposeError, Plane, Rect
from trainer.captures.folder import CaptureFolder, Scene, scene_of
from trainer.captures.quality import sharpness
from trainer.captures.shot import CaptureError, Image, RejectedError
from trainer.check_sheet import Tile, contact_sheet, marked, thumbnail
from trainer.importers.sparse import Features, compare, features
from trainer.picture import write_picture

_EVERY = 1e9  # frames a second: all of them

_BLUR_RATIO = 0.2  # of the median sharpness, as ingest has it
_JUMP_RATIO = 4.0  # of the median change of velocity
_JUMP_LEAST = 0.03  # of the extent of all positions
_JUMP_MOST = 0.2  # of it: cameras that are further apart need not see the same
_AGREEMENT = 0.5
_TILTED_DEG = 50.0
_HORIZON_DEG = 30.0
_FOCAL = (0.4, 4.0)  # of the picture's longer side: a 17 mm to a 170 mm lens
_OFF_CENTRE = 0.15
_DRIFT_IOU = 0.6


@dataclass(frozen=True, eq=False)
class _Look:
    """What is kept of a picture that was looked at. ``pose`` is world_from_camera (4, 4)."""

    number: int
    time_s: float
    camera: Camera | None
    pose: Array | None
    plane: Plane | None
    boxes: tuple[tuple[str, Box, Rect | None], ...]  # by the object's id
    sharpness: float
    thumbnail: Image
    agreement: float | None = None  # of the poses with what it has in common with the picture before


def check_captures(captures: Path) -> dict[Path, list[Finding]]:
    """The findings of every capture folder in ``captures``, or of ``captures`` itself; they are left there, too.

    Raises CaptureError when there is none.
    """
    folders = capture_folders(captures)
    if not folders:
        raise CaptureError(captures, f"no {CAPTURE_FILE} in it, or in a folder of it")
    return {folder: check_capture(folder) for folder in folders}


def check_capture(folder: Path) -> list[Finding]:
    """What is wrong with the capture in ``folder``; draws its ``check.jpg`` there, and writes ``check.json``."""
    file = folder / CAPTURE_FILE
    try:
        document = parse_capture(file)
    except NearposeError as error:
        found = [Finding(None, "unreadable", str(error))]
        write_findings(folder, found)
        return found
    found = [_fault(fault) for fault in faults(document)]
    found += _about_the_whole(document)
    looks: list[_Look] = []
    try:
        found += _look(CaptureFolder(folder, _EVERY), document, looks)
    except (CaptureError, InvalidValueError) as error:  # the video cannot be read, or ends before a frame
        found.append(Finding(None, "unreadable", str(error)))
    found += [*_jumps(looks), *_blurred(looks), *_gravity(looks)]
    found = sorted(set(found), key=lambda finding: (finding.frame is not None, finding.frame or 0))
    if looks:
        flagged = {finding.frame: finding.kind for finding in found if finding.frame is not None}
        write_picture(folder / SHEET, contact_sheet(_tiles(looks, flagged)))
    write_findings(folder, found)
    return found


def _tiles(looks: Sequence[_Look], flagged: dict[int, str]) -> list[Tile]:
    poses = [look.pose for look in looks if look.pose is not None]
    middle = np.append(aim(np.array(poses)), 1.0) if poses else None
    tiles = []
    for look in looks:
        image = look.thumbnail
        if look.camera is not None and look.pose is not None and middle is not None:
            looked_at = (np.linalg.inv(look.pose) @ middle)[:3]
            image = marked(image, look.camera, look.plane, [box for _, box, _ in look.boxes], looked_at)
        tiles.append(Tile(look.number, image, flagged.get(look.number)))
    return tiles


def _fault(fault: InvalidValueError) -> Finding:
    number = re.match(r"frames\[(\d+)\]", fault.field)
    kind = "mirrored" if _mirrors(fault) else "not valid"
    return Finding(int(number[1]) if number else None, kind, str(fault), annotated=".rects" in fault.field)


def _mirrors(fault: InvalidValueError) -> bool:
    matrix = np.asarray(fault.value) if fault.field.endswith(("world_from_camera", "rotation")) else np.eye(3)
    return matrix.shape == (3, 3) and bool(np.linalg.det(matrix) < 0)


def _about_the_whole(document: CaptureDocument) -> Iterator[Finding]:
    if not document.objects:
        yield Finding(None, "no object", "add it, with its box, to objects")
    for item in document.objects:
        if not item.accepted:
            yield Finding(None, "not accepted", f"{item.id} is left out until a person has looked at its box")
    if document.plane is None:
        yield Finding(None, "no plane", "boxes need the ground: add plane")
    elif document.plane_from and "guess" in document.plane_from.lower():
        yield Finding(None, "plane", f"look whether the grid lies on the ground: {document.plane_from}")
    if document.scale == "unknown":
        yield Finding(None, "scale", "unknown: lengths are in a unit of the capture's own, not in metres")


def _look(capture: CaptureFolder, document: CaptureDocument, looks: list[_Look]) -> Iterator[Finding]:
    """Goes through the pictures, one at a time; what is kept of each is added to ``looks``."""
    before: Features | None = None
    for number, time_s, image, _ in capture.pictures(document):
        frame = document.frames[number]
        if frame.world_from_camera is None:
            yield Finding(number, "no pose", "world_from_camera is missing")
        if image is None:
            yield Finding(number, "picture", f"{frame.image or 'video'}: missing or unreadable")
            continue
        scene = None
        try:
            scene = scene_of(document, frame, image.shape[1], image.shape[0])
        except InvalidValueError as fault:
            yield Finding(number, "size" if fault.field == "camera" else "not valid", _size_hint(fault, image))
        except RejectedError as error:
            yield Finding(number, "plane", error.reason.value, annotated=True)
        look = _looked_at(document, number, time_s, image, scene)
        seen = features(image, look.camera, look.pose) if look.camera and look.pose is not None else None
        if before and seen:
            look = replace(look, agreement=compare(before, seen).agreement)
        before = seen
        looks.append(look)
        yield from _camera_findings(number, look.camera)
        yield from _drift(look)
        yield from _disagreement(look)


def _size_hint(fault: InvalidValueError, image: Image) -> str:
    swapped = (
        isinstance(fault.value, tuple)
        and len(fault.value) == 2
        and ((fault.value[0] > fault.value[1]) != (image.shape[1] > image.shape[0]))
    )
    return f"{fault}{'; one is portrait and the other landscape' if swapped else ''}"


def _looked_at(document: CaptureDocument, number: int, time_s: float, image: Image, scene: Scene | None) -> _Look:
    boxes: list[tuple[str, Box, Rect | None]] = []
    pose = scene.pose.world_from_camera if scene and scene.pose else None
    if scene and scene.pose:
        for item in document.objects:
            if item.box:
                try:
                    boxes.append((item.id, scene.pose.box(item.box), scene.rects.get(item.id)))
                except InvalidValueError:
                    continue  # told as a fault of the document
    camera, plane = (scene.camera, scene.plane) if scene else (None, None)
    rect = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    return _Look(number, time_s, camera, pose, plane, tuple(boxes), sharpness(image, rect), thumbnail(image))


def _camera_findings(number: int, camera: Camera | None) -> Iterator[Finding]:
    if camera is None:
        return
    side = max(camera.width, camera.height)
    for name, focal in (("fx", camera.fx), ("fy", camera.fy)):
        if not _FOCAL[0] * side <= focal <= _FOCAL[1] * side:
            text = f"{name} is {focal:.5g} px, odd for a picture of {camera.width} x {camera.height}"
            yield Finding(number, "intrinsics", text)
    for name, value, size in (("cx", camera.cx, camera.width), ("cy", camera.cy, camera.height)):
        if abs(value / size - 0.5) > _OFF_CENTRE:
            yield Finding(number, "intrinsics", f"{name} is {value:.5g} px, far from the middle of {size}")


def _drift(look: _Look) -> Iterator[Finding]:
    for name, box, rect in look.boxes:
        if look.camera is None or rect is None:
            continue
        if not box.in_front():
            yield Finding(look.number, "box", f"the box of {name} is behind the camera", annotated=True)
        elif (overlap := _overlap(box.rect(look.camera), rect)) < _DRIFT_IOU:
            text = f"the box of {name} and its rect overlap by {overlap:.0%}"
            yield Finding(look.number, "box drift", text, annotated=True)


def _overlap(a: Rect, b: Rect) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(0.0, width) * max(0.0, height)
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def _disagreement(look: _Look) -> Iterator[Finding]:
    if look.agreement is not None and look.agreement < _AGREEMENT:
        text = f"the poses explain {look.agreement:.0%} of what it has in common with the picture before"
        yield Finding(look.number, "poses and pictures disagree", text)


def _jumps(looks: Sequence[_Look]) -> Iterator[Finding]:
    """Cameras that are not where the two before them were heading, as when a session closes a loop.

    Photos that were taken one by one jump as well: where the pictures agree with the poses, or where the cameras are so
    far apart that they show nothing in common, a jump is a real one.
    """
    posed = [look for look in looks if look.pose is not None]
    if len(posed) < 5:
        return
    positions = np.array([look.pose[:3, 3] for look in posed if look.pose is not None])
    times = np.array([look.time_s for look in posed])
    velocity = np.diff(positions, axis=0) / np.diff(times)[:, None]
    change = np.linalg.norm(np.diff(velocity, axis=0), axis=1) * np.diff(times)[1:]
    extent, usual = float(np.linalg.norm(np.ptp(positions, axis=0))), max(float(np.median(change)), 1e-12)
    least = max(_JUMP_RATIO * usual, _JUMP_LEAST * extent)
    for k in np.flatnonzero(change > least):
        look, moved = posed[k + 2], float(np.linalg.norm(positions[k + 2] - positions[k + 1]))
        explained = moved > _JUMP_MOST * extent if look.agreement is None else look.agreement >= _AGREEMENT
        # A jump changes the velocity twice, on its way there and after it: the first is where it happens.
        if not explained and (k == 0 or change[k - 1] <= least):
            text = f"the camera is {change[k]:.3g} off its way, {change[k] / usual:.0f} times the usual"
            yield Finding(look.number, "pose jump", text)


def _blurred(looks: Sequence[_Look]) -> Iterator[Finding]:
    if not looks:
        return
    usual = float(np.median([look.sharpness for look in looks]))
    for look in looks:
        if look.sharpness < _BLUR_RATIO * usual:
            yield Finding(look.number, "blurred", f"sharpness {look.sharpness:.3g}, the median has {usual:.3g}")


def _gravity(looks: Sequence[_Look]) -> Iterator[Finding]:
    """Pictures that lie or stand on their head, by the ground's normal; and cameras that nobody holds like this."""
    horizon = []
    for look in looks:
        if look.plane is None:
            continue
        up = look.plane.normal
        off = float(np.degrees(np.arctan2(abs(up[0]), -up[1])))
        if np.hypot(up[0], up[1]) > 0.25 and off > _TILTED_DEG:
            text = f"the ground's up is {off:.0f} degrees off the picture's top"
            yield Finding(look.number, "not upright", text, annotated=True)
        horizon.append(np.degrees(np.arcsin(min(1.0, abs(up[0])))))
    if horizon and np.median(horizon) > _HORIZON_DEG:
        text = f"the median picture is {np.median(horizon):.0f} degrees off level: does the plane's normal point up?"
        yield Finding(None, "gravity", text)
