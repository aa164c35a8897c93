"""Vectors in any number, clustered like an encoder's: categories, in them objects, of each a video around it.

    python -m benchmarks.clustered --index runs/demo/index --out /tmp/v.npy --count 1000000 --dimension 2048

Fitted to an index: how much of the variance lies between categories, between a category's objects and between an
object's views; the spectrum of the last two, as a power law (of the second to half of the eigenvalues), which is then
extended to the wanted dimension; and the covariance of a video's views, one with another, by their places in it. A
vector is the sum of the three, each a Gaussian of its spectrum, turned at random and made a unit vector. Nothing else
of real data is in them: two objects of a category are no more alike than chance has it, which makes neighbours beyond a
query's own object harder to find than real ones. How like the index they come out says ``likeness``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from tqdm import tqdm

from index.search import FrameIndex
from index.store import open_index

Array = NDArray[np.float64]
_OBJECTS_AT_ONCE = 500


@dataclass(frozen=True, eq=False)
class Model:
    """What the vectors are drawn from.

    Attributes:
        shares: of the variance, between categories, objects, views.
        exponents: of the eigenvalues' power law, of objects and of views.
        views: (v, v) covariance of a video's views, with a mean diagonal of 1.
    """

    categories: int
    shares: tuple[float, float, float]
    exponents: tuple[float, float]
    views: Array

    @classmethod
    def fitted(cls, index: FrameIndex) -> Model:
        """To the vectors of an index whose objects have one video each."""
        vectors = np.asarray(index.vectors, np.float64)
        objects = np.unique([index.object_of(row) for row in range(len(index))], return_inverse=True)[1]
        categories = np.unique(index.table["category"].to_pylist(), return_inverse=True)[1]
        of_objects, of_categories = _means(vectors, objects), _means(vectors, categories)
        between = of_objects[objects] - of_categories[categories]
        within = vectors - of_objects[objects]
        parts = (of_categories[categories] - vectors.mean(axis=0), between, within)
        spread = np.array([(part**2).sum(axis=1).mean() for part in parts])
        shares = tuple(float(share) for share in spread / spread.sum())
        exponents = (_exponent(of_objects - of_objects.mean(axis=0)), _exponent(within))
        return cls(len(of_categories), shares, exponents, _view_covariance(within, objects))  # type: ignore[arg-type]

    def summary(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "categories": self.categories,
            "variance_of_categories_objects_views": [round(share, 3) for share in self.shares],
            "exponents_of_objects_views": [round(exponent, 2) for exponent in self.exponents],
            "views_a_video": len(self.views),
        }


def draw(model: Model, count: int, dimension: int, out: Path, seed: int = 0) -> None:
    """Writes (count, dimension) float16 unit vectors; an object's views lie side by side."""
    rng = np.random.default_rng(seed)
    spectra = [_spectrum(exponent, dimension) for exponent in model.exponents]
    category_means = rng.normal(size=(model.categories, dimension)) * np.sqrt(model.shares[0] * spectra[0])
    turn = rng.choice([-1.0, 1.0], dimension).astype(np.float32)
    views = len(model.views)
    mixed = np.linalg.cholesky(model.views + 1e-6 * np.eye(views)).astype(np.float32)
    saved = np.lib.format.open_memmap(out, "w+", np.dtype(np.float16), (count, dimension))
    for start in tqdm(range(0, count, views * _OBJECTS_AT_ONCE), desc="vectors"):
        objects = rng.standard_normal((_OBJECTS_AT_ONCE, 1, dimension), np.float32)
        objects *= np.sqrt(model.shares[1] * spectra[0]).astype(np.float32)
        objects += category_means[rng.integers(model.categories, size=_OBJECTS_AT_ONCE)][:, None].astype(np.float32)
        seen = mixed @ rng.standard_normal((_OBJECTS_AT_ONCE, views, dimension), np.float32)
        seen *= np.sqrt(model.shares[2] * spectra[1]).astype(np.float32)
        block = dct((objects + seen).reshape(-1, dimension) * turn, norm="ortho", axis=1)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        saved[start : start + len(block)] = block[: count - start]
    saved.flush()


def likeness(vectors: NDArray[Any], objects: NDArray[np.integer], k: int = 10) -> dict[str, float]:
    """What of the neighbourhoods can be compared: of few vectors, by brute force."""
    whole = np.asarray(vectors, np.float32)
    similarities = whole @ whole.T
    np.fill_diagonal(similarities, -1)
    nearest = np.argsort(-similarities, axis=1)[:, :k]
    values = np.take_along_axis(similarities, nearest, 1)
    centred = whole - whole.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    found = {"own_object_of_10": float((objects[nearest] == objects[:, None]).mean())}
    found |= {"similarity_1": float(values[:, 0].mean()), "similarity_10": float(values[:, -1].mean())}
    for reduced in (64, 128):
        flat = centred @ axes[:reduced].T
        distances = (flat**2).sum(axis=1)[None] - 2 * flat @ flat.T
        np.fill_diagonal(distances, np.inf)
        candidates = np.argsort(distances, axis=1)[:, : 2 * k]
        kept = [np.isin(a, b).mean() for a, b in zip(nearest, candidates, strict=True)]
        found[f"in_20_by_pca_{reduced}"] = float(np.mean(kept))
    return {name: round(value, 3) for name, value in found.items()}


def _means(vectors: Array, groups: NDArray[np.integer]) -> Array:
    return np.stack([vectors[groups == group].mean(axis=0) for group in range(groups.max() + 1)])


def _exponent(centred: Array) -> float:
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    ranks = np.arange(1, len(values) + 1)
    middle = slice(1, min(len(values), centred.shape[1]) // 2)
    return float(-np.polyfit(np.log(ranks[middle]), np.log(values[middle]), 1)[0])


def _spectrum(exponent: float, dimension: int) -> Array:
    values = np.arange(1, dimension + 1) ** -exponent
    return np.asarray(values / values.sum())


def _view_covariance(within: Array, objects: NDArray[np.integer]) -> Array:
    """Of the places that every video has."""
    counts = np.bincount(objects)
    views = int(np.median(counts))
    stacked = np.stack([within[objects == group] for group in np.flatnonzero(counts == views)])
    covariance = np.einsum("oid,ojd->ij", stacked, stacked)
    return np.asarray(covariance / np.trace(covariance) * views)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--index", type=Path, default=Path("runs/demo/index"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="an .npy file, float16")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=2048)
    options = parser.parse_args()
    index = open_index(options.index)
    model = Model.fitted(index)
    objects = np.unique([index.object_of(row) for row in range(len(index))], return_inverse=True)[1]
    alike = {"index": likeness(index.vectors, objects)}
    sample = options.out.with_suffix(".sample.npy")
    draw(model, len(index), index.dimension, sample)
    alike["drawn"] = likeness(np.load(sample), np.arange(len(index)) // len(model.views))
    sample.unlink()
    draw(model, options.count, options.dimension, options.out)
    options.out.with_suffix(".json").write_text(json.dumps(model.summary() | {"likeness": alike}, indent=2) + "\n")
    print(json.dumps(model.summary() | {"likeness": alike}, indent=2))


if __name__ == "__main__":
    main()
