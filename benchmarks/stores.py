"""The same index in a folder (FAISS) and in Milvus: whether neighbours are the same, and how long answers take.

    python -m benchmarks.stores --index runs/demo/index --sample runs/demo/sample --out benchmarks/results/stores.json

The folder's current version is copied, vector by vector, into a Milvus Lite: a server in a process of its own. It is
Milvus's protocol with another engine behind it, in Python: its milliseconds are not those of a Milvus cluster. Services
are asked in turns, so that whatever else the machine does slows all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from benchmarks.pose_latency import sample_requests
from index.identity_map import to_identities
from index.store import Content, IndexVersion, open_index
from index.stores import Version, store_at
from index.table import FRAME_SCHEMA

Result = dict[str, Any]


def content_of(version: IndexVersion) -> Content:
    """What a version in a folder was written from."""
    thumbnails = (version.thumbnail(row) for row in range(len(version)))
    return Content(
        np.asarray(version.vectors, np.float32),
        version.table.select(FRAME_SCHEMA.names),
        thumbnails,
        version.encoder_path,
        str(version.encoder_digest),
        version.calibration,
        version.recognition,
        version.layout,
    )


def compared(folder: IndexVersion, other: Version, queries: int, seed: int = 0) -> Result:
    """Neighbours of frames that are spread over the index, moved a little, by vectors and by identities."""
    rng, rows = np.random.default_rng(seed), np.linspace(0, len(folder) - 1, queries).astype(int)
    asked = np.asarray(folder.vectors[rows], np.float32) + rng.normal(0, 0.02, (queries, folder.dimension))
    asked = (asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float32)
    identities = to_identities(folder.identity_map, asked)
    category, shown = folder.categories[0], folder.object_of(int(rows[0]))
    return {
        "10 nearest": _equal(folder, other, asked, (10, None, None)),
        "of a category": _equal(folder, other, asked, (10, category, None)),
        "without an object": _equal(folder, other, asked, (10, None, shown)),
        "200 nearest by identity": _equal(folder.by_identity, other.by_identity, identities, (200, None, None)),
    }


def _equal(one: Any, other: Any, asked: np.ndarray, limits: tuple[int, str | None, str | None]) -> Result:
    (D, I), (other_D, other_I) = (index.search(asked, *limits) for index in (one, other))  # noqa: E741
    return {
        "queries": len(asked),
        "same rows in the same order": float((other_I == I).all(axis=1).mean()),
        "largest difference of a similarity": float(np.abs(D - other_D).max()),
    }


@contextlib.contextmanager
def running(arguments: Sequence[str]) -> Iterator[None]:
    """A Python process, which is ended afterwards."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(ready: Any, timeout_s: float = 300) -> None:
    """Returns when ``ready()`` is true, which may fail until then."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError, httpx2.HTTPError):
            if ready():
                return
        time.sleep(0.2)
    raise SystemExit("a server did not come up")


def latencies(places: dict[str, str], sample: Path, count: int) -> Result:
    """Milliseconds of ``POST /pose`` by one client, a service a place, asked in turns; and of its search."""
    requests, found = sample_requests(sample, count), {name: ([], []) for name in places}
    with contextlib.ExitStack() as stack:
        clients = {}
        for name, place in places.items():
            port = free_port()
            where = ["--index", place, "--port", str(port), "--enrolment-max-bytes", "0"]
            stack.enter_context(running(["-m", "service", *where]))
            client = clients[name] = stack.enter_context(
                httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
            )
            wait(lambda client=client: client.get("/readyz").status_code == 200)
        for image, fields in [requests[0]] * 10 + requests:
            for name, client in clients.items():
                start = time.perf_counter()
                answer = client.post("/pose", files={"image": ("i.jpg", image, "image/jpeg")}, data=fields)
                found[name][0].append(1000 * (time.perf_counter() - start))
                found[name][1].append(answer.raise_for_status().json()["timing_ms"]["search"])
    return {
        name: {"pose": _percentiles(total[10:]), "search": _percentiles(search[10:])}
        for name, (total, search) in found.items()
    }


def _percentiles(ms: Sequence[float]) -> Result:
    return {f"p{q}": round(float(np.percentile(ms, q)), 2) for q in (50, 90, 99)}


def main() -> None:
    """Measures and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, default=Path("runs/demo/index"))
    parser.add_argument("--sample", type=Path, default=Path("runs/demo/sample"))
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = open_index(options.index)
    with tempfile.TemporaryDirectory() as data:
        port = free_port()
        with running(["-m", "milvus_lite", "server", "--data-dir", data, "--port", str(port)]):
            wait(lambda: socket.create_connection(("127.0.0.1", port)).close() is None)
            store = store_at(f"milvus:http://127.0.0.1:{port}")
            start = time.monotonic()
            store.write(content_of(folder))
            written = time.monotonic() - start
            start = time.monotonic()
            version = store.open()
            opened = time.monotonic() - start
            result: Result = {
                "frames": len(folder),
                "dimension": folder.dimension,
                "seconds": {"write to Milvus": round(written, 1), "open": round(opened, 2)},
                "neighbours": compared(folder, version, options.queries),
                "load average before and after": [round(os.getloadavg()[0], 1)],
                "requests": options.requests,
                "ms": latencies(
                    {"folder, FAISS": str(options.index), "Milvus Lite, a server": str(store.address)},
                    options.sample,
                    options.requests,
                ),
            }
    result["load average before and after"].append(round(os.getloadavg()[0], 1))
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
