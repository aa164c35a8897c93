"""What an index of 10^5 to 10^9 frames costs, by formulae, and by what ``benchmarks.index`` measured.

    python -m benchmarks.scale benchmarks/results/index_*.json --picture docs/scale.png --into docs/SCALE.md

Memory, disk, machines and money are computed; latency and build time are measured where a report has that size, and
extrapolated from the largest report where it has not: flat in proportion to the frames, lists by the root of them (as
their number and length grow), adding to lists by their 1.5th power. Prices are round assumptions.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.kinds import list_count

SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)
KINDS = ("flat", "ivf-sq", "ivf-pq")
DIMENSION, REDUCED = 2048, 256
BEGIN, END = "<!-- benchmarks.scale -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Assumptions:
    """Nothing of this was measured here. Dollars a month."""

    vcpu: float = 25.0
    memory_gb: float = 3.0
    nvme_gb: float = 0.1
    memory_gb_a_machine: int = 128
    spare: float = 1.25  # of memory, for the table of frames and the encoder


@dataclass(frozen=True)
class Cost:
    """Of one kind at one size; None where nothing was measured that it could follow from."""

    frames: int
    kind: str
    memory_gb: float
    disk_gb: float
    machines: int
    dollars: float
    latency_ms: float | None
    build_hours: float | None
    measured: bool


def cost(frames: int, kind: str, reports: list[dict[str, Any]], assumed: Assumptions) -> Cost:
    """From the report of that size, or else from the largest."""
    learnt = 4 * REDUCED * list_count(frames) + 4 * DIMENSION * (DIMENSION + REDUCED)  # centres, PCA
    memory = {
        "flat": 4 * DIMENSION * frames,
        "ivf-sq": (REDUCED + 8) * frames + learnt,
        "ivf-pq": (REDUCED // 4 + 8) * frames + learnt,
    }[kind] / 1e9
    disk = memory if kind == "flat" else memory + 2 * DIMENSION * frames / 1e9
    machines = max(1, math.ceil(memory * assumed.spare / assumed.memory_gb_a_machine))
    cores = 2 if machines == 1 and memory < 16 else 16 * machines
    dollars = cores * assumed.vcpu + max(4, memory * assumed.spare) * assumed.memory_gb + disk * assumed.nvme_gb
    latency, hours, measured = _times(frames, kind, machines, reports)
    return Cost(frames, kind, memory, disk, machines, dollars, latency, hours, measured)


def _times(
    frames: int, kind: str, machines: int, reports: list[dict[str, Any]]
) -> tuple[float | None, float | None, bool]:
    having = [r for r in reports if kind in r["kinds"] and r["vectors"][1] == DIMENSION]
    if not having:
        return None, None, False
    report = max(having, key=lambda r: (r["vectors"][0] == frames, r["vectors"][0]))
    n, known = report["vectors"][0], report["kinds"][kind]
    power = 1.0 if kind == "flat" else 0.5
    latency = known["cpu_p50_ms"] * (frames / n / machines) ** power if n != frames else known["cpu_p50_ms"]
    hours = 0.0 if kind == "flat" else None
    if "add_cpu_s" in known:
        hours = (known["train_cpu_s"] + known["add_cpu_s"] * (frames / n) ** 1.5) / 3600
    return latency, hours, n == frames


def table(costs: list[Cost]) -> str:
    """Markdown."""
    head = "| frames | kind | memory | disk | machines | a month | a query, one thread | build, core hours | times |"
    lines = [head, "|---:|---|---:|---:|---:|---:|---:|---:|---|"]
    for c in costs:
        times = ["not measured", "not measured", ""]
        if c.latency_ms is not None:
            build = "not measured" if c.build_hours is None else _hours(c.build_hours)
            times = [_time(c.latency_ms), build, "measured" if c.measured else "extrapolated"]
        size = f"10^{round(math.log10(c.frames))}"
        figures = [size, c.kind, _size(c.memory_gb), _size(c.disk_gb), str(c.machines), f"${c.dollars:,.0f}"]
        lines.append(f"| {' | '.join(figures + times)} |")
    return "\n".join(lines)


def _size(gigabytes: float) -> str:
    for unit, size in (("TB", 1e3), ("GB", 1.0)):
        if gigabytes >= size:
            return f"{gigabytes / size:.3g} {unit}"
    return f"{1000 * gigabytes:.3g} MB"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def _time(ms: float) -> str:
    return f"{ms / 1000:.3g} s" if ms >= 1000 else f"{ms:.3g} ms"


def draw(file: Path, costs: list[Cost]) -> None:
    """Latency, where it is known, and memory over frames."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    known = any(c.latency_ms is not None for c in costs)
    panels = figure.subplots(1, 2 if known else 1, squeeze=False)[0]
    for kind, colour in zip(KINDS, ("#888888", "#1f77b4", "#d95f02"), strict=True):
        line = [c for c in costs if c.kind == kind]
        panels[0].plot([c.frames for c in line], [c.memory_gb for c in line], "o-", color=colour, label=kind)
        for c in line if known else []:
            style = "full" if c.measured else "none"
            panels[1].plot(c.frames, c.latency_ms or math.nan, "o", color=colour, fillstyle=style)
    panels[0].set(xscale="log", yscale="log", xlabel="frames", ylabel="GB of memory, all machines together")
    panels[0].legend()
    if known:
        panels[1].set(xscale="log", yscale="log", xlabel="frames", ylabel="milliseconds a query")
        panels[1].set_title("filled: measured; hollow: extrapolated", fontsize=9)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", type=Path, nargs="*", help="of benchmarks.index")
    parser.add_argument("--picture", type=Path, help="a PNG file")
    parser.add_argument("--into", type=Path, help="a page whose table is replaced")
    options = parser.parse_args()
    reports = [json.loads(file.read_text()) for file in options.reports]
    costs = [cost(frames, kind, reports, Assumptions()) for kind in KINDS for frames in SIZES]
    print(table(costs))
    if options.picture:
        draw(options.picture, costs)
    if options.into:
        page = options.into.read_text()
        between = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
        options.into.write_text(between.sub(lambda _: f"{BEGIN}\n{table(costs)}\n\n{END}", page))


if __name__ == "__main__":
    main()
