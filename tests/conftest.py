"""A small real run, made once a session: captures, frames, a random encoder, an index; and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.captures import write_captures

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@dataclass(frozen=True)
class Run:
    """Where the small run's artefacts lie."""

    captures: Path
    frames: Path
    encoder: Path
    index: Path


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Run:
    """Captures of three kinds of boxes, their frames, an untrained encoder and an index. Read only."""
    from trainer.build import build
    from trainer.config import TrainConfig
    from trainer.export import export_random
    from trainer.ingest import IngestConfig, ingest

    root = tmp_path_factory.mktemp("run")
    run = Run(root / "captures", root / "frames", root / "encoder", root / "index")
    write_captures(run.captures)
    ingest(run.captures, run.frames, IngestConfig(workers=1))
    export_random(TrainConfig(architecture="resnet18_half", input_size=32), run.encoder, seed=0)
    build(run.frames, run.encoder, run.index)
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. No longer than for a module: while it is open, an event loop runs in this thread."""
    from tests.browser import chromium

    with chromium() as opened:
        yield opened
