"""What an encoder costs: its size, and the time of a crop."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
from safetensors import safe_open

from index.encoder import WEIGHTS, Encoder, Spec
from trainer.evaluate.schema import Cost

_SINGLES, _BATCHES, _BATCH = 20, 3, 64


def cost_of(encoder: Encoder, folder: Path | None) -> Cost:
    """folder: of its artefact; None: it has none, and no weights."""
    single, many = _seconds(encoder, 1, _SINGLES), _seconds(encoder, _BATCH, _BATCHES)
    return Cost(
        Spec.read(folder).architecture if folder else encoder.digest,
        encoder.input_size,
        encoder.dimension,
        _parameters(folder / WEIGHTS) if folder else None,
        (folder / WEIGHTS).stat().st_size / 2**20 if folder else None,
        1000 * single,
        _BATCH / many,
        4 * encoder.dimension,
    )


def _seconds(encoder: Encoder, crops: int, times: int) -> float:
    """The median of some passes after a first one."""
    pixels = np.zeros((crops, encoder.input_size, encoder.input_size, 3), np.uint8)
    moments = []
    for _ in range(times + 1):
        start = time.perf_counter()
        encoder.embed(pixels)
        moments.append(time.perf_counter() - start)
    return statistics.median(moments[1:])


def _parameters(weights: Path) -> int:
    with safe_open(weights, "np") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
