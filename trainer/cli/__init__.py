"""The offline pipeline, a command a stage: ``python -m trainer <command> --help``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from index.schema import NearposeError
from trainer.cli import captures, demo, encoders, indexes, measures
from trainer.cli.commands import Commands

# In the order of the help. What a command runs imports its stage only then, so that help is at hand at once.
_COMMANDS = (
    demo.add_demo,
    demo.add_film,
    demo.add_pretrain,
    captures.add_import,
    captures.add_fetch,
    captures.add_check,
    captures.add_ingest,
    encoders.add_train,
    encoders.add_export,
    indexes.add_build,
    measures.add_evaluate,
    measures.add_retrieve,
    measures.add_sweep,
    measures.add_report,
    indexes.add_rebuild,
    indexes.add_add,
    indexes.add_remove,
    demo.add_ask,
)


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
    commands = Commands(parser)
    for add in _COMMANDS:
        add(commands)
    return parser
