"""Kills a real service (SIGKILL) at random moments while frames are enrolled, and counts what it acknowledged and lost.

    python -m benchmarks.enrolment_kill [--kills 100] [--index runs/demo/index] [--clients 3]

Without ``--index`` a small one of the tests is used. With it, the index is copied first. Each client posts frames, each
with an idempotency key of its own, notes every 201, and sends again what the kill left without an answer.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tests.service_fixtures import build_index, encoded
from tests.serving import Server, served


class Client(threading.Thread):
    """Posts frames one after the other until it is told to stop or the service is gone."""

    def __init__(self, url: str, name: str, pending: list[str]) -> None:
        super().__init__()
        self._url, self._name, self._pending = url, name, pending
        self.acknowledged: dict[str, str] = {}
        self.refused: list[str] = []
        self.milliseconds: list[float] = []
        self.unanswered: list[str] = []
        self.replays = 0

    def run(self) -> None:
        """Those first that had no answer before, then new ones."""
        with httpx2.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            number = 0
            while True:
                key = self._pending.pop() if self._pending else f"{self._name}-{number}"
                number += 1
                try:
                    self._post(client, key)
                except httpx2.TransportError:
                    self.unanswered.append(key)
                    return

    def _post(self, client: httpx2.Client, key: str) -> None:
        start = time.perf_counter()
        answer = enrol(client, key)
        if answer.status_code == 201:
            self.milliseconds.append(1000 * (time.perf_counter() - start))
            self.acknowledged[key] = answer.json()["frame"]
            self.replays += "idempotent-replayed" in answer.headers
        else:
            self.refused.append(answer.text)


def enrol(client: httpx2.Client, key: str) -> httpx2.Response:
    """Posts the frame of a key: its picture is made from the key, so that it can be posted again."""
    rng = np.random.default_rng(list(key.encode()))
    corners = rng.integers(0, 255, (12, 9, 3)).astype(np.uint8)
    image = encoded(corners.repeat(40, axis=0).repeat(40, axis=1))
    return client.post(
        f"/objects/killed/{key[-1]}/frames",
        files={"image": ("a.jpg", image, "image/jpeg")},
        data={"rect": "[40, 60, 300, 400]", "category": "thing"},
        headers={"Idempotency-Key": key},
    )


def lost(server: Server, acknowledged: dict[str, str]) -> list[str]:
    """The keys whose frames the service does not have, asked frame by frame."""
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        return [k for k, f in acknowledged.items() if client.get("/neighbors", params={"frame": f}).status_code != 200]


def kill_again_and_again(index: Path, kills: int, clients: int, seed: int, *arguments: str) -> dict[str, Any]:
    """Does it, and says how it went."""
    rng = random.Random(seed)
    acknowledged: dict[str, str] = {}
    pending: list[str] = []
    milliseconds: list[float] = []
    result = {"kills": 0, "lost": 0, "refused": 0, "replays": 0, "twice": 0, "unanswered": 0}
    colours = not (arguments and arguments[0] == "--real")
    for life in range(kills):
        with served(index, *arguments[1:], colours=colours) as server:
            result["lost"] += len(
                lost(server, dict(rng.sample(sorted(acknowledged.items()), min(20, len(acknowledged)))))
            )
            share = [pending[i::clients] for i in range(clients)]
            threads = [Client(server.url, f"{seed}-{life}-{i}", share[i]) for i in range(clients)]
            for thread in threads:
                thread.start()
            time.sleep(rng.uniform(0.02, 0.5))  # the moment is random on purpose
            server.end(signal.SIGKILL)
            for thread in threads:
                thread.join()
        result["kills"] += 1
        print(f"kill {result['kills']}: {len(acknowledged)} acknowledged", file=sys.stderr, flush=True)
        pending = [key for thread in threads for key in (*thread.unanswered, *thread._pending)]
        for thread in threads:
            acknowledged |= thread.acknowledged
            milliseconds += thread.milliseconds
            result["replays"] += thread.replays
            result["refused"] += len(thread.refused)
            result["unanswered"] += len(thread.unanswered)
    with served(index, *arguments[1:], colours=colours) as server:
        result["lost"] += len(lost(server, acknowledged))
        with httpx2.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            result["twice"] = sum(enrol(client, key).json()["frame"] != frame for key, frame in acknowledged.items())
            pending = [key for key in pending if enrol(client, key).status_code != 201]
            there = client.get("/readyz").json()["enrolment"]["frames"]
    percentiles = {f"p{p}_ms": round(float(np.percentile(milliseconds, p)), 1) for p in (50, 99)}
    return result | {"acknowledged": len(acknowledged), "there": there} | percentiles


def main() -> None:
    """Kills, counts and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        if options.index:
            shutil.copytree(options.index, index)
        else:
            build_index(index)
        real = ("--real",) if options.index else ()
        print(json.dumps(kill_again_and_again(index, options.kills, options.clients, options.seed, *real), indent=2))


if __name__ == "__main__":
    main()
