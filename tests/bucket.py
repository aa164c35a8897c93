"""A web server with the layout of Objectron's bucket, that fails as it is told to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

PAGE = b"<!DOCTYPE html><html><body>please sign in</body></html>"


@dataclass
class Bucket:
    """Files by their key, and for each the faults of its next requests: one each, in order.

    A fault is ``cut`` (half of what was asked), ``page`` (HTML), ``flipped`` (a byte is wrong), ``short`` (half, and
    announced as all), ``hang-up`` (no answer), or a status, with what Retry-After says: ``503``, ``429:2``. ``*``
    stands for every request from there on: ``["404*"]``.
    """

    files: dict[str, bytes]
    faults: dict[str, list[str]] = field(default_factory=dict)
    hashes: bool = True
    ranges: bool = True
    page_size: int = 2
    listing: bytes | None = None  # instead of a true one
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, key, Range
    sent: Counter[str] = field(default_factory=Counter)  # bytes by key
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, root: Path) -> Bucket:
        """The files of a folder of captures, its index where the bucket has it."""
        keys = {path: path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        return cls({f"v1/{key}" if key.startswith("index/") else key: path.read_bytes() for path, key in keys.items()})

    def next_fault(self, key: str) -> str:
        """Of a GET."""
        with self._lock:
            queue = self.faults.get(key, [])
            if not queue:
                return ""
            return queue[0].removesuffix("*") if queue[0].endswith("*") else queue.pop(0)

    @contextlib.contextmanager
    def counted(self, *request: str | None) -> Iterator[None]:
        """A request while it is answered."""
        with self._lock:
            self.asked.append(request)  # type: ignore[arg-type]
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def gets(self, key: str) -> list[str | None]:
        """The Range of every GET of a file."""
        return [asked for method, name, asked in self.asked if (method, name) == ("GET", key)]

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """The address at which the bucket is."""
        handler = type("BoundHandler", (_Handler,), {"bucket": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/objectron"
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    bucket: Bucket
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._do()

    def do_GET(self) -> None:
        self._do()

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _do(self) -> None:
        url = urlsplit(self.path)
        key = unquote(url.path).removeprefix("/objectron").strip("/")
        with self.bucket.counted(self.command, key, self.headers["Range"]):
            fault = self.bucket.next_fault(key) if self.command == "GET" else ""
            if fault == "hang-up":
                self.close_connection = True
            elif fault[:3].isdigit():
                status, _, wait = fault.partition(":")
                self._answer(int(status), b"busy", {"Retry-After": wait} if wait else {})
            elif not key:
                self._list({name: values[0] for name, values in parse_qs(url.query).items()})
            elif fault == "page":
                self._answer(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
            elif key in self.bucket.files:
                self._file(key, fault)
            else:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})

    def _file(self, key: str, fault: str) -> None:
        whole = self.bucket.files[key]
        headers = {"Content-Type": "application/octet-stream"}
        if self.bucket.hashes:
            crc = base64.b64encode(google_crc32c.Checksum(whole).digest()).decode()
            md5 = base64.b64encode(hashlib.md5(whole).digest()).decode()
            headers["x-goog-hash"] = f"crc32c={crc},md5={md5}"
        status, content = 200, whole
        if self.bucket.ranges and (asked := self.headers["Range"]):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            if int(first) >= len(whole):
                self._answer(416, b"", {"Content-Range": f"bytes */{len(whole)}"})
                return
            content = whole[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{len(whole)}"
            status = 206
        if fault == "flipped":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if fault == "short":
            content = content[: len(content) // 2]
        self._answer(status, content, headers, half=fault == "cut")
        if self.command == "GET":
            self.bucket.sent[key] += len(content) // (2 if fault == "cut" else 1)

    def _answer(self, status: int, content: bytes, headers: dict[str, str], half: bool = False) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if half else content)
        self.close_connection |= half

    def _list(self, query: dict[str, str]) -> None:
        """Version 2 of the listing, some keys a page."""
        after = query.get("continuation-token", "")
        keys = [key for key in sorted(self.bucket.files) if key.startswith(query.get("prefix", "")) and key > after]
        page = keys[: self.bucket.page_size]
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.bucket.files[key])}</Size></Contents>" for key in page
        )
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if len(keys) > len(page) else ""
        text = (
            self.bucket.listing
            or f"<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>{entries}{more}</ListBucketResult>".encode()
        )
        self._answer(200, text, {"Content-Type": "application/xml; charset=UTF-8"})
