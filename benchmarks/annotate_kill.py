"""Kills the annotator (SIGKILL) at random moments while people save, and counts what it confirmed and lost.

    python -m benchmarks.annotate_kill [--kills 50] [--clients 4] [--seed 0]

Each client draws boxes in its capture, one after the other, as fast as they are confirmed; two share the last one, and
begin again from what the other saved where they are refused. After each kill all that was confirmed must be the
capture's present annotation or among its earlier ones, in the order in which it was confirmed; the rest of the file as
it was; and the capture one that the trainer reads.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
from tqdm import tqdm

from benchmarks.killing import kill_at_work
from index.capture import load_capture
from service.annotate.store import KEPT, history, read
from tests.annotation import annotation, bare_capture, content, opened, save
from tests.serving import annotating


class Person(threading.Thread):
    """Saves boxes of rising width, ``first`` + 1, + 2, ... millimetres, until the server is gone."""

    def __init__(self, url: str, capture: str, first: int, step: int) -> None:
        super().__init__()
        self._url, self.capture, self._width, self._step = url, capture, first, step
        self.confirmed: list[int] = []
        self.conflicts, self.refused = 0, 0
        self.milliseconds: list[float] = []

    def run(self) -> None:
        with httpx2.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            try:
                self._draw(client)
            except httpx2.TransportError:
                return

    def _draw(self, client: httpx2.Client) -> None:
        revision = opened(client, self.capture)["revision"]
        while True:
            start = time.perf_counter()
            answer = save(client, self.capture, revision, annotation((self._width + self._step) / 1000))
            if answer.status_code == 200:
                self.milliseconds.append(1000 * (time.perf_counter() - start))
                self._width += self._step
                self.confirmed.append(self._width)
            elif answer.status_code == 412:
                self.conflicts += 1
            else:
                self.refused += 1
            revision = answer.json().get("revision", revision)


@dataclass
class Tally:
    """What was seen in all the lives of the server."""

    kills: int = 0
    confirmed: int = 0
    lost: int = 0
    damaged: int = 0  # files that are not what they must be, but for the annotation
    conflicts: int = 0
    refused: int = 0
    unanswered_but_saved: int = 0
    left_behind: int = 0  # files that a kill in the middle of a save left
    milliseconds: list[float] = field(default_factory=list)

    def add(self, person: Person) -> None:
        self.confirmed += len(person.confirmed)
        self.conflicts += person.conflicts
        self.refused += person.refused
        self.milliseconds += person.milliseconds


def kept(folder: Path) -> list[int]:
    """The widths that the capture has had, the present one last, millimetres."""
    file = folder / "capture.json"
    states = [earlier.annotation for earlier in reversed(history(file))] + [read(file).annotation]
    return [round(1000 * state.objects[0].box.size[0]) for state in states if state.objects and state.objects[0].box]


def live_and_die(captures: Path, tally: Tally, clients: int, rng: random.Random) -> None:
    """One life of the server: people save, it is killed, and what is on the disk is compared with what it confirmed."""
    names = [f"capture-{number}" for number in range(clients - 1)]
    shared = names[-1]
    before = {name: content(captures / name) for name in names}
    with annotating(captures) as server:
        first = 100_000 * (1 + tally.kills)
        people = [Person(server.url, name, first, 2) for name in names] + [Person(server.url, shared, first - 1, 2)]
        kill_at_work(server, people, lambda: all(person.confirmed for person in people), (0, 0.5), rng)
    for person in people:
        tally.add(person)
    tally.kills += 1
    for name in names:
        confirmed = [person.confirmed for person in people if person.capture == name]
        _compare(captures / name, before[name], confirmed, tally)


def _compare(folder: Path, before: dict, confirmed: list[list[int]], tally: Tally) -> None:
    there = kept(folder)
    for widths in confirmed:
        latest = widths[-KEPT // 2 :]  # what is older may have made way for later ones
        tally.lost += sum(width not in there for width in latest)
        places = [there.index(width) for width in latest if width in there]
        tally.damaged += places != sorted(places)
    tally.unanswered_but_saved += there[-1] not in [width for widths in confirmed for width in widths]
    after = content(folder)
    tally.damaged += {**after, "objects": []} != {**before, "objects": []}
    load_capture(folder / "capture.json")
    tally.left_behind += len(list(folder.rglob(".*.part")))


def kill_again_and_again(captures: Path, kills: int, clients: int, seed: int) -> Tally:
    """Makes captures, and lets people annotate them until the server is killed, ``kills`` times."""
    for number in range(clients - 1):
        bare_capture(captures / f"capture-{number}")
    rng, tally = random.Random(seed), Tally()
    for _ in tqdm(range(kills), desc="kills", unit="kill"):
        live_and_die(captures, tally, clients, rng)
    return tally


def main() -> None:
    """Kills, counts and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = kill_again_and_again(Path(folder), options.kills, options.clients, options.seed)
    counts = {name: value for name, value in vars(tally).items() if name != "milliseconds"}
    percentiles = {f"save_p{p}_ms": round(float(np.percentile(tally.milliseconds, p)), 1) for p in (50, 99)}
    print(json.dumps(counts | percentiles, indent=2))


if __name__ == "__main__":
    main()
