"""The annotator as a real server process, with real faults: killed, out of disk, read-only, two at once."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import httpx2
import pytest

from benchmarks.annotate_kill import kept, kill_again_and_again
from service.annotate.store import read
from tests.annotation import annotation, bare_capture, content, opened, save
from tests.serving import annotating

KILLS = int(os.environ.get("NEARPOSE_KILLS", "2"))


def client_of(server) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, trust_env=False, timeout=30)


def test_what_was_confirmed_outlasts_kills(tmp_path):
    tally = kill_again_and_again(tmp_path, KILLS, clients=4, seed=1)
    assert tally.confirmed >= 4 * KILLS
    counts = {name: getattr(tally, name) for name in ("kills", "lost", "damaged", "refused")}
    assert counts == {"kills": KILLS, "lost": 0, "damaged": 0, "refused": 0}


def draw(client: httpx2.Client, number: int, wanted: int, told: list[int]) -> None:
    """Adds ``wanted`` objects of its own, one at a time, to whatever is there: who is refused looks again."""
    shown = opened(client, "mug")
    while len(told) < wanted:
        name = f"{number}-{len(told)}"
        body = {"plane": shown["plane"], "objects": shown["objects"] + annotation(id=name)["objects"]}
        answer = save(client, "mug", shown["revision"], body)
        assert answer.status_code in (200, 412), answer.text
        if answer.status_code == 200:
            told.append(len(told))
            shown = body | answer.json()
        else:
            shown = answer.json()


def test_two_annotators_on_two_servers_never_overwrite_each_other(tmp_path):
    """Each adds objects to one capture as fast as it can: in the end all are there that anyone was told are saved."""
    bare_capture(tmp_path / "mug")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(annotating(tmp_path)) for _ in range(2)]
        clients = [stack.enter_context(client_of(server)) for server in (*servers, servers[0])]
        told: list[list[int]] = [[] for _ in clients]
        people = [
            threading.Thread(target=draw, args=(client, number, 8, told[number]))
            for number, client in enumerate(clients)
        ]
        for person in people:
            person.start()
        for person in people:
            person.join()
        names = {item["id"] for item in opened(clients[0], "mug")["objects"]}
        assert names == {f"{number}-{k}" for number in range(3) for k in range(8)}
        assert len(clients[1].get("/annotate/captures/mug/history").json()) == 24


NAMES = (
    *("..", ".", "x", "mug/../mug", "..%2f..%2fetc", "%2e%2e", "%2e%2e%2fmug"),
    *("mug%00", ".hidden", "sub%2fmug", "mug%2f", "%20mug"),
)


def status_of(url: str, path: str) -> int:
    """What a path is answered with that nobody has tidied."""
    host = urllib.parse.urlsplit(url)
    with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_no_name_leads_out_of_the_folder(tmp_path):
    captures = tmp_path / "captures"
    for folder in (captures / "mug", captures / ".hidden", captures / "sub" / "mug", tmp_path, tmp_path / "mug"):
        bare_capture(folder)
    with annotating(captures) as server:
        assert status_of(server.url, "/annotate/captures/mug") == 200
        found = {
            (name, path): status_of(server.url, f"/annotate/captures/{name}{path}")
            for name in NAMES
            for path in ("", "/history", "/frames/0.jpg", "/draft")
        }
    assert set(found.values()) == {404}, found


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux only")
def test_a_disk_that_fills_up_is_told_and_nothing_is_half_written(tmp_path):
    """The system refuses to let files grow, as it does on a full disk."""
    folder = bare_capture(tmp_path / "mug")
    with annotating(tmp_path) as server, client_of(server) as client:
        revision = save(client, "mug", opened(client, "mug")["revision"], annotation()).json()["revision"]
        before = (folder / "capture.json").read_bytes()
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (len(before) // 2, resource.RLIM_INFINITY))
        refused = save(client, "mug", revision, annotation(0.2))
        assert (refused.status_code, refused.json()["type"]) == (507, "urn:nearpose:problem:storage-full")
        assert (folder / "capture.json").read_bytes() == before
        assert [path.name for path in folder.rglob("*.part")] == []
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert save(client, "mug", revision, annotation(0.2)).status_code == 200
    assert content(folder)["objects"][0]["box"]["size"][0] == 0.2


_AS_NOBODY = """
import os, sys
from pathlib import Path
from index.schema import NearposeError
from service.annotate.store import history, read, save
file = Path(sys.argv[1])
os.setgid(65534); os.setuid(65534)
saved = read(file)
print(len(history(file)), saved.revision)
try:
    save(file, saved.revision, type(saved.annotation)(None, ()))
except NearposeError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs another user")
def test_a_folder_that_cannot_be_written_to_is_shown_and_says_so(tmp_path_factory):
    folder = Path("/tmp") / f"nearpose-read-only-{os.getpid()}"  # where others may look
    try:
        bare_capture(folder)
        folder.chmod(0o755)
        revision = read(folder / "capture.json").revision
        told = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(folder / "capture.json")],
            capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent,
        ).stdout.splitlines()  # fmt: skip
        assert told[0] == f"0 {revision}"
        assert told[1].startswith("ReadOnlyError the capture cannot be written to")
        assert sorted(path.name for path in folder.iterdir())[-1] == "capture.json"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_save_that_runs_is_finished_when_the_server_is_told_to_stop(tmp_path):
    folder = bare_capture(tmp_path / "mug")
    with annotating(tmp_path) as server, client_of(server) as client:
        revision, confirmed = opened(client, "mug")["revision"], 0
        with contextlib.suppress(httpx2.TransportError):
            for k in range(1, 500):
                if k == 5:
                    server.process.send_signal(signal.SIGTERM)
                answer = save(client, "mug", revision, annotation(k / 1000))
                revision, confirmed = answer.json()["revision"], k
        server.end()
    assert server.process.returncode == -signal.SIGTERM
    assert confirmed >= 4
    assert set(kept(folder)) >= set(range(1, confirmed + 1))
