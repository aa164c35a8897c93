"""The encoder: a crop's pixels in, a unit vector out. It owns its preprocessing, so trainer and service cannot differ.

The artefact is a folder::

    encoder.json           format, version, architecture, input size, mean/std, training config, sha256 of each file
    weights.safetensors    the backbone's weights (matrices and kernels in float16, the rest in float32)
    graph.xml, graph.bin   the same network as OpenVINO IR: (n, s, s, 3) uint8 RGB -> (n, d) float32 unit rows
    identity.npy           optional, (e, d) float32: maps vectors to those that tell objects apart (index.identity)

OpenVINO runs it on a CPU without PyTorch; PyTorch runs it on a GPU. One without the graph, as the encoder that ships
with ``trainer``, runs in PyTorch alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from index.schema import CorruptArtifactError, ForeignArtifactError, InvalidValueError, clipped_rect

if TYPE_CHECKING:
    import openvino

logger = logging.getLogger(__name__)

FORMAT = "nearpose-encoder"
VERSION = 1
MANIFEST = "encoder.json"
WEIGHTS = "weights.safetensors"
GRAPH = "graph.xml"
GRAPH_WEIGHTS = "graph.bin"
IDENTITY = "identity.npy"

Device = Literal["auto", "openvino", "openvino-bf16", "cuda", "torch-cpu"]
DEVICES: tuple[Device, ...] = get_args(Device)

# A pass that is longer on one core is split over all of them, whoever calls. Of a shorter one threads would wait for
# each other more than they work, and keep the cores from everything else meanwhile.
_WORTH_ALL_CORES_S = 0.005

# Activations of a whole index build would not fit; beyond this batch nothing gets faster.
_CHUNK = 64

Crops = NDArray[np.uint8]
Vectors = NDArray[np.float32]


def letterbox(image: NDArray[np.uint8], rect: Sequence[float], size: int) -> Crops:
    """The picture inside ``rect``: longest side scaled to ``size``, centred, black around. (size, size, 3) uint8.

    image: (h, w, 3) uint8 RGB. rect: pixels of the image; black where it sticks out of the image.
    Source: paper section 3.3 (the crop is the bounding rectangle of the projected box), padded as in its code.
    Raises InvalidValueError when the rect is empty or has less than one pixel inside the image.
    """
    x0, y0, x1, y1 = (float(v) for v in rect)
    side = max(x1 - x0, y1 - y0)
    if not (x0 < x1 and y0 < y1 and math.isfinite(side)):
        raise InvalidValueError("rect", tuple(rect), "finite, with x0 < x1 and y0 < y1")
    left, top, right, bottom = clipped_rect((x0, y0, x1, y1), image.shape[1], image.shape[0])
    scale = size / side
    dst_x0, dst_y0 = (size - (x1 - x0) * scale) / 2, (size - (y1 - y0) * scale) / 2
    crop: Crops = np.zeros((size, size, 3), np.uint8)
    target = crop[
        _span(dst_y0 + (top - y0) * scale, dst_y0 + (bottom - y0) * scale, size),
        _span(dst_x0 + (left - x0) * scale, dst_x0 + (right - x0) * scale, size),
    ]
    part = image[_span(top, bottom, image.shape[0]), _span(left, right, image.shape[1])]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    target[:] = cv2.resize(part, target.shape[1::-1], interpolation=how)
    return crop


def _span(start: float, stop: float, bound: int) -> slice:
    """The whole pixels nearest to [start, stop], at least one of the ``bound`` there are."""
    first = min(round(start), bound - 1)
    return slice(first, max(first + 1, round(stop)))


class Encoder(Protocol):
    """What ``open_encoder`` returns. Safe to use from several threads at once."""

    @property
    def input_size(self) -> int:
        """Side of a crop in pixels."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def digest(self) -> str:
        """sha256 (hex) over all that determines the vectors; an index stores it and refuses another."""

    def crop(self, image: NDArray[np.uint8], rect: Sequence[float]) -> Crops:
        """(h, w, 3) uint8 RGB and a rect in its pixels -> (s, s, 3) uint8, see ``letterbox``."""

    def embed(self, crops: Crops) -> Vectors:
        """(n, s, s, 3) uint8 RGB -> (n, d) float32 unit rows; n = 0 gives (0, d)."""


@dataclass(frozen=True)
class Spec:
    """What encoder.json says, apart from format and version."""

    architecture: str
    architecture_kwargs: Mapping[str, Any]
    input_size: int
    dimension: int
    mean: tuple[float, ...]  # per channel, RGB, of pixels in [0, 1]
    std: tuple[float, ...]
    training: Mapping[str, Any]  # how it was trained; for people, not for the runtimes
    files: Mapping[str, str]  # file name -> sha256
    head: Mapping[str, Any] = field(default_factory=dict)  # index.backbone.build_embedder; empty: pooled features

    @property
    def digest(self) -> str:
        """sha256 over all that determines the vectors: everything but ``training``, and ``head`` where there is one."""
        skipped = ("training",) if self.head else ("training", "head")
        determining = {name: value for name, value in asdict(self).items() if name not in skipped}
        return hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``folder/encoder.json``."""
        manifest = {"format": FORMAT, "version": VERSION, "digest": self.digest, **asdict(self)}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Spec:
        """Read ``folder/encoder.json`` and check every file that it names.

        Raises CorruptArtifactError or ForeignArtifactError, naming the file.
        """
        spec = cls._parse(folder / MANIFEST)
        for name, expected in spec.files.items():
            if file_digest(folder / name) != expected:
                raise CorruptArtifactError(folder / name, f"its sha256 is not the one that {MANIFEST} states")
        return spec

    @classmethod
    def _parse(cls, path: Path) -> Spec:
        try:
            manifest = json.loads(path.read_bytes())
        except OSError as error:
            raise CorruptArtifactError(path, f"cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise CorruptArtifactError(path, f"is not JSON ({error})") from error
        if not isinstance(manifest, dict) or manifest.pop("format", None) != FORMAT:
            raise ForeignArtifactError(path, f"is not the manifest of a {FORMAT}")
        if (version := manifest.pop("version", None)) != VERSION:
            raise ForeignArtifactError(path, f"has format version {version!r}; this nearpose reads {VERSION}")
        digest = manifest.pop("digest", None)
        try:
            spec = cls(**manifest)
        except TypeError as error:
            raise CorruptArtifactError(path, f"lacks a field or has one too many ({error})") from error
        if spec.digest != digest or set(spec.files) - {IDENTITY} not in ({WEIGHTS}, {WEIGHTS, GRAPH, GRAPH_WEIGHTS}):
            raise CorruptArtifactError(path, "does not agree with the digest that it states")
        return spec


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file, or CorruptArtifactError when it is missing."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorruptArtifactError(path, f"cannot be read ({error.strerror})") from error


class _Runtime:
    """What both runtimes share: the spec, the crop, the checks and the chunks."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self.input_size, self.dimension, self.digest = spec.input_size, spec.dimension, spec.digest

    def crop(self, image: NDArray[np.uint8], rect: Sequence[float]) -> Crops:
        return letterbox(image, rect, self.input_size)

    def embed(self, crops: Crops) -> Vectors:
        side = self.input_size
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (side, side, 3):
            raise InvalidValueError("crops", f"{crops.shape} {crops.dtype}", f"(n, {side}, {side}, 3) uint8")
        chunks = [self._embed(crops[i : i + _CHUNK]) for i in range(0, len(crops), _CHUNK)]
        return np.concatenate([np.empty((0, self.dimension), np.float32), *chunks])

    def _embed(self, crops: Crops) -> Vectors:
        raise NotImplementedError


class _OpenVinoRuntime(_Runtime):
    def __init__(self, spec: Spec, folder: Path, many_callers: bool, bfloat16: bool) -> None:
        super().__init__(spec)
        if GRAPH not in spec.files:
            raise ForeignArtifactError(folder, "holds weights alone: export it for the CPU (python -m trainer export)")
        precision = "bf16" if bfloat16 and _takes_bfloat16() else "f32"
        self._model = _compiled(folder / GRAPH, precision, all_cores=not many_callers)
        pixels = np.zeros((1, spec.input_size, spec.input_size, 3), np.uint8)
        if many_callers and _fastest(self._model, pixels) > _WORTH_ALL_CORES_S:
            self._model = _compiled(folder / GRAPH, precision, all_cores=True)

    def _embed(self, crops: Crops) -> Vectors:
        # A request holds the inputs and outputs of one call; making one takes 15 µs and keeps threads apart.
        request = self._model.create_infer_request()
        vectors: Vectors = request.infer(np.ascontiguousarray(crops))[0]
        return vectors.copy()


def _compiled(graph: Path, precision: str, *, all_cores: bool) -> openvino.CompiledModel:
    """The network for this CPU: a pass runs on all cores, or on the calling thread alone."""
    import openvino as ov

    # Said in any case: where the CPU has bfloat16 it would be chosen, and vectors would differ from machine to machine.
    options: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": precision}
    # Without streams there is no thread to wake: the caller's own does the work.
    options |= {"PERFORMANCE_HINT": "LATENCY"} if all_cores else {"NUM_STREAMS": 0, "INFERENCE_NUM_THREADS": 1}
    return ov.Core().compile_model(graph, "CPU", options)


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU."""
    import openvino as ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _takes_bfloat16() -> bool:
    has = has_bfloat16()
    if not has:
        logger.warning("device openvino-bf16: this CPU has no bfloat16, the encoder runs in float32")
    return has


def _fastest(model: openvino.CompiledModel, pixels: Crops) -> float:
    """Seconds of a pass: the least of some, since everything else on the machine only adds to it."""
    request = model.create_infer_request()
    moments = [time.perf_counter()]
    for _ in range(6):
        request.infer(pixels)
        moments.append(time.perf_counter())
    return float(np.diff(moments).min())


class _TorchRuntime(_Runtime):
    def __init__(self, spec: Spec, folder: Path, device: str) -> None:
        import torch
        from safetensors.torch import load_file

        from index.backbone import build_embedder

        super().__init__(spec)
        backbone = build_embedder(spec.architecture, spec.architecture_kwargs, spec.head)
        backbone.load_state_dict(load_file(folder / WEIGHTS))
        self._backbone = backbone.eval().to(torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    def _embed(self, crops: Crops) -> Vectors:
        import torch

        from index.backbone import unit_features

        pixels = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device)
        with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=self._device == "cuda"):
            vectors: Vectors = unit_features(self._backbone, pixels, self._spec.mean, self._spec.std).cpu().numpy()
        return vectors


def open_encoder(path: Path, device: str = "auto", *, many_callers: bool = False) -> Encoder:
    """Open the artefact in folder ``path``, after checking all of it.

    Args:
        path: the folder.
        device: one of ``DEVICES``: ``openvino`` (CPU, float32), ``openvino-bf16`` (CPU, bfloat16 where it has that),
            ``cuda`` (PyTorch, bfloat16), ``torch-cpu`` (PyTorch, float32), or ``auto``: ``cuda`` where PyTorch finds a
            GPU, else ``openvino``.
        many_callers: threads call it at the same time, with few crops each, and do other work on the same cores.

    Raises:
        CorruptArtifactError, ForeignArtifactError: see there.
    """
    if device not in DEVICES:
        raise InvalidValueError("device", device, f"one of {', '.join(DEVICES)}")
    spec = Spec.read(Path(path))
    if device == "auto":
        device = "cuda" if _has_cuda() else "openvino"
    if device.startswith("openvino"):
        return _OpenVinoRuntime(spec, Path(path), many_callers, device == "openvino-bf16")
    return _TorchRuntime(spec, Path(path), device.removeprefix("torch-"))


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
