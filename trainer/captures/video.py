"""Which pictures of a video to keep."""

from __future__ import annotations

# Phones stamp frames with a jitter: a picture that comes this share of a period early still fills its slot.
_EARLY = 0.05


class Sampler:
    """Decides which pictures of a stream to keep so that about ``fps`` per second remain.

    Time is cut into slots of ``1 / fps`` seconds; the first picture of each slot is kept. A stream slower than
    ``fps`` is kept whole.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._slot: int | None = None

    def keeps(self, time_s: float) -> bool:
        """Whether to keep the next picture, ``time_s`` seconds into the stream."""
        slot = int(time_s * self._fps + _EARLY)
        if self._slot is not None and slot <= self._slot:
            return False
        self._slot = slot
        return True
