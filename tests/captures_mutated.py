"""Capture files that were damaged or that lie: ``capture.json`` and ``.pbdata``, made of sound ones."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.captures_scene import annotate, capture_document, orbit
from trainer.captures.protos.annotation_data_pb2 import Sequence

POSES = orbit(4)
_DOCUMENT = capture_document(POSES)
_SEQUENCE = Sequence.FromString(annotate(POSES))

# fmt: off
_ODD: list[Any] = [
    None, True, False, 0, -1, 1, 5e-324, 1e-300, 1e300, -1e300, float("nan"), float("inf"), 2**31, 2**63, 10**400, 0.5,
    "", "x", "\0", "../../../etc/passwd", "a" * 5000, "\ud800", ".", "/dev/zero", "0001.jpg", "opencv", "arkit", "1",
    [], [1, 2], [0, 0, 0], [0, 0, 0, 0], [[1, 0, 0, 0]] * 4, [[0, 0, 0]] * 3, {}, {"mug-17": [0, 0, 1, 1]}, {"x": {}},
]
_ODD_FLOATS = [float("nan"), float("inf"), -1.0, 0.0, 1e-40, 3.4e38, -3.4e38, 0.5]
_ODD_INTEGERS = [0, 1, -1, 2**31 - 1, -(2**31), 7]
# fmt: on


def damaged(data: bytes, random: Random) -> bytes:
    """Bits turned, bytes cut out, put in twice or replaced; or nothing but the first part."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        at, end = sorted(random.randrange(len(changed) + 1) for _ in range(2))
        match random.randrange(6):
            case 0 | 1 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 2:
                changed[at:at] = random.randbytes(random.randint(1, 6))
            case 3:
                del changed[at : min(end, at + 20)]
            case 4:
                changed[at:at] = changed[at : min(end, at + 200)]
            case 5 if random.random() < 0.2:
                del changed[at:]
    return bytes(changed)


def capture_json(random: Random) -> bytes:
    """A ``capture.json`` with some of its values replaced, left out or doubled; or with damaged bytes."""
    document = changed(copy.deepcopy(_DOCUMENT), random)
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    match random.randrange(8):
        case 0:
            return damaged(text, random)
        case 1:
            return text.replace(b"[", b"[" * random.choice([2, 1000, 100_000]), 1)
        case _:
            return text


def changed(document: Any, random: Random) -> Any:
    """``document`` with up to three of its values replaced, left out or doubled."""
    for _ in range(random.randint(0, 3)):
        _change_json(document, random)
    return document


def _change_json(document: Any, random: Random) -> None:
    holder, key = random.choice(list(_places(document)))
    match random.randrange(5):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[random.choice(["nonsense", "box", "rects", "index", "video", "time_s", "world_from_camera"])] = (
                holder[key]
            )
        case 2 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[random.randrange(len(holder))]))
        case 3 if isinstance(holder[key], float):
            holder[key] *= random.choice([-1, 0, 1 + 1e-4, 1e6, 1e-6, 1e200])
        case _:
            holder[key] = copy.deepcopy(random.choice(_ODD))


def _places(node: Any):
    """Every (holder, key) in a JSON document."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def pbdata(random: Random) -> bytes:
    """A ``.pbdata`` file with some of its fields replaced or cleared; or with damaged bytes."""
    sequence = Sequence()
    sequence.CopyFrom(_SEQUENCE)
    for _ in range(random.randint(0, 4)):
        _change_message(sequence, random)
    data = sequence.SerializeToString()
    return damaged(data, random) if data and random.randrange(3) == 0 else data


def _change_message(message: Message, random: Random) -> None:
    """Goes down to some field of ``message`` and changes it."""
    fields = [field for field, _ in message.ListFields()] or list(message.DESCRIPTOR.fields)
    field = random.choice(fields)
    value = getattr(message, field.name)
    if random.random() < 0.1:
        message.ClearField(field.name)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        inner = value if not field.is_repeated else (value[random.randrange(len(value))] if value else value.add())
        if field.is_repeated and random.random() < 0.1:
            value.add().CopyFrom(inner)
        _change_message(inner, random)
    else:
        odd = _odd_scalar(field, random)
        if not field.is_repeated:
            setattr(message, field.name, odd)
        elif random.random() < 0.3 or not value:
            value.append(odd)
        else:
            value[random.randrange(len(value))] = odd


def _odd_scalar(field: FieldDescriptor, random: Random) -> Any:
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return random.choice(_ODD_FLOATS)
    if field.type == FieldDescriptor.TYPE_STRING:
        return random.choice(["", "x", "../x", "\0"])
    if field.type == FieldDescriptor.TYPE_ENUM:
        return random.choice(field.enum_type.values).number
    if field.type == FieldDescriptor.TYPE_BOOL:
        return random.random() < 0.5
    unsigned = field.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64)
    return abs(random.choice(_ODD_INTEGERS)) if unsigned else random.choice(_ODD_INTEGERS)
