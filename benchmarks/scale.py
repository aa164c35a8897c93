"""What an index of 10^5 to 10^9 frames costs: measured where ``benchmarks.index`` did, else by the formulae here.

    python -m benchmarks.scale benchmarks/results/index_*.json --picture docs/scale.png

Everything else than a measured line is an extrapolation, and printed as one. Prices are round assumptions.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)
KINDS = ("flat", "ivf-sq", "ivf-pq")


@dataclass(frozen=True)
class Assumptions:
    """Nothing of this was measured here."""

    vcpu_month: float = 25.0  # dollars, as are the others
    memory_gb_month: float = 3.0
    nvme_gb_month: float = 0.1
    vcpus_a_machine: int = 16
    memory_gb_a_machine: int = 128
    flops_a_core: float = 3e10  # of the matrix products that lay vectors into lists; float32
    read_us: float = 100.0  # of one original that is not in memory, from NVMe


@dataclass(frozen=True)
class Cost:
    """Of one kind at one size."""

    frames: int
    kind: str
    memory_gb: float
    disk_gb: float
    latency_ms: float
    cold_ms: float
    build_core_hours: float
    machines: int
    dollars_a_month: float
    measured: bool


def cost(frames: int, kind: str, reports: list[dict[str, Any]], assumed: Assumptions) -> Cost:
    """From the report of that size, or else from the one of the largest."""
    report = max(reports, key=lambda r: (r["vectors"][0] == frames, r["vectors"][0]))
    n, dimension = report["vectors"]
    known = report["kinds"][kind]
    measured = n == frames
    bytes_a_vector = 4 * dimension if kind == "flat" else known["candidates_mb"] * 1e6 / n
    memory, disk = bytes_a_vector * frames / 1e9, (0 if kind == "flat" else 2 * dimension) * frames / 1e9
    growth = (
        frames / n if kind == "flat" else math.sqrt(frames / n)
    )  # lists, and what is read of them, grow by the root
    machines = max(1, math.ceil(memory * 1.25 / assumed.memory_gb_a_machine))
    # Each of the machines searches its share, all at once; a merge of their answers is not counted.
    latency = known["p50_ms"] * (growth / machines if kind == "flat" else growth / math.sqrt(machines))
    return Cost(
        frames,
        kind,
        memory,
        disk + memory,
        known["p50_ms"] if measured else latency,
        0.0 if kind == "flat" else 10 * known["effort"]["depth"] * assumed.read_us / 1000,
        known["build_s"] / 3600 if measured else _build_hours(frames, kind, known, n, assumed),
        machines,
        _dollars(memory, disk + memory, machines, assumed),
        measured,
    )


def _build_hours(frames: int, kind: str, known: dict[str, Any], n: int, assumed: Assumptions) -> float:
    """Adding to lists costs a product with each list: the 1.5th power of the frames; training stays as it is."""
    if kind == "flat":
        return 0.0
    return float(known["train_s"] + known["add_s"] * (frames / n) ** 1.5) / 3600


def _dollars(memory_gb: float, disk_gb: float, machines: int, assumed: Assumptions) -> float:
    cores = assumed.vcpus_a_machine if machines > 1 else 2
    return (
        machines * cores * assumed.vcpu_month
        + max(memory_gb * 1.25, 4) * assumed.memory_gb_month
        + disk_gb * assumed.nvme_gb_month
    )


def table(costs: list[Cost]) -> str:
    """Markdown."""
    heads = "| frames | kind | memory | disk | p50, in memory | + from disk | build | machines | a month | |"
    lines = [heads, "|---:|---|---:|---:|---:|---:|---:|---:|---:|---|"]
    for c in costs:
        told = "measured" if c.measured else "extrapolated"
        lines.append(
            f"| 10^{round(math.log10(c.frames))} | {c.kind} | {_size(c.memory_gb)} | {_size(c.disk_gb)} | "
            f"{_time(c.latency_ms)} | {_time(c.cold_ms)} | {c.build_core_hours:.2g} core h | {c.machines} | "
            f"${c.dollars_a_month:,.0f} | {told} |"
        )
    return "\n".join(lines)


def _size(gigabytes: float) -> str:
    for unit, size in (("TB", 1e3), ("GB", 1.0)):
        if gigabytes >= size:
            return f"{gigabytes / size:.3g} {unit}"
    return f"{1000 * gigabytes:.3g} MB"


def _time(ms: float) -> str:
    return f"{ms / 1000:.3g} s" if ms >= 1000 else f"{ms:.3g} ms"


def draw(file: Path, costs: list[Cost]) -> None:
    """Latency and memory over frames; filled where measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for kind, colour in zip(KINDS, ("#888888", "#1f77b4", "#d95f02"), strict=True):
        line = [c for c in costs if c.kind == kind]
        for axes, values in zip(panels, ([c.latency_ms for c in line], [c.memory_gb for c in line]), strict=True):
            axes.plot([c.frames for c in line], values, "-", color=colour, label=kind)
            for c, value in zip(line, values, strict=True):
                axes.plot(c.frames, value, "o", color=colour, fillstyle="full" if c.measured else "none")
    panels[0].set(xscale="log", yscale="log", xlabel="frames", ylabel="milliseconds a query (p50, in memory)")
    panels[1].set(xscale="log", yscale="log", xlabel="frames", ylabel="GB of memory, all machines")
    panels[0].legend()
    panels[1].set_title("filled: measured; hollow: extrapolated", fontsize=9, loc="right")
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", type=Path, nargs="+", help="of benchmarks.index")
    parser.add_argument("--picture", type=Path, help="a PNG file")
    options = parser.parse_args()
    reports = [json.loads(file.read_text()) for file in options.reports]
    costs = [cost(frames, kind, reports, Assumptions()) for kind in KINDS for frames in SIZES]
    print(table(costs))
    if options.picture:
        draw(options.picture, costs)


if __name__ == "__main__":
    main()
