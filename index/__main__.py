"""Look at an index: ``python -m index info|verify|search|rollback --index <run>/index``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from index.confidence import Calibration
from index.history import History
from index.picture import decode_picture
from index.predict import DEFAULT_K, Prediction, open_predictor
from index.recognition import Recognition
from index.schema import InvalidValueError, NearposeError, View
from index.stores import store_at


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
    for command, text in (
        (_info, "the versions, and what is in the current one"),
        (_verify, "check every file of every version"),
        (_search, "the nearest frames of a picture or of an indexed frame"),
        (_rollback, "go back to the version before, or to --version"),
    ):
        sub = commands.add_parser(command.__name__[1:], help=text, description=text)
        sub.add_argument(
            "--index",
            default="runs/demo/index",
            metavar="LOCATION",
            help="a folder, or milvus:<file.db or URL>[#name] (default: %(default)s)",
        )
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
