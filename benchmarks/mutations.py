"""Files and forms that someone wants to break the service with: damaged, lying about themselves, or only odd.

Every function takes a random generator and gives bytes; ``PICTURES`` and ``BODIES`` name them. The names of the results
are those of the kinds.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from PIL import Image

from tests.scenes import standing_frame
from tests.service_fixtures import picture_of, query_fields

QUERY = standing_frame(azimuth=0.45, category="shoe")
FIELDS = query_fields(QUERY)
_CAMERA = json.dumps({"fx": 500, "fy": 500, "cx": 60, "cy": 80})  # of any picture
_RECT = "[10, 10, 110, 150]"  # within every sound one
_PNG = b"\x89PNG\r\n\x1a\n"


@cache
def _sound() -> tuple[bytes, ...]:
    """Files that are sound, of every kind that is read."""
    picture = Image.fromarray(picture_of(QUERY))
    small = picture.resize((120, 160))
    tags = Image.Exif()
    tags[0x0112] = 6
    kinds = [
        (picture, "JPEG", {}),
        (picture, "JPEG", {"progressive": True, "exif": tags}),
        (picture.convert("L"), "JPEG", {}),
        (picture.convert("CMYK"), "JPEG", {}),
        (small, "PNG", {"exif": tags}),
        (small.convert("P"), "PNG", {}),
        (small.convert("RGBA"), "PNG", {}),
        (small.convert("1"), "PNG", {}),
        (small, "WEBP", {"exif": tags}),
        (small, "WEBP", {"lossless": True}),
        (small, "WEBP", {"save_all": True, "append_images": [small.rotate(90)]}),
    ]
    return tuple(_file(*kind) for kind in kinds)


def _file(picture: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def sound(random: Random) -> bytes:
    return random.choice(_sound())


def flipped(random: Random) -> bytes:
    """Up to 16 bits turned, mostly in the headers."""
    data = bytearray(sound(random))
    for _ in range(random.randint(1, 16)):
        at = random.randrange(min(len(data), random.choice([64, 700, len(data)])))
        data[at] ^= 1 << random.randrange(8)
    return bytes(data)


def overwritten(random: Random) -> bytes:
    """A run of bytes replaced by the values that lengths break at."""
    data = bytearray(sound(random))
    at = random.randrange(len(data))
    data[at : at + 4] = random.choice(
        [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1"]
    )
    return bytes(data)


def truncated(random: Random) -> bytes:
    data = sound(random)
    return data[: random.randrange(len(data))]


def spliced(random: Random) -> bytes:
    """The head of one file before the body of another."""
    head, body = sound(random), sound(random)
    return head[: random.randrange(4, 700)] + body[random.randrange(len(body)) :]


def doubled(random: Random) -> bytes:
    """A part of a file twice."""
    data = sound(random)
    start, end = sorted(random.randrange(len(data)) for _ in range(2))
    return data[:end] + data[start:]


def noise(random: Random) -> bytes:
    magic = random.choice(
        [b"", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", _PNG, b"RIFF\xff\xff\xff\xffWEBPVP8X", b"RIFF"]
    )
    return magic + random.randbytes(random.randrange(2000))


def foreign(random: Random) -> bytes:
    """Formats that Pillow knows and the service does not take."""
    picture = Image.fromarray(picture_of(QUERY)[::4, ::4])
    return _file(picture, random.choice(["GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "PDF"]), {})


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, depth: int, colour: int, data: bytes, extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return _PNG + _chunk(b"IHDR", head) + extra + _chunk(b"IDAT", zlib.compress(data, 9)) + _chunk(b"IEND", b"")


def huge(random: Random) -> bytes:
    """Dimensions that no memory holds, in headers that are sound otherwise."""
    width, height = (random.choice([1, 8, 65535, 65536, 2**24 - 1, 2**31 - 1, 2**32 - 1]) for _ in range(2))
    kind = random.randrange(3)
    if kind == 0:
        return _png(width, height, 8, 2, b"\0" * 100)
    if kind == 1:
        data = bytearray(_sound()[0])
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
        return bytes(data)
    canvas = (width - 1 & 0xFFFFFF).to_bytes(3, "little") + (height - 1 & 0xFFFFFF).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + canvas + _sound()[8][12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _expensive(random: Random) -> bytes:
    depth, colour = random.choice([(1, 0), (8, 0), (8, 2), (8, 3), (16, 2), (8, 6), (16, 6), (16, 0)])
    side = random.choice([1000, 3000, 7000, 20000])
    bits = depth * {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    data = bytes((side * bits // 8 + 1) * min(side, 7100))
    palette = _chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    return _png(side, side, depth, colour, data, palette)


@cache
def _bombs() -> tuple[bytes, ...]:
    """Small files that are large once they are unpacked: just inside and far outside of the bound on pixels."""
    random = Random(0)
    return tuple({_expensive(random) for _ in range(40)})


def bomb(random: Random) -> bytes:
    return random.choice(_bombs())


def text_bomb(random: Random) -> bytes:
    """A PNG whose text or colour profile unpacks to many megabytes."""
    packed = zlib.compress(bytes(random.choice([10**6, 60 * 10**6])), 9)
    name = random.choice([b"zTXt", b"iCCP", b"iTXt"])
    data = b"key\0\1\0\0\0" + packed if name == b"iTXt" else b"key\0\0" + packed
    return _png(16, 16, 8, 0, bytes(17 * 16), _chunk(name, data) * random.choice([1, 3]))


def exif_bomb(random: Random) -> bytes:
    """EXIF that loops, counts to four billion, or has a directory in a directory in a directory."""
    order = random.choice(["<", ">"])
    count = random.choice([1, 40, 0xFFFF])
    entries = b"".join(
        struct.pack(
            f"{order}HHII",
            random.choice([0x0112, 0x8769, 0x8825, 0xA005, 0x927C, random.randrange(65536)]),
            random.randrange(20),
            random.choice([0, 1, 2**16, 2**31, 2**32 - 1]),
            random.choice([0, 8, 26, 2**31, 2**32 - 1, random.randrange(200)]),
        )
        for _ in range(min(count, 40))
    )
    directory = struct.pack(f"{order}H", count) + entries + struct.pack(f"{order}I", random.choice([0, 8, 2**32 - 1]))
    tiff = (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(f"{order}I", random.choice([8, 0, 2**32 - 1]))
        + directory
    )
    segment = b"Exif\0\0" + (tiff + random.randbytes(random.choice([0, 60000])))[:65000]
    app1 = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    return _sound()[0][:2] + app1 * random.choice([1, 20]) + _sound()[0][2:]


PICTURES: dict[str, Callable[[Random], bytes]] = {
    f.__name__.strip("_"): f
    for f in (
        sound, flipped, overwritten, truncated, spliced, doubled, noise, foreign, huge, bomb, text_bomb, exif_bomb
    )
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """A body, and the content type that it is sent with."""

    body: bytes
    content_type: str = "multipart/form-data; boundary=b"


def form_of(image: bytes, fields: list[tuple[str, str | bytes]], name: str = "image") -> Form:
    """A form like those of real clients."""
    parts = [_part(name, image, '; filename="upload.jpg"')] + [_part(key, value) for key, value in fields]
    return Form(b"".join(parts) + b"--b--\r\n")


def _part(name: str, value: str | bytes, more: str = "", headers: bytes = b"") -> bytes:
    value = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n'.encode("utf-8", "surrogatepass")
    return head + headers + b"\r\n" + value + b"\r\n"


def fields_of(random: Random) -> list[tuple[str, str | bytes]]:
    """The fields of a good query: for the large pictures, or for all."""
    if random.random() < 0.5:
        return [("camera", FIELDS["camera"]), ("plane", FIELDS["plane"]), ("rect", FIELDS["rect"][0])]
    return [("camera", _CAMERA), *[("rect", _RECT)] * random.choice([1, 3])]


def odd_values(random: Random) -> Form:
    """A good form, with values that break parsers of numbers and of JSON."""
    deep = random.choice([50, 1000, 100_000])
    values: list[str | bytes] = [
        "[" * deep, "[" * deep + "]" * deep, '{"fx":' * deep, "9" * 5000, "1e999", "-0", "NaN", "[NaN,0,1,1]", "null",
        "{}", "[]", "", "\0", "\ud800", b"\xff\xfe", "[1,2,3,4" + "0" * 400 + "]", "1" + "0" * 400, '"', "true",
        json.dumps({"fx": 1e308, "fy": 1e308, "cx": 0, "cy": 0}), "{}{}", "[[[[]]]]",
        json.dumps({"normal": [1e-320] * 3, "point": [1e6] * 3}),
        json.dumps({"fx": 500, "fy": 500, "cx": 240, "cy": 320, "width": 10**30, "height": 1}), "x" * 100_000,
        '{"fx":1,"fx":2,"fy":1,"cx":1,"cy":1}', "[0,0,480,640]", "[0,0,1,1]", "[479,639,480,640]", "💥",
    ]  # fmt: skip
    names = (
        "camera",
        "plane",
        "rect",
        "up",
        "k",
        "category",
        "fit",
        "image_is",
        "world_from_camera",
        "image",
        "nothing",
        "",
    )
    fields = fields_of(random)
    for _ in range(random.randint(1, 3)):
        name, value = random.choice(names), random.choice(values)
        fields = [field for field in fields if field[0] != name or random.random() < 0.2] + [(name, value)]
    random.shuffle(fields)
    return form_of(_sound()[0], fields)


def odd_frame(random: Random) -> Form:
    """Multipart that is not quite multipart."""
    good = form_of(_sound()[0], fields_of(random))
    body, kind = good.body, random.randrange(14)
    if kind == 0:
        return Form(
            body, random.choice(["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; b=b"])
        )
    if kind == 1:
        return Form(body, f"multipart/form-data; boundary={'x' * random.choice([1, 70, 5000])}")
    if kind == 2:
        return Form(body[: random.randrange(len(body))])
    if kind == 3:
        return Form(body.replace(b"\r\n", random.choice([b"\n", b"\r", b""])))
    if kind == 4:
        return Form(_part("image", body, '; filename="a"', b"Content-Type: multipart/mixed; boundary=b\r\n") + body)
    if kind == 5:
        return Form(
            b"".join(_part("image", _sound()[0], '; filename="a"') for _ in range(random.choice([2, 20]))) + body
        )
    if kind == 6:
        return Form(_part("k", "5", "", b"X-Long: " + b"a" * random.choice([100, 10_000, 200_000]) + b"\r\n") + body)
    if kind == 7:
        return Form(_part("k", "5", "", b"X-Many: a\r\n" * random.choice([10, 3000])) + body)
    if kind == 8:
        return Form(b"".join(_part(f"f{i}", "") for i in range(random.choice([10, 1500]))) + body)
    if kind == 9:
        return Form(_part("n" * random.choice([1000, 100_000]), "5") + body)
    if kind == 10:
        name = random.choice(['a"; name="b', "\0", "ä\ud800", "../../x", "%00", "\r\nX: y"])
        return Form(_part("image", _sound()[0], f'; filename="{name}"') + body)
    if kind == 11:
        encoding = random.choice([b"base64", b"quoted-printable", b"7bit", b"nonsense"])
        return Form(_part("k", "NQ==", "", b"Content-Transfer-Encoding: " + encoding + b"\r\n") + body)
    if kind == 12:
        return Form(random.randbytes(random.randrange(5000)) + body + random.randbytes(100))
    return Form(
        body, random.choice(["", "text/plain", "application/json", "multipart/mixed; boundary=b", "a" * 5000, "/;=;"])
    )


def flipped_form(random: Random) -> Form:
    """A good form with some of its bytes changed."""
    data = bytearray(form_of(_sound()[8], fields_of(random)).body)
    for _ in range(random.randint(1, 12)):
        data[random.randrange(len(data))] = random.randrange(256)
    return Form(bytes(data))


def views(random: Random) -> Form:
    """Several pictures of several kinds, with more or fewer rects and poses than there are pictures."""
    kinds = ("sound", "sound", "sound", "sound", "flipped", "truncated")
    images = [PICTURES[random.choice(kinds)](random) for _ in range(random.choice([1, 2, 2, 2, 3, 16, 17]))]
    parts = [_part("image", image, '; filename="a"') for image in images]
    fitting = random.random() < 0.8
    for name, value in (("rect", _RECT), ("world_from_camera", json.dumps(np.eye(4).tolist()))):
        parts += [_part(name, value)] * (len(images) if fitting else random.randrange(20))
    return Form(b"".join([_part("camera", _CAMERA), *parts]) + b"--b--\r\n")


BODIES: dict[str, Callable[[Random], Form]] = {f.__name__: f for f in (odd_values, odd_frame, flipped_form, views)}
