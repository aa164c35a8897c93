"""What the groups of commands are made of: one parser a command, and the function that it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Commands:
    """The commands of a parser, in the order in which they are added."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(required=True, metavar="command")

    def add(
        self, name: str, run: Callable[[argparse.Namespace], None], text: str, *inputs: str
    ) -> argparse.ArgumentParser:
        """A new command's parser, which takes the paths ``inputs``; ``run`` gets its options."""
        parser = self._parsers.add_parser(name, help=text, description=text)
        for path in inputs:
            parser.add_argument(path, type=Path)
        parser.set_defaults(command=run)
        return parser


def given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options that the user set."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}
