"""Rows of a mapped file, read one by one and asked for all at once, cold and in memory (docs/LOG.md).

    python -m benchmarks.mapped --folder /tmp

Cold: the file is dropped from the system's memory before, as far as the system does it for a file that nobody maps.
"""

from __future__ import annotations

import argparse
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from index.mapped import gathered

FRAMES, DIMENSION = 300_000, 2048
WAYS: dict[str, Callable] = {"one by one": lambda vectors, rows: vectors[rows], "asked for": gathered}


def measure(file: Path, rows: int, repeats: int = 15) -> dict[str, float]:
    """Median milliseconds of each way, cold and at once again, in turns."""
    rng, times = np.random.default_rng(0), {f"{way}, {state}": [] for way in WAYS for state in ("cold", "in memory")}
    for _ in range(repeats):
        wanted = np.sort(rng.choice(FRAMES, rows, replace=False))
        for way, read in WAYS.items():
            vectors = _cold(file)
            for state in ("cold", "in memory"):
                start = time.perf_counter()
                read(vectors, wanted)
                times[f"{way}, {state}"].append(1000 * (time.perf_counter() - start))
            del vectors
    return {name: round(float(np.median(values)), 2) for name, values in times.items()}


def _cold(file: Path) -> np.memmap:
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    vectors = np.load(file, mmap_mode="r")
    vectors._mmap.madvise(mmap.MADV_RANDOM)  # as index.vectors opens them
    return vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="on the disk to measure, 1.2 GB free (default: the system's)")
    with TemporaryDirectory(dir=parser.parse_args().folder) as folder:
        file = Path(folder) / "vectors.npy"
        np.save(file, np.ones((FRAMES, DIMENSION), np.float16))
        with file.open("rb") as written:
            os.fsync(written.fileno())
        for rows in (20, 100, 160, 640):
            print(rows, measure(file, rows))


if __name__ == "__main__":
    main()
