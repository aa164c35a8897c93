"""Commands that measure: evaluate, retrieve, sweep; and report, which shows what they measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.cli.commands import Commands, given


def add_evaluate(commands: Commands) -> None:
    """An index -> its figures on the test split."""
    sub = commands.add("evaluate", _evaluate, "measure an index on the test split", "frames", "encoder", "index")
    sub.add_argument("--out", type=Path, default=Path("evaluation.json"), help="default: %(default)s")
    sub.add_argument("-k", type=int, help="neighbours that a box is fitted to (default: the service's)")
    sub.add_argument("--queries", type=int, help="test frames at most")
    text = "also with fewer labelled sequences, and with errors in rect, plane and camera"
    sub.add_argument("--full", action="store_true", help=text)
    sub.add_argument("--symmetric", nargs="*", help="categories or objects that look the same from all sides")


def _evaluate(options: argparse.Namespace) -> None:
    from trainer.evaluate import EvaluateConfig, evaluate, table

    chosen = given(options, "k", "queries", "full")
    if options.symmetric is not None:
        chosen["symmetric"] = tuple(options.symmetric)
    config = EvaluateConfig(**chosen)
    print(table(evaluate(options.frames, options.encoder, options.index, options.out, config)))


def add_retrieve(commands: Commands) -> None:
    """An encoder -> how well it finds videos of a class."""
    text = "measure an encoder by the classes of the videos that it finds"
    sub = commands.add("retrieve", _retrieve, text, "frames", "encoder")
    sub.add_argument("--out", type=Path, default=Path("retrieval.json"), help="default: %(default)s")
    sub.add_argument("-k", type=int, nargs="+", help="numbers of neighbours (default: 1 5 10 20)")


def _retrieve(options: argparse.Namespace) -> None:
    from index.encoder import open_encoder
    from trainer.retrieve import KS, retrieval_table, write_retrieval

    encoder = open_encoder(options.encoder)
    print(retrieval_table(write_retrieval(options.frames, encoder, options.out, options.k or KS)))


def add_sweep(commands: Commands) -> None:
    """Frames -> every row of the paper's tables."""
    text = "train and evaluate the rows of the paper's tables under one budget, and report"
    sub = commands.add("sweep", _sweep, text, "frames", "out")
    text = (
        "table2, table5, table5-ntxent, baselines, all, rows such as nearby-lc, or folders of encoders (default: all)"
    )
    sub.add_argument("--strategies", nargs="+", default=["all"], help=text)
    text = "network and schedule: scratch or paper (default: %(default)s)"
    sub.add_argument("--preset", default="scratch", help=text)
    numbers = {"epochs": int, "input-size": int, "batch-size": int}
    for name in ("minutes", *numbers, "lr", "hue", "grey"):
        text = "of every row that is learnt (default: the preset's)"
        sub.add_argument(f"--{name}", type=numbers.get(name, float), help=text)
    sub.add_argument("--seeds", type=int, default=1, help="encoders a row (default: %(default)s)")
    sub.add_argument("--jobs", type=int, help="rows at a time (default: one, or one a GPU)")
    sub.add_argument("--queries", type=int, help="test frames at most")
    text = "other frames to learn from, without their labels (default: the training split of <frames>)"
    sub.add_argument("--learn-from", type=Path, metavar="FRAMES", help=text)
    sub.add_argument("--full", action="store_true", help="also with 10 and 1 %% of the labels, and with errors")


def _sweep(options: argparse.Namespace) -> None:
    from trainer.evaluate import EvaluateConfig
    from trainer.report.write import report
    from trainer.sweep.lines import chosen
    from trainer.sweep.plan import SweepConfig, budget
    from trainer.sweep.run import RowsFailedError, failed, sweep

    overrides = given(options, "input_size", "batch_size", "lr", "hue", "grey")
    base = budget(options.preset, options.minutes, options.epochs, **overrides)
    measured = EvaluateConfig(full=options.full, **given(options, "queries"))
    rows = tuple(chosen(options.strategies))
    config = SweepConfig(rows, base, options.seeds, options.jobs, measured, options.learn_from)
    problems = failed(sweep(options.frames, options.out, config))
    print(f"report: {report(options.out, options.out / 'report')}")
    if problems:
        raise RowsFailedError(problems)


def add_report(commands: Commands) -> None:
    """What was measured -> a page."""
    text = "tables, curves and pictures of a sweep or an evaluation, as one page"
    sub = commands.add("report", _report, text, "evaluation")
    sub.add_argument("--out", type=Path, default=Path("report"), help="folder (default: %(default)s)")
    sub.add_argument("--show", metavar="ROW", help="whose answers are drawn (default: the best by pose)")
    sub.add_argument("--title", help="of the page")


def _report(options: argparse.Namespace) -> None:
    from trainer.report.write import ReportConfig, report

    print(report(options.evaluation, options.out, ReportConfig(**given(options, "show", "title"))))
