"""The recall, latency and memory of every kind of search on one's own vectors: ``python -m index tune``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq

from index.kinds import Effort, Flat, Kind, Reranked, inner_index
from index.nearest import Rows, Stored
from index.recall import Point, SearchConfig, built, curve, fastest, latency_ms
from index.schema import CorruptArtifactError, InvalidValueError
from index.store import current_version
from index.table import numbered
from index.truth import OwnTruth

_NORM_TOLERANCE = 1e-2  # of unit vectors that were rounded to float16


@dataclass(frozen=True)
class Measured:
    """A kind's curve.

    Attributes:
        memory: bytes of what is searched first; the originals, which stay on disk, are not counted, but flat's are.
    """

    kind: Kind
    dimension: int
    memory: int
    points: tuple[Point, ...]

    def options(self, target: float) -> str:
        """What to tell ``python -m trainer build``."""
        return (
            "--kind flat" if self.kind == "flat" else f"--kind {self.kind} --recall {target} --reduce {self.dimension}"
        )

    def best(self, target: float) -> Point | None:
        """The fastest setting that reaches the recall."""
        return fastest(self.points, target)


def read_vectors(path: Path) -> Stored:
    """(n, d) unit vectors, mapped: an index's, or of an .npy file of float32 or float16.

    Raises InvalidValueError for what has another shape, type or length, CorruptArtifactError for what is no such file.
    """
    file = path / "versions" / current_version(path) / "vectors.npy" if path.is_dir() else path
    try:
        vectors = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CorruptArtifactError(file, f"no .npy file that can be read ({error})") from None
    if vectors.ndim != 2 or len(vectors) < 2 or vectors.dtype not in (np.float32, np.float16):
        raise InvalidValueError("vectors", f"{vectors.dtype} {vectors.shape}", "(n, d) float32 or float16, n >= 2")
    norms = np.linalg.norm(vectors[:: max(1, len(vectors) // 1000)].astype(np.float32), axis=1)
    if np.abs(norms - 1).max() > _NORM_TOLERANCE or not np.isfinite(norms).all():
        raise InvalidValueError("vectors", f"lengths up to {norms.max():.3g}", "unit vectors: divide each by its norm")
    return np.asarray(vectors)


def read_objects(path: Path) -> Rows | None:
    """(n,) the number of each vector's object, where ``path`` is an index."""
    if not path.is_dir():
        return None
    table = pq.read_table(path / "versions" / current_version(path) / "frames.parquet", columns=["object_id"])
    return numbered(table["object_id"])[1]


def measure(kind: Kind, vectors: Stored, own: OwnTruth, config: SearchConfig) -> Measured:
    """A kind's curve; needs memory for its candidates, or with flat for all vectors."""
    if kind == "flat":
        whole = np.ascontiguousarray(vectors, np.float32)
        point = Point(Effort(1, 1), 1.0, latency_ms(Flat(whole), own.truth))
        return Measured(kind, vectors.shape[1], whole.nbytes, (point,))
    index = built(kind, vectors, config)
    points = curve(Reranked(index, vectors, Effort(1, 1)), own, config.recall)
    return Measured(kind, inner_index(index).d, faiss.serialize_index(index).nbytes, tuple(points))


def picked(measured: Sequence[Measured], config: SearchConfig, vectors: int) -> Measured:
    """What ``--kind`` is best set to: flat where that is small enough, or else the fastest that reaches the recall."""
    flat = [m for m in measured if m.kind == "flat"]
    if flat and replace(config, kind="auto").is_flat(vectors):
        return flat[0]
    reaching = [(best.latency_ms, m) for m in measured if (best := m.best(config.recall)) is not None]
    if not reaching:
        most = max(point.least for m in measured for point in m.points)
        raise InvalidValueError("recall", config.recall, f"at most {most:.3f}, which the kinds that were tried reach")
    return min(reaching, key=lambda pair: pair[0])[1]


def table(measured: Sequence[Measured], target: float) -> str:
    """As lines to print; a star where the recall is reached beyond a standard error."""
    lines = [f"{'kind':9} {'dims':>5} {'memory':>10} {'probes':>7} {'depth':>6} {'recall':>7} {'ms':>9}"]
    for m in measured:
        for point in m.points:
            settings = f"{point.effort.probes:7} {point.effort.depth:6}" if m.kind != "flat" else f"{'':7} {'':6}"
            mark = " *" if point.least >= target else ""
            row = f"{m.kind:9} {m.dimension:5} {m.memory / 1e6:7.1f} MB {settings}"
            lines.append(f"{row} {point.recall:7.4f} {point.latency_ms:9.3f}{mark}")
    return "\n".join(lines)


def write_picture(file: Path, measured: Sequence[Measured], config: SearchConfig, shape: tuple[int, int]) -> None:
    """Recall over latency, a line a kind, with its memory. Raises InvalidValueError where Matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidValueError("picture", str(file), "left out, or pip install nearpose[trainer]") from None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for m in measured:
        label = f"{m.kind}, {m.dimension} dimensions, {m.memory / 1e6:.0f} MB"
        axes.plot([p.latency_ms for p in m.points], [p.recall for p in m.points], "o-", label=label)
    axes.axhline(config.recall, color="grey", linewidth=1, linestyle=":")
    axes.set(xscale="log", xlabel="milliseconds a query", ylabel=f"recall@{config.k}")
    axes.set_title(f"{shape[0]:,} vectors of {shape[1]} dimensions")
    axes.legend()
    figure.savefig(file, dpi=120)


def report(measured: Sequence[Measured], config: SearchConfig) -> dict[str, Any]:
    """As JSON."""
    return {"config": asdict(config), "kinds": [asdict(m) for m in measured]}
