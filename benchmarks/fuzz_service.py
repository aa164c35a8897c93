"""Throws mutated pictures and forms at a real service, in a process of its own, and watches its answers and its memory.

    python -m benchmarks.fuzz_service [--requests 12000] [--seed 0] [--out benchmarks/results/fuzz_service.json]

Every answer must be one that the OpenAPI document names, and a problem where it is a refusal; the process must live.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from benchmarks.mutations import BODIES, PICTURES, Form, fields_of, form_of
from tests.service_fixtures import build_index

_BOMBS = 0.2  # of their turns: each takes a second
_ROUTES = ("/pose", "/neighbors", "/pose/views")
_SERVER = """
from service.app import create_app
from service.server import server_of
from service.settings import Settings
from tests.service_fixtures import open_colours
settings = Settings(_cli_parse_args=True)
server_of(create_app(settings, open_colours), settings).run()
"""


@contextlib.contextmanager
def running() -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """A service's process with every setting at its default, and a client of it."""
    with tempfile.TemporaryDirectory() as folder:
        build_index(Path(folder) / "index")
        command = [sys.executable, "-c", _SERVER, "--index", str(Path(folder) / "index"), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                url = process.stdout.readline().split()[-1]
                with httpx2.Client(base_url=url, trust_env=False, timeout=120) as client:
                    while client.get("/readyz").status_code != 200:
                        time.sleep(0.1)
                    yield process, client
            finally:
                process.kill()


def request_of(random: Random) -> tuple[str, str, Form]:
    """A kind of mutation, a route, and what to post there."""
    if random.random() < 0.6:
        kind = random.choice([kind for kind in PICTURES if kind != "bomb" or random.random() < _BOMBS])
        route = random.choice(_ROUTES[:2])
        fields = fields_of(random) if route == "/pose" else []
        return kind, route, form_of(PICTURES[kind](random), fields)
    kind = random.choice(list(BODIES))
    route = "/pose/views" if kind == "views" else random.choice(_ROUTES)
    return kind, route, BODIES[kind](random)


def memory(process: subprocess.Popen[str], field: str = "VmHWM") -> float:
    """MiB that a process holds (VmRSS), or held at most (VmHWM)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024, 1)


def fault(response: httpx2.Response, documented: set[str]) -> str | None:
    """What is wrong with an answer, None if nothing is."""
    status = str(response.status_code)
    if status not in documented or status.startswith("5"):
        return f"status {status}"
    if response.status_code >= 400:
        problem = response.headers.get("content-type") == "application/problem+json" and response.json()["status"]
        return None if problem == response.status_code else "not a problem"
    return None


def fuzz(requests: int, seed: int) -> dict[str, Any]:
    """Counts by kind and status, faults, the slowest answer of each kind, and memory before and after."""
    random, statuses, slowest, faults = Random(seed), Counter[str](), dict[str, float](), list[dict[str, Any]]()
    with running() as (process, client):
        paths = client.get("/openapi.json").json()["paths"]
        documented = {route: set(paths[route]["post"]["responses"]) - {"default"} for route in _ROUTES}
        before, start = memory(process, "VmRSS"), time.perf_counter()
        for number in range(requests):
            kind, route, form = request_of(random)
            began = time.perf_counter()
            response = client.post(route, content=form.body, headers={"Content-Type": form.content_type})
            slowest[kind] = max(slowest.get(kind, 0), time.perf_counter() - began)
            statuses[f"{kind} {response.status_code}"] += 1
            if wrong := fault(response, documented[route]):
                faults.append(
                    {"number": number, "kind": kind, "route": route, "fault": wrong, "text": response.text[:300]}
                )
                Path(tempfile.gettempdir(), f"fuzz-{seed}-{number}.bin").write_bytes(form.body)
        return {
            "requests": requests,
            "seed": seed,
            "seconds": round(time.perf_counter() - start, 1),
            "statuses": dict(sorted(statuses.items())),
            "faults": faults,
            "slowest_ms": {kind: round(1000 * seconds, 1) for kind, seconds in sorted(slowest.items())},
            "memory_mib": {"before": before, "after": memory(process, "VmRSS"), "peak": memory(process)},
        }


def main() -> None:
    """Prints what came of it; fails if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = fuzz(arguments.requests, arguments.seed)
    print(json.dumps(found, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(bool(found["faults"]))


if __name__ == "__main__":
    main()
