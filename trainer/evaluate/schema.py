"""What ``evaluation.json`` says: a tree of frozen dataclasses, versioned. docs/evaluation.md describes every field.

Shares are in [0, 1], lengths in metres, angles in degrees, pixels are of the picture that the query's camera describes.
Figures over categories are means of the categories', with intervals over sequences (``trainer.metrics.estimate``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from index.schema import CorruptArtifactError, ForeignArtifactError
from trainer.boxes import Method
from trainer.metrics import Curve, Detection, Estimate, Spread

FORMAT = "nearpose-evaluation"
VERSION = 1

Condition = Literal["elevation_deg", "truncation", "size"]


@dataclass(frozen=True)
class Data:
    """What was measured on. ``gallery``: crops of the validation and test split, in which re-identification looks.

    ``known_objects``: queries whose object is among the references as well; None: not told.
    """

    queries: int
    query_sequences: int
    references: int
    reference_sequences: int
    gallery: int
    queries_by_category: Mapping[str, int]
    known_objects: int | None = None


@dataclass(frozen=True)
class PoseFigures:
    """How good boxes are. A query without an answer overlaps with nothing, and has no error."""

    answered: Estimate
    iou_25: Estimate
    iou_50: Estimate
    iou_70: Estimate
    mean_iou: Estimate
    azimuth_deg: Spread | None
    elevation_deg: Spread | None
    pixels: Spread | None
    add_m: Spread | None
    adds_m: Spread | None


@dataclass(frozen=True)
class Slice:
    """The queries whose ``by`` is in [low, high): camera elevation (degrees), truncation or size (shares)."""

    by: Condition
    low: float
    high: float
    queries: int
    iou_50: Estimate
    iou_70: Estimate


@dataclass(frozen=True)
class Pose:
    """Boxes of one method: ``paper`` and ``nearest`` carry the nearest frame's, ``service`` fits all k neighbours.

    ``symmetric``: boxes of symmetric things were first turned about their vertical axis to where they fit best.
    """

    method: Method
    symmetric: bool
    overall: PoseFigures
    by_category: Mapping[str, PoseFigures]
    iou_curve: Curve
    official: Detection
    corrected: Detection
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class ReId:
    """How well other crops of a query's object are found. Queries whose object has no other crop do not count.

    ``mean_ap`` is the mean average precision, ``area`` the published code's area under the precision-recall polygon.
    ``precision``: of each category the mean precision (interpolated) at 51 recalls from 0 to 1.
    """

    queries: int
    mean_ap: Estimate
    area: Estimate
    recall_at_1: Estimate
    recall_at_5: Estimate
    by_category: Mapping[str, Estimate]
    precision: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Retrieval:
    """``category``: share of queries whose nearest reference is of their category.

    Re-identification among the crops of validation and test split: ``any_frame`` counts those of the query's own video
    (the paper's figure), ``other_video`` leaves them out. ``identity_*``: the same by the encoder's identity map.
    None where no query's object has another crop.
    """

    category: Estimate
    category_by: Mapping[str, Estimate]
    any_frame: ReId | None
    other_video: ReId | None
    identity_any_frame: ReId | None
    identity_other_video: ReId | None


@dataclass(frozen=True)
class Bin:
    """Queries whose value is in [low, high]: its mean, their mean IoU, and the share of them with IoU > 0.5."""

    low: float
    high: float
    queries: int
    mean: float
    mean_iou: float
    iou_50: float


@dataclass(frozen=True)
class Calibration:
    """``similarity`` of the nearest frame and ``confidence`` of the service's box against the service's IoU.

    ``rank_correlation``: Spearman's, of similarity and IoU; None where one of them is always the same.
    ``confidence_error``: expected calibration error.
    """

    similarity: tuple[Bin, ...]
    rank_correlation: float | None
    confidence: tuple[Bin, ...]
    confidence_error: float | None


@dataclass(frozen=True)
class Cost:
    """``latency_ms``: median of one crop's pass; ``crops_per_second``: in batches of 64. None: no such encoder."""

    architecture: str
    input_size: int
    dimension: int
    parameters: int | None
    weights_mib: float | None
    latency_ms: float
    crops_per_second: float
    reference_bytes: int  # of one reference's vector


@dataclass(frozen=True)
class LabelFraction:
    """A share of the reference sequences is searched alone. Figures are means over the draws of sequences."""

    fraction: float
    sequences: int
    draws: tuple[float, ...]  # iou_50 of the service's boxes, a draw each
    category: Estimate
    iou_50_paper: Estimate
    iou_50_service: Estimate


@dataclass(frozen=True)
class Robustness:
    """The query was given with an error. ``level``: standard deviation.

    kinds: ``rect`` (share of its sides), ``plane_normal`` (degrees), ``plane_offset`` and ``focal`` (shares).
    """

    kind: Literal["none", "rect", "plane_normal", "plane_offset", "focal"]
    level: float
    iou_50_paper: Estimate
    iou_50_service: Estimate
    iou_70_service: Estimate


@dataclass(frozen=True)
class Row:
    """One line of the table: an encoder, or a lower bound, of which there are only boxes."""

    name: str
    kind: Literal["bound", "pixels", "random", "encoder"]
    poses: tuple[Pose, ...] = ()
    retrieval: Retrieval | None = None
    calibration: Calibration | None = None
    cost: Cost | None = None
    label_fractions: tuple[LabelFraction, ...] = ()
    robustness: tuple[Robustness, ...] = ()

    def pose(self, method: Method, *, symmetric: bool = False) -> Pose | None:
        """The figures of one method; None where it was not measured."""
        found = [pose for pose in self.poses if (pose.method, pose.symmetric) == (method, symmetric)]
        return found[0] if found else None


@dataclass(frozen=True)
class OpenSet:
    """Of queries of ``views`` pictures (``trainer.open_set``): plain shares.

    right: the best match is the object; accepts: it is also called known; false_accepts: a stranger is called known.
    """

    views: int
    right: float
    accepts: float
    false_accepts: float


@dataclass(frozen=True)
class Evaluation:
    """All of ``evaluation.json``. ``config``: of ``EvaluateConfig``."""

    data: Data
    config: Mapping[str, Any]
    rows: tuple[Row, ...]
    open_set: tuple[OpenSet, ...]
    format: str = FORMAT
    version: int = VERSION

    def row(self, name: str) -> Row:
        """Raises KeyError when there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def write(self, path: Path) -> None:
        """All of the file or none of it."""
        draft = path.with_name(f"{path.name}.partial")
        draft.write_bytes(_JSON.dump_json(self, indent=1) + b"\n")
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Raises CorruptArtifactError or ForeignArtifactError, naming the file."""
        try:
            evaluation = _JSON.validate_json(path.read_bytes())
        except OSError as error:
            raise CorruptArtifactError(path, f"cannot be read ({error.strerror})") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))  # empty where the file is no JSON at all
            told = f"{where}: {first['msg']}" if where else first["msg"]
            raise ForeignArtifactError(path, f"is no evaluation of this version: {told}") from error
        if (evaluation.format, evaluation.version) != (FORMAT, VERSION):
            found = f"{evaluation.format} {evaluation.version}"
            raise ForeignArtifactError(path, f"is {found}, this nearpose reads {FORMAT} {VERSION}")
        return evaluation


_JSON = TypeAdapter(Evaluation)


def records_of(evaluation: Path) -> Path:
    """Where the per-query records of an ``evaluation.json`` lie: beside it (``trainer.evaluate.records``)."""
    return evaluation.with_suffix(".parquet")
