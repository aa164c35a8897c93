"""The page's sections of pictures, from what the paper's method answers by one encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from tqdm import tqdm

from trainer.frames import Frames
from trainer.picture import typical_rows
from trainer.report import figures, projections
from trainer.report.answers import HIT, Answers
from trainer.report.failures import KINDS, OTHER, Failure
from trainer.report.matching import matching_video
from trainer.report.page import Block, Plot, Strip, Text, Videos
from trainer.report.pictures import BAD, GOOD, TRUE, Tile, boxed, crop_uri, data_uri, jpeg_uri

_CATEGORIES = 9  # shown at most: Objectron's number
_GRIDS = 6  # queries with their neighbours
_NEIGHBOURS = 8
_EXAMPLES = 6  # of each kind of failure


def embedding(answers: Answers) -> list[Block]:
    """Figure 2: t-SNE of all queries, of one category's videos, and principal components of a few videos."""
    queries = answers.queries
    places = projections.tsne(answers)
    tracks = dict(list(projections.tracks_by_category(queries).items())[:_CATEGORIES])
    if not tracks:
        return []
    paths = {_title(category): projections.pca_paths(answers, found) for category, found in tracks.items()}
    closer = {_title(category): [places[track] for track in found] for category, found in tracks.items()}
    seconds = [[queries.time_s[track] for track in found] for found in tracks.values()]
    return [
        Plot(
            "t-SNE of all queries.",
            "Each point is a frame of a video of an object that was not learnt from.",
            figures.category_map(places, queries.category),
        ),
        Plot(
            "The first videos of each category, in that map.",
            "Paths join consecutive frames; from violet (first frame) to yellow (last).",
            figures.trajectories(closer, seconds),
        ),
        Plot(
            "The same videos by their two principal components.",
            "A video that moves around an object is a smooth path where the embedding keeps the pose.",
            figures.trajectories(paths, seconds),
        ),
    ]


def _title(category: str) -> str:
    return category.replace("_", " ")


def neighbours(answers: Answers) -> list[Block]:
    """Figure 3: nearest queries of some queries, with their own video's frames and without."""
    blocks: list[Block] = [
        Text(
            "Left the query, then its nearest test frames by falling similarity: first among all, then among other "
            "videos, the best frame of each. An edge's colour tells the video. Queries are the middle frames of the "
            "first video of a category, chosen before looking."
        )
    ]
    for row in typical_rows(answers.queries)[:_GRIDS]:
        name = _title(str(answers.queries.category[row]))
        for text, rows in (("all videos", nearest(answers, row)), ("other videos", nearest_elsewhere(answers, row))):
            blocks.append(Strip(f"{name}, {text}.", "", _grid(answers, row, rows), "row"))
    return blocks if len(blocks) > 1 else []


def nearest(answers: Answers, row: int, most: int = _NEIGHBOURS) -> list[int]:
    """The queries that are most similar to the one in ``row``, itself left out."""
    order = np.argsort(-answers.among_queries[row], kind="stable")
    return [int(other) for other in order[:most] if other != row]


def nearest_elsewhere(answers: Answers, row: int, most: int = _NEIGHBOURS) -> list[int]:
    """The most similar query of each other video, the best ``most`` of them."""
    sequence, found = answers.queries.sequence, []
    seen = {sequence[row]}
    for other in np.argsort(-answers.among_queries[row], kind="stable"):
        if sequence[other] not in seen:
            seen.add(sequence[other])
            found.append(int(other))
        if len(found) == most:
            break
    return found


def _grid(answers: Answers, row: int, rows: Sequence[int]) -> list[Tile]:
    queries = answers.queries
    colour = _edges([str(queries.sequence[row]), *(str(queries.sequence[other]) for other in rows)])
    tiles = [Tile(crop_uri(queries, row), "query", colour[str(queries.sequence[row])])]
    for other in rows:
        similarity = f"{answers.among_queries[row, other]:.2f}"
        same = "same object" if queries.object_id[other] == queries.object_id[row] else ""
        tiles.append(Tile(crop_uri(queries, other), similarity, colour[str(queries.sequence[other])], same))
    return tiles


def _edges(sequences: Iterable[str]) -> dict[str, str]:
    """A colour for each video, in order of appearance."""
    return {name: figures.PALETTE[i % len(figures.PALETTE)] for i, name in enumerate(dict.fromkeys(sequences))}


def boxes(answers: Answers) -> list[Block]:
    """Figure 4: a query of each category with true and found box, and the frame whose box it is."""
    if not answers.has_boxes():
        return []
    tiles = []
    for row in typical_rows(answers.queries)[:_CATEGORIES]:
        tiles += _query_and_found(answers, row)
    text = (
        "Each query with its true box (white) and the nearest frame's, carried by the paper's transfer: green where "
        "3D IoU > 0.5, red where not. Beside it the frame that the box comes from. Front faces are crossed."
    )
    return [Strip("Queries and what was found.", text, tiles, "wide")]


def _query_and_found(answers: Answers, row: int, note: str = "") -> list[Tile]:
    queries, references = answers.queries, answers.references
    query, found = queries.frame(row), int(answers.nearest[row])
    reference = references.frame(found)
    drawn = [(query.box, TRUE), (answers.boxes[row], GOOD if answers.iou[row] > HIT else BAD)]
    similarity = float(answers.query_vectors[row] @ answers.reference_vectors[found])
    return [
        Tile(
            jpeg_uri(boxed(queries, row, drawn)),
            f"{_title(query.category)}, IoU {answers.iou[row]:.2f}",
            note=note or query.id,
        ),
        Tile(
            jpeg_uri(boxed(references, found, [(reference.box, GOOD)])),
            f"found: {_title(reference.category)}, similarity {similarity:.2f}",
            note=reference.id,
        ),
    ]


def matching(answers: Answers) -> list[Block]:
    """Figure 7: a video of each category, every frame beside the one that it finds."""
    videos = []
    tracks = list(projections.tracks_by_category(answers.queries, 1).items())[:_CATEGORIES]
    for category, (track,) in tqdm(tracks, desc="matching videos", unit="video"):
        iou = answers.iou[track][~np.isnan(answers.iou[track])]
        good = f"{np.mean(iou > HIT):.0%} of frames with IoU > 0.5" if len(iou) else ""
        source = data_uri(matching_video(answers, track), "video/mp4")
        videos.append(Tile(source, f"{_title(category)}: query left, nearest indexed frame right", note=good))
    return [Videos(videos)] if videos else []


def failure_gallery(answers: Answers, found: Sequence[Failure]) -> list[Block]:
    """Figures 8 to 10: the worst boxes of each kind, one a video."""
    if not answers.has_boxes():
        return []
    counts = Counter(failure.kind for failure in found)
    blocks: list[Block] = [
        Text(
            f"{len(found)} of {answers.posed} boxes have 3D IoU of 0.5 or less. Each is put down to the one "
            "correction that would have made it good, the one that helps most where several would; where the nearest "
            "frame is of another category, to that."
        )
    ]
    for kind, meaning in KINDS.items():
        tiles: list[Tile] = []
        for failure in worst(answers.queries, [f for f in found if f.kind == kind]):
            tiles += _query_and_found(answers, failure.row, _mended(failure))
        title = f"{kind.capitalize()}: {counts[kind]} ({counts[kind] / max(1, len(found)):.0%})."
        blocks.append(Strip(title, f"{meaning[0].upper()}{meaning[1:]}.", tiles, "wide"))
    return blocks


def worst(frames: Frames, found: Sequence[Failure], most: int = _EXAMPLES) -> list[Failure]:
    """The first of each video, ``most`` at most: frames of one video fail alike."""
    first: dict[str, Failure] = {}
    for failure in found:
        first.setdefault(str(frames.sequence[failure.row]), failure)
    return list(first.values())[:most]


def _mended(failure: Failure) -> str:
    if failure.kind in failure.mended:
        return f"corrected: {failure.mended[failure.kind]:.2f}"
    if failure.kind == OTHER and failure.mended:
        best = max(failure.mended, key=failure.mended.__getitem__)
        return f"best correction ({best}): {failure.mended[best]:.2f}"
    return ""


def kinds_by_category(frames: Frames, found: Sequence[Failure]) -> dict[str, dict[str, int]]:
    """How many failures there are of each category and kind."""
    table = {str(category): dict.fromkeys(KINDS, 0) for category in np.unique(frames.category)}
    for failure in found:
        table[str(frames.category[failure.row])][failure.kind] += 1
    return table
