"""Reads mutated capture files, thousands of each kind, and counts what came of them.

    python -m benchmarks.fuzz_captures [--files 5000] [--seed 0] [--out benchmarks/results/fuzz_captures.json]

Anything but a clear error that names the file, or frames that are whole, is a fault; so are a numpy warning and a read
of more than ten seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from tests.captures_mutated import POSES, capture_json, pbdata
from tests.captures_scene import SEQUENCE, capture_document, write_folder, write_objectron
from tests.test_captures_mutated import ingested

_SLOW_S = 10


def fuzz(kind: str, files: int, seed: int, folder: Path) -> dict[str, Any]:
    """Counts of what ``files`` mutated files of a kind led to, the faults, and the slowest read."""
    mutate = {"capture.json": capture_json, "pbdata": pbdata}[kind]
    if kind == "pbdata":
        target = write_objectron(folder / "captures", POSES) / "annotations" / f"{SEQUENCE}.pbdata"
    else:
        target = write_folder(folder / "captures" / "mug", capture_document(POSES), POSES) / kind
    outcomes, faults, slowest = Counter[str](), list[dict[str, Any]](), 0.0
    for number in range(seed, seed + files):
        target.write_bytes(mutate(Random(number)))
        start = time.perf_counter()
        try:
            report = ingested(folder / "captures", folder / "out")
        except Exception:  # the fault that is looked for
            faults.append({"seed": number, "error": traceback.format_exc(limit=-4)})
        else:
            outcomes["refused" if report.failed else "kept in part" if report.error or report.dropped else "kept"] += 1
        shutil.rmtree(folder / "out", ignore_errors=True)
        took = time.perf_counter() - start
        slowest = max(slowest, took)
        if took > _SLOW_S:
            faults.append({"seed": number, "error": f"took {took:.1f} s"})
    return {"files": files, **outcomes, "faults": faults, "slowest_ms": round(1000 * slowest, 1)}


def main() -> None:
    """Prints what came of it; fails if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    found: dict[str, Any] = {"seed": arguments.seed}
    for kind in ("capture.json", "pbdata"):
        with tempfile.TemporaryDirectory() as folder:
            found[kind] = fuzz(kind, arguments.files, arguments.seed, Path(folder))
    found["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(json.dumps(found, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(any(found[kind]["faults"] for kind in ("capture.json", "pbdata")))


if __name__ == "__main__":
    main()
