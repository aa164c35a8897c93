"""What a client gets: the shapes of the answers, each field with its frame and unit, and the way from a result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial.transform import Rotation

from index.identity import Match
from index.predict import Prediction
from index.schema import Array, Box, Camera, Neighbour, View
from service.engine import Result, Spent
from service.enrolment.followed import Enrolment
from service.live import Failure, JoinedVersion, Snapshot
from service.problems import Problem, problem_from_error

Vector = tuple[float, float, float]
ImageUrl = Callable[[str], str]


class NeighborAnswer(BaseModel):
    """An indexed frame that is like the query."""

    frame: str = Field(description="The frame's id.")
    similarity: float = Field(description="Cosine of the two embeddings, -1 to 1.")
    category: str
    object: str = Field(description="The id of the object that the frame shows.")
    image: str = Field(description="Where the frame's picture is.")


class MatchAnswer(BaseModel):
    """An indexed object that may be the one in the picture, or pictures."""

    object: str = Field(description="The object's id.")
    category: str
    score: float = Field(
        description="Its similarity, -1 to 1: that of its three nearest frames, weighted 4, 2 and 1, by what tells "
        "objects apart whichever way they are seen from; of several pictures, the mean."
    )
    frames: int = Field(description="How many of the k frames that are most alike by that measure show it.")
    probability: float | None = Field(
        description="That it is this very object, 0 to 1. Null where the index has too few objects to tell."
    )
    known: bool | None = Field(
        description="Whether that suffices to say so; true for the first match at most, all false means: none of "
        "these. Chosen so that a thing that is not in the index is called known in about 5 % of the cases, or in the "
        "share that the index was built with. Null where `probability` is."
    )


class BoxAnswer(BaseModel):
    """An oriented box in the camera's frame: OpenCV (x right, y down, z forward), metres."""

    center: Vector = Field(description="Metres.")
    size: Vector = Field(description="Full extent along the box's own x, y (up) and z (front), metres.")
    rotation: tuple[Vector, Vector, Vector] = Field(
        description="Rows; point_in_camera = rotation @ point_in_box + center."
    )
    quaternion: tuple[float, float, float, float] = Field(description="The same rotation as x, y, z, w.")
    corners: list[Vector] = Field(
        description="8 corners, metres; index = 4*[x>0] + 2*[y>0] + [z>0] in the box's own axes."
    )
    corners_px: list[tuple[float, float]] = Field(
        description="The corners in the full, upright picture, pixels; they may lie outside of it."
    )


Matrix = tuple[Vector, Vector, Vector]


class UncertaintyAnswer(BaseModel):
    """How far the box may be off, as far as the neighbors disagree: not counting that all of them may be wrong."""

    center: Matrix = Field(description="Covariance of `center`, metres squared, in the camera's frame.")
    yaw_deg: float = Field(description="Standard deviation of the turn about the box's y, degrees.")
    log_size: Matrix = Field(description="Covariance of the natural logarithms of `size`: 0.01 is about 10 %, squared.")


class ObjectAnswer(BaseModel):
    """The answer for one rect."""

    rect: tuple[float, float, float, float] = Field(description="As given: x0, y0, x1, y1, pixels.")
    category: str = Field(description="That of the nearest neighbor.")
    box: BoxAnswer | None = Field(description="Null where there is none; `problem` says why.")
    confidence: float | None = Field(
        description="The probability, 0 to 1, that the 3D IoU of `box` with the true one is above 0.5, as frames of "
        "the index that were looked up without their object tell it. Null with `fit=paper`."
    )
    uncertainty: UncertaintyAnswer | None = Field(description="Null with `fit=paper`.")
    problem: Problem | None = Field(description="Why there is no box.")
    neighbors: list[NeighborAnswer] = Field(description="The most similar first.")
    matches: list[MatchAnswer] = Field(description="The most similar first.")


class TimingAnswer(BaseModel):
    """Milliseconds."""

    decode: float
    embed: float
    search: float
    fit: float
    total: float = Field(description="From the complete request to the result, waiting for a worker included.")


_NEIGHBOR = {
    "frame": "cup/batch-3/17/42",
    "similarity": 0.94,
    "category": "cup",
    "object": "cup/batch-3/17/0",
    "image": "/frames/cup/batch-3/17/42/image.jpg",
}
_MATCH = {
    "object": "cup/batch-3/17/0",
    "category": "cup",
    "score": 0.94,
    "frames": 4,
    "probability": 0.91,
    "known": True,
}
_BOX = {
    "center": [0.013, 0.211, 0.629],
    "size": [0.08, 0.1, 0.08],
    "rotation": [[1.0, 0.0, 0.0], [0.0, -0.8, 0.6], [0.0, -0.6, -0.8]],
    "quaternion": [0.948683298, 0.0, 0.0, -0.316227766],
    "corners": [
        [-0.027, 0.227, 0.691],
        [-0.027, 0.275, 0.627],
        [-0.027, 0.147, 0.631],
        [-0.027, 0.195, 0.567],
        [0.053, 0.227, 0.691],
        [0.053, 0.275, 0.627],
        [0.053, 0.147, 0.631],
        [0.053, 0.195, 0.567],
    ],
    "corners_px": [
        [219.5, 492.5],
        [217.4, 550.3],
        [217.5, 442.3],
        [215.0, 500.6],
        [280.3, 492.5],
        [284.4, 550.3],
        [284.1, 442.3],
        [289.1, 500.6],
    ],
}
_REST = {
    "index": "20260802T101500.000000Z",
    "warnings": [],
    "timing_ms": {"decode": 1.1, "embed": 11.2, "search": 0.4, "fit": 1.9, "total": 15.0},
}
_UNCERTAINTY = {
    "center": [[2e-05, 0.0, 0.0], [0.0, 4e-05, 3e-05], [0.0, 3e-05, 1e-04]],
    "yaw_deg": 7.5,
    "log_size": [[0.02, 0.005, 0.0], [0.005, 0.01, 0.005], [0.0, 0.005, 0.02]],
}
_OBJECT = {
    "rect": [215.0, 442.0, 289.0, 550.0],
    "category": "cup",
    "box": _BOX,
    "confidence": 0.87,
    "uncertainty": _UNCERTAINTY,
    "problem": None,
    "neighbors": [_NEIGHBOR],
    "matches": [_MATCH],
}


def _example(**content: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": content})


class PoseAnswer(BaseModel):
    """Boxes, and the neighbors that they come from."""

    model_config = _example(objects=[_OBJECT], **_REST)

    objects: list[ObjectAnswer] = Field(description="One for each rect, in their order.")
    index: str = Field(description="The version of the index that answered.")
    warnings: list[str] = Field(description="What was changed or looked odd.")
    timing_ms: TimingAnswer


class NeighborsAnswer(BaseModel):
    """Frames and objects that are like the query."""

    model_config = _example(neighbors=[_NEIGHBOR], matches=[_MATCH], **_REST)

    neighbors: list[NeighborAnswer] = Field(description="The most similar first.")
    matches: list[MatchAnswer] = Field(description="The most similar first.")
    index: str = Field(description="The version of the index that answered.")
    warnings: list[str] = Field(description="What was changed or looked odd.")
    timing_ms: TimingAnswer


class AliveAnswer(BaseModel):
    """The process answers."""

    status: str = "alive"


class FailureAnswer(BaseModel):
    """A version of the index that could not be opened."""

    version: str = Field(description="Its name; `CURRENT` where the file that names the version is at fault.")
    reason: str


class EnrolmentAnswer(BaseModel):
    """What users enrolled."""

    frames: int = Field(description="How many frames are enrolled, as far as they can be read.")
    accepts: bool = Field(description="Whether more can be enrolled.")
    failure: str | None = Field(description="Why the file of what is enrolled cannot be used.")
    warning: str | None = Field(description="What can be done with it only in part, as where it is read-only.")


class ReadyAnswer(BaseModel):
    """What the open version of the index holds, with what is enrolled."""

    index: str = Field(description="Its version.")
    frames: int = Field(description="Those that are enrolled included.")
    dimension: int = Field(description="Length of an embedding.")
    categories: list[str]
    failure: FailureAnswer | None = Field(
        description="A newer version that could not be opened, while this one goes on answering."
    )
    enrolment: EnrolmentAnswer


def pose_answer(result: Result, image_url: ImageUrl) -> PoseAnswer:
    """``result`` of ``Engine.pose``; ``image_url`` says where a frame's picture is."""
    pairs = zip(result.views, result.predictions, strict=True)
    return PoseAnswer(objects=[_object(view, prediction, image_url) for view, prediction in pairs], **_rest(result))


def neighbors_answer(result: Result, image_url: ImageUrl) -> NeighborsAnswer:
    """``result`` of ``Engine.neighbours`` or ``neighbours_of``, which has one prediction."""
    (prediction,) = result.predictions
    return NeighborsAnswer(**_found(prediction, image_url), **_rest(result))


def ready_answer(snapshot: Snapshot, failure: Failure | None, enrolment: Enrolment) -> ReadyAnswer:
    """What is open, and what failed to open since."""
    index = snapshot.index
    enrolled = len(index.enrolled) if isinstance(index, JoinedVersion) else 0
    return ReadyAnswer(
        index=index.version,
        frames=len(index),
        dimension=index.dimension,
        categories=list(index.categories),
        failure=FailureAnswer(version=failure.version, reason=failure.reason) if failure else None,
        enrolment=EnrolmentAnswer(
            frames=enrolled, accepts=enrolment.accepts, failure=enrolment.failure, warning=enrolment.note
        ),
    )


def _object(view: View, prediction: Prediction, image_url: ImageUrl) -> ObjectAnswer:
    fit, problem = prediction.fit, prediction.problem
    assert view.camera is not None  # a pose query's views all have one
    return ObjectAnswer(
        rect=view.rect,
        category=prediction.category,
        box=box_answer(fit.box, view.camera) if fit else None,
        confidence=fit.confidence if fit else None,
        uncertainty=_uncertainty(fit.covariance) if fit and fit.covariance is not None else None,
        problem=problem_from_error(problem) if problem else None,
        **_found(prediction, image_url),
    )


def _uncertainty(covariance: Array) -> UncertaintyAnswer:
    return UncertaintyAnswer(
        center=covariance[:3, :3].tolist(),
        yaw_deg=math.degrees(math.sqrt(covariance[3, 3])),
        log_size=covariance[4:, 4:].tolist(),
    )


def box_answer(box: Box, camera: Camera) -> BoxAnswer:
    """``box`` in its camera's frame and picture. Raises BehindCameraError."""
    return BoxAnswer(
        center=box.center.tolist(),
        size=box.size.tolist(),
        rotation=box.rotation.tolist(),
        quaternion=Rotation.from_matrix(box.rotation).as_quat().tolist(),
        corners=box.corners.tolist(),
        corners_px=camera.project(box.corners).tolist(),
    )


def _found(prediction: Prediction, image_url: ImageUrl) -> dict[str, Any]:
    return {
        "neighbors": [_neighbor(neighbour, image_url) for neighbour in prediction.neighbours],
        "matches": [_match(match) for match in prediction.matches],
    }


def _neighbor(neighbour: Neighbour, image_url: ImageUrl) -> NeighborAnswer:
    frame = neighbour.frame
    return NeighborAnswer(
        frame=frame.id,
        similarity=neighbour.similarity,
        category=frame.category,
        object=frame.object_id,
        image=image_url(frame.id),
    )


def _match(match: Match) -> MatchAnswer:
    return MatchAnswer(
        object=match.object_id,
        category=match.category,
        score=match.score,
        frames=match.frames,
        probability=match.probability,
        known=match.known,
    )


def _rest(result: Result) -> dict[str, Any]:
    return {"index": result.version, "warnings": list(result.warnings), "timing_ms": _timing(result.spent)}


def _timing(spent: Spent) -> TimingAnswer:
    steps = {name: round(milliseconds, 3) for name, milliseconds in vars(spent).items()}
    return TimingAnswer(**steps)
