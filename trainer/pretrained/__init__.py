"""The encoder that ships with the package: ``encoder.json`` and the files that it names, beside this one.

Made by ``python -m trainer pretrain`` from ``trainer/pretrain.toml``; README.md beside it is its card. The graph for
CPUs is not stored but made again from the weights by ``trainer.export.export_pretrained``.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from index.encoder import IDENTITY, WEIGHTS, Spec

PRETRAINED = Path(__file__).parent


def release(encoder: Path, out: Path) -> Path:
    """Copies what of the artefact ``encoder`` ships, all but the graph, to the folder ``out``, which is returned."""
    spec = Spec.read(encoder)
    out.mkdir(parents=True, exist_ok=True)
    shipped = {name: digest for name, digest in spec.files.items() if name in (WEIGHTS, IDENTITY)}
    for name in shipped:
        shutil.copyfile(encoder / name, out / name)
    dataclasses.replace(spec, files=shipped).write(out)
    return out
