"""Plots as SVG to be put into the page: text and axes take the page's colours, light or dark."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

# Stand-ins for what CSS decides.
_INK, _RULE, _LINE = "#010203", "#040506", "#070809"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nearpose",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.edgecolor": _RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), _INK),
}
# Of middle lightness, so that each can be told on white and on near-black.
PALETTE = ("#4f86c6", "#f0883e", "#d1495b", "#3aa6a0", "#5aa64f", "#c9a227", "#a372c0", "#e57399", "#98765a", "#7f8c99")


@dataclass(frozen=True)
class Line:
    """One curve of a plot."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    dashes: str = "-"
    width: float = 1.6


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, the same for the same names."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(sorted(set(names)))}


def line_plot(lines: Sequence[Line], x_label: str, y_label: str, mark: float | None = None) -> str:
    """Curves of shares over shares, with a legend beside them; ``mark`` is an x that matters."""
    with _figure(7.6, 4.2) as figure:
        axes = figure.add_subplot()
        if mark is not None:
            axes.axvline(mark, color=_RULE, linewidth=1.2, linestyle=":")
        for line in lines:
            axes.plot(line.x, line.y, line.dashes, color=line.colour, linewidth=line.width, label=line.label)
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5, handlelength=2.6, labelspacing=0.35)
        return _svg(figure, f"{y_label} over {x_label}")


def category_map(places: NDArray[np.float32], categories: NDArray[np.str_]) -> str:
    """Points (n, 2), coloured by category."""
    with _figure(7.6, 5.0) as figure:
        axes = _bare(figure.add_subplot())
        for name, colour in colours(categories.tolist()).items():
            chosen = places[categories == name]
            axes.plot(*chosen.T, "o", markersize=2.6, color=colour, markeredgewidth=0, label=name.replace("_", " "))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=2.4)
        return _svg(figure, "t-SNE of the embedding, coloured by category")


def trajectories(panels: Mapping[str, Sequence[NDArray[np.floating]]], seconds: Sequence[Sequence[ArrayLike]]) -> str:
    """A panel a title: videos as paths through points (n, 2), coloured by the share of the video that has passed."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with _figure(3.1 * columns, 2.9 * rows) as figure:
        for place, ((title, paths), times) in enumerate(zip(panels.items(), seconds, strict=True)):
            axes = _bare(figure.add_subplot(rows, columns, place + 1))
            axes.set_title(title)
            for path, time_s in zip(paths, times, strict=True):
                x, y = np.asarray(path).T
                axes.plot(x, y, color=_RULE, linewidth=1.0, zorder=1)
                axes.scatter(x, y, c=_passed(time_s), cmap="viridis", s=13, linewidths=0, zorder=2)
        return _svg(figure, "videos as paths through the embedding, coloured by time")


def _passed(time_s: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(time_s, np.float64)
    return np.asarray((values - values.min()) / max(float(np.ptp(values)), 1e-9))


def share_plot(means: Sequence[float], shares: Sequence[float], x_label: str, y_label: str) -> str:
    """Shares over what was said of as many queries each."""
    with _figure(7.6, 3.6) as figure:
        axes = figure.add_subplot()
        axes.plot(means, shares, "o-", color=PALETTE[0])
        axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, 1.02))
        return _svg(figure, f"{y_label} over {x_label}")


def _bare(axes: Axes) -> Axes:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    return axes


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, text: str) -> str:
    """The figure as an element of a page. Its ids are made its own, its stand-ins the page's colours."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    content = stream.getvalue()
    content = content[content.index("<svg") :]
    content = re.sub(r"<metadata>.*?</metadata>", "", content, flags=re.DOTALL)
    prefix = f"f{zlib.crc32(content.encode()):08x}-"
    content = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", content)
    for stand_in, colour in ((_INK, "var(--ink)"), (_RULE, "var(--rule)"), (_LINE, "var(--line)")):
        content = content.replace(stand_in, colour)
    return content.replace("<svg ", f'<svg role="img" aria-label="{text}" ', 1)
