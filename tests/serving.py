"""A real service in a process of its own, which a test may kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2

from tests.service_fixtures import wait_until

ROOT = Path(__file__).parent.parent
# The app of the tests: the colours' encoder, a real server around it.
_COLOURS = """
from service.app import create_app
from service.server import server_of
from service.settings import Settings
from tests.service_fixtures import open_colours
settings = Settings(_cli_parse_args=True)
server_of(create_app(settings, open_colours), settings).run()
"""


class Process:
    """A process of ours that says where it listens."""

    def __init__(self, *arguments: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def end(self, signal_number: int = signal.SIGTERM) -> None:
        """Ends the process and waits for it."""
        self.process.send_signal(signal_number)
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Server(Process):
    """A service with an index."""

    def __init__(self, index: Path, *arguments: str, colours: bool = True) -> None:
        program = ["-c", _COLOURS] if colours else ["-m", "service"]
        super().__init__(*program, "--index", str(index), "--port", "0", "--poll-s", "0.05", *arguments)

    def wait_until_ready(self, timeout_s: float = 300) -> None:
        """Returns as soon as the index is open."""
        wait_until(lambda: httpx2.get(f"{self.url}/readyz", trust_env=False).status_code == 200, timeout_s)


@contextlib.contextmanager
def served(index: Path, *arguments: str, colours: bool = True) -> Iterator[Server]:
    """A service that is ready; it is ended afterwards, if it still runs."""
    server = Server(index, *arguments, colours=colours)
    try:
        server.wait_until_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.end()


@contextlib.contextmanager
def annotating(captures: Path, *arguments: str) -> Iterator[Process]:
    """The server that captures are annotated with; it is ended afterwards, if it still runs."""
    server = Process("-m", "service", "annotate", str(captures), "--port", "0", *arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end()
