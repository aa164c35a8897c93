"""The service under load, beside what one would write instead of it, and beside its encoder alone.

    python -m benchmarks.service_load --index runs/demo/index --out benchmarks/results/service.json

Every server gets the same pictures in the same run, one after the other, on the same cores; the client is a process of
its own. ``encoder alone`` runs crops through the exported graph in batches, on all cores, and does nothing else: no
service can answer more. ``overload`` offers twice the pictures a second that the service has just answered, whether or
not it answers them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import SIZES
from index.encoder import has_bfloat16, open_encoder
from index.store import open_index

SERVERS = {
    "nearpose": ["-m", "service"],
    "nearpose, 2 processes": ["-m", "service", "--workers", "2", "--threads", "1"],
    "nearpose, bfloat16": ["-m", "service", "--device", "openvino-bf16", "--threads", "4"],
    "FastAPI, eager PyTorch": ["-m", "benchmarks.naive_service"],
    "LitServe, eager PyTorch": ["-m", "benchmarks.naive_service", "--litserve"],
}


@contextlib.contextmanager
def serving(arguments: list[str], index: Path, port: int) -> Iterator[tuple[str, int]]:
    """A server in processes of its own; its address as soon as it answers, and the first process's id."""
    command = [sys.executable, *arguments, "--index", str(index), "--port", str(port)]
    # Each with the threads that it takes by itself: PyTorch all cores, this service one a request.
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with subprocess.Popen(
        command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as group:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url)
            yield url, group.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group.pid, signal.SIGTERM)
                time.sleep(3)
                os.killpg(group.pid, signal.SIGKILL)


def _wait(url: str) -> None:
    for path in ("/readyz", "/health", "/docs"):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(url + path) as answer:
                    if answer.status == 200:
                        return
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    break  # another server's path
            except OSError:
                pass
            time.sleep(0.2)
    raise SystemExit(f"no server came up at {url}")


def load(url: str, sample: Path, seconds: float, *how: str) -> dict[str, Any]:
    """What ``benchmarks.load`` measures with the options ``how``, by picture size."""
    command = [sys.executable, "-m", "benchmarks.load", "--url", url, "--sample", str(sample)]
    output = subprocess.run([*command, "--seconds", str(seconds), *how], check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in output.stdout.splitlines()]
    return {row.pop("picture"): row for row in rows}


def encoder_alone(index: Path, seconds: float, device: str) -> dict[str, Any]:
    """Crops a second by batch size, and the milliseconds of one crop."""
    encoder = open_encoder(open_index(index).encoder_path, device)
    rates = {}
    for batch in (1, 2, 4, 8):
        crops = np.zeros((batch, encoder.input_size, encoder.input_size, 3), np.uint8)
        times, end = [], time.perf_counter() + seconds / 4
        while time.perf_counter() < end:
            start = time.perf_counter()
            encoder.embed(crops)
            times.append(time.perf_counter() - start)
        rates[batch] = round(batch / float(np.median(times)), 1)
    return {"crops_per_second": rates, "forward_ms": round(1000 / rates[1], 2)}


def main() -> None:
    """Measures them all and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, default=Path("runs/demo/index"))
    parser.add_argument("--sample", type=Path, default=Path("runs/demo/sample"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--overload-seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--only", nargs="*", choices=SERVERS, default=list(SERVERS))
    options = parser.parse_args()
    devices = {"encoder alone": "openvino", "encoder alone, bfloat16": "openvino-bf16"}
    if not has_bfloat16():  # their rows would be float32's once more
        del devices["encoder alone, bfloat16"]
        options.only = [name for name in options.only if "bfloat16" not in name] or parser.error("no bfloat16 here")
    result: dict[str, Any] = {k: encoder_alone(options.index, options.seconds, device) for k, device in devices.items()}
    for i, name in enumerate(options.only):
        with serving(SERVERS[name], options.index, options.port + i) as (url, _):
            load(url, options.sample, 2, "--clients", "8")
            rows = {f"{n} clients": load(url, options.sample, options.seconds, "--clients", str(n)) for n in (1, 8)}
            if name.startswith("nearpose"):
                rows["overload"] = _overload(url, options, rows["8 clients"])
        result[name] = rows
        print(json.dumps({name: rows}), flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def _overload(url: str, options: argparse.Namespace, busy: dict[str, Any]) -> dict[str, Any]:
    """Twice as many pictures of each size as have just been answered."""
    rows: dict[str, Any] = {}
    for size in SIZES:
        rate = str(2 * busy[size]["per_second"])
        rows |= load(url, options.sample, options.overload_seconds, "--rate", rate, "--sizes", size)
    return rows


if __name__ == "__main__":
    main()
