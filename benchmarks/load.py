"""Load on a running service, from a process of its own: real JPEGs posted to ``/pose``, closed or open loop.

    python -m benchmarks.load --url http://127.0.0.1:8000 --clients 1 8             as fast as answers come
    python -m benchmarks.load --url http://127.0.0.1:8000 --rate 200 --seconds 120  whether or not answers come

An open loop's latency counts from when a request was due, so that a stalled service cannot hide behind a client that
waits for it. The client speaks HTTP by itself: a library for it would take more of the two cores than the service does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

SIZES = ("480x640", "1440x1920")
_USERS = 64  # of an open loop, each with a connection of their own


@dataclass
class Tally:
    """What came back: milliseconds by status, and what broke."""

    ms: dict[int, list[float]] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, status: int, ms: float) -> None:
        """Counts one answer."""
        self.ms.setdefault(status, []).append(ms)

    def summary(self) -> dict[str, Any]:
        """Throughput and percentiles of the accepted requests, and how many of each status there were."""
        good = self.ms.get(200, [])
        percentiles = {f"p{q}_ms": round(float(np.percentile(good, q)), 2) for q in (50, 90, 99)} if good else {}
        statuses = {str(status): len(times) for status, times in sorted(self.ms.items())}
        rate = round(len(good) / self.seconds, 1)
        return {"per_second": rate, **percentiles, "statuses": statuses, "broken": dict(self.broken)}


def multipart(fields: dict[str, Any], jpeg: bytes) -> tuple[bytes, str]:
    """A form's body and its content type."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{json.dumps(value)}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="i.jpg"\r\n'
    image = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + jpeg + f"\r\n--{boundary}--\r\n".encode()
    return b"".join([*parts, image]), f"multipart/form-data; boundary={boundary}"


def http_post(path: str, fields: dict[str, Any], jpeg: bytes) -> bytes:
    """A whole request, ready to be sent."""
    body, content_type = multipart(fields, jpeg)
    head = f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def sample_request(sample: Path, width: int, height: int) -> bytes:
    """The sample request of ``make demo``, its picture scaled to ``width`` and given the grain of a phone's sensor.

    Without grain an enlarged picture is a file much smaller than a phone's, and decodes faster.
    """
    image = cv2.imread(str(sample / "image.jpg"))
    assert image is not None, f"no picture in {sample}"
    fields = json.loads((sample / "fields.json").read_text())
    scale = width / image.shape[1]
    large = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grain = np.random.default_rng(0).normal(0, 4, large.shape)
    jpeg = cv2.imencode(".jpg", np.clip(large + grain, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    camera = {name: fields["camera"][name] * scale for name in ("fx", "fy", "cx", "cy")}
    fields |= {"camera": camera, "rect": [v * scale for v in fields["rect"]]}
    return http_post("/pose", fields, jpeg.tobytes())


class Connection:
    """One connection that is kept open, and opened again when the server closes it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> int:
        """Sends ``request``; the status of the answer, which is read to its end.

        A connection that was kept and has been closed meanwhile is opened anew, once, as every HTTP client does it.
        """
        kept = self._streams is not None
        try:
            return await self._ask(request)
        except OSError:
            if not kept:
                raise
        except asyncio.IncompleteReadError as error:
            if not kept or error.partial:
                raise
        return await self._ask(request)

    async def _ask(self, request: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            await reader.readexactly(length)
        except BaseException:
            self.close()
            raise
        if b"connection: close" in lines:
            self.close()
        return int(lines[0].split()[1])

    def close(self) -> None:
        """Drops the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def _ask(connection: Connection, request: bytes, due: float, tally: Tally) -> None:
    try:
        status = await connection.ask(request)
        tally.add(status, 1000 * (time.perf_counter() - due))
    except (OSError, asyncio.IncompleteReadError) as error:
        tally.broken[type(error).__name__] += 1


async def closed_loop(url: str, requests: Sequence[bytes], clients: int, seconds: float) -> Tally:
    """``clients`` that each send their next request when the answer to the last one is there."""
    host, port = _address(url)
    tally, start = Tally(), time.perf_counter()

    async def client(first: int) -> None:
        connection, turn = Connection(host, port), first
        while time.perf_counter() - start < seconds:
            await _ask(connection, requests[turn % len(requests)], time.perf_counter(), tally)
            turn += 1
        connection.close()

    await asyncio.gather(*(client(i) for i in range(clients)))
    tally.seconds = time.perf_counter() - start
    return tally


async def open_loop(url: str, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> Tally:
    """Requests at random moments, ``rate`` a second on average (Poisson), of ``_USERS`` who take turns.

    Taken from whichever connection was idle last, most would go to that of several processes which refuses soonest.
    """
    host, port = _address(url)
    moments = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds)))
    idle = deque(Connection(host, port) for _ in range(_USERS))
    tally, start, running = Tally(), time.perf_counter(), set()

    async def one(request: bytes, due: float) -> None:
        connection = idle.popleft() if idle else Connection(host, port)
        await _ask(connection, request, due, tally)
        idle.append(connection)

    for turn, moment in enumerate(moments):
        if (wait := start + moment - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(requests[turn % len(requests)], start + moment))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    tally.seconds = time.perf_counter() - start
    for connection in idle:
        connection.close()
    return tally


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise SystemExit(f"--url: got {url!r}, must be on this machine: load is for one's own service")
    return parts.hostname, parts.port or 80


def main() -> None:
    """Loads a service and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--sample", type=Path, default=Path("runs/demo/sample"))
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="of the pictures, width x height")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rate", type=float, help="requests a second, instead of --clients")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    for size in options.sizes:
        width, height = map(int, size.split("x"))
        request = sample_request(options.sample, width, height)
        loops: list[tuple[dict[str, float], Any]] = (
            [({"rate": options.rate}, open_loop(options.url, [request], options.rate, options.seconds))]
            if options.rate
            else [({"clients": n}, closed_loop(options.url, [request], n, options.seconds)) for n in options.clients]
        )
        for load, loop in loops:
            row = {"picture": size, "bytes": len(request), **load, **asyncio.run(loop).summary()}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
