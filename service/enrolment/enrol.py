"""From what a client posts to an enrolled frame, in plain Python: decode, check, keep, embed, store."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from index.schema import Box, Frame, InvalidValueError, Plane, Rect, View, checked_rect
from index.search import Vectors
from service.decode import Picture, decode
from service.engine import Intrinsics
from service.enrolment.catalogue import Known, find_object, objects_after
from service.enrolment.followed import Enrolment
from service.enrolment.keep import KEPT_SIDE, embed, keep
from service.enrolment.records import Enrolee, Receipt
from service.enrolment.store import EnrolmentStore
from service.live import LiveIndex, Snapshot

MAX_OBJECT, MAX_CATEGORY = 128, 64  # characters
_FORBIDDEN = frozenset("\\?#%\ufffd")
_RESERVED = frozenset({"", ".", "..", "frames"})  # between slashes they would be read as parts of a route
_NAME = "printable characters (NFC), none of \\ ? # %, with no part between slashes that is empty, . or .. or 'frames'"


@dataclass(frozen=True, kw_only=True, eq=False)
class EnrolQuery:
    """Keep what ``rect`` shows as a frame of an object.

    Attributes:
        data: a full picture.
        category: that of the object; None where the object, or the nearest frame, says it.
        plane, box: in the picture's camera; a box needs both camera and plane.
        key, request: the client's idempotency key, and a digest of all that it asks.
    """

    object_id: str
    data: bytes
    rect: Rect
    category: str | None = None
    intrinsics: Intrinsics | None = None
    plane: Plane | None = None
    box: Box | None = None
    key: str | None = None
    request: bytes = b""
    warnings: tuple[str, ...] = ()


class Enroller:
    """Enrols frames of objects, tells which objects there are, and removes what was enrolled.

    Args:
        live: the index.
        enrolment: where frames are kept.
        max_pixels: the largest picture that is decoded.
    """

    def __init__(self, live: LiveIndex, enrolment: Enrolment, max_pixels: int) -> None:
        self._live, self._enrolment, self._max_pixels = live, enrolment, max_pixels

    def enrol(self, query: EnrolQuery) -> Receipt:
        """Enrols a frame; the next query finds it, whatever process answers, and whatever happens to this one.

        Raises:
            NotReadyError, ImageError, InvalidValueError, GeometryError: see there.
            KeyReusedError, StorageFullError, EnrolmentUnavailableError, OverloadedError: as ``EnrolmentStore.add``.
        """
        snapshot = self._live.snapshot
        with self._enrolment.using() as store:
            if query.key is not None and (receipt := store.replayed(query.key, query.request)):
                return receipt
            return store.add(self._enrolee(query, snapshot, store))

    @property
    def warnings(self) -> Sequence[str]:
        """What an answer that lists objects must say."""
        return self._enrolment.warnings

    def objects(self, after: str, limit: int) -> list[Known]:
        """The first ``limit`` objects, indexed or enrolled, whose ids come after ``after``, in the order of ids."""
        catalogue = self._live.snapshot.catalogue
        if not self._readable:
            return objects_after(catalogue, None, after, limit)
        with self._enrolment.using() as store:
            return objects_after(catalogue, store, after, limit)

    def object(self, object_id: str) -> Known:
        """An object, indexed or enrolled. Raises UnknownObjectError, EnrolmentUnavailableError (it may be enrolled)."""
        catalogue = self._live.snapshot.catalogue
        damaged = bool(self._enrolment.warnings) and catalogue.find(object_id) is None
        if not self._readable and not damaged:
            return find_object(catalogue, None, object_id)
        with self._enrolment.using() as store:
            return find_object(catalogue, store, object_id)

    def remove(self, object_id: str, frame: str | None = None) -> None:
        """Removes an enrolled frame, or all of an object. Raises UnknownObjectError, and as ``EnrolmentStore.add``."""
        with self._enrolment.using() as store:
            if frame is None:
                store.remove_object(object_id)
            else:
                store.remove_frame(object_id, frame)

    @property
    def _readable(self) -> bool:
        return self._enrolment.failure is None

    def _enrolee(self, query: EnrolQuery, snapshot: Snapshot, store: EnrolmentStore) -> Enrolee:
        indexed, enrolled = snapshot.catalogue.find(query.object_id), store.object(query.object_id)
        known = enrolled or indexed
        _check_names(query, known.category if known else None, snapshot.index.categories)
        picture = decode(query.data, self._max_pixels, [query.rect], KEPT_SIDE)
        view = _view(query, picture)
        if query.box is not None:
            _check_box(query.box, view)
        kept, encoder = keep(picture.pixels, picture.window(view.rect)), snapshot.predictor.encoder
        vector = embed(encoder, [kept])[0]
        category, warnings = query.category or (known.category if known else None), query.warnings
        if category is None:
            category, guess = _nearest_category(snapshot, vector)
            warnings = (*warnings, guess)
        return Enrolee(
            frame=Frame(f"enrolled-{uuid.uuid4().hex}", category, query.object_id, view, query.box),
            kept=kept,
            vector=vector,
            digest=encoder.digest,
            guessed=query.category is None,
            indexed=indexed.frames if indexed else 0,
            warnings=(*picture.warnings, *warnings),
            key=query.key,
            request=query.request,
        )


def _check_names(query: EnrolQuery, known: str | None, categories: Sequence[str]) -> None:
    """The object's id and category: those that there are already are taken as they are. ``known`` is its category."""
    if known is None and not _is_name(query.object_id, MAX_OBJECT):
        raise InvalidValueError("object", query.object_id, f"1 to {MAX_OBJECT} {_NAME}")
    if query.category is None or query.category == known:
        return
    if known is not None:
        raise InvalidValueError("category", query.category, f"{known}, as of the object's other frames")
    if query.category not in categories and not _is_name(query.category, MAX_CATEGORY):
        raise InvalidValueError("category", query.category, f"1 to {MAX_CATEGORY} {_NAME}")


def _is_name(text: str, longest: int) -> bool:
    printable = text.isprintable() and unicodedata.is_normalized("NFC", text) and not _FORBIDDEN & set(text)
    parts = text.split("/")
    return len(text) <= longest and printable and all(p == p.strip() and p not in _RESERVED for p in parts)


def _view(query: EnrolQuery, picture: Picture) -> View:
    """What the picture shows of the object, checked to be in it."""
    rect = checked_rect(query.rect, picture.width, picture.height)
    if rect[2] - rect[0] < 1 or rect[3] - rect[1] < 1:
        raise InvalidValueError("rect", rect, "at least one pixel wide and high")
    camera = query.intrinsics.of_picture(picture) if query.intrinsics else None
    return View(camera, query.plane, rect)


def _check_box(box: Box, view: View) -> None:
    """That a box can be what the view shows."""
    for name, value in (("camera", view.camera), ("plane", view.plane)):
        if value is None:
            raise InvalidValueError(name, None, "given where box is")
    assert view.camera is not None
    if not box.in_front():
        raise InvalidValueError("box", box.center, "in front of the camera, all eight corners")
    x0, y0, x1, y1 = box.rect(view.camera)
    rx0, ry0, rx1, ry1 = view.rect
    if min(x1, rx1) <= max(x0, rx0) or min(y1, ry1) <= max(y0, ry0):
        seen = tuple(round(value, 1) for value in (x0, y0, x1, y1))
        raise InvalidValueError("box", seen, f"seen where rect is: its picture must overlap {view.rect}")


def _nearest_category(snapshot: Snapshot, vector: Vectors) -> tuple[str, str]:
    """The category of the most similar frame, and the warning that it is a guess."""
    similarities, rows = snapshot.index.search(vector[None], 1)
    category = snapshot.index.frame(int(rows[0, 0])).category
    told = f"category: not given; {category}, as the nearest frame (similarity {similarities[0, 0]:.2f}), was taken"
    return category, told
