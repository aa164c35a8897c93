"""Look at an index: ``python -m index info|verify|search|rollback|tune <run>/index``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from index.confidence import Calibration
from index.history import History
from index.kinds import KINDS, Plan
from index.picture import decode_picture
from index.predict import DEFAULT_K, Prediction, open_predictor
from index.recall import SearchConfig
from index.recognition import Recognition
from index.schema import InvalidValueError, NearposeError, View
from index.stores import store_at
from index.truth import OwnTruth


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except NearposeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m index", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_tune(commands)
    for command, text in (
        (_info, "the versions, and what is in the current one"),
        (_verify, "check every file of every version"),
        (_search, "the nearest frames of a picture or of an indexed frame"),
        (_rollback, "go back to the version before, or to --version"),
    ):
        sub = commands.add_parser(command.__name__[1:], help=text, description=text)
        _add_location(sub)
        sub.set_defaults(command=command)
        if command is _search:
            query = sub.add_mutually_exclusive_group(required=True)
            query.add_argument("--image", type=Path, help="a picture file")
            query.add_argument("--frame", help="the id of an indexed frame")
            sub.add_argument("--rect", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="pixels")
            sub.add_argument("--category")
            sub.add_argument("-k", type=int, default=DEFAULT_K)
        if command is _rollback:
            sub.add_argument("--version")
    return parser


def _add_location(sub: argparse.ArgumentParser) -> None:
    """``options.index``, given by its place or by its name."""
    default = "runs/demo/index"
    location = sub.add_mutually_exclusive_group()
    text = f"a folder, or milvus:<file.db or URL>[#name] (default: {default})"
    # Without a default of its own, or it would overwrite what --index was given.
    location.add_argument("index", nargs="?", default=argparse.SUPPRESS, metavar="LOCATION", help=text)
    location.add_argument("--index", default=default, metavar="LOCATION", help="the same")


def _add_tune(commands: Any) -> None:
    text = "recall, latency and memory of every kind of search on your own vectors, and which to take"
    sub = commands.add_parser("tune", help=text, description=text)
    sub.add_argument("vectors", type=Path, help="an index, or an .npy file of unit vectors, float32 or float16")
    sub.add_argument("--recall", type=float, default=0.98, help="to be reached (default: %(default)s)")
    sub.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    sub.add_argument("--reduce", type=int, metavar="DIMENSIONS", help="of candidates (default: at most 256)")
    sub.add_argument("-k", type=int, default=10, help="neighbours (default: %(default)s)")
    sub.add_argument("--queries", type=int, default=500, help="vectors to ask with (default: %(default)s)")
    sub.add_argument("--picture", type=Path, help="a PNG file for the curves")
    sub.add_argument("--out", type=Path, help="a JSON file for them")
    sub.set_defaults(command=_tune)


def _info(options: argparse.Namespace) -> None:
    store = store_at(options.index)
    current = store.current()
    for name in store.versions():
        manifest = store.manifest(name)
        megabytes = sum(file["bytes"] for file in manifest["files"].values()) / 1e6
        mark = "*" if name == current else " "
        print(f"{mark} {name}  {manifest['frames']} frames  {manifest['objects']} objects  {megabytes:.1f} MB")
    manifest = store.manifest(current)
    for key in ("created", "frames", "frames_with_box", "objects", "dimension", "encoder_digest"):
        print(f"{key + ':':17}{manifest[key]}")
    calibration = Calibration.from_manifest(manifest.get("calibration"))
    told = f"on {calibration.frames} of its frames" if calibration.frames else "as shipped: too few frames of its own"
    print(f"{'confidence:':17}{told}")
    for recognition in map(Recognition.from_manifest, manifest.get("recognition") or []):
        told = f"{recognition.frames} queries without their object" if recognition.frames else "as shipped"
        print(f"{'known:':17}from {recognition.views} views on at p >= {recognition.threshold:.2f}, {told}")
    print(f"{'categories:':17}{', '.join(manifest['categories'])}")
    for key, name in (("search", "vectors"), ("identity_search", "identities")):
        if f"{name}.npy" in manifest["files"]:
            print(f"{key.replace('_', ' ') + ':':17}{_plan(manifest, key, name)}")
    if (history := History.from_manifest(manifest.get("history"))) is not None:
        print(f"{'captures:':17}{len(history.sources)}{_removed(history)}")
        if history.calibrated_in:
            told = f"confidence and known of {history.calibrated_in}, which had {history.calibrated_frames} frames"
            print(f"{'carried over:':17}{told}")
        if history.laid_out_in:
            told = f"the map of {history.laid_out_in}; newer frames lie where their nearest one does"
            print(f"{'carried over:':17}{told}")


def _removed(history: History) -> str:
    return f"; removed: {', '.join(sorted(history.left_out))}" if history.left_out else ""


def _plan(manifest: dict[str, Any], key: str, name: str) -> str:
    """How vectors are searched, and what of them is in memory."""
    plan = Plan.from_manifest(manifest.get(key), manifest["dimension"])
    mapped, candidates = (
        manifest["files"].get(f"{name}.{suffix}", {"bytes": 0})["bytes"] / 1e6 for suffix in ("npy", "faiss")
    )
    if plan.kind == "flat":
        return f"{plan.text()}; {mapped:.1f} MB, all of it read by every search"
    return f"{plan.text()}; {candidates:.1f} MB of candidates, re-ranked from {mapped:.1f} MB that stay on disk"


def _tune(options: argparse.Namespace) -> None:
    from index import tune

    config = SearchConfig(recall=options.recall, k=options.k, reduce=options.reduce, queries=options.queries)
    vectors = tune.read_vectors(options.vectors)
    own = OwnTruth.of(vectors, config, tune.read_objects(options.vectors))
    measured = [tune.measure(kind, vectors, own, config) for kind in tqdm(options.kinds, desc="kinds", disable=None)]
    print(tune.table(measured, config.recall))
    print(tune.picked(measured, config, len(vectors)).options(config.recall))
    if options.picture:
        tune.write_picture(options.picture, measured, config, vectors.shape)
    if options.out:
        options.out.write_text(json.dumps(tune.report(measured, config), indent=2) + "\n")


def _verify(options: argparse.Namespace) -> None:
    store = store_at(options.index)
    store.current()
    for name in store.versions():
        store.verify(name)
        print(f"{name}: ok")


def _search(options: argparse.Namespace) -> None:
    predictor = open_predictor(options.index)
    if options.frame is not None:
        try:
            row = predictor.index.row_of(options.frame)
        except KeyError:
            raise InvalidValueError("frame", options.frame, "the id of an indexed frame") from None
        _print(predictor.neighbours_of(row, options.k, options.category))
        return
    pixels = decode_picture(_read(options.image))
    height, width = pixels.shape[:2]
    view = View(None, None, tuple(options.rect) if options.rect else (0, 0, width, height))
    predictions, _ = predictor.predict(pixels, [view], options.k, options.category)
    _print(predictions[0])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidValueError("image", str(path), f"a readable file ({error.strerror})") from None


def _print(prediction: Prediction) -> None:
    for neighbour in prediction.neighbours:
        frame = neighbour.frame
        print(f"{neighbour.similarity:7.4f}  {frame.category:12}  {frame.object_id:24}  {frame.id}")


def _rollback(options: argparse.Namespace) -> None:
    print(f"current: {store_at(options.index).rollback(options.version)}")


if __name__ == "__main__":
    sys.exit(main())
