"""How many crops a second one core prepares for training.

    python -m benchmarks.loader runs/demo/frames

Views of 64 and of 224 px, as the presets draw them: decoded pictures taken from the cache, and decoded anew each time.
A crop's time is the process's own CPU time, so that other work on the machine does not count. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import cv2
import numpy as np

from trainer.augment import AUGMENTATIONS
from trainer.config import PRESETS
from trainer.frames import Frames
from trainer.pairs import PairDataset, Pairing, PairOrder, Pictures

_ROWS = 400  # frames that the crops are drawn from: few enough for the cache to be full soon


def main() -> None:
    """Measures each size with and without the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--pairs", type=int, default=600, help="of a measurement (default: %(default)s)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    frames = Frames.open(options.frames)
    frames = frames.select(np.arange(min(_ROWS, len(frames))))
    result: dict[str, object] = {"picture": list(frames.image(0).shape), "pairs": options.pairs}
    for size in (64, 224):
        for name, budget in (("cached", 4e9), ("decoded", 0.0)):
            result[f"crops_per_core_second_{size}_{name}"] = round(rate(frames, size, budget, options.pairs))
    print(json.dumps(result, indent=2))


def rate(frames: Frames, size: int, budget: float, pairs: int) -> float:
    """Crops a second of CPU time, once the cache of ``budget`` bytes is full."""
    config = dataclasses.replace(PRESETS["paper"], input_size=size)
    pairing, pictures = Pairing.of(frames, config.pairs), Pictures(frames, size, budget)
    dataset = PairDataset(pairing, pictures, AUGMENTATIONS[config.augmentation], seed=0, window=config.window)
    if budget:
        for row in range(len(frames)):
            pictures[row]
    order = PairOrder(len(pairing), 1, seed=0)
    tickets = [ticket for _, ticket in zip(range(pairs), order, strict=False)]
    start = time.process_time()
    for ticket in tickets:
        dataset[ticket]
    return 2 * len(tickets) / (time.process_time() - start)


if __name__ == "__main__":
    main()
