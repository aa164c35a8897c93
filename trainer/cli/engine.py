"""``--engine``: who does the work of a command, this process or Ray."""

from __future__ import annotations

import argparse
from typing import Any

from index.schema import InvalidValueError


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The options that ``ray_of`` reads."""
    text = "who works: this process and its children, or Ray (default: %(default)s)"
    parser.add_argument("--engine", choices=("here", "ray"), default="here", help=text)
    parser.add_argument(
        "--address", help="of a Ray cluster: auto, host:port or ray://host:port (default: this machine)"
    )


def ray_of(options: argparse.Namespace) -> Any:
    """Ray's settings, a ``RayConfig``; None where it is not asked for."""
    if options.engine != "ray":
        if options.address:
            raise InvalidValueError("address", options.address, "left out, without --engine ray")
        return None
    try:
        from trainer.cluster import RayConfig
    except ImportError as error:
        raise InvalidValueError("engine", "ray", f"here, or pip install 'nearpose[ray]' ({error})") from error
    return RayConfig(options.address, getattr(options, "workers", None))
