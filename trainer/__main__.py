"""The offline pipeline, a command a stage: ``python -m trainer <command> --help``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from index.schema import NearposeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    _log_to_stderr()
    try:
        options.command(options)
    except NearposeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def _log_to_stderr() -> None:
    """Our own news, and of libraries only what is wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("trainer").setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(command: Any, text: str, *inputs: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(command.__name__[1:], help=text, description=text)
        for name in inputs:
            sub.add_argument(name, type=Path)
        sub.set_defaults(command=command)
        return sub

    demo = add(_demo, "film the demo captures and run every stage on them")
    demo.add_argument("--run", type=Path, default=Path("runs/demo"), help="run folder (default: %(default)s)")
    demo.add_argument("--film-seed", type=int, default=0, help="of the captures (default: %(default)s)")
    _add_rebuild_options(demo)
    pretrain = add(_pretrain, "draw made-up objects and learn from them the encoder that ships: hours on two cores")
    pretrain.add_argument("--run", type=Path, default=Path("runs/pretrain"), help="run folder (default: %(default)s)")
    pretrain.add_argument("--recipe", type=Path, help="a TOML file (default: the shipped encoder's)")
    _add_import(add)
    _add_fetch(add)
    add(_check, "find what is wrong with captures, and draw a contact sheet of each", "captures")
    ingest = add(_ingest, "captures -> frames")
    ingest.add_argument("captures", help="a folder; with --engine ray also a URL that fsspec reads")
    ingest.add_argument("frames", type=Path)
    _add_engine(ingest)
    ingest.add_argument("--format", help="objectron, tfrecord, ucf101 or folder (default: recognised)")
    ingest.add_argument("--fps", type=float, help="frames a second to keep")
    ingest.add_argument("--workers", type=int)
    train = add(_train, "frames -> a trained encoder's checkpoint", "frames", "training")
    _add_training_options(train)
    train.set_defaults(preset="continue")
    export = add(
        _export, "checkpoint, an encoder's weights alone or a public encoder -> encoder artefact", "training", "encoder"
    )
    export.add_argument(
        "--frames", type=Path, help="frames to fit whitening and identity map to (default: none, plain features)"
    )
    export.add_argument(
        "--weights", help="of a public encoder, of which TRAINING is timm's name or torchvision:NAME: a file, or hub"
    )
    export.add_argument("--input-size", type=int, help="pixels of a public encoder's input (default: its own)")
    build = add(_build, "frames + encoder -> a new version of the index", "frames", "encoder")
    build.add_argument("index", help=_INDEX_HELP)
    _add_milvus_index(build)
    _add_engine(build)
    build.add_argument("--splits", nargs="+", default=["train", "valid"])
    _add_search_options(build)
    evaluate = add(_evaluate, "measure an index on the test split", "frames", "encoder", "index")
    evaluate.add_argument("--out", type=Path, default=Path("evaluation.json"), help="default: %(default)s")
    evaluate.add_argument("-k", type=int)
    evaluate.add_argument("--queries", type=int, help="test frames at most")
    evaluate.add_argument(
        "--full",
        action="store_true",
        help="also with fewer labelled sequences, and with errors in rect, plane and camera",
    )
    evaluate.add_argument("--symmetric", nargs="*", help="categories or objects that look the same from all sides")
    retrieve = add(_retrieve, "measure an encoder by the classes of the videos that it finds", "frames", "encoder")
    retrieve.add_argument("--out", type=Path, default=Path("retrieval.json"), help="default: %(default)s")
    retrieve.add_argument("-k", type=int, nargs="+", help="numbers of neighbours (default: 1 5 10 20)")
    _add_sweep(add)
    report = add(_report, "tables, curves and pictures of a sweep or an evaluation, as one page", "evaluation")
    report.add_argument("--out", type=Path, default=Path("report"), help="folder (default: %(default)s)")
    report.add_argument("--show", metavar="ROW", help="whose answers are drawn (default: the best by pose)")
    report.add_argument("--title", help="of the page")
    rebuild = add(_rebuild, "every stage that is not up to date: captures -> index", "captures", "run")
    _add_rebuild_options(rebuild)
    rebuild.add_argument("--index", help=f"{_INDEX_HELP} (default: <run>/index)")
    _add_milvus_index(rebuild)
    grow = add(_add, "add captures that are new or have changed to an index, in seconds", "captures", "index")
    grow.add_argument("--watch", action="store_true", help="go on, adding captures as they are accepted")
    grow.add_argument("--splits", nargs="+", default=["train", "valid"], help="default: train valid")
    shrink = add(_remove, "remove an object's or a capture's frames from an index")
    shrink.add_argument("name", help="of the object, or of the capture")
    shrink.add_argument("index", type=Path)
    ask = add(_ask, "post the sample request to a running service and compare the answer with the truth", "sample")
    ask.add_argument("--url", default="http://127.0.0.1:8000", help="default: %(default)s")
    return parser


def _add_import(add: Any) -> None:
    text = "what a phone app, another tool or a plain camera wrote -> a capture with a capture.json"
    sub = add(_import, text, "source", "captures")
    sub.add_argument("--format", help="stray-scanner, record3d, ar, transforms, bop, middlebury, colmap or photos")
    sub.add_argument("--name", help="of the capture (default: the source's)")
    sub.add_argument("--force", action="store_true", help="replace a capture of that name that nobody has annotated")
    sub.add_argument("--split", choices=("train", "valid", "test"), help="default: train")
    sub.add_argument("--fps", type=float, help="pictures a second to keep of a video (default: 5)")
    sub.add_argument("--up", help="the world's axis that points up (y, -z), where the source does not say it")
    sub.add_argument("--metric", action="store_true", help="the source's unit is the metre, though it does not say so")
    sub.add_argument("--focal", type=float, metavar="PIXELS", help="of photos or a video without poses")
    sub.add_argument("--camera-height", type=float, metavar="METRES", help="the cameras' usual height above the ground")
    sub.add_argument("--camera-distance", nargs=3, metavar=("FRAME", "FRAME", "METRES"), help="between two cameras")
    names = ("FRAME", "X0", "Y0", "X1", "Y1", "METRES")
    sub.add_argument("--scale-points", nargs=6, metavar=names, help="two pixels of the ground, and their distance")
    sub.add_argument("--max-side", type=int, metavar="PIXELS", help="of the pictures written (default: 1920)")
    sub.add_argument("--threads", type=int, help="of structure from motion (default: one a core)")


def _add_fetch(add: Any) -> None:
    sub = add(_fetch, "a public dataset's videos -> captures, of which only the frames that ingest takes are kept")
    sub.add_argument("dataset", choices=("objectron",))
    sub.add_argument("captures", type=Path)
    sub.add_argument("--categories", nargs="+", help="bike, book, ... (default: all nine)")
    sub.add_argument("--limit", type=int, help="videos (or shards) a category, train and test in proportion")
    sub.add_argument("--jobs", type=int, help="files at a time (default: 4)")
    sub.add_argument("--disk-gb", type=float, help="that the captures may fill (default: 0.9 of what is free)")
    sub.add_argument("--format", help="videos, or tfrecord: the shards of sequences (default: videos)")
    sub.add_argument("--url", help="of a mirror of the bucket")
    sub.add_argument("--plan", action="store_true", help="print the plan, and do no more")


_INDEX_HELP = "a folder, or milvus:<file.db or URL>[#name]"


def _add_engine(parser: argparse.ArgumentParser) -> None:
    text = "who works: this process and its children, or Ray (default: %(default)s)"
    parser.add_argument("--engine", choices=("here", "ray"), default="here", help=text)
    parser.add_argument(
        "--address", help="of a Ray cluster: auto, host:port or ray://host:port (default: this machine)"
    )


def _ray(options: argparse.Namespace) -> Any:
    """Ray's settings; None where it is not asked for."""
    from index.schema import InvalidValueError

    if options.engine != "ray":
        if options.address:
            raise InvalidValueError("address", options.address, "left out, without --engine ray")
        return None
    try:
        from trainer.cluster import RayConfig
    except ImportError as error:
        raise InvalidValueError("engine", "ray", f"here, or pip install 'nearpose[ray]' ({error})") from error
    return RayConfig(options.address, getattr(options, "workers", None))


def _add_milvus_index(parser: argparse.ArgumentParser) -> None:
    text = "how Milvus indexes vectors: FLAT, HNSW, IVF_FLAT, DISKANN, ... (default: %(default)s, which is exact)"
    parser.add_argument("--milvus-index", default="FLAT", help=text)


def _add_sweep(add: Any) -> None:
    text = "train and evaluate the rows of the paper's tables under one budget, and report"
    sub = add(_sweep, text, "frames", "out")
    sub.add_argument(
        "--strategies",
        nargs="+",
        default=["all"],
        help="table2, table5, baselines, all, single rows such as nearby-lc, or folders of encoders (default: all)",
    )
    sub.add_argument(
        "--preset", default="scratch", help="network and schedule: scratch or paper (default: %(default)s)"
    )
    for name, kind in (("minutes", float), ("epochs", int), ("input-size", int), ("batch-size", int), ("lr", float)):
        sub.add_argument(f"--{name}", type=kind, help="of every row that is learnt (default: the preset's)")
    sub.add_argument("--seeds", type=int, default=1, help="encoders a row (default: %(default)s)")
    sub.add_argument("--jobs", type=int, help="rows at a time (default: one, or one a GPU)")
    sub.add_argument("--queries", type=int, help="test frames at most")
    sub.add_argument("--full", action="store_true", help="also with 10 and 1 %% of the labels, and with errors")


_OVERRIDES = ("pairs", "augmentation", "loss", "epochs", "max_minutes", "seed")
_PRESET_HELP = (
    "pretrained: the encoder that ships, as it is; continue: from there, some minutes on these captures; scratch: some "
    "minutes on these captures alone; paper: its ResNet-50 and schedule, for a GPU (default: %(default)s)"
)


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="pretrained", help=_PRESET_HELP)
    parser.add_argument("--init", type=Path, help="another exported encoder to continue from")
    parser.add_argument("--strategy", help="a row of the paper's tables: nearby-lc, distant-full, nt-xent, tcn, ...")
    for name, kind in (("pairs", str), ("augmentation", str), ("loss", str), ("epochs", int), ("max-minutes", float)):
        parser.add_argument(f"--{name}", type=kind, help="override the preset's")
    parser.add_argument("--seed", type=int, help="override the preset's")


def _add_search_options(parser: argparse.ArgumentParser) -> None:
    text = "of search: auto (by size), flat, ivf-sq, ivf-pq or hnsw-sq (default: auto)"
    parser.add_argument("--kind", help=text)
    parser.add_argument("--recall", type=float, help="of the nearest frames, which the kind must reach (default: 0.98)")
    parser.add_argument("--reduce", type=int, metavar="DIMENSIONS", help="of its candidates (default: at most 256)")


def _build_config(options: argparse.Namespace) -> Any:
    from trainer.build import BuildConfig

    return BuildConfig(**_given(options, "kind", "recall", "reduce"))


def _add_rebuild_options(parser: argparse.ArgumentParser) -> None:
    _add_training_options(parser)
    _add_search_options(parser)
    parser.add_argument("--retrain", action="store_true", help="train although there is an encoder of this preset")


def _rebuild_config(options: argparse.Namespace) -> Any:
    from index.schema import InvalidValueError
    from trainer.rebuild import RebuildConfig

    if options.preset == "pretrained":
        if ignored := _given(options, *_OVERRIDES, "init", "strategy") | ({"retrain": True} if options.retrain else {}):
            raise InvalidValueError("preset", "pretrained", f"continue or scratch, for {', '.join(ignored)} to count")
        return RebuildConfig(train=None, build=_build_config(options))
    return RebuildConfig(
        train=_training_config(options), build=_build_config(options), init=_start(options), retrain=options.retrain
    )


def _training_config(options: argparse.Namespace) -> Any:
    from index.schema import InvalidValueError
    from trainer.config import PRESETS
    from trainer.strategies import strategy

    if options.preset not in PRESETS:
        raise InvalidValueError("preset", options.preset, f"one of {', '.join(PRESETS)} to train by")
    base = PRESETS[options.preset]
    if options.strategy is not None:
        base = strategy(options.strategy).config(base)
    return dataclasses.replace(base, **_given(options, *_OVERRIDES))


def _start(options: argparse.Namespace) -> Path | None:
    """The encoder that a training continues from."""
    from trainer.pretrained import PRETRAINED

    if options.init is not None:
        return Path(options.init)
    return PRETRAINED if options.preset == "continue" else None


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options that the user set."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _demo(options: argparse.Namespace) -> None:
    from trainer.demo import DemoConfig, film
    from trainer.evaluate import table
    from trainer.rebuild import Stages, rebuild
    from trainer.sample import write_sample, write_samples

    run: Path = options.run
    config = DemoConfig(seed=options.film_seed)
    captures = run / "captures"
    Stages(run).run("film", dataclasses.asdict(config), captures, lambda: film(captures, config))
    rebuild(captures, run, _rebuild_config(options))
    write_sample(run / "frames", run / "index", run / "sample")
    write_samples(run / "frames", run / "samples")
    picture = _write_answers(run)
    print(f"\n{table(run / 'evaluation.json')}\n\nstages\n{Stages(run).summary()}")
    print(f"\nanswers for one frame of every category, with their neighbours: {picture}")


def _pretrain(options: argparse.Namespace) -> None:
    from trainer.pretrain import RECIPE, Recipe, pretrain

    print(pretrain(options.run, Recipe.read(options.recipe or RECIPE)))


def _write_answers(run: Path) -> Path:
    from index.predict import open_predictor
    from trainer.frames import Frames
    from trainer.picture import answer_sheet, typical_rows, write_picture

    frames = Frames.open(run / "frames")
    tests = frames.select(frames.split == "test")
    return write_picture(run / "answers.jpg", answer_sheet(open_predictor(run / "index"), tests, typical_rows(tests)))


def _import(options: argparse.Namespace) -> None:
    from trainer.check import check_capture
    from trainer.import_capture import import_capture
    from trainer.importers import ImportConfig

    given = _given(options, "format", "name", "split", "fps", "up", "focal", "camera_height", "max_side", "threads")
    given |= {"force": options.force, "metric": options.metric}
    given |= {
        name: _numbers(name, getattr(options, name), whole)
        for name, whole in (("camera_distance", 2), ("scale_points", 1))
        if getattr(options, name) is not None
    }
    imported = import_capture(options.source, options.captures, ImportConfig(**given))
    findings = check_capture(imported.folder)
    print(imported.text())
    print(_told(imported.folder, findings))


def _numbers(name: str, values: Sequence[str], whole: int) -> tuple[float, ...]:
    """An option's values, of which the first ``whole`` are frames' numbers."""
    from index.schema import InvalidValueError

    try:
        return (*(int(value) for value in values[:whole]), *(float(value) for value in values[whole:]))
    except ValueError:
        raise InvalidValueError(f"import.{name}", list(values), "numbers, those of frames whole") from None


def _told(folder: Path, findings: Sequence[Any]) -> str:
    """Findings as lines to print."""
    from index.findings import SHEET

    lines = [f"  {finding}" for finding in findings] or ["  nothing found"]
    return "\n".join([f"checked {folder}, drawn in {folder / SHEET}", *lines])


def _check(options: argparse.Namespace) -> None:
    from trainer.check import check_captures

    for folder, findings in check_captures(options.captures).items():
        print(_told(folder, findings))


def _fetch(options: argparse.Namespace) -> None:
    from trainer.fetch import FetchConfig, fetch, plan_of, summary

    given = _given(options, "limit", "jobs", "disk_gb", "format", "url")
    given |= {"categories": tuple(options.categories)} if options.categories else {}
    if options.plan:
        print(plan_of(options.captures, FetchConfig(**given)).text())
    else:
        print(summary(fetch(options.captures, FetchConfig(**given))))


def _ingest(options: argparse.Namespace) -> None:
    from trainer.ingest import IngestConfig, ingest

    config, reading = IngestConfig(**_given(options, "fps", "workers", "format")), None
    if (ray_config := _ray(options)) is not None:
        from trainer.cluster import ray_reading

        reading = partial(ray_reading, ray_config)
    ingest(options.captures, options.frames, config, reading)


def _train(options: argparse.Namespace) -> None:
    from trainer.train import train

    train(options.frames, options.training, _training_config(options), _start(options))


def _export(options: argparse.Namespace) -> None:
    from index.encoder import MANIFEST
    from index.schema import InvalidValueError
    from trainer.export import export, export_pretrained, export_public
    from trainer.identity import IdentityConfig

    if options.weights is not None:
        if options.frames:
            raise InvalidValueError("frames", options.frames, "left out: a public encoder is not fitted again")
        export_public(str(options.training), options.weights, options.encoder, options.input_size)
    elif (options.training / MANIFEST).exists():
        if options.frames:
            bound = f"left out: {options.training} is an encoder, which is not fitted again"
            raise InvalidValueError("frames", options.frames, bound)
        export_pretrained(options.encoder, options.training)
    else:
        export(options.training, options.encoder, options.frames, identity=IdentityConfig())


def _build(options: argparse.Namespace) -> None:
    from trainer.build import build

    config = dataclasses.replace(
        _build_config(options), splits=tuple(options.splits), milvus_index=options.milvus_index
    )
    embed = None
    if (ray_config := _ray(options)) is not None:
        from trainer.cluster import embed_by_ray

        embed = partial(embed_by_ray, ray_config)
    print(build(options.frames, options.encoder, options.index, config, embed))


def _evaluate(options: argparse.Namespace) -> None:
    from trainer.evaluate import EvaluateConfig, evaluate, table

    given = _given(options, "k", "queries", "full")
    if options.symmetric is not None:
        given["symmetric"] = tuple(options.symmetric)
    config = EvaluateConfig(**given)
    print(table(evaluate(options.frames, options.encoder, options.index, options.out, config)))


def _sweep(options: argparse.Namespace) -> None:
    from trainer.evaluate import EvaluateConfig
    from trainer.report.write import report
    from trainer.sweep.lines import chosen
    from trainer.sweep.plan import SweepConfig, budget
    from trainer.sweep.run import RowsFailedError, failed, sweep

    base = budget(options.preset, options.minutes, options.epochs, **_given(options, "input_size", "batch_size", "lr"))
    measured = EvaluateConfig(full=options.full, **_given(options, "queries"))
    config = SweepConfig(tuple(chosen(options.strategies)), base, options.seeds, options.jobs, measured)
    problems = failed(sweep(options.frames, options.out, config))
    print(f"report: {report(options.out, options.out / 'report')}")
    if problems:
        raise RowsFailedError(problems)


def _report(options: argparse.Namespace) -> None:
    from trainer.report.write import ReportConfig, report

    print(report(options.evaluation, options.out, ReportConfig(**_given(options, "show", "title"))))


def _retrieve(options: argparse.Namespace) -> None:
    from index.encoder import open_encoder
    from trainer.retrieve import KS, retrieval_table, write_retrieval

    encoder = open_encoder(options.encoder)
    print(retrieval_table(write_retrieval(options.frames, encoder, options.out, options.k or KS)))


def _rebuild(options: argparse.Namespace) -> None:
    from trainer.rebuild import Stages, rebuild

    config = _rebuild_config(options)
    built = dataclasses.replace(config.build, milvus_index=options.milvus_index)
    rebuild(options.captures, options.run, dataclasses.replace(config, build=built, index=options.index))
    print(Stages(options.run).summary())


def _add(options: argparse.Namespace) -> None:
    from trainer.build import BuildConfig
    from trainer.change import add, watch

    config = BuildConfig(splits=tuple(options.splits))
    if not options.watch:
        print(add(options.captures, options.index, config).text())
        return
    print(f"watching {options.captures}; Ctrl-C ends it", file=sys.stderr)
    for change in watch(options.captures, options.index, config):
        print(change.text(), flush=True)


def _remove(options: argparse.Namespace) -> None:
    from trainer.change import remove

    version, frames = remove(options.name, options.index)
    print(f"removed {frames} frames of {options.name}\n  version {version}")
    print("a rebuild brings them back for as long as their capture is there")


def _ask(options: argparse.Namespace) -> None:
    from trainer.sample import compare, curl_command, post_sample

    answer = post_sample(options.sample, options.url)
    iou, picture = compare(options.sample, answer)
    print(f"the request\n\n{curl_command(options.sample, options.url)}\n\nthe answer\n")
    print(_shown(answer))
    print(f"\n3D IoU with the truth: {iou:.2f}; both boxes are drawn in {picture}")


def _shown(answer: dict[str, Any]) -> str:
    """The answer as JSON, arrays of numbers on one line and lists of neighbours cut after the first two."""
    shown = json.loads(json.dumps(answer))
    for item in shown["objects"]:
        for name in ("neighbors", "matches"):
            rest = len(item[name]) - 2
            item[name] = item[name][:2] + ([f"... {rest} more"] if rest > 0 else [])
    return _compact(shown)


def _compact(value: Any, indent: str = "") -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    flat = json.dumps(value) if not isinstance(value, dict | list) else None
    if flat is not None:
        return flat
    deeper = indent + "  "
    if isinstance(value, dict):
        lines = [f"{deeper}{json.dumps(key)}: {_compact(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    items = [_compact(item, deeper) for item in value]
    line = f"[{', '.join(items)}]"
    if len(line) < 100 and "\n" not in line:
        return line
    return "[\n" + ",\n".join(deeper + item for item in items) + f"\n{indent}]"


if __name__ == "__main__":
    sys.exit(main())
