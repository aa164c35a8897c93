"""What enrolment costs: a frame over HTTP, a look for news before each query, search beside the index, a start.

    python -m benchmarks.enrolment --index runs/demo/index [--frames runs/demo/frames] [--many 100000]

The index is copied first. ``--frames`` tells also what keeping a JPEG of the object instead of the picture does to a
vector, and how fast everything is embedded anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np

from index.encoder import open_encoder
from index.picture import encode_jpeg
from index.schema import Frame, View
from index.store import open_index
from service.enrolment.followed import Enrolment, Followed
from service.enrolment.keep import embed, keep
from service.enrolment.records import Enrolee, Kept, Receipt
from service.enrolment.store import EnrolmentStore, _insert
from service.live import LiveIndex
from tests.serving import served

LARGE = 2**36


def milliseconds(call: Callable[[], Any], count: int) -> dict[str, float]:
    """Median and 99th percentile of a call."""
    took = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - start))
    return {f"p{p}": round(float(np.percentile(took, p)), 4) for p in (50, 99)}


@contextlib.contextmanager
def filled(path: Path, count: int, digest: str, dimension: int) -> Iterator[EnrolmentStore]:
    """A file with ``count`` frames, each with random numbers for a vector and 1 kB for a picture."""
    rng = np.random.default_rng(0)
    store = EnrolmentStore(path, LARGE)
    kept = Kept(bytes(1000), (0, 0, 1, 1), b"")
    with store._write() as db:
        for number in range(count):
            vector = rng.normal(size=dimension).astype(np.float32)
            frame = Frame(f"f{number}", "thing", f"o{number // 5}", View(None, None, (0, 0, 9, 9)))
            new = Enrolee(frame, kept, vector / np.linalg.norm(vector), digest)
            _insert(db, new, Receipt(frame.id, frame.object_id, frame.category, 1, 1))
    try:
        yield store
    finally:
        store.close()


def search(index: Path, folder: Path, count: int) -> dict[str, Any]:
    """Beside ``count`` enrolled frames: opening, the look for news, and a search."""
    version = open_index(index)
    digest, dimension = version.encoder_digest, version.dimension
    assert digest is not None
    path = folder / f"{count}.sqlite"
    with filled(path, count, digest, dimension):
        pass
    start = time.perf_counter()
    enrolment = Enrolment(path, LARGE)
    enrolment.open()
    opened = time.perf_counter()
    encoder = open_encoder(version.encoder_path)
    loading = time.perf_counter()
    Followed(enrolment, encoder).current()
    loaded = time.perf_counter()
    live = LiveIndex(index, lambda folder: encoder, 1.0, enrolment)
    live.refresh()
    query = version.vectors[:1]
    alone, joined = version, live.snapshot.index
    result = {
        "enrolled": count,
        "file_MB": round(path.stat().st_size / 1e6, 1),
        "open_and_check_s": round(opened - start, 2),
        "load_s": round(loaded - loading, 2),
        "look_for_news_ms": milliseconds(lambda: live.snapshot, 2000),
        "search_index_alone_ms": milliseconds(lambda: alone.search(query, 10), 300),
        "search_with_enrolled_ms": milliseconds(lambda: joined.search(query, 10), 300),
    }
    enrolment.close()
    return result


def over_http(index: Path, pictures: list[bytes]) -> dict[str, Any]:
    """A service's answers to one client: enrolling, and asking before and after."""
    with (
        served(index, colours=False) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        fields = {"rect": "[100, 120, 380, 520]"}
        given = iter(range(10**6))

        def ask() -> None:
            files = {"image": ("a.jpg", pictures[next(given) % len(pictures)])}
            assert client.post("/neighbors", files=files, data=fields).status_code == 200

        def enrol() -> None:
            number = next(given)
            files = {"image": ("a.jpg", pictures[number % len(pictures)])}
            answer = client.post(f"/objects/o{number % 20}/frames", files=files, data=fields | {"category": "thing"})
            assert answer.status_code == 201, answer.text

        milliseconds(ask, 20)
        before, enrolling, after = milliseconds(ask, 200), milliseconds(enrol, 200), milliseconds(ask, 200)
    return {"ask_before_ms": before, "enrol_ms": enrolling, "ask_after_ms": after}


def kept_against_original(index: Path, frames: Path, count: int) -> dict[str, Any]:
    """Cosine between the vectors of what is kept and of the picture itself, and what a frame takes."""
    from trainer.frames import Frames

    everything, encoder = Frames.open(frames), open_encoder(open_index(index).encoder_path)
    rows = np.random.default_rng(0).choice(len(everything), count, replace=False).tolist()
    views = [(everything.image(row), everything.frame(row).view.rect) for row in rows]
    result = {}
    for name, scale in (("as they are", 1.0), ("four times as large", 4.0)):
        scaled = [(cv2.resize(image, None, fx=scale, fy=scale), [scale * v for v in rect]) for image, rect in views]
        kept = [keep(np.asarray(image, np.uint8), tuple(rect)) for image, rect in scaled]
        direct = encoder.embed(np.stack([encoder.crop(np.asarray(image, np.uint8), rect) for image, rect in scaled]))
        start = time.perf_counter()
        vectors = embed(encoder, kept)
        seconds = time.perf_counter() - start
        cosines = (vectors * direct).sum(axis=1)
        result[f"pictures {name}"] = {
            "cosine_median_and_1st_percentile": [round(float(np.percentile(cosines, p)), 4) for p in (50, 1)],
            "kept_kB": round(float(np.mean([len(k.jpeg) + len(k.thumbnail) for k in kept])) / 1000, 1),
            "picture_kB": round(float(np.mean([len(encode_jpeg(i, 90)) for i, _ in scaled[:20]])) / 1000, 1),
            "embedded_anew_per_s": round(count / seconds),
        }
    return result


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--frames", type=Path)
    parser.add_argument("--many", type=int, default=100_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 255, (20, 16, 12, 3)).astype(np.uint8)
    pictures = [encode_jpeg(np.asarray(cv2.resize(scene, (480, 640)), np.uint8), 92) for scene in scenes]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(options.index, folder / "index")
        result: dict[str, Any] = {"http": over_http(folder / "index", pictures)}
        result["search"] = [search(options.index, folder, count) for count in (0, 1000, options.many)]
        if options.frames:
            result["kept"] = kept_against_original(folder / "index", options.frames, 500)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
