"""The linear map from an encoder's vectors to identities: unit vectors that tell objects apart, however they are seen.

A file of the encoder's artefact, ``identity.npy``; what is done with identities says ``index.identity``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.encoder import IDENTITY
from index.schema import CorruptArtifactError

Vectors = NDArray[np.float32]


def to_identities(identity_map: Vectors | None, vectors: Vectors) -> Vectors:
    """(n, d) vectors of an encoder -> (n, e) float32 unit rows; the vectors themselves where the map is None."""
    if identity_map is None:
        return vectors
    mapped = vectors @ identity_map.T
    identities: Vectors = mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-9)
    return identities


def read_identity_map(encoder: Path) -> Vectors | None:
    """The map of an encoder's folder, (e, d) float32; None where it has none.

    Raises CorruptArtifactError, naming the file, when it is not one.
    """
    path = encoder / IDENTITY
    if not path.exists():
        return None
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CorruptArtifactError(path, f"is no array ({error})") from error
    if values.dtype != np.float32 or values.ndim != 2 or not np.isfinite(values).all():
        raise CorruptArtifactError(path, f"is {values.shape} {values.dtype}, not (e, d) float32")
    return np.asarray(values)
