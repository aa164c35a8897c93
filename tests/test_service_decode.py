"""From a file's bytes to upright RGB pixels, and the files that are refused."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from index.encoder import letterbox
from index.schema import ImageError, InvalidValueError
from service.decode import decode

MAX_PIXELS = 1_000_000
SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (48, 36, 3), dtype=np.uint8), (0, 0), 3)


def file_of(image: Image.Image, format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png_that_declares(width: int, height: int) -> bytes:
    """A well-formed PNG header of any size, in front of a few bytes of data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_those_of_the_reference_reader(format, mode):
    data = file_of(Image.fromarray(SMOOTH).convert(mode), format)
    picture = decode(data, MAX_PIXELS)
    assert np.array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert (picture.width, picture.height) == (36, 48)
    assert picture.warnings == ()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_said(format, orientation):
    data = file_of(Image.fromarray(SMOOTH), format, exif=exif(orientation))
    picture = decode(data, MAX_PIXELS)
    assert np.array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
    assert [f"({orientation})" in warning for warning in picture.warnings] == ([] if orientation == 1 else [True])


def test_cmyk_becomes_rgb():
    picture = decode(file_of(Image.fromarray(SMOOTH).convert("CMYK"), quality=95), MAX_PIXELS)
    assert np.abs(picture.pixels.astype(int) - SMOOTH).mean() < 3
    assert "CMYK" in picture.warnings[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_eight(channels):
    deep = np.random.default_rng(0).integers(0, 2**16, (20, 30, channels)).astype(np.uint16)
    picture = decode(cv2.imencode(".png", deep)[1].tobytes(), MAX_PIXELS)
    assert np.array_equal(picture.pixels, np.broadcast_to(deep[:, :, ::-1] >> 8, (20, 30, 3)))
    assert "16 to 8 bits" in picture.warnings[0]


@pytest.mark.parametrize("mode", ["RGBA", "PA"])
def test_transparency_is_shown_on_white(mode):
    layered = Image.new("RGBA", (10, 12), (200, 0, 0, 255))
    layered.paste((0, 0, 0, 0), (0, 0, 5, 12))
    data = file_of(layered if mode == "RGBA" else layered.quantize(4), "PNG")
    picture = decode(data, MAX_PIXELS)
    assert (picture.pixels[:, :5] == 255).all()
    assert np.abs(picture.pixels[:, 5:].astype(int) - (200, 0, 0)).max() <= 1
    assert "white" in picture.warnings[0]


def test_an_opaque_alpha_channel_is_nothing_to_speak_of():
    picture = decode(file_of(Image.fromarray(SMOOTH).convert("RGBA"), "PNG"), MAX_PIXELS)
    assert np.array_equal(picture.pixels, SMOOTH)
    assert picture.warnings == ()


def test_the_first_picture_of_an_animation_is_taken():
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    data = file_of(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    picture = decode(data, MAX_PIXELS)
    assert (picture.pixels == (255, 0, 0)).all()
    assert "animation" in picture.warnings[0]


def test_bytes_behind_a_jpeg_do_no_harm():
    data = file_of(Image.fromarray(SMOOTH))
    assert np.array_equal(decode(data + b"trailer" * 100, MAX_PIXELS).pixels, decode(data, MAX_PIXELS).pixels)


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF holds a small JPEG of its own, end marker included."""
    jpeg, thumbnail = file_of(Image.fromarray(SMOOTH)), b"Exif\0\0" + file_of(Image.fromarray(SMOOTH[::4, ::4]))
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]


@pytest.mark.parametrize("kept", [0.5, 0.8, 0.98])
@pytest.mark.parametrize(
    "data",
    [
        file_of(Image.fromarray(SMOOTH)),
        file_of(Image.fromarray(SMOOTH), progressive=True),
        with_thumbnail(),
        file_of(Image.fromarray(SMOOTH), "PNG"),
        file_of(Image.fromarray(SMOOTH), "WEBP", lossless=True),
    ],
    ids=["jpeg", "progressive", "thumbnail", "png", "webp"],
)
def test_truncated_files_are_refused(data, kept):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow also warns of the broken EXIF
        decode(data, MAX_PIXELS)
        with pytest.raises(ImageError):
            decode(data[: int(len(data) * kept)], MAX_PIXELS)


def of_many_scans(mode: str, more: int) -> bytes:
    """A progressive JPEG whose last scan comes ``more`` times again, each time in a few bytes."""
    jpeg = file_of(Image.new(mode, (36, 48), 128 if mode == "L" else (9, 9, 9, 9)), progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    assert len(last) < 20
    return jpeg[:-2] + last * more + jpeg[-2:]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_that_is_gone_over_without_end_is_refused_before_it_is_decoded(mode):
    decode(of_many_scans(mode, 5), MAX_PIXELS)
    with pytest.raises(InvalidValueError, match=r"image: got 'a JPEG of 33 scans .* at most 32 scans"):
        decode(of_many_scans(mode, 40), MAX_PIXELS)


def test_a_jpeg_of_very_many_segments_is_refused():
    jpeg = file_of(Image.fromarray(SMOOTH))
    decode(jpeg[:2] + b"\xff\xfe\x00\x02" * 9_000 + jpeg[2:], MAX_PIXELS)
    with pytest.raises(InvalidValueError, match=r"10001 segments, or more', must be at most .* 10000 segments"):
        decode(jpeg[:2] + b"\xff\xfe\x00\x02" * 10_000 + jpeg[2:], MAX_PIXELS)


@pytest.mark.parametrize(
    "hidden_by", [b"\xff\xfe\x00\x04\xff\xd9", b"\xff\x01\xff\x00", b"\xff\x02\xff\x00", b"\xff\xff"]
)
def test_no_marker_hides_scans(hidden_by):
    data = of_many_scans("L", 40)
    start = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    with pytest.raises(InvalidValueError, match="at most 32 scans"):
        decode(data[:start] + hidden_by + data[start:], MAX_PIXELS)


def test_scans_of_what_follows_a_jpeg_do_not_count():
    data = file_of(Image.fromarray(SMOOTH))
    film = b"\xff\xda\x00\x02" * 100  # such as telephones append
    assert np.array_equal(decode(data + film, MAX_PIXELS).pixels, decode(data, MAX_PIXELS).pixels)


@pytest.mark.parametrize("kind", [b"tEXt", b"IDAT"])
def test_a_png_of_very_many_chunks_is_refused(kind):
    png = file_of(Image.fromarray(SMOOTH), "PNG")
    head, rest = png[: 8 + 25], png[8 + 25 :]
    empty = bytes(4) + kind + zlib.crc32(kind).to_bytes(4, "big")
    decode(head + empty * 100 + rest, MAX_PIXELS)
    with pytest.raises(InvalidValueError, match="a PNG of 100001 chunks, or more', must be at most 100000 chunks"):
        decode(head + empty * 100_000 + rest, MAX_PIXELS)
    decode(png + bytes(12) * 100_001, MAX_PIXELS)  # what follows a PNG does not count


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "CMYK"])
def test_a_tall_picture_is_converted_as_a_whole_one_would_be(mode):
    rows = np.arange(700 * 9 * 4, dtype=np.uint32).reshape(700, 9, 4) * 2654435761 >> 13
    picture = Image.fromarray(rows.astype(np.uint8), "RGBA").convert(mode)
    format, options = ("JPEG", {"quality": 95}) if mode == "CMYK" else ("PNG", {})
    data = file_of(picture, format, **options)
    with Image.open(io.BytesIO(data)) as image:
        layered = image.convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    assert np.array_equal(decode(data, MAX_PIXELS).pixels, np.asarray(expected))


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff", b"GIF89a" + b"\0" * 50, b"\0" * 1000])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(ImageError, match="image"):
        decode(data, MAX_PIXELS)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (1001, 1000)])
def test_a_picture_that_is_too_large_is_refused_by_its_header(width, height):
    with pytest.raises(InvalidValueError, match=f"{width} x {height}.* at most {MAX_PIXELS} pixels"):
        decode(png_that_declares(width, height), MAX_PIXELS)


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_a_picture_that_is_too_small_is_refused(size):
    with pytest.raises(InvalidValueError, match="at least 8 x 8"):
        decode(file_of(Image.new("RGB", size), "PNG"), MAX_PIXELS)


@settings(max_examples=300, deadline=None)
@given(
    format=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    place=st.floats(0, 1, exclude_max=True),
    noise=st.binary(min_size=1, max_size=8),
)
def test_damaged_bytes_give_a_picture_or_one_of_two_errors(format, place, noise):
    data = bytearray(file_of(Image.fromarray(SMOOTH), format, exif=exif(6)))
    at = int(place * len(data))
    data[at : at + len(noise)] = noise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = decode(bytes(data), MAX_PIXELS)
        except (ImageError, InvalidValueError):
            return
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (picture.height, picture.width, 3)


LARGE = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (803, 602, 3), dtype=np.uint8), (0, 0), 9)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(("wanted", "reduction"), [(300, 4), (140, 2), (120, 1)])
def test_a_jpeg_is_decoded_no_finer_than_its_rects_need(orientation, wanted, reduction):
    data = file_of(Image.fromarray(LARGE), exif=exif(orientation), quality=95)
    full = decode(data, MAX_PIXELS)
    rects = [(10, 20, 10 + wanted, 60), (30, 40, 80, 440)]
    picture = decode(data, MAX_PIXELS, rects, side=32)
    assert (picture.width, picture.height) == (full.width, full.height)
    assert picture.reduction == reduction
    expected = cv2.resize(full.pixels, picture.pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 1.5
    crop, whole = (letterbox(p.pixels, p.window(rects[0]), 32).astype(int) for p in (picture, full))
    assert np.abs(crop - whole).mean() < 4


@pytest.mark.parametrize("rect", [(0, 0, 1, 700), (0, 0, 600, 1.5), (5, 5, 5, 5), (9, 9, 3, 3)])
def test_a_rect_that_is_thin_or_none_keeps_its_pixels(rect):
    assert decode(file_of(Image.fromarray(LARGE)), MAX_PIXELS, [rect], side=32).reduction == 1


def test_only_jpegs_are_reduced():
    assert decode(file_of(Image.fromarray(LARGE)), MAX_PIXELS, None, side=32).reduction == 8
    assert decode(file_of(Image.fromarray(LARGE), "PNG"), MAX_PIXELS, None, side=32).reduction == 1
    assert decode(file_of(Image.fromarray(LARGE)), MAX_PIXELS, None).reduction == 1
