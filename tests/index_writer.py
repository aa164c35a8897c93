"""Writes versions of a small index without end, in processes that a test ends: ``python -m tests.index_writer <root>``.

For each line on stdin a process is forked that writes; its id is printed. The next line comes when it has been killed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from index.store import write_index
from tests.test_store import some_frames, unit_vectors


def write_without_end(root: Path) -> None:
    """Versions of 20 frames, one after the other; the thumbnails of one are all alike, those of two never."""
    seed = os.getpid()
    while True:
        seed += 1
        thumbnails = [f"{seed}".encode()] * 20
        write_index(root, unit_vectors(20, seed=seed), some_frames(20), thumbnails, root.parent / "encoder", "digest")


def main(root: Path) -> None:
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            write_without_end(root)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
