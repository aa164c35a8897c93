"""What the parts of enrolment hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from index.schema import Frame
from index.search import Vectors


@dataclass(frozen=True)
class Kept:
    """What is kept of a picture: a JPEG that shows the object with a margin, where it is in it, and the thumbnail."""

    jpeg: bytes
    rect: tuple[float, float, float, float]
    thumbnail: bytes


@dataclass(frozen=True, eq=False)
class Enrolee:
    """A frame to be enrolled.

    Attributes:
        guessed: the category is nobody's word; that of the object's other frames goes before it.
        indexed: how many frames the index holds of the object.
        key, request: the client's idempotency key, and a digest of all that it asked.
    """

    frame: Frame
    kept: Kept
    vector: Vectors
    digest: str
    guessed: bool = False
    indexed: int = 0
    warnings: tuple[str, ...] = ()
    key: str | None = None
    request: bytes = b""


@dataclass(frozen=True)
class Receipt:
    """What was enrolled, as it was then. ``replayed`` where it had been enrolled before under the same key."""

    frame: str
    object: str
    category: str
    enrolled: int
    frames: int
    warnings: Sequence[str] = ()
    replayed: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class EnrolledFrame:
    """One frame of an object: its id, when it was enrolled (ISO 8601, UTC), and whether its box is known."""

    id: str
    created: str
    has_box: bool


@dataclass(frozen=True)
class EnrolledObject:
    """How many frames of an object are enrolled, and the latest of them where they were asked for."""

    object: str
    category: str
    enrolled: int
    latest: Sequence[EnrolledFrame] = ()


@dataclass(frozen=True, eq=False)
class Stored:
    """A frame in the file; ``vector`` is None where it has none of the encoder that was asked for."""

    seq: int
    frame: Frame
    vector: Vectors | None


@dataclass(frozen=True, eq=False)
class Changes:
    """What is new to a reader. ``alive`` are all frames that there are, None where none has been removed since."""

    deletions: int
    alive: frozenset[int] | None
    frames: Sequence[Stored]
