"""The pictures of captures: their sizes, and the pictures themselves, upright and scaled, as JPEG."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path, PurePath

import cv2
from PIL import Image as PillowImage

from index.capture import CaptureDocument, CaptureError
from index.picture import Image, decode_picture, encode_jpeg
from index.schema import ImageError, InvalidValueError, NearposeError
from index.video import VideoFacts, VideoFrame, video_facts, video_frames
from service.decode import FORMATS, decode

_QUALITY = 85
_FILMS = 4  # videos whose pictures are kept
_FILM_SIDE = 1920  # of the pictures that are kept of a video


class MissingPictureError(InvalidValueError):
    """A frame whose picture is not there, or cannot be read."""


class Pictures:
    """The pictures of captures. Safe to use from several threads; belongs to one server.

    Args:
        max_pixels: the largest picture that is decoded.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._films: OrderedDict[Path, _Film] = OrderedDict()
        self._lock = threading.Lock()

    def size(self, folder: Path, document: CaptureDocument, number: int) -> tuple[int, int]:
        """Width and height of a frame's upright picture, pixels. Raises MissingPictureError."""
        file = _file(folder, document, number)
        if not document.video:
            return _picture_size(file, _stamp(file))
        facts = _film_facts(file, _stamp(file))
        return facts.width, facts.height

    def time_s(self, folder: Path, document: CaptureDocument, number: int) -> float | None:
        """Seconds from the capture's beginning to a frame, as far as known; of a video, as if it never faltered."""
        frame = document.frames[number]
        if not document.video:
            return number / document.fps if frame.time_s is None and document.fps else frame.time_s
        with contextlib.suppress(MissingPictureError):
            file = _file(folder, document, number)
            if rate := _film_facts(file, _stamp(file)).rate:
                return (frame.index or 0) / rate
        return None

    def tag(self, folder: Path, document: CaptureDocument, number: int, width: int) -> str:
        """Another text whenever the picture of that width is another. Raises MissingPictureError."""
        file = _file(folder, document, number)
        return hashlib.sha256(repr((file, _stamp(file), number, width)).encode()).hexdigest()[:32]

    def jpeg(self, folder: Path, document: CaptureDocument, number: int, width: int) -> bytes:
        """A frame's upright picture, at most ``width`` pixels wide. Raises MissingPictureError."""
        return encode_jpeg(self.image(folder, document, number, width), _QUALITY)

    def image(self, folder: Path, document: CaptureDocument, number: int, width: int) -> Image:
        """The same as (h, w, 3) uint8 RGB."""
        file = _file(folder, document, number)
        if document.video:
            image = self._film(file, document).picture(document.frames[number].index or 0)
        else:
            image = self._decoded(file, number, width)
        return _scaled(image, width)

    def _decoded(self, file: Path, number: int, width: int) -> Image:
        try:
            return decode(file.read_bytes(), self._max_pixels, side=width).pixels
        except (ImageError, InvalidValueError, OSError) as error:
            reason = str(error) if isinstance(error, NearposeError) else "it cannot be read"
            bound = f"a picture that can be read ({reason})"
            raise MissingPictureError(f"frames[{number}]", file.name, bound) from None

    def close(self) -> None:
        """Removes what is kept of videos."""
        self._films.clear()

    def _film(self, file: Path, document: CaptureDocument) -> _Film:
        with self._lock:
            film, wanted = self._films.pop(file, None), {frame.index or 0 for frame in document.frames}
            if film is None or film.made_of != (_stamp(file), wanted):
                film = _Film(file, wanted)
            self._films[file] = film
            while len(self._films) > _FILMS:
                self._films.popitem(last=False)  # gone when the last request that uses it is done
        return film


class _Film:
    """The pictures of a video that a capture has frames of, each decoded once and kept in a folder as long as this is.

    A video is read from its beginning: what containers say of where a picture is cannot be relied on.
    """

    def __init__(self, file: Path, wanted: set[int]) -> None:
        self.made_of, self._wanted, self._lock = (_stamp(file), wanted), wanted, threading.Lock()
        self._kept = Path(tempfile.mkdtemp(prefix="nearpose-film-"))
        weakref.finalize(self, shutil.rmtree, self._kept, ignore_errors=True)
        self._rest: Iterator[VideoFrame] = video_frames(file)

    def picture(self, index: int) -> Image:
        """(h, w, 3) RGB. Raises MissingPictureError where the video has no such picture."""
        kept = self._kept / f"{index}.jpg"
        with self._lock:
            while not kept.is_file():
                self._keep_next(index)
        return decode_picture(kept.read_bytes())

    def _keep_next(self, index: int) -> None:
        try:
            frame = next(self._rest, None)
        except CaptureError as error:
            raise MissingPictureError("frame", index, f"a picture of the video ({error.reason})") from None
        if frame is None:
            raise MissingPictureError("frame", index, "a picture of the video, which ends before it")
        if frame.index in self._wanted and (image := frame.decode()) is not None:
            small = _scaled(image, round(_FILM_SIDE * min(1.0, image.shape[1] / image.shape[0])))
            (self._kept / f"{frame.index}.jpg").write_bytes(encode_jpeg(small, _QUALITY))


def _scaled(image: Image, width: int) -> Image:
    """No larger than it is."""
    if width >= image.shape[1]:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(image.dtype, copy=False)


def _file(folder: Path, document: CaptureDocument, number: int) -> Path:
    """The picture, or the video, of a frame: never one outside of the capture's folder."""
    name = document.video or document.frames[number].image
    if name is None or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise MissingPictureError(f"frames[{number}]", name, "a picture in the capture's folder")
    try:
        if (folder / name).is_file():
            return folder / name
    except OSError:  # a name that no file can have
        pass
    raise MissingPictureError(f"frames[{number}]", name, "a picture in the capture's folder: it is missing")


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        raise MissingPictureError("image", file.name, "a picture that is there") from None
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=65536)
def _picture_size(file: Path, _stamp: tuple[int, int]) -> tuple[int, int]:
    try:
        with PillowImage.open(file, formats=FORMATS) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return (image.height, image.width) if turned else (image.width, image.height)
    except Exception:  # damaged bytes bring out whatever a reader has, as in ``service.decode``
        raise MissingPictureError("image", file.name, "a picture that can be read") from None


@functools.lru_cache(maxsize=256)
def _film_facts(file: Path, _stamp: tuple[int, int]) -> VideoFacts:
    try:
        return video_facts(file)
    except CaptureError as error:
        raise MissingPictureError("video", file.name, f"a video that can be read ({error.reason})") from None
