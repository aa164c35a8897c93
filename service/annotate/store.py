"""What is annotated of a capture, saved for good or not at all, and never over what someone else saved meanwhile.

A revision is a digest of the whole ``capture.json``: who changes it by any other way is noticed, too. Whoever saves
holds a lock, among threads and processes; works on the folder that was opened, whatever takes its name meanwhile; and
is answered when everything is on the disk. The annotations that were replaced stay, the latest of them, beside it.
Knows no HTTP.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from index.capture import ANNOTATIONS, CaptureDocument, ObjectDocument, PlaneDocument, faults, parse_document
from index.schema import InvalidValueError, NearposeError
from service.enrolment.file import StorageFullError
from service.workers import OverloadedError

DRAWN = "drawn by a person"
KEPT = 200  # earlier annotations of a capture
_LOCK = "lock"
_BUSY_S = 10.0
_POLL_S = 0.002
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_GONE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.EISDIR)


class UnknownCaptureError(InvalidValueError):
    """A capture that is not there, or no longer."""


class UnreadableCaptureError(InvalidValueError):
    """A ``capture.json`` that is none: the error names its field, the value and the bound."""


class ReadOnlyError(NearposeError):
    """A capture whose folder cannot be written to."""


class ConflictError(NearposeError):
    """The capture has changed since. ``saved`` is how it is now."""

    def __init__(self, saved: Saved) -> None:
        self.saved = saved
        super().__init__(f"the capture has changed: it has the revision {saved.revision} now")


@dataclass(frozen=True)
class Annotation:
    """The ground and the objects, in the capture's world frame, metres."""

    plane: PlaneDocument | None
    objects: tuple[ObjectDocument, ...]


@dataclass(frozen=True, eq=False)
class Saved:
    """A ``capture.json`` as it is on the disk: its bytes, when they were written (UTC), and what they say."""

    data: bytes
    saved_at: datetime
    document: CaptureDocument

    @property
    def revision(self) -> str:
        """32 hexadecimal digits."""
        return _revision(self.data)

    @property
    def annotation(self) -> Annotation:
        return Annotation(self.document.plane, tuple(self.document.objects))


@dataclass(frozen=True)
class Earlier:
    """An annotation that was replaced: the revision and time (UTC) of when it had been saved, how its plane was found.

    Of those that were kept before that was noted, a person is taken to have drawn the plane.
    """

    revision: str
    saved_at: datetime
    annotation: Annotation
    plane_from: str | None


def read(file: Path) -> Saved:
    """A ``capture.json`` as it is now. Raises UnknownCaptureError or UnreadableCaptureError."""
    with _refusals(), _opened(file) as folder:
        return _read(folder, file.name)


def save(file: Path, revision: str, annotation: Annotation) -> str:
    """Makes ``annotation`` that of the capture, whose other fields stay as they are; returns its new revision.

    What is saved already, as by a request whose answer was lost, is not saved again, whatever ``revision`` says.

    Raises:
        InvalidValueError: the annotation cannot be: a plane without a direction, an object without its box.
        ConflictError: the capture is not at ``revision``.
        UnknownCaptureError, UnreadableCaptureError: the capture is gone, or has been broken meanwhile.
        ReadOnlyError, StorageFullError, OverloadedError: nothing has been saved.
    """
    with _refusals(), _opened(file) as folder, _locked(folder) as earlier:
        present = _read(folder, file.name)
        if present.annotation == annotation:
            return present.revision
        if present.revision != revision:
            raise ConflictError(present)
        data = _annotated(present, annotation, earlier)
        like = os.stat(file.name, dir_fd=folder)
        _keep(earlier, present, like)
        with _replacing(folder, file.name, data, like):
            _check_unchanged(folder, file, present)
    return _revision(data)


def history(file: Path) -> list[Earlier]:
    """The annotations that were replaced, the latest first."""
    with _refusals(), _opened(file) as folder:
        try:
            kept = os.open(ANNOTATIONS, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        except FileNotFoundError:
            return []
        with _closing(kept):
            found = (_earlier(kept, name) for name in reversed(_names(kept)))
            return [earlier for earlier in found if earlier is not None]


def _revision(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _read(folder: int, name: str) -> Saved:
    with _closing(os.open(name, os.O_RDONLY, dir_fd=folder)) as file, open(file, "rb", closefd=False) as opened:
        data, written = opened.read(), os.fstat(file).st_mtime
    try:
        document = parse_document(data)
    except InvalidValueError as error:
        raise UnreadableCaptureError(f"capture.json: {error.field}", error.value, error.bound) from None
    return Saved(data, datetime.fromtimestamp(written, UTC), document)


def _annotated(present: Saved, annotation: Annotation, kept: int) -> bytes:
    """The file with another annotation; ``kept`` is the folder of the earlier ones.

    Raises InvalidValueError for whatever would be wrong with it then.
    """
    content = json.loads(present.data)
    if annotation.plane is None:
        content.pop("plane", None)
        content.pop("plane_from", None)
    elif annotation.plane != present.document.plane:
        content |= {"plane": annotation.plane.model_dump(), "plane_from": _origin(kept, annotation.plane)}
    content["objects"] = [item.model_dump(exclude_none=True) for item in annotation.objects]
    data = (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
    known = {str(fault) for fault in faults(present.document)}  # of its frames: no annotation can help them
    for fault in faults(parse_document(data)):
        if fault.field.startswith(("objects", "plane")) or str(fault) not in known:
            raise fault
    return data


def _origin(kept: int, plane: PlaneDocument) -> str | None:
    """How a plane was found: as was noted when it was the capture's before, so that undo undoes that, too."""
    for name in reversed(_names(kept)):
        if (earlier := _earlier(kept, name)) and earlier.annotation.plane == plane:
            return earlier.plane_from
    return DRAWN


def _keep(kept: int, present: Saved, like: os.stat_result) -> None:
    """Puts the annotation that is about to be replaced beside the others; the oldest one goes."""
    names = _names(kept)
    content = {
        "revision": present.revision,
        "saved_at": present.saved_at.isoformat(),
        "plane": present.document.plane and present.document.plane.model_dump(),
        "plane_from": present.document.plane_from,
        "objects": [item.model_dump() for item in present.document.objects],
    }
    if names and (last := _earlier(kept, names[-1])) and last.revision == present.revision:
        return  # of a save that ended before its last step
    number = int(Path(names[-1]).stem) + 1 if names else 1
    with _replacing(kept, f"{number:09}.json", json.dumps(content, ensure_ascii=False).encode(), like):
        pass
    for name in names[: max(0, len(names) + 1 - KEPT)]:
        os.unlink(name, dir_fd=kept)


def _names(kept: int) -> list[str]:
    """The files of the earlier annotations, the oldest first."""
    return sorted(name for name in os.listdir(kept) if name.endswith(".json") and name[:-5].isdecimal())


def _earlier(kept: int, name: str) -> Earlier | None:
    """What ``_keep`` wrote; None where someone has removed or changed it."""
    try:
        with open(os.open(name, os.O_RDONLY, dir_fd=kept), "rb") as opened:  # noqa: PTH123
            content: dict[str, Any] = json.loads(opened.read())
        plane = content["plane"] and PlaneDocument.model_validate_json(json.dumps(content["plane"]))
        objects = tuple(ObjectDocument.model_validate_json(json.dumps(item)) for item in content["objects"])
        annotation, saved_at = Annotation(plane, objects), datetime.fromisoformat(content["saved_at"])
        return Earlier(content["revision"], saved_at, annotation, content.get("plane_from", DRAWN))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def _replacing(folder: int, name: str, data: bytes, like: os.stat_result) -> Iterator[None]:
    """Writes a file beside the one of that name, which it replaces at the end, for good; unless that is not reached.

    Who may do what with it is taken from ``like``.
    """
    draft = f".{name}.part"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder), "wb") as opened:  # noqa: PTH123
            opened.write(data)
            opened.flush()
            os.fchmod(opened.fileno(), like.st_mode & 0o777)
            with contextlib.suppress(PermissionError):
                os.fchown(opened.fileno(), like.st_uid, like.st_gid)
            os.fsync(opened.fileno())
        yield
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=folder)
        raise
    _sync(folder)


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system lets a folder be synced
            raise


def _check_unchanged(folder: int, file: Path, present: Saved) -> None:
    """Raises ConflictError where someone who takes no lock has changed the capture, or put another in its place."""
    now = read(file)
    if now.data != present.data or not os.path.samestat(os.fstat(folder), file.parent.stat()):
        raise ConflictError(now)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int]:
    """The folder of a capture, as a descriptor."""
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    with _closing(descriptor):
        yield descriptor


@contextlib.contextmanager
def _locked(folder: int) -> Iterator[int]:
    """The folder of the earlier annotations, as a descriptor, while nobody else may write to the capture."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(ANNOTATIONS, dir_fd=folder)
        _sync(folder)
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(_closing(os.open(ANNOTATIONS, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)))
        lock = stack.enter_context(_closing(os.open(_LOCK, os.O_RDWR | os.O_CREAT, 0o666, dir_fd=kept)))
        _wait_for(lock)
        yield kept


def _wait_for(lock: int) -> None:
    end = time.monotonic() + _BUSY_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise OverloadedError("too many save this capture at once") from None
            time.sleep(_POLL_S)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """The system's errors as ours, without the server's paths."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError("the disk is full: nothing was saved") from error
        if error.errno in _READ_ONLY:
            raise ReadOnlyError("the capture cannot be written to, or not be read") from error
        if error.errno in _GONE:
            raise UnknownCaptureError("name", None, "that of a capture: it is not there, or not any more") from error
        raise
