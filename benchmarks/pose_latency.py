"""Latency of ``POST /pose`` on a running service, as its client sees it and split as the service reports it.

    python -m benchmarks.pose_latency --url http://127.0.0.1:8000 --sample runs/demo/sample [--video clip.mp4]

With ``--video`` the frames of a real clip are posted instead, with a plausible phone camera and ground plane.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np

Request = tuple[bytes, dict[str, str]]


def sample_requests(sample: Path, count: int) -> list[Request]:
    """The sample request, ``count`` times."""
    fields = {name: json.dumps(value) for name, value in json.loads((sample / "fields.json").read_text()).items()}
    return [((sample / "image.jpg").read_bytes(), fields)] * count


def video_requests(video: Path) -> Iterator[Request]:
    """Each frame of a clip; a focal length of 1,500 px at 1440 x 1920 and a floor 0.5 m below, seen from 40° above."""
    capture = cv2.VideoCapture(str(video))
    while True:
        found, frame = capture.read()
        if not found:
            return
        height, width = frame.shape[:2]
        focal = 1500 * height / 1920
        elevation = np.radians(40)
        fields = {
            "camera": {"fx": focal, "fy": focal, "cx": width / 2, "cy": height / 2, "width": width, "height": height},
            "plane": {"normal": [0, -np.cos(elevation), -np.sin(elevation)], "point": [0, 0.5 / np.cos(elevation), 0]},
            "rect": [0.2 * width, 0.3 * height, 0.8 * width, 0.75 * height],
        }
        jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        yield jpeg, {name: json.dumps(value) for name, value in fields.items()}


def measure(url: str, requests: list[Request], clients: int) -> dict[str, Any]:
    """Posts every request with ``clients`` at a time; percentiles in milliseconds."""
    with httpx2.Client(base_url=url, timeout=60) as client:

        def post(request: Request) -> tuple[float, httpx2.Response]:
            image, fields = request
            start = time.perf_counter()
            response = client.post("/pose", files={"image": ("i.jpg", image, "image/jpeg")}, data=fields)
            return 1000 * (time.perf_counter() - start), response

        for request in requests[:5]:
            post(request)
        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(post, requests))
        seconds = time.perf_counter() - start
    good = [response.json() for _, response in answers if response.status_code == 200]
    steps = good[0]["timing_ms"] if good else {}
    return {
        "requests": len(answers),
        "errors": len(answers) - len(good),
        "without_box": sum(answer["objects"][0]["box"] is None for answer in good),
        "clients": clients,
        "p50_ms": round(float(np.percentile([ms for ms, _ in answers], 50)), 2),
        "p99_ms": round(float(np.percentile([ms for ms, _ in answers], 99)), 2),
        "requests_per_second": round(len(answers) / seconds, 1),
        "median_steps_ms": {s: round(float(np.median([a["timing_ms"][s] for a in good])), 2) for s in steps},
    }


def main() -> None:
    """Measures one client and several, and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--sample", type=Path, default=Path("runs/demo/sample"))
    parser.add_argument("--video", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    requests = list(video_requests(options.video)) if options.video else sample_requests(options.sample, options.count)
    print(json.dumps([measure(options.url, requests, clients) for clients in options.clients], indent=2))


if __name__ == "__main__":
    main()
