"""A service in use for a long time: load, new versions of the index, enrolment, all at once; and what it loses.

    python -m benchmarks.soak --index runs/demo/index --sample runs/demo/sample --minutes 20

Works on a copy of the index. Pictures come at a share of what the service can answer, at random moments; every minute
the version is written anew and switched to; every second a frame is enrolled, looked up in all the ways that it can be,
and removed again when a hundred newer ones are there, so that memory should end where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from benchmarks.load import closed_loop, open_loop, sample_request
from benchmarks.service_load import serving
from index.store import current_version, open_index, write_index

KEPT = 100


def rewrite(root: Path) -> None:
    """Writes the current version once more, as a build that found the same frames would."""
    index = open_index(root)
    rows = range(len(index))
    frames, thumbnails = [index.frame(row) for row in rows], (index.thumbnail(row) for row in rows)
    write_index(
        root,
        np.array(index.vectors),
        frames,
        thumbnails,
        index.encoder_path,
        index.encoder_digest or "",
        keep=3,
        calibration=index.calibration,
        recognition=index.recognition,
        layout=index.layout,
    )


@dataclass
class Watched:
    """What the soak has seen so far."""

    enrolled: int = 0
    lost: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    rss_mib: list[tuple[float, float]] = field(default_factory=list)


def enrol(url: str, sample: Path, stop: threading.Event, seen: Watched) -> None:
    """Enrols, checks and removes, until it is told to stop."""
    fields = {"rect": json.dumps(json.loads((sample / "fields.json").read_text())["rect"]), "category": "soak"}
    jpeg = (sample / "image.jpg").read_bytes()
    kept: deque[tuple[str, str]] = deque()
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
        for turn in itertools.count():
            if stop.wait(1.0):
                break
            name = f"soak-{turn}"
            answer = _patient(client, "POST", f"/objects/{name}/frames", data=fields, files={"image": jpeg})
            if answer.status_code != 201:
                seen.failed.append(f"enrol {answer.status_code}: {answer.text[:200]}")
                continue
            seen.enrolled += 1
            kept.append((name, answer.json()["frame"]))
            if len(kept) > KEPT:
                answer = _patient(client, "DELETE", f"/objects/{kept.popleft()[0]}")
                if answer.status_code != 204:
                    seen.failed.append(f"delete {answer.status_code}")
            seen.lost += [frame for name, frame in (kept[0], kept[-1]) if not _is_found(client, name, frame)]
        seen.lost += [frame for name, frame in kept if not _is_found(client, name, frame)]


def _is_found(client: httpx2.Client, name: str, frame: str) -> bool:
    paths = (f"/objects/{name}", f"/frames/{frame}/image.jpg", f"/neighbors?frame={frame}&k=3")
    return all(_patient(client, "GET", path).status_code == 200 for path in paths)


def _patient(client: httpx2.Client, method: str, path: str, **content: Any) -> httpx2.Response:
    """The answer; where the service is too busy, of a later try, as Retry-After asks for, within ten seconds."""
    end = time.monotonic() + 10
    while (answer := client.request(method, path, **content)).status_code == 503 and time.monotonic() < end:
        time.sleep(0.1)
    return answer


def watch(url: str, pid: int, stop: threading.Event, seen: Watched) -> None:
    """Notes the memory of the service's processes and the version that answers, every five seconds."""
    start = time.monotonic()
    while not stop.wait(5.0):
        seen.rss_mib.append((round(time.monotonic() - start), round(_rss_mib(pid), 1)))
        answer = httpx2.get(f"{url}/readyz", trust_env=False, timeout=30)
        if answer.status_code == 200:
            seen.versions.add(answer.json()["index"])
        else:
            seen.failed.append(f"readyz {answer.status_code}")


def _rss_mib(pid: int) -> float:
    """Anonymous memory: pages of the mapped index come and go as the system likes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))) / 1024


def rebuild(root: Path, every_s: float, stop: threading.Event) -> None:
    """Writes a version anew, in a process of its own, again and again."""
    while not stop.wait(every_s):
        subprocess.run([sys.executable, "-m", "benchmarks.soak", "--rewrite", str(root)], check=True)


def soak(root: Path, sample: Path, minutes: float, share: float, every_s: float, port: int) -> dict[str, Any]:
    """Runs it all; what came of it."""
    request, seen, stop = sample_request(sample, 480, 640), Watched(), threading.Event()
    with serving(["-m", "service"], root, port) as (url, pid):
        asyncio.run(closed_loop(url, [request], 8, 5))
        most = asyncio.run(closed_loop(url, [request], 8, 10)).summary()["per_second"]
        helpers = [
            threading.Thread(target=enrol, args=(url, sample, stop, seen)),
            threading.Thread(target=watch, args=(url, pid, stop, seen)),
            threading.Thread(target=rebuild, args=(root, every_s, stop)),
        ]
        for helper in helpers:
            helper.start()
        tally = asyncio.run(open_loop(url, [request], share * most, 60 * minutes))
        stop.set()
        for helper in helpers:
            helper.join()
    settled = [mib for second, mib in seen.rss_mib if second >= min(180, 30 * minutes)]
    third = max(1, len(settled) // 3)
    return {
        "capacity_per_second": most,
        "offered_per_second": round(share * most, 1),
        **tally.summary(),
        "versions": len(seen.versions),
        "enrolled": seen.enrolled,
        "lost": seen.lost,
        "failed": seen.failed,
        "rss_mib_first_third": round(float(np.median(settled[:third])), 1),
        "rss_mib_last_third": round(float(np.median(settled[-third:])), 1),
        "rss_mib": seen.rss_mib[:: max(1, len(seen.rss_mib) // 40)],
    }


def main() -> None:
    """Soaks a copy of an index and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, default=Path("runs/demo/index"))
    parser.add_argument("--sample", type=Path, default=Path("runs/demo/sample"))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--share", type=float, default=0.8, help="of what the service can answer")
    parser.add_argument("--rebuild-every-s", type=float, default=60)
    parser.add_argument("--port", type=int, default=8795)
    parser.add_argument("--rewrite", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rewrite:
        os.nice(10)
        rewrite(options.rewrite)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "index"
        version = root / "versions" / current_version(options.index)
        shutil.copytree(options.index / "versions" / version.name, version)
        (root / "CURRENT").write_text(version.name)
        result = soak(root, options.sample, options.minutes, options.share, options.rebuild_every_s, options.port)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
