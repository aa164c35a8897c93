"""A user's own captures: ``<captures>/<sequence>/capture.json`` beside its pictures or its video.

.. code-block:: json

    {"axes": "opencv", "fps": 5,
     "camera": {"fx": 1500, "fy": 1500, "cx": 720, "cy": 960, "width": 1440, "height": 1920},
     "plane": {"normal": [0, 1, 0], "point": [0, 0, 0]},
     "objects": [{"id": "mug-17", "category": "cup",
                  "box": {"center": [0, 0.05, 0], "size": [0.08, 0.1, 0.08],
                          "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}}],
     "frames": [{"image": "0001.jpg", "time_s": 0.0, "world_from_camera": [["4x4"]]},
                {"image": "0002.jpg", "rects": {"mug-17": [410, 620, 905, 1240]}}]}

- ``plane`` and ``box`` are in the world frame, metres; the box's rotation is ``world_from_box``, its y axis up.
- ``camera`` is of the upright picture, in pixels counted from the top-left corner; a frame may give its own. A picture
  of another size but the same shape scales it.
- Pictures are upright as they are stored (an EXIF orientation is applied).
- ``axes`` says which way the camera of ``world_from_camera`` looks. ``opencv``: x right, y down, z forward. ``arkit``:
  x right, y up, z backward, as in ``ARCamera.transform``. Both are meant in the picture that ``camera`` describes.
  ARKit's own values describe the sensor's landscape picture: where such a ``camera`` comes with a portrait picture, the
  picture is the sensor's turned a quarter clockwise (a phone held upright), and camera and axes are turned with it.
- ``rects`` (x0, y0, x1, y1 in the picture's own pixels, by object) replace a projected box, and are all there is where
  plane, box or camera are not known: such frames have no pose.
- An object that a frame gives no rect for, and that has no pose there, is not in that frame.
- ``time_s`` or else ``fps`` gives the frames' times, which must rise. ``video``, with each frame's ``index``, replaces
  ``image`` and brings its own times.
- ``accepted`` of an object is false until a person has looked at its box on the pictures: the object is left out. What
  doesn't say so is accepted; an object that is not may have no box yet.
- ``split`` is ``train`` (the default), ``valid`` or ``test``.
- ``scale`` is ``metric`` (the default) or ``unknown``: lengths are then in a unit of the capture's own. ``plane_from``
  says how the plane was found, ``source`` what was filmed with; both are for people.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from index.capture import (
    CAPTURE_FILE,
    CaptureDocument,
    CaptureError,
    FrameDocument,
    ObjectDocument,
    capture_folders,
    load_capture,
    parse_capture,
)
from index.capture_pose import Pose, posed_camera
from index.schema import Box, Camera, Frame, InvalidValueError, Plane, Rect, View, checked_rect
from index.video import video_frames
from trainer.captures.shot import Image, Reason, RejectedError, Shot, box_rect, decode_image, frame_id, is_jpeg
from trainer.captures.video import Sampler

# A kept picture: its number in the document, seconds, pixels (None: unreadable), and bytes where they are JPEG.
Picture = tuple[int, float, Image | None, bytes | None]


@dataclass(frozen=True)
class CaptureFolder:
    """One folder with a ``capture.json``; its name is the sequence's."""

    folder: Path
    fps: float

    @property
    def key(self) -> str:
        return self.folder.resolve().name

    def files(self) -> tuple[Path, ...]:
        """The document and what it names; not what a check or an annotator leaves beside them."""
        try:
            document = parse_capture(self.folder / CAPTURE_FILE)
        except (CaptureError, InvalidValueError):
            return (self.folder / CAPTURE_FILE,)
        names = [document.video, *(frame.image for frame in document.frames)]
        return tuple(self.folder / name for name in (CAPTURE_FILE, *dict.fromkeys(filter(None, names))))

    def offers(self, splits: Collection[str]) -> bool:
        """Whether it is of one of the splits and a person has accepted an object; also where that cannot be read."""
        try:
            document = parse_capture(self.folder / CAPTURE_FILE)
        except (CaptureError, InvalidValueError):
            return True
        with_rects = {name for frame in document.frames for name in frame.rects}
        accepted = any(item.accepted and (item.box or item.id in with_rects) for item in document.objects)
        return accepted and document.split in splits

    def read(self) -> Iterator[Shot]:
        document = load_capture(self.folder / CAPTURE_FILE)
        metric = document.scale == "metric"
        for number, time_s, image, jpeg in self.pictures(document):
            if image is None:
                yield Shot(None, (), self.key, document.split, time_s, (Reason.UNREADABLE,), metric=metric)
            else:
                frames, rejected = self._frames(document, number, image)
                yield Shot(image, frames, self.key, document.split, time_s, rejected, jpeg, metric)

    def pictures(self, document: CaptureDocument) -> Iterator[Picture]:
        """The pictures of the document's frames, about ``fps`` of them a second."""
        return self._from_video(document, document.video) if document.video else self._from_images(document)

    def _from_images(self, document: CaptureDocument) -> Iterator[Picture]:
        sampler = Sampler(self.fps)
        for number, frame in enumerate(document.frames):
            time_s = number / (document.fps or 1) if frame.time_s is None else frame.time_s
            if sampler.keeps(time_s):
                file = self.folder / str(frame.image)
                data = file.read_bytes() if file.is_file() else b""
                yield number, time_s, decode_image(data), data if is_jpeg(data) else None

    def _from_video(self, document: CaptureDocument, video: str) -> Iterator[Picture]:
        sampler = Sampler(self.fps)
        numbers = {frame.index: number for number, frame in enumerate(document.frames)}
        for picture in video_frames(self.folder / video):
            number = numbers.pop(picture.index, None)
            if number is not None and sampler.keeps(picture.time_s):
                yield number, picture.time_s, picture.decode(), None
            if not numbers:
                return
        index, number = next(iter(numbers.items()))
        raise InvalidValueError(
            f"{self.folder / CAPTURE_FILE}: frames[{number}].index", index, "that of a picture of the video"
        )

    def _frames(
        self, document: CaptureDocument, number: int, image: Image
    ) -> tuple[tuple[Frame, ...], tuple[Reason, ...]]:
        """The objects of a picture, and why others are not among them. InvalidValueError names the file."""
        height, width = image.shape[:2]
        try:
            scene = scene_of(document, document.frames[number], width, height)
        except InvalidValueError as error:
            field = f"{self.folder / CAPTURE_FILE}: frames[{number}].{error.field}"
            raise InvalidValueError(field, error.value, error.bound) from None
        except RejectedError as error:
            return (), (error.reason,) * len(document.objects)
        frames, rejected = [], []
        for k, item in enumerate(document.objects):
            try:
                seen = scene.seen(item)
            except RejectedError as error:
                rejected.append(error.reason)
            else:
                frames += [Frame(frame_id(self.key, number, k), item.category, item.id, *seen)] if seen else []
        return tuple(frames), tuple(rejected)


@dataclass(frozen=True, eq=False)
class Scene:
    """What is known of one picture."""

    camera: Camera | None
    pose: Pose | None
    plane: Plane | None
    rects: dict[str, Rect]

    def seen(self, item: ObjectDocument) -> tuple[View, Box | None] | None:
        """The object's view and box, None when it is not in the picture; RejectedError when it can't be used."""
        if not item.accepted:
            raise RejectedError(Reason.NOT_ACCEPTED)
        rect = self.rects.get(item.id)
        if self.camera and self.pose and self.plane and item.box:
            box = self.pose.box(item.box)
            inside = box_rect(box, self.camera)
            return View(self.camera, self.plane, rect or inside), box
        return (View(self.camera, self.plane, rect), None) if rect else None


def scene_of(document: CaptureDocument, frame: FrameDocument, width: int, height: int) -> Scene:
    """What is known of a frame's upright picture. Raises InvalidValueError, or RejectedError for a broken plane."""
    rects = {name: checked_rect(rect, width, height, f"rects.{name}") for name, rect in frame.rects.items()}
    camera, pose = posed_camera(document, frame, width, height)
    return Scene(camera, pose, _plane(document, pose) if pose else None, rects)


def _plane(document: CaptureDocument, pose: Pose) -> Plane | None:
    try:
        return pose.plane(document.plane) if document.plane else None
    except InvalidValueError:
        raise RejectedError(Reason.BROKEN_PLANE) from None


def folder_sources(path: Path, fps: float) -> list[CaptureFolder]:
    """The capture folders in ``path``, or ``path`` itself when it is one."""
    return [CaptureFolder(folder, fps) for folder in capture_folders(path)]
