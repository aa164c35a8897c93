"""What the index holds, to look at: its counts, its frames, and a map of the embedding."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Literal
from weakref import WeakKeyDictionary

import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Response
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from index.recognition import of_views
from index.schema import Frame
from index.stores import Version
from service.answers import BoxAnswer, Vector, box_answer
from service.openapi import refusals
from service.routing import Link, Running

MAX_POINTS = 50_000
GRID = 65535

router = APIRouter(tags=["index"])


class CategoryAnswer(BaseModel):
    """How much of the index is of one kind."""

    category: str
    frames: int
    objects: int


class IndexAnswer(BaseModel):
    """What the open version of the index holds."""

    index: str = Field(description="Its version.")
    created: datetime
    age_s: float = Field(description="Seconds since it was built.")
    frames: int
    frames_with_box: int
    objects: int
    dimension: int = Field(description="Length of an embedding.")
    encoder: str = Field(description="Digest of the encoder that made the embeddings.")
    known_from: float | None = Field(
        description="The probability from which one picture's match counts as a known object; null where none does."
    )
    calibrated_on: int = Field(description="Frames that the confidence was calibrated on; 0: as shipped.")
    categories: list[CategoryAnswer]


class MapAnswer(BaseModel):
    """The embedding in the plane: a column an item, so that many frames are few bytes."""

    index: str = Field(description="The version of the index.")
    method: Literal["t-sne", "pca"] = Field(description="How the embedding was laid out.")
    frames: int = Field(description="How many frames the index holds; where the columns are shorter, it is every n-th.")
    grid: int = Field(default=GRID, description="x and y are whole numbers from 0 to this.")
    categories: list[str]
    frame: list[str] = Field(description="The frames' ids.")
    category: list[int] = Field(description="Positions in `categories`.")
    x: list[int]
    y: list[int]
    position: list[float] = Field(description="Where in its video a frame is: 0 at the start, 1 at the end.")


class CameraAnswer(BaseModel):
    """A pinhole camera, pixels of the indexed picture."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int


class PlaneAnswer(BaseModel):
    """`normal . x + offset = 0` in the camera's frame, metres."""

    normal: Vector
    offset: float


class FrameAnswer(BaseModel):
    """An indexed frame. Its thumbnail shows the whole picture, smaller."""

    frame: str
    category: str
    object: str
    image: str = Field(description="Where its thumbnail is.")
    rect: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1, pixels of the picture.")
    camera: CameraAnswer | None
    plane: PlaneAnswer | None
    box: BoxAnswer | None


FrameId = Annotated[str, Path(min_length=1, description="The frame's id.", examples=["cup_batch-3_17_00042"])]


async def _version(service: Running) -> Version:
    version = service.live.opened
    if version is None:
        _ = service.live.snapshot  # says why; what is enrolled is not looked at here: that may wait for a disk
        version = service.live.opened  # it has been opened meanwhile
    assert version is not None
    return version


Open = Annotated[Version, Depends(_version)]


@router.get("/index")
def index(version: Open) -> IndexAnswer:
    """What the index holds: counts, categories, age."""
    created = datetime.fromisoformat(version.manifest["created"])
    return IndexAnswer(
        index=version.version,
        created=created,
        age_s=max(0.0, round((datetime.now(UTC) - created).total_seconds(), 1)),
        frames=len(version),
        frames_with_box=version.manifest["frames_with_box"],
        objects=len(version.objects),
        dimension=version.dimension,
        encoder=version.manifest["encoder_digest"],
        known_from=told.threshold if (told := of_views(version.recognition, 1)) else None,
        calibrated_on=version.calibration.frames,
        categories=_categories(version),
    )


@router.get("/index/map", response_model=MapAnswer, responses=refusals(_422="`limit` is outside its bound."))
def index_map(
    version: Open,
    limit: Annotated[int, Query(ge=1, le=MAX_POINTS, description="How many frames at most.")] = 20_000,
) -> Response:
    """The embedding laid out in the plane: frames that look alike lie close together."""
    # Written in this thread: megabytes of numbers would hold up the event loop.
    return Response(_map(version, limit).model_dump_json(), media_type="application/json")


@router.get("/frames/{frame:path}", responses=refusals(_404="No such frame."))
def frame(frame: FrameId, service: Running, link: Link) -> FrameAnswer:
    """An indexed or enrolled frame: what it shows, where, and its box."""
    return _frame(service.engine.frame(frame), link(frame))


def _frame(frame: Frame, image: str) -> FrameAnswer:
    camera, plane = frame.view.camera, frame.view.plane
    # A box that reaches behind its camera has no picture.
    box = frame.box if frame.box is not None and frame.box.in_front() else None
    return FrameAnswer(
        frame=frame.id,
        category=frame.category,
        object=frame.object_id,
        image=image,
        rect=frame.view.rect,
        camera=CameraAnswer(**vars(camera)) if camera else None,
        plane=PlaneAnswer(normal=plane.normal.tolist(), offset=plane.offset) if plane else None,
        box=box_answer(box, camera) if box and camera else None,
    )


def _categories(index: Version) -> list[CategoryAnswer]:
    return [
        CategoryAnswer(category=name, frames=frames, objects=objects)
        for name, frames, objects in index.census.by_category()
    ]


# Weak, so that a version that was exchanged for a newer one is not kept by its map.
_known: WeakKeyDictionary[Version, NDArray[np.int64]] = WeakKeyDictionary()


def _places(index: Version) -> NDArray[np.int64]:
    """Every outlined frame of a version on the map: whole numbers (m, 2) from 0 to GRID."""
    if index not in _known:
        layout = index.outline.layout
        low, high = layout.min(axis=0), layout.max(axis=0)
        scale = max(float((high - low).max()), 1e-9)
        _known[index] = np.round((layout - (low + high) / 2) / scale * GRID + GRID / 2).astype(np.int64)
    return _known[index]


def _map(index: Version, limit: int) -> MapAnswer:
    places, outline = _places(index), index.outline
    step = math.ceil(len(places) / limit)
    x, y = places[::step].T.tolist()
    frames = outline.every(step).table
    numbers = {name: number for number, name in enumerate(index.categories)}
    return MapAnswer(
        index=index.version,
        method=outline.method,
        frames=len(index),
        categories=list(index.categories),
        frame=frames["id"].to_pylist(),
        category=[numbers[name] for name in frames["category"].to_pylist()],
        x=x,
        y=y,
        position=frames["position"].to_numpy().round(3).tolist(),
    )
