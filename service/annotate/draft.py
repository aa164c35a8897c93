"""The box that the index proposes for an object of a capture (``index.draft``)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from index.capture import CaptureDocument, PlaneDocument
from index.capture_pose import posed_camera
from index.draft import Draft, FrameRect, GroundPlane, PosedPicture, propose_box
from index.predict import Predictor
from index.schema import GeometryError, ImageError, InvalidValueError, NearposeError, Rect, checked_rect
from service.annotate.pictures import Pictures

_WIDTH = 960  # of the pictures that are looked at


class NoDraftError(NearposeError):
    """No box can be proposed; the message says why."""


def propose(
    predictor: Predictor,
    pictures: Pictures,
    folder: Path,
    document: CaptureDocument,
    frame: int | None,
    rect: Rect | None,
) -> Draft:
    """A box in the world; its ``frames`` and ``unread`` are numbers of the capture's frames.

    Args:
        frame, rect: where a person sees the object, pixels of the frame's picture; by default the cameras look at it.

    Raises:
        NoDraftError: the capture has no ground, poses or pictures, or nothing that the index knows fits.
        InvalidValueError: the rectangle is not in the frame's picture, or that has no pose or is damaged.
    """
    if document.plane is None:
        raise NoDraftError("the ground is not known yet: set the plane first")
    posed = dict(_posed(document, folder, pictures))
    if not posed:
        raise NoDraftError("no picture of the capture has a camera and a pose")
    try:
        ground = _ground(document.plane, list(posed.values()))
        draft = propose_box(predictor, list(posed.values()), ground, _hint(posed, frame, rect))
    except (GeometryError, ImageError) as error:
        raise NoDraftError(str(error)) from error
    numbers = list(posed)
    frames, unread = (tuple(numbers[position] for position in part) for part in (draft.frames, draft.unread))
    return dataclasses.replace(draft, frames=frames, unread=unread)


def _posed(document: CaptureDocument, folder: Path, pictures: Pictures) -> Iterator[tuple[int, PosedPicture]]:
    """The frames, by number, whose picture can be read and whose camera and pose are known."""
    for number, frame in enumerate(document.frames):
        try:
            camera, pose = posed_camera(document, frame, *pictures.size(folder, document, number))
        except InvalidValueError:
            continue  # the page says so at the frame
        if camera and pose:
            read = functools.partial(pictures.image, folder, document, number, _WIDTH)
            yield number, PosedPicture(camera, pose.world_from_camera, read)


def _ground(plane: PlaneDocument, pictures: list[PosedPicture]) -> GroundPlane:
    """The plane, its normal to the side on which most cameras are."""
    normal, point = np.array(plane.normal), np.array(plane.point)
    above = np.median([(picture.position - point) @ normal for picture in pictures]) >= 0
    return GroundPlane(normal if above else -normal, point)


def _hint(posed: dict[int, PosedPicture], frame: int | None, rect: Rect | None) -> FrameRect | None:
    if rect is None and frame is None:
        return None
    if rect is None:
        raise InvalidValueError("rect", None, "where the object is in the frame that is named")
    if frame not in posed:
        raise InvalidValueError("frame", frame, "the number of a frame whose camera and pose are known")
    camera = posed[frame].camera
    return FrameRect(list(posed).index(frame), checked_rect(rect, camera.width, camera.height))
