"""The encoder that ships with the package: ``encoder.json`` and ``weights.safetensors`` beside this file.

Made by ``python -m trainer pretrain`` from ``trainer/pretrain.toml``; README.md beside it is its card. The graph for
CPUs is not stored but made again from the weights by ``trainer.export.export_pretrained``.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from index.encoder import WEIGHTS, Spec

PRETRAINED = Path(__file__).parent


def release(encoder: Path, out: Path) -> Path:
    """Copies what of the artefact ``encoder`` ships, manifest and weights, to the folder ``out``, which is returned."""
    spec = Spec.read(encoder)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(encoder / WEIGHTS, out / WEIGHTS)
    dataclasses.replace(spec, files={WEIGHTS: spec.files[WEIGHTS]}).write(out)
    return out
