"""A Milvus for tests: one inside the process, or a server in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.service_fixtures import wait_until


@contextlib.contextmanager
def embedded(path: Path) -> Iterator[str]:
    """The location of an index in a file that ends in .db; the threads behind it are ended afterwards."""
    from milvus_lite.server_manager import server_manager_instance

    try:
        yield f"milvus:{path}"
    finally:
        server_manager_instance.release_server(str(path))


@contextlib.contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """The URL of a server that several processes may ask."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["server", "--data-dir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "milvus_lite", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _listens(port), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
