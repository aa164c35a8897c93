"""Which objects there are: those of a version of the index, and those that users enrolled."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from index.contents import Census
from service.enrolment.records import EnrolledFrame, EnrolledObject
from service.enrolment.store import EnrolmentStore, UnknownObjectError


@dataclass(frozen=True)
class Known:
    """An object: how many frames of it there are in all, how many of them users enrolled, and the latest of those."""

    object: str
    category: str
    frames: int
    enrolled: int
    latest: tuple[EnrolledFrame, ...] = ()


class Catalogue:
    """The objects of one version of the index."""

    def __init__(self, census: Census) -> None:
        self._census = census

    def find(self, object_id: str) -> Known | None:
        """An object of the index; None where it has no frame of it."""
        frames = self._census.frames_of(object_id)
        if not frames:
            return None
        return Known(object_id, self._census.category_of(object_id), frames, 0)

    def after(self, object_id: str, limit: int) -> list[Known]:
        """The first ``limit`` objects whose ids come after ``object_id``, in the order of their ids."""
        objects = self._census.objects
        start = bisect_right(objects, object_id)
        return [known for name in objects[start : start + limit] if (known := self.find(name))]


def objects_after(catalogue: Catalogue, store: EnrolmentStore | None, after: str, limit: int) -> list[Known]:
    """The first ``limit`` objects, indexed or enrolled, whose ids come after ``after``, in the order of their ids."""
    indexed = {known.object: known for known in catalogue.after(after, limit)}
    enrolled = {one.object: one for one in store.objects(after, limit)} if store else {}
    names = sorted(indexed.keys() | enrolled.keys())[:limit]
    return [_joined(indexed.get(name), enrolled.get(name)) for name in names]


def find_object(catalogue: Catalogue, store: EnrolmentStore | None, object_id: str) -> Known:
    """An object, indexed or enrolled. Raises UnknownObjectError where it is neither."""
    indexed, enrolled = catalogue.find(object_id), store.object(object_id) if store else None
    if indexed is None and enrolled is None:
        raise UnknownObjectError("object", object_id, "an object of the index, or one that was enrolled")
    return _joined(indexed, enrolled)


def _joined(indexed: Known | None, enrolled: EnrolledObject | None) -> Known:
    if enrolled is None:
        assert indexed is not None
        return indexed
    frames = enrolled.enrolled + (indexed.frames if indexed else 0)
    return Known(enrolled.object, enrolled.category, frames, enrolled.enrolled, tuple(enrolled.latest))
