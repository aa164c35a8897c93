"""Points of a capture's world, as the PLY file ``points.ply`` beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.capture import CaptureError
from index.schema import Array

POINTS = "points.ply"

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_LONGEST_HEAD = 2**14
_END = b"end_header\n"


def ply(points: Array) -> bytes:
    """Points (n, 3) as a binary PLY file, which viewers of point clouds open."""
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{properties}end_header\n"
    return header.encode() + np.ascontiguousarray(points, "<f4").tobytes()


def read_points(path: Path, most: int) -> tuple[Array, NDArray[np.uint8] | None]:
    """``most`` points (n, 3) of a binary PLY file, evenly from all of it, and their colours (n, 3) RGB, None for none.

    Points that are not finite are left out. Raises CaptureError when it is no such file.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEAD)
    count, fields = _described(path, head)
    start = head.index(_END) + len(_END)
    if path.stat().st_size < start + count * fields.itemsize:
        raise CaptureError(path, "truncated")
    if count == 0:
        return np.empty((0, 3)), None
    vertices = np.memmap(path, fields, "r", start, (count,))[:: -(-count // most)]
    points = np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=1)
    finite = np.isfinite(points).all(axis=1)
    if not {"red", "green", "blue"} <= set(fields.names or ()):
        return points[finite], None
    return points[finite], np.stack([vertices[name].astype(np.uint8) for name in ("red", "green", "blue")], 1)[finite]


def _described(path: Path, head: bytes) -> tuple[int, np.dtype[np.void]]:
    """How many vertices there are, and of what each consists."""
    lines = [line.split() for line in head.partition(_END)[0].decode("ascii", "replace").splitlines()]
    elements = [k for k, words in enumerate(lines) if words[:1] == ["element"]] + [len(lines)]
    try:
        if _END not in head or lines[0] != ["ply"] or lines[1] != ["format", "binary_little_endian", "1.0"]:
            raise ValueError
        _, name, count = lines[elements[0]]
        properties = [words for words in lines[elements[0] : elements[1]] if words[0] == "property"]
        fields = np.dtype([(words[2], f"<{_TYPES[words[1]]}") for words in properties])
        if name != "vertex" or not {"x", "y", "z"} <= set(fields.names or ()) or int(count) < 0:
            raise ValueError
    except (ValueError, IndexError, KeyError, TypeError):
        raise CaptureError(path, "not a binary, little-endian PLY file that begins with its vertices") from None
    return int(count), fields
