"""Stage: a training checkpoint in, the encoder artefact out (format: ``index.encoder``)."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from index.backbone import IMAGENET_MEAN, IMAGENET_STD, build_backbone, build_embedder, unit_features
from index.encoder import GRAPH, GRAPH_WEIGHTS, IDENTITY, WEIGHTS, Spec, file_digest
from index.identity_map import read_identity_map
from index.schema import CorruptArtifactError, InvalidValueError
from trainer.config import TrainConfig, read_config
from trainer.frames import Frames
from trainer.identity import IdentityConfig, identity_map
from trainer.pretrained import PRETRAINED
from trainer.public import public_encoder
from trainer.train import CHECKPOINT
from trainer.whiten import HeadConfig, fit_head

_IdentityFit = Callable[[Path], NDArray[np.float32] | None]


def export(
    checkpoint: Path,
    out: Path,
    frames: Path | None = None,
    head: HeadConfig | None = None,
    identity: IdentityConfig | None = None,
) -> Path:
    """Writes the backbone of the run that ``trainer.train.train`` left in ``checkpoint`` as an encoder artefact.

    frames: whose ``train`` split ``head`` and ``identity`` map are fitted to; None: neither, pooled features are the
    embedding, as in the paper. identity: None: no such map. An artefact that lies at ``out`` is replaced once the new
    one is complete. Returns ``out``. Raises CorruptArtifactError when there is no readable checkpoint.
    """
    config = read_config(checkpoint)
    try:
        state = torch.load(checkpoint / CHECKPOINT, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its reader meets: OSError, RuntimeError, UnpicklingError
        raise CorruptArtifactError(checkpoint / CHECKPOINT, f"is no readable checkpoint ({error})") from error
    prefix = "method.backbone."
    weights = {k.removeprefix(prefix): v for k, v in state["state_dict"].items() if k.startswith(prefix)}
    backbone = build_backbone(config.architecture)
    backbone.load_state_dict(weights)
    training: dict[str, Any] = {"config": asdict(config), "steps": state["global_step"], "epochs": state["epoch"] + 1}
    if frames is None:
        return _publish(backbone, _Input.of(config), {}, training, out)
    head, learnt = head or HeadConfig(), _learnt(frames)
    embedder, described = _with_head(backbone, _Input.of(config), learnt, head)
    training |= _fitting(head)
    return _publish(embedder, _Input.of(config), described, training, out, _identity_fit(learnt, identity))


def export_refitted(
    encoder: Path, out: Path, frames: Path, head: HeadConfig, identity: IdentityConfig | None = None
) -> Path:
    """Writes the network of the artefact ``encoder`` with another head and ``identity`` map, fitted to the ``train``
    split of ``frames``, to ``out``, which is returned. ``identity`` None: no map, as the old one was of others."""
    spec, learnt = Spec.read(encoder), _learnt(frames)
    network = build_embedder(spec.architecture, spec.architecture_kwargs, spec.head)
    network.load_state_dict(load_file(encoder / WEIGHTS))
    backbone = network.get_submodule("backbone") if spec.head else network
    embedder, described = _with_head(backbone, _Input.of_spec(spec), learnt, head)
    training = {**spec.training, **_fitting(head)}
    return _publish(embedder, _Input.of_spec(spec), described, training, out, _identity_fit(learnt, identity))


def _learnt(frames: Path) -> Frames:
    """The frames that are learnt from."""
    everything = Frames.open(frames)
    learnt = everything.select(everything.split == "train")
    if not len(learnt):
        raise InvalidValueError("frames", str(frames), "frames with a train split, which head and identity map are of")
    return learnt


def _fitting(head: HeadConfig) -> dict[str, Any]:
    """What the manifest says beside the layers; nothing of a head that has none."""
    return {"whitening_power": head.power, "pose_steps": head.pose_steps} if head.layers else {}


def _identity_fit(frames: Frames, config: IdentityConfig | None) -> _IdentityFit:
    """What fits an identity map to an encoder's draft, or None where none is wanted."""
    return (lambda draft: identity_map(draft, frames, config)) if config else _no_identity


def _with_head(
    backbone: nn.Module, taken: _Input, frames: Frames, head: HeadConfig
) -> tuple[nn.Module, dict[str, Any]]:
    """The backbone with a head fitted to it, and the head as the artefact's manifest has it."""
    if not head.layers:
        return backbone, {}
    weight, bias = fit_head(backbone, frames, taken.input_size, head)
    described = {"layers": dict(head.layers), "dimension": len(weight)}
    embedder = build_embedder(taken.architecture, taken.kwargs, described)
    embedder.load_state_dict(
        {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
        | {"whiten.weight": weight, "whiten.bias": bias}
    )
    return embedder, described


def export_pretrained(out: Path, source: Path = PRETRAINED) -> Path:
    """Writes the encoder artefact ``out``, which is returned, of the weights in ``source``: those that ship."""
    spec = Spec.read(source)
    network = build_embedder(spec.architecture, spec.architecture_kwargs, spec.head)
    network.load_state_dict(load_file(source / WEIGHTS))
    return _publish(network, _Input.of_spec(spec), spec.head, spec.training, out, lambda _: read_identity_map(source))


def export_public(architecture: str, weights: str, out: Path, input_size: int | None = None) -> Path:
    """Writes a public encoder (``trainer.public``), its pooled features as the embedding, as artefact ``out``."""
    public = public_encoder(architecture, weights, input_size)
    taken = _Input(public.architecture, public.input_size, public.kwargs, public.mean, public.std)
    return _publish(public.network, taken, {}, {"public": public.architecture, "weights": Path(weights).name}, out)


def export_random(config: TrainConfig, out: Path, seed: int) -> Path:
    """Writes a randomly initialised encoder of ``config``'s architecture: the baseline before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(config.architecture)
    return _publish(backbone, _Input.of(config), {}, {"random_seed": seed}, out)


def export_untrained(encoder: Path, out: Path, seed: int) -> Path:
    """Writes the network of the artefact ``encoder`` as it was before any training, without its head, to ``out``."""
    spec = Spec.read(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(spec.architecture, **spec.architecture_kwargs)
    return _publish(backbone, _Input.of_spec(spec), {}, {"random_seed": seed}, out)


@dataclass(frozen=True)
class _Input:
    """Which network it is, and what it is given."""

    architecture: str
    input_size: int
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @classmethod
    def of(cls, config: TrainConfig) -> _Input:
        return cls(config.architecture, config.input_size)

    @classmethod
    def of_spec(cls, spec: Spec) -> _Input:
        return cls(spec.architecture, spec.input_size, spec.architecture_kwargs, tuple(spec.mean), tuple(spec.std))


def _no_identity(_: Path) -> None:
    return None


def _publish(
    network: nn.Module,
    taken: _Input,
    head: Mapping[str, Any],
    training: Mapping[str, Any],
    out: Path,
    identity: _IdentityFit = _no_identity,
) -> Path:
    """Writes the artefact to ``out``; ``identity`` fits its identity map to the rest of it."""
    with _replacing(out) as draft:
        _write(network, taken, head, training, draft)
        _add_identity(draft, identity(draft))
    return out


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """An empty folder beside ``out`` that is renamed to it at the end."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        draft, replaced = Path(beside) / "new", Path(beside) / "old"
        draft.mkdir()
        yield draft
        if out.exists():
            out.rename(replaced)
        draft.rename(out)


def _add_identity(folder: Path, identity: NDArray[np.float32] | None) -> None:
    """Completes an artefact that has none by an identity map, where there is one."""
    if identity is None:
        return
    np.save(folder / IDENTITY, identity, allow_pickle=False)
    spec = Spec.read(folder)
    dataclasses.replace(spec, files={**spec.files, IDENTITY: file_digest(folder / IDENTITY)}).write(folder)


def _write(
    network: nn.Module, taken: _Input, head: Mapping[str, Any], training: Mapping[str, Any], folder: Path
) -> None:
    # Half precision moves a vector by less than 1e-3 and halves the file. Batch norm's vectors stay float32: their
    # range is not bounded. The graph is made from the rounded weights, so that both runtimes compute with the same.
    weights = {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in network.state_dict().items()}
    network.load_state_dict(weights)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / WEIGHTS)
    graph = _graph(_Embedding(network, taken).eval(), taken.input_size)
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=True)
    Spec(
        architecture=taken.architecture,
        architecture_kwargs=dict(taken.kwargs),
        input_size=taken.input_size,
        dimension=int(graph.output(0).partial_shape[1].get_length()),
        mean=taken.mean,
        std=taken.std,
        training=training,
        files={name: file_digest(folder / name) for name in (WEIGHTS, GRAPH, GRAPH_WEIGHTS)},
        head=head,
    ).write(folder)


class _Embedding(nn.Module):
    """Pixels to unit vectors, as one module to convert."""

    def __init__(self, backbone: nn.Module, taken: _Input) -> None:
        super().__init__()
        self.backbone, self._mean, self._std = backbone, taken.mean, taken.std

    def forward(self, crops: Tensor) -> Tensor:
        return unit_features(self.backbone, crops, self._mean, self._std)


def _graph(module: nn.Module, size: int) -> openvino.Model:
    """The module as OpenVINO model, (n, size, size, 3) uint8 -> (n, d) float32 for any n.

    By the frontend itself: ``openvino.convert_model`` does the same and reports its use over the network.
    """
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with torch.no_grad(), _quiet():
        program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("n")},))
        decoder = TorchFXPythonDecoder.from_exported_program(program)
    frontend = FrontEndManager().load_by_framework("pytorch")
    graph = frontend.convert(frontend.load(decoder))
    graph.reshape([-1, size, size, 3])
    # The names given on the way count up from export to export; without them the same weights give the same bytes.
    graph.set_friendly_name("encoder")
    for number, node in enumerate(graph.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{number}")
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the root logger: the decoder logs a traceback there for each operation that PyTorch has renamed."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # else the first message would install a handler
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        root.removeHandler(silent)
