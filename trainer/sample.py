"""A sample request: one test frame as a user would post it, with the truth beside it to compare the answer with."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from index.iou import iou_3d
from index.picture import decode_picture
from index.predict import Prediction, open_predictor
from index.schema import Box, Camera, InvalidValueError
from trainer.frames import Frames
from trainer.inference import predict_frame
from trainer.picture import ANSWER, TRUTH, draw_box, typical_rows, write_picture


def write_sample(frames: Path, index: Path, out: Path) -> Path:
    """Writes ``image.jpg``, ``fields.json`` (the form fields) and ``truth.json`` of one test frame.

    Of the ``typical_rows`` (one frame a category) it is the one of whose answer the index is surest: chosen by
    confidence, without a look at the truth.
    """
    tests, predictor = _tests(frames), open_predictor(index)
    row = max(typical_rows(tests), key=lambda row: _confidence(predict_frame(predictor, tests, row)))
    return _write(tests, row, out)


def write_samples(frames: Path, out: Path) -> Path:
    """Writes the same of every one of the ``typical_rows``, each into a folder named after its category."""
    tests = _tests(frames)
    for row in typical_rows(tests):
        _write(tests, row, out / str(tests.category[row]))
    return out


def _tests(frames: Path) -> Frames:
    everything = Frames.open(frames)
    with_box = np.asarray(everything.table["box"].is_valid())
    tests = everything.select((everything.split == "test") & with_box)
    if len(tests) == 0:
        raise InvalidValueError("frames", str(frames), "frames with a test split whose boxes are known")
    return tests


def _write(tests: Frames, row: int, out: Path) -> Path:
    frame = tests.frame(row)
    camera, plane = frame.view.posed()
    fields = {
        "camera": asdict(camera),
        "plane": {"normal": plane.normal.tolist(), "point": (-plane.offset * plane.normal).tolist()},
        "rect": list(frame.view.rect),
    }
    assert frame.box is not None
    truth = {"frame": frame.id, "category": frame.category, "corners": frame.box.corners.tolist()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "image.jpg").write_bytes(tests.jpeg(row))
    (out / "fields.json").write_text(json.dumps(fields, indent=2) + "\n")
    (out / "truth.json").write_text(json.dumps(truth, indent=2) + "\n")
    return out


def _confidence(prediction: Prediction) -> float:
    return (prediction.fit.confidence or 0.0) if prediction.fit else 0.0


def post_sample(sample: Path, url: str, wait_s: float = 60.0) -> dict[str, Any]:
    """Waits until the service at ``url`` is ready, posts the sample to ``/pose`` and returns the answer's JSON.

    Raises:
        TimeoutError: the service did not become ready.
        httpx2.HTTPStatusError: it refused the request.
    """
    _wait_until_ready(url, wait_s)
    fields = json.loads((sample / "fields.json").read_text())
    files = {"image": ("image.jpg", (sample / "image.jpg").read_bytes(), "image/jpeg")}
    data = {name: json.dumps(value) for name, value in fields.items()}
    response = httpx2.post(f"{url}/pose", files=files, data=data, timeout=60)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def _wait_until_ready(url: str, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            if httpx2.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"no service became ready at {url} within {wait_s:g} s")


def curl_command(sample: Path, url: str) -> str:
    """The sample request as a command to paste."""
    fields = json.loads((sample / "fields.json").read_text())
    parts = [f"-F {name}='{json.dumps(_rounded(value))}'" for name, value in fields.items()]
    return " \\\n  ".join([f"curl {url}/pose -F image=@{sample / 'image.jpg'}", *parts])


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def compare(sample: Path, answer: dict[str, Any]) -> tuple[float, Path]:
    """The answer's 3D IoU with the truth, and ``answer.jpg`` with both boxes drawn (truth green, answer orange)."""
    truth = json.loads((sample / "truth.json").read_text())
    camera = Camera(**json.loads((sample / "fields.json").read_text())["camera"])
    picture = draw_box(
        decode_picture((sample / "image.jpg").read_bytes()), Box.from_corners(truth["corners"]), camera, TRUTH
    )
    found = answer["objects"][0]["box"]
    if found is None:
        return 0.0, write_picture(sample / "answer.jpg", picture)
    box = Box(np.array(found["rotation"]), np.array(found["center"]), np.array(found["size"]))
    iou = float(iou_3d(box.corners[None], np.array(truth["corners"])[None])[0])
    return iou, write_picture(sample / "answer.jpg", draw_box(picture, box, camera, ANSWER))
