"""Kinds of search side by side: build time, memory, recall@10 and latency, on vectors of ``benchmarks.clustered``.

    pip install usearch
    python -m benchmarks.index --vectors /tmp/v.npy --out benchmarks/results/index_1m.json [--only ivf-sq flat]

Each kind is built, and then opened and asked, in processes of its own, one after the other, on one thread. Settings are
chosen with one set of queries and judged with another. Queries are indexed vectors whose own row does not count. The
flat search is timed before all others and after them, for the machine's noise; ``cpu_p50_ms`` is the thread's own time,
which says more than the wall's on a machine that is shared. What is there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.kinds import Effort, Flat, Kind, Plan, Reranked, add_candidates, train_candidates
from index.nearest import Stored, nearest_stored
from index.recall import SearchConfig, best_plan, curve, plan_of
from index.truth import OwnTruth, Truth, recall
from index.vectors import open_vectors

KINDS = ("flat", "ivf-sq", "ivf-pq", "hnsw-sq", "usearch-i8", "flat-again")
QUERIES = 500  # half of them to choose settings with
_BUILT = (".faiss", ".index")
EFFORTS = (16, 32, 64, 128, 256, 512, 1024)


def truths(vectors: Path, work: Path) -> tuple[OwnTruth, OwnTruth]:
    """To choose settings with, and to judge them with; computed once."""
    file = work / "truth.npz"
    if not file.exists():
        stored = np.load(vectors, mmap_mode="r")
        own = np.random.default_rng(1).choice(len(stored), QUERIES, replace=False)
        queries = stored[own].astype(np.float32)
        everything = OwnTruth(own, Truth(queries, np.empty((QUERIES, 10), np.int64)), np.arange(len(stored)))
        rows = everything.others(nearest_stored(queries, stored, 11)[1], 10)
        np.savez(file, own=own, queries=queries, rows=rows)
    saved = np.load(file)
    parts = [slice(0, None, 2), slice(1, None, 2)]
    rows = np.arange(len(np.load(vectors, mmap_mode="r")))
    chosen, judged = (OwnTruth(saved["own"][p], Truth(saved["queries"][p], saved["rows"][p]), rows) for p in parts)
    return chosen, judged


def build(kind: str, vectors: Path, work: Path, target: float) -> dict[str, Any]:
    """Builds a kind into ``work``; what its manifest would say, and what it took."""
    stored = np.load(vectors, mmap_mode="r")
    if kind.startswith("flat"):
        return {"build_s": 0.0}
    start = time.perf_counter()
    if kind == "usearch-i8":
        return _build_usearch(stored, work) | {"build_s": round(time.perf_counter() - start, 1)}
    return _build_own(kind, stored, work, truths(vectors, work)[0], target)  # type: ignore[arg-type]


def _build_own(kind: Kind, stored: Stored, work: Path, own: OwnTruth, target: float) -> dict[str, Any]:
    config = SearchConfig(kind, target)
    start, used = time.perf_counter(), time.process_time()
    index = train_candidates(kind, stored, config.dimension(kind, stored.shape[1]), 0)
    trained, train_cpu = time.perf_counter(), time.process_time() - used
    with tqdm(total=len(stored), desc=kind, unit_scale=True) as bar:
        add_candidates(index, stored, bar)
    added, build_cpu = time.perf_counter(), time.process_time() - used
    engine = Reranked(index, stored, Effort(1, 1))
    tuned = _tuned(engine, own, config)
    built = {"train_s": round(trained - start, 1), "add_s": round(added - trained, 1)}
    built |= {"train_cpu_s": round(train_cpu, 1), "add_cpu_s": round(build_cpu - train_cpu, 1)}
    built |= {"tune_s": round(time.perf_counter() - added, 1), "build_s": round(added - start, 1)}
    faiss.write_index(index, str(work / f"{kind}.faiss"))
    return built | tuned


def _tuned(engine: Reranked, own: OwnTruth, config: SearchConfig) -> dict[str, Any]:
    """The plan; where none reaches the recall, which a build would refuse, the setting that comes nearest."""
    points = curve(engine, own, config.recall)
    plan, reached = best_plan(engine, points, own, config)
    if plan is None:
        most = max(points, key=lambda point: point.recall)
        plan = plan_of(engine, most.effort, most.recall, own, config)
    return {"plan": plan.to_manifest(), "reached": reached, "curve": [asdict(point) for point in points]}


def _build_usearch(stored: Stored, work: Path) -> dict[str, Any]:
    from usearch.index import Index

    index = Index(ndim=stored.shape[1], metric="ip", dtype="i8", connectivity=16, expansion_add=100)
    for start in tqdm(range(0, len(stored), 4096), desc="usearch"):
        block = stored[start : start + 4096].astype(np.float32)
        index.add(np.arange(start, start + len(block)), block, threads=1)
    index.save(str(work / "usearch-i8.index"))
    return {"settings": "connectivity 16, expansion_add 100, int8"}


Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]  # one query (1, d), k -> (1, k) rows


def ask(kind: str, vectors: Path, work: Path, target: float, built: dict[str, Any]) -> dict[str, Any]:
    """Opens a kind and asks it; its memory is what the process then holds, mapped pages it has touched included."""
    chosen, judged = truths(vectors, work)
    before = _resident()
    start = time.perf_counter()
    settings = _open(kind, vectors, work, built, chosen, target)
    opened = time.perf_counter() - start
    effort, search = settings
    if kind.startswith("flat"):
        first = Truth(judged.truth.queries[:40], judged.truth.rows[:40])
        judged = OwnTruth(judged.own[:40], first, judged.groups)
    times, cpu, found = [], [], []
    for query in judged.truth.queries:
        start, used = time.perf_counter(), time.process_time()
        found.append(search(query[None], 11))
        times.append(1000 * (time.perf_counter() - start))
        cpu.append(1000 * (time.process_time() - used))
    after = _resident()
    shares = _shares(np.concatenate(found), judged)
    return {
        "effort": effort,
        "recall_at_10": round(float(np.mean(shares)), 4),
        "recall_standard_error": round(float(np.std(shares) / len(shares) ** 0.5), 4),
        "queries": len(times),
        "open_s": round(opened, 1),
        "first_ms": round(times[0], 2),
        "cpu_p50_ms": round(float(np.median(cpu[1:])), 3),
        "p50_ms": round(float(np.median(times[1:])), 3),
        "p90_ms": round(float(np.percentile(times[1:], 90)), 3),
        "p99_ms": round(float(np.percentile(times[1:], 99)), 3),
        "candidates_mb": round(sum(f.stat().st_size for f in work.glob(f"{kind}.*") if f.suffix in _BUILT) / 1e6, 1),
        "memory_mb": {name: round((after[name] - before[name]) / 1e6, 1) for name in after},
    }


def _open(
    kind: str, vectors: Path, work: Path, built: dict[str, Any], chosen: OwnTruth, target: float
) -> tuple[Any, Search]:
    if kind.startswith("flat"):
        flat = Flat(_in_memory(np.load(vectors, mmap_mode="r")))
        return None, lambda query, k: flat.search(query, k)[1]
    if kind == "usearch-i8":
        return _open_usearch(work, chosen, target)
    plan = Plan.from_manifest(built["plan"], 0)
    link = work / f"{kind}.npy"
    if not link.exists():
        link.symlink_to(vectors.absolute())
    engine = open_vectors(work, kind, plan)[1]
    return asdict(plan.effort), lambda query, k: engine.search(query, k)[1]


def _in_memory(stored: Stored) -> NDArray[np.float32]:
    whole = np.empty(stored.shape, np.float32)
    for start in range(0, len(stored), 16_384):
        whole[start : start + 16_384] = stored[start : start + 16_384]
    return whole


def _open_usearch(work: Path, chosen: OwnTruth, target: float) -> tuple[Any, Search]:
    from usearch.index import Index

    index = Index.restore(str(work / "usearch-i8.index"))

    def search(query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        return np.asarray(index.search(query[0], k, threads=1).keys, np.int64)[None]

    def at(effort: int) -> Search:
        index.expansion_search = effort
        return search

    return _least_effort(at, chosen, target)


def _least_effort(at: Callable[[int], Search], chosen: OwnTruth, target: float) -> tuple[int, Search]:
    """The first of ``EFFORTS`` that reaches the recall, or the last."""
    for effort in EFFORTS:
        search = at(effort)
        found = np.concatenate([search(query[None], 11) for query in chosen.truth.queries])
        if np.mean(_shares(found, chosen)) >= target:
            break
    return effort, search


def _shares(found: NDArray[np.int64], own: OwnTruth) -> list[float]:
    """Of each query's truth what was found."""
    kept = own.others(found, own.truth.k)
    return [recall(got[None], wanted[None]) for got, wanted in zip(kept, own.truth.rows, strict=True)]


def _resident() -> dict[str, int]:
    """Bytes of this process in memory, its own and of files that it has mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith("Rss")}
    return {"own": values["RssAnon"], "mapped": values["RssFile"]}


def measure(kind: str, vectors: Path, work: Path, target: float) -> dict[str, Any]:
    """Builds and asks a kind, each in a process of its own; what was done before is read."""
    results: dict[str, Any] = {}
    for step in ("build", "ask"):
        file = work / f"{kind}.{step}.json"
        if not file.exists():
            arguments = ["--vectors", vectors, "--work", work, "--recall", target, "--step", step, "--only", kind]
            subprocess.run([sys.executable, "-m", "benchmarks.index", *map(str, arguments)], check=True)
        results |= json.loads(file.read_text())
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, required=True, help="(n, d) float16, an .npy file")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--work", type=Path, help="what is built (default: a folder beside the vectors)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--step", choices=("build", "ask"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = options.work or options.vectors.with_suffix(".work")
    work.mkdir(exist_ok=True)
    if options.step:
        _run_step(options, work)
        return
    truths(options.vectors, work)
    results = {kind: measure(kind, options.vectors, work, options.recall) for kind in options.only}
    shape = np.load(options.vectors, mmap_mode="r").shape
    report = {"vectors": list(shape), "threads": 1, "nice": os.nice(0), "load": os.getloadavg()[0], "kinds": results}
    made = options.vectors.with_suffix(".json")
    report["made"] = json.loads(made.read_text()) if made.exists() else None
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def _run_step(options: argparse.Namespace, work: Path) -> None:
    (kind,) = options.only
    file = work / f"{kind}.{options.step}.json"
    if options.step == "build":
        result = build(kind, options.vectors, work, options.recall)
    else:
        built = json.loads((work / f"{kind}.build.json").read_text())
        result = ask(kind, options.vectors, work, options.recall, built)
    file.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
