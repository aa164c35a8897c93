"""Stage: how good an encoder and its index are, on frames of objects that the index does not hold.

The query frames go through ``index.predict``, the same road as ``POST /pose``. The trained encoder is compared with raw
pixels and with the same network before training, the boxes with random ones.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.encoder import Encoder, Spec, open_encoder
from index.fit import fit_box
from index.identity_map import to_identities
from index.iou import iou_3d
from index.predict import DEFAULT_K, Predictor, open_predictor
from index.schema import Box, Frame, GeometryError, InvalidValueError, View
from index.search import FrameIndex
from index.stores import Location
from index.transfer import transfer_box
from trainer.baselines import RawPixels
from trainer.config import TrainConfig
from trainer.export import export_random
from trainer.frames import Frames
from trainer.inference import embed_frames, predict_frame
from trainer.metrics import Estimate, average_precisions, category_mean
from trainer.open_set import open_set

logger = logging.getLogger(__name__)

_HIT = 0.5  # the benchmark's IoU threshold; a hit is strictly above it, as in the published evaluation


@dataclass(frozen=True)
class EvaluateConfig:
    """How an index is evaluated."""

    queries: int = 2000  # test frames at most, evenly spread: more only narrow the interval within a video
    k: int = DEFAULT_K  # neighbours for the consensus box, the service's default
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Row:
    """One line of the table: figures are shares in [0, 1] averaged over categories, None where they do not apply."""

    name: str
    iou_paper: Estimate | None = None
    iou_nearest: Estimate | None = None
    iou_service: Estimate | None = None
    category: Estimate | None = None
    reid_other_video: Estimate | None = None
    reid_same_video: Estimate | None = None
    iou_by_category: dict[str, float] | None = None


_COLUMNS = {
    "iou_paper": "IoU > 0.5, paper",
    "iou_nearest": "k = 1",
    "iou_service": "k = {k}",
    "category": "category",
    "reid_other_video": "re-ID mAP, other video",
    "reid_same_video": "re-ID mAP, any frame",
}


_KNOWN = (
    "{views:>2} frames of an object: the best match is right in {right:.1%}, and known in {accepts:.1%}; "
    "{false_accepts:.1%} of objects that are not indexed are called known"
)


def evaluate(frames: Path, encoder: Path, index: Location, out: Path, config: EvaluateConfig | None = None) -> Path:
    """Measures the current index on the test split and writes ``out`` (JSON); ``table`` prints it.

    Figures (all averaged over categories, 95 % bootstrap intervals over sequences):
        iou_paper: share of queries whose nearest frame's box, carried by the paper's algorithm, has 3D IoU > 0.5.
        iou_nearest: the same by ``index.fit``, from the nearest frame alone.
        iou_service: the same from k neighbours, as the service answers.
        category: share of queries whose nearest frame is of the right category.
        reid_other_video: mean average precision of finding the object in videos other than the query's.
        reid_same_video: the paper's figure: all other test frames, those of the query's own video included.

    ``open_set`` (``trainer.open_set``; plain means over queries of 1, 3 and 10 frames where videos are long enough):
    how often the index, with half of the test objects added by one of their videos each, calls a stranger known; how
    often it calls a known object so, by the right name; how often its best match is right. Empty where fewer than two
    test objects were filmed more than once.

    Returns:
        ``out``.
    """
    config = config or EvaluateConfig()
    everything = Frames.open(frames)
    references = everything.select(everything.split != "test")
    queries = _queries(everything, config.queries)
    trained = open_predictor(index, config.device)
    rows = _random_boxes(references, queries, config.seed)
    rows.append(_measure("raw 16x16 pixels", _in_memory(RawPixels(), references), queries, config))
    with TemporaryDirectory() as folder:
        random = open_encoder(_untrained(encoder, Path(folder) / "encoder", config.seed), config.device)
        rows.append(_measure("random network", _in_memory(random, references), queries, config))
    rows.append(_measure("trained encoder", trained, queries, config))
    known = _known(trained, queries)
    result = {
        "queries": len(queries),
        "query_sequences": len(set(queries.sequence)),
        "references": len(references),
        "config": asdict(config),
        "rows": [asdict(row) for row in rows],
        "open_set": known,
    }
    out.write_text(json.dumps(result, indent=2) + "\n")
    return out


def table(result: Path) -> str:
    """The evaluation as a table to print: percent, with 95 % intervals over sequences in brackets."""
    content = json.loads(result.read_text())
    heads = [""] + [head.format(k=content["config"]["k"]) for head in _COLUMNS.values()]
    lines = [heads]
    for row in content["rows"]:
        cells = [str(Estimate(**row[key])).strip() if row[key] else "-" for key in _COLUMNS]
        lines.append([row["name"], *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(
        [
            f"{content['queries']} test frames of {content['query_sequences']} videos against {content['references']} "
            "indexed frames of other objects; percent [95 % interval over videos]",
            "",
            *text,
            *([""] if content["open_set"] else []),
            *(_KNOWN.format(views=views, **shares) for views, shares in content["open_set"].items()),
        ]
    )


def _queries(frames: Frames, most: int) -> Frames:
    rows = np.flatnonzero(frames.split == "test")
    if len(rows) == 0:
        raise InvalidValueError("frames", "no frame of the test split", "captures with a test split to evaluate on")
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    return frames.select(rows)


def _untrained(encoder: Path, out: Path, seed: int) -> Path:
    """The same network as ``encoder`` as it was before any training."""
    spec = Spec.read(encoder)
    return export_random(TrainConfig(architecture=spec.architecture, input_size=spec.input_size), out, seed)


def _in_memory(encoder: Encoder, references: Frames) -> Predictor:
    vectors = embed_frames(encoder, references, "embed references")
    return Predictor(encoder, FrameIndex.from_frames(vectors, [references.frame(i) for i in range(len(references))]))


def _measure(name: str, predictor: Predictor, queries: Frames, config: EvaluateConfig) -> Row:
    truths = [queries.frame(i) for i in range(len(queries))]
    predictions = [
        predict_frame(predictor, queries, i, config.k) for i in tqdm(range(len(queries)), desc=name, unit="frame")
    ]
    paper = [_carried(p.neighbours[0].frame, truth.view) for p, truth in zip(predictions, truths, strict=True)]
    nearest = [_fitted(p.neighbours[0].frame, truth.view) for p, truth in zip(predictions, truths, strict=True)]
    consensus = [prediction.fit.box if prediction.fit else None for prediction in predictions]
    right = np.array([p.category == t.category for p, t in zip(predictions, truths, strict=True)], dtype=np.float64)
    vectors = embed_frames(predictor.encoder, queries, "embed queries")
    identities = to_identities(predictor.index.identity_map, vectors)
    return Row(
        name,
        iou_paper=_share_of_hits(paper, queries, truths),
        iou_nearest=_share_of_hits(nearest, queries, truths),
        iou_service=_share_of_hits(consensus, queries, truths),
        category=category_mean(right, queries.category, queries.sequence),
        reid_other_video=_reid(identities, queries, same_video=False),
        reid_same_video=_reid(identities, queries, same_video=True),
        iou_by_category=_by_category(_hits(consensus, truths), queries.category),
    )


def _known(predictor: Predictor, queries: Frames) -> dict[str, dict[str, float]]:
    vectors, index = embed_frames(predictor.encoder, queries, "embed queries"), predictor.index
    result = {}
    for recognition in index.recognition:
        answers = open_set(index, vectors, queries, recognition.views)
        if answers:
            result[str(recognition.views)] = {
                "right": answers.hits(),
                "accepts": answers.accepts(),
                "false_accepts": answers.false_accepts(),
            }
    return result


def _carried(reference: Frame, query: View) -> Box | None:
    try:
        return transfer_box(reference, query)
    except GeometryError:
        return None


def _fitted(reference: Frame, query: View) -> Box | None:
    try:
        return fit_box([reference], query).box
    except GeometryError:
        return None


def _hits(boxes: Sequence[Box | None], truths: Sequence[Frame]) -> NDArray[np.float64]:
    """(n,): 1 where the box overlaps the truth with IoU > 0.5, 0 where not or where there is none; NaN: no truth."""
    hits = np.zeros(len(boxes))
    for i, (box, truth) in enumerate(zip(boxes, truths, strict=True)):
        if truth.box is None:
            hits[i] = np.nan
        elif box is not None:
            hits[i] = iou_3d(box.corners[None], truth.box.corners[None])[0] > _HIT
    return hits


def _share_of_hits(boxes: Sequence[Box | None], queries: Frames, truths: Sequence[Frame]) -> Estimate | None:
    return _estimate(_hits(boxes, truths), queries)


def _estimate(values: NDArray[np.float64], queries: Frames) -> Estimate | None:
    """Over the queries that have the figure; None when none has."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    return category_mean(values[known], queries.category[known], queries.sequence[known])


def _by_category(values: NDArray[np.float64], categories: NDArray[np.str_]) -> dict[str, float]:
    known = ~np.isnan(values)
    return {str(c): float(values[known & (categories == c)].mean()) for c in np.unique(categories[known])}


def _reid(vectors: NDArray[np.float32], queries: Frames, *, same_video: bool) -> Estimate | None:
    """Mean average precision among the test frames themselves; frames of the query's video count or are left out."""
    relevant = queries.object_id[:, None] == queries.object_id
    itself = np.eye(len(queries), dtype=bool)
    ignored = itself if same_video else queries.sequence[:, None] == queries.sequence
    return _estimate(average_precisions(vectors @ vectors.T, relevant, ignored), queries)


def _random_boxes(references: Frames, queries: Frames, seed: int) -> list[Row]:
    """The boxes of a random indexed frame, and of a random one of the right category: what no search at all gives."""
    rng = np.random.default_rng(seed)
    truths = [queries.frame(i) for i in range(len(queries))]
    by_category = {c: np.flatnonzero(references.category == c) for c in np.unique(references.category)}
    anywhere = np.arange(len(references))
    choices: dict[str, Callable[[Frame], NDArray[np.intp]]] = {
        "random box": lambda _: anywhere,
        "random in-category box": lambda truth: by_category.get(truth.category, anywhere),
    }
    rows = []
    for name, candidates in choices.items():
        picks = [references.frame(int(rng.choice(candidates(truth)))) for truth in truths]
        boxes = [_carried(pick, truth.view) for pick, truth in zip(picks, truths, strict=True)]
        shares = _by_category(_hits(boxes, truths), queries.category)
        rows.append(Row(name, iou_paper=_share_of_hits(boxes, queries, truths), iou_by_category=shares))
    return rows
