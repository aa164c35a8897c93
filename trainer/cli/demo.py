"""Commands of the demo and its made-up objects: demo, film, pretrain, ask."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from trainer.cli.commands import Commands, given
from trainer.cli.indexes import add_rebuild_options, rebuild_config


def add_demo(commands: Commands) -> None:
    """Nothing -> captures, an index, its figures, a sample to ask."""
    sub = commands.add("demo", _demo, "film the demo captures and run every stage on them")
    sub.add_argument("--run", type=Path, default=Path("runs/demo"), help="run folder (default: %(default)s)")
    sub.add_argument("--film-seed", type=int, default=0, help="of the captures (default: %(default)s)")
    add_rebuild_options(sub)


def _demo(options: argparse.Namespace) -> None:
    from trainer.demo import DemoConfig, film
    from trainer.evaluate import table
    from trainer.rebuild import Stages, rebuild
    from trainer.sample import write_sample, write_samples

    run: Path = options.run
    config = DemoConfig(seed=options.film_seed)
    captures = run / "captures"
    Stages(run).run("film", dataclasses.asdict(config), captures, lambda: film(captures, config))
    rebuild(captures, run, rebuild_config(options))
    write_sample(run / "frames", run / "index", run / "sample")
    write_samples(run / "frames", run / "samples")
    picture = _write_answers(run)
    print(f"\n{table(run / 'evaluation.json')}\n\nstages\n{Stages(run).summary()}")
    print(f"\nanswers for one frame of every category, with their neighbours: {picture}")


def _write_answers(run: Path) -> Path:
    from index.predict import open_predictor
    from trainer.frames import Frames
    from trainer.picture import answer_sheet, typical_rows, write_picture

    frames = Frames.open(run / "frames")
    tests = frames.select(frames.split == "test")
    return write_picture(run / "answers.jpg", answer_sheet(open_predictor(run / "index"), tests, typical_rows(tests)))


def add_film(commands: Commands) -> None:
    """Nothing -> captures, more or fewer than the demo's."""
    sub = commands.add("film", _film, "film demo captures of any number of objects", "captures")
    sub.add_argument("--train-objects", type=int, help="a category, filmed once each (default: 28)")
    sub.add_argument("--test-objects", type=int, help="a category, filmed twice each, in two places (default: 4)")
    sub.add_argument("--seed", type=int, help="the same one films the same captures (default: 0)")
    sub.add_argument("--frames", type=int, help="a video (default: 20)")
    sub.add_argument("--workers", type=int, help="processes that film at the same time (default: 2)")


def _film(options: argparse.Namespace) -> None:
    from trainer.demo import DemoConfig, film

    chosen = given(options, "train_objects", "test_objects", "seed", "frames", "workers")
    print(film(options.captures, DemoConfig(**chosen)))


def add_pretrain(commands: Commands) -> None:
    """Nothing -> the encoder that ships."""
    text = "draw made-up objects and learn from them the encoder that ships: hours on two cores"
    sub = commands.add("pretrain", _pretrain, text)
    sub.add_argument("--run", type=Path, default=Path("runs/pretrain"), help="run folder (default: %(default)s)")
    sub.add_argument("--recipe", type=Path, help="a TOML file (default: the shipped encoder's)")


def _pretrain(options: argparse.Namespace) -> None:
    from trainer.pretrain import RECIPE, Recipe, pretrain

    print(pretrain(options.run, Recipe.read(options.recipe or RECIPE)))


def add_ask(commands: Commands) -> None:
    """A sample and a running service -> an answer, beside the truth."""
    text = "post the sample request to a running service and compare the answer with the truth"
    sub = commands.add("ask", _ask, text, "sample")
    sub.add_argument("--url", default="http://127.0.0.1:8000", help="default: %(default)s")


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
