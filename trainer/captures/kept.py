"""What is kept of a video that is too large to keep: the pictures that ``ingest`` would take, as JPEG in a tar.

``video.tar`` stands in for ``video.MOV``; its members are named ``<number of the picture>-<microseconds>.jpg``, in time
order. Numbers and times are the video's, so that its annotations still fit.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from index.picture import encode_jpeg
from index.video import video_frames
from trainer.captures.quality import shrunk_image
from trainer.captures.shot import CaptureError, Image, decode_image
from trainer.captures.video import Sampler

SUFFIX = ".tar"
_NAME = re.compile(r"(\d+)-(\d+)\.jpg")


@dataclass(frozen=True)
class KeptPicture:
    """A picture of a video, ``time_s`` after the first one, as the bytes of a JPEG."""

    index: int
    time_s: float
    jpeg: bytes

    def decode(self) -> Image | None:
        """(h, w, 3) uint8 RGB; None when it cannot be decoded."""
        return decode_image(self.jpeg)


def keep_video(video: Path, fps: float, max_side: int, quality: int) -> bytes:
    """The tar of about ``fps`` pictures a second of ``video``, their longest side at most ``max_side`` pixels.

    A picture that cannot be decoded is kept as an empty member. Raises CaptureError when the video cannot be read
    to its end.
    """
    sampler, content = Sampler(fps), io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for picture in video_frames(video):
            if not sampler.keeps(picture.time_s):
                continue
            image = picture.decode()
            data = b"" if image is None else encode_jpeg(shrunk_image(image, max_side), quality)
            header = tarfile.TarInfo(f"{picture.index:05d}-{round(picture.time_s * 1e6)}.jpg")
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return content.getvalue()


def kept_pictures(path: Path) -> Iterator[KeptPicture]:
    """The pictures that ``keep_video`` kept, in order. Raises CaptureError when ``path`` is no such tar."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if (name := _NAME.fullmatch(member.name)) is None or (content := tar.extractfile(member)) is None:
                    raise CaptureError(path, f"member {member.name!r}, must be <number>-<microseconds>.jpg")
                yield KeptPicture(int(name[1]), int(name[2]) / 1e6, content.read())
    except FileNotFoundError:
        raise CaptureError(path, "missing") from None
    except tarfile.TarError as error:
        raise CaptureError(path, f"not a readable tar ({error})") from None
