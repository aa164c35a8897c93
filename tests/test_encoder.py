"""The crop, the artefact's checks, and the runtimes: a vector is the same however it is computed."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.encoder import FORMAT, Spec, letterbox, open_encoder
from index.schema import CorruptArtifactError, ForeignArtifactError, InvalidValueError
from tests.views import scenes
from trainer.config import TrainConfig
from trainer.export import export_random

SIZE = 32


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    """A small untrained encoder."""
    out = tmp_path_factory.mktemp("encoder") / "encoder"
    return export_random(TrainConfig(architecture="resnet18_half", input_size=SIZE), out, seed=0)


@pytest.fixture(scope="module")
def encoder(artefact):
    return open_encoder(artefact, "openvino")


@pytest.fixture
def copy(artefact, tmp_path):
    """An artefact to damage."""
    return shutil.copytree(artefact, tmp_path / "encoder")


def test_letterbox_keeps_the_aspect_and_centres_on_black():
    image = np.full((100, 200, 3), 255, np.uint8)
    crop = letterbox(image, (20, 10, 100, 50), 64)
    assert crop.shape == (64, 64, 3)
    assert (crop[16:48] == 255).all()
    assert (crop[:16] == 0).all()
    assert (crop[48:] == 0).all()


def test_letterbox_of_a_square_is_the_picture_itself():
    image = scenes(1, 40)[0]
    np.testing.assert_array_equal(letterbox(image, (0, 0, 40, 40), 40), image)


def test_letterbox_is_black_where_the_rect_leaves_the_picture():
    image = np.full((40, 40, 3), 255, np.uint8)
    crop = letterbox(image, (-20, 0, 20, 40), 40)
    assert (crop[:, :20] == 0).all()
    assert (crop[:, 20:] == 255).all()


@settings(max_examples=50, deadline=None)
@given(
    x0=st.floats(0, 150),
    y0=st.floats(0, 90),
    width=st.floats(2, 400),
    height=st.floats(2, 400),
    size=st.integers(8, 96),
)
def test_letterbox_puts_every_pixel_where_the_rect_says(x0, y0, width, height, size):
    """The picture's red is its x and its green its y, so a crop's colours tell where its pixels come from."""
    v, u = np.mgrid[:100, :160]
    image = np.dstack([u, v, np.full_like(u, 255)]).astype(np.uint8)
    crop = letterbox(image, (x0, y0, x0 + width, y0 + height), size)
    rows, columns = np.nonzero(crop[..., 2] > 250)
    per_pixel = max(width, height) / size
    x = x0 + width / 2 + (columns + 0.5 - size / 2) * per_pixel
    y = y0 + height / 2 + (rows + 0.5 - size / 2) * per_pixel
    # Both ends are rounded to whole pixels, of the picture and of the crop.
    slack = 1.5 + 1.5 * per_pixel
    assert np.abs(crop[rows, columns, 0] + 0.5 - x).max(initial=0) < slack
    assert np.abs(crop[rows, columns, 1] + 0.5 - y).max(initial=0) < slack


@pytest.mark.parametrize(
    "rect", [(10, 10, 10, 20), (20, 0, 10, 9), (0, 0, np.nan, 9), (0, 0, np.inf, 9), (200, 0, 220, 9)]
)
def test_letterbox_refuses_a_rect_that_shows_nothing(rect):
    with pytest.raises(InvalidValueError, match="rect"):
        letterbox(np.zeros((100, 100, 3), np.uint8), rect, 32)


def test_vectors_are_unit_float32_rows(encoder):
    vectors = encoder.embed(scenes(5, SIZE))
    assert vectors.shape == (5, encoder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("device", ["openvino", "torch-cpu"])
def test_a_batch_embeds_as_its_crops_one_by_one(artefact, device):
    encoder = open_encoder(artefact, device)
    crops = scenes(70, SIZE)  # more than a chunk
    one_by_one = np.concatenate([encoder.embed(crop[None]) for crop in crops])
    np.testing.assert_allclose(encoder.embed(crops), one_by_one, atol=1e-5)
    assert encoder.embed(crops[:0]).shape == (0, encoder.dimension)


def test_both_runtimes_compute_the_same_vectors(artefact, encoder):
    crops = scenes(40, SIZE)
    ours, theirs = encoder.embed(crops), open_encoder(artefact, "torch-cpu").embed(crops)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert (ours * theirs).sum(axis=1).min() > 0.9999


def test_in_bfloat16_vectors_are_nearly_the_same_and_a_cpu_without_it_is_told(artefact, encoder, monkeypatch, caplog):
    crops = scenes(40, SIZE)
    half = open_encoder(artefact, "openvino-bf16").embed(crops)
    assert (half != encoder.embed(crops)).any() == (
        "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    )
    assert (half * encoder.embed(crops)).sum(axis=1).min() > 0.9998
    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: ["FP32", "INT8"])
    without = open_encoder(artefact, "openvino-bf16").embed(crops)
    np.testing.assert_array_equal(without, encoder.embed(crops))
    assert "this CPU has no bfloat16" in caplog.text


def test_threads_do_not_disturb_each_other(encoder):
    batches = [scenes(n, SIZE, seed=n) for n in range(1, 9)]
    expected = [encoder.embed(crops) for crops in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, wanted in zip(pool.map(encoder.embed, batches), expected, strict=True):
                np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_crop_is_the_letterbox(encoder):
    image = cv2.resize(scenes(1, 64)[0], (90, 60))
    rect = (10.0, 5.0, 70.0, 50.0)
    np.testing.assert_array_equal(encoder.crop(image, rect), letterbox(image, rect, SIZE))


@pytest.mark.parametrize(
    "crops",
    [np.zeros((2, 32, 16, 3), np.uint8), np.zeros((32, 32, 3), np.uint8), np.zeros((2, 32, 32, 3), np.float32)],
)
def test_crops_of_another_shape_or_type_are_refused(encoder, crops):
    with pytest.raises(InvalidValueError, match="crops"):
        encoder.embed(crops)


def test_an_unknown_device_is_refused(artefact):
    with pytest.raises(InvalidValueError, match="device"):
        open_encoder(artefact, "tpu")


def test_digest_is_of_what_determines_the_vectors(copy, artefact):
    before = Spec.read(artefact)
    changed = json.loads((copy / "encoder.json").read_text())
    changed["training"] = {"note": "something else"}
    (copy / "encoder.json").write_text(json.dumps(changed))
    assert Spec.read(copy).digest == before.digest
    assert open_encoder(copy, "openvino").digest == before.digest


@pytest.mark.parametrize("name", ["encoder.json", "weights.safetensors", "graph.xml", "graph.bin"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_file_is_named(copy, name, damage):
    file = copy / name
    data = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        file.write_bytes(
            data.replace(b'"input_size": 32', b'"input_size": 64') if name == "encoder.json" else data[::-1]
        )
    with pytest.raises(CorruptArtifactError) as caught:
        open_encoder(copy)
    assert caught.value.path == file


@pytest.mark.parametrize("change", [{"format": "something"}, {"version": 99}])
def test_a_foreign_manifest_is_refused(copy, change):
    manifest = json.loads((copy / "encoder.json").read_text())
    assert manifest["format"] == FORMAT
    (copy / "encoder.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ForeignArtifactError, match=r"encoder\.json"):
        open_encoder(copy)


def test_a_manifest_with_other_fields_is_refused(copy):
    manifest = json.loads((copy / "encoder.json").read_text())
    del manifest["mean"]
    (copy / "encoder.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptArtifactError, match=r"encoder\.json.*mean"):
        open_encoder(copy)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(CorruptArtifactError, match="nowhere"):
        open_encoder(tmp_path / "nowhere")
