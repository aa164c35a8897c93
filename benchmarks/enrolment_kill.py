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
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np

from benchmarks.killing import kill_at_work
from tests.service_fixtures import build_index, encoded
from tests.serving import Server, served


class Client(threading.Thread):
    """Posts frames one after the other until it is told to stop or the service is gone."""

    def __init__(self, url: str, name: str, pending: list[str]) -> None:
        super().__init__()
        self._url, self._name, self.pending = url, name, pending
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
                key = self.pending.pop() if self.pending else f"{self._name}-{number}"
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


@dataclass
class Tally:
    """What clients were told in all the lives of a service, and what they still wait for."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # key -> frame
    pending: list[str] = field(default_factory=list)  # keys that had no answer yet
    milliseconds: list[float] = field(default_factory=list)
    kills: int = 0
    lost: int = 0
    refused: int = 0
    replays: int = 0
    unanswered: int = 0

    def add(self, clients: list[Client]) -> None:
        """What clients have seen until the service was gone."""
        self.pending = [key for client in clients for key in (*client.unanswered, *client.pending)]
        for client in clients:
            self.acknowledged |= client.acknowledged
            self.milliseconds += client.milliseconds
            self.replays += client.replays
            self.refused += len(client.refused)
            self.unanswered += len(client.unanswered)


def lost(client: httpx2.Client, frames: list[str]) -> int:
    """How many of these frames the service does not have, asked one by one."""
    return sum(client.get("/neighbors", params={"frame": frame}).status_code != 200 for frame in frames)


def live_and_die(server: Server, tally: Tally, clients: int, rng: random.Random) -> None:
    """One life of a service: some of what was acknowledged before is looked up, more is posted, and it is killed."""
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        tally.lost += lost(client, rng.sample(sorted(tally.acknowledged.values()), min(20, len(tally.acknowledged))))
    names = [f"{tally.kills}-{number}" for number in range(clients)]
    threads = [Client(server.url, name, tally.pending[i::clients]) for i, name in enumerate(names)]
    # Every other life has at least one answer, however slow the machine is.
    waits = tally.kills % 2 == 0
    kill_at_work(server, threads, lambda: not waits or any(t.acknowledged for t in threads), (0.02, 1.0), rng)
    tally.add(threads)
    tally.kills += 1


def kill_again_and_again(index: Path, kills: int, clients: int, seed: int, *, colours: bool = True) -> Tally:
    """Starts a service, lets clients enrol, kills it, and starts it again."""
    rng, tally = random.Random(seed), Tally()
    for _ in range(kills):
        with served(index, colours=colours) as server:
            live_and_die(server, tally, clients, rng)
        print(f"kill {tally.kills}: {len(tally.acknowledged)} acknowledged", file=sys.stderr, flush=True)
    return tally


def verdict(client: httpx2.Client, tally: Tally) -> dict[str, int]:
    """What is there in the end: asked frame by frame, then with every key once more, those without an answer included.

    ``twice`` counts keys that now have another frame; ``there`` must be ``keys``: each key one frame.
    """
    gone = lost(client, list(tally.acknowledged.values()))
    twice = sum(enrol(client, key).json()["frame"] != frame for key, frame in tally.acknowledged.items())
    refused = sum(enrol(client, key).status_code != 201 for key in tally.pending)
    there = client.get("/readyz").json()["enrolment"]["frames"]
    counts = {name: getattr(tally, name) for name in ("kills", "unanswered", "replays")}
    return counts | {
        "acknowledged": len(tally.acknowledged),
        "lost": tally.lost + gone,
        "refused": tally.refused + refused,
        "twice": twice,
        "keys": len(tally.acknowledged.keys() | set(tally.pending)),
        "there": there,
    }


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
        colours = not options.index
        tally = kill_again_and_again(index, options.kills, options.clients, options.seed, colours=colours)
        with (
            served(index, colours=colours) as server,
            httpx2.Client(base_url=server.url, trust_env=False, timeout=30) as client,
        ):
            result = verdict(client, tally)
    percentiles = {f"p{p}_ms": round(float(np.percentile(tally.milliseconds, p)), 1) for p in (50, 99)}
    print(json.dumps(result | percentiles, indent=2))


if __name__ == "__main__":
    main()
