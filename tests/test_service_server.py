"""A real server on loopback: what only shows with sockets, threads and signals."""

from __future__ import annotations

import contextlib
import json
import pickle
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
import uvicorn

from service.admission import CONNECTION
from service.app import create_app
from service.server import _ShareOfPort, server_of
from service.settings import Settings
from tests.scenes import standing_frame
from tests.service_fixtures import ColourEncoder, build_index, encoded, picture_of, posted, wait_until

QUERY = standing_frame(azimuth=0.45, category="shoe")
JPEG = encoded(picture_of(QUERY))
PATIENCE_S = 60  # several fresh processes may compile the fit on few cores


@contextlib.contextmanager
def serving(root, encoder=None, **settings):
    """A server in a thread, and a client of it."""
    encoder = encoder or ColourEncoder()
    app = create_app(Settings(index=root, poll_s=0.02, **settings), lambda folder, device: encoder)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, server_header=False))
    with started(server) as address, client_of(address) as client:
        client.app = app
        try:
            yield client
        finally:
            encoder.release.set()


@contextlib.contextmanager
def started(server):
    """A server that runs in a thread; its address."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join()


def client_of(address):
    host, port = address
    return httpx2.Client(base_url=f"http://{host}:{port}", timeout=PATIENCE_S, trust_env=False)


@pytest.fixture
def root(tmp_path):
    build_index(tmp_path / "index")
    return tmp_path / "index"


def is_ready(client) -> bool:
    return client.get("/readyz").status_code == 200


def test_the_index_is_picked_up_when_it_appears(tmp_path):
    with serving(tmp_path / "index") as client:
        assert posted(client, QUERY, JPEG).status_code == 503
        version = build_index(tmp_path / "index")
        wait_until(lambda: is_ready(client))
        answer = posted(client, QUERY, JPEG)
    assert answer.json()["index"] == version
    assert "server" not in answer.headers


def test_no_request_is_dropped_while_the_index_changes(root):
    stop, answers = threading.Event(), []

    def ask(client):
        while not stop.is_set():
            answers.append(posted(client, QUERY, JPEG))

    with serving(root) as client, ThreadPoolExecutor(3) as pool:
        wait_until(lambda: is_ready(client))
        for _ in range(3):
            pool.submit(ask, client)
        wait_until(lambda: len(answers) > 10)
        second = build_index(root, "v2")
        wait_until(lambda: client.get("/readyz").json()["index"] == second)
        seen = len(answers)
        wait_until(lambda: len(answers) > seen + 10)
        stop.set()
    assert {answer.status_code for answer in answers} == {200}
    bodies = [answer.json() for answer in answers]
    origins = {(b["index"] == second, n["frame"][:2]) for b in bodies for n in b["objects"][0]["neighbors"]}
    assert origins == {(False, "v1"), (True, "v2")}


def test_the_server_answers_while_it_works(root):
    encoder = ColourEncoder()
    with serving(root, encoder, threads=1) as client, ThreadPoolExecutor(1) as pool:
        wait_until(lambda: is_ready(client))
        encoder.release.clear()
        slow = pool.submit(posted, client, QUERY, JPEG)
        assert encoder.entered.acquire(timeout=PATIENCE_S)
        assert client.get("/healthz", timeout=5).status_code == 200
        assert not slow.done()
        encoder.release.set()
        assert slow.result().status_code == 200


def test_the_line_of_waiting_requests_is_bounded(root):
    encoder = ColourEncoder()
    patient = {"burst_ms": 60_000, "overload_ms": 60_000}  # refused for the line's length alone, however slow this is
    with serving(root, encoder, threads=1, waiting=1, **patient) as client, ThreadPoolExecutor(3) as pool:
        wait_until(lambda: is_ready(client))
        encoder.release.clear()
        requests = [pool.submit(posted, client, QUERY, JPEG) for _ in range(3)]
        wait_until(lambda: any(request.done() for request in requests))
        (refused,) = [request.result() for request in requests if request.done()]
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:nearpose:problem:overloaded"
        assert "retry-after" in refused.headers
        encoder.release.set()
        assert sorted(request.result().status_code for request in requests) == [200, 200, 503]


@pytest.mark.parametrize(
    ("method", "what"), [("POST", {"files": {"image": JPEG}}), ("GET", {"params": {"frame": "v1-0/0"}})]
)
def test_who_hangs_up_leaves_the_line(root, method, what):
    encoder = ColourEncoder()
    with serving(root, encoder, threads=1) as client, ThreadPoolExecutor(1) as pool:
        wait_until(lambda: is_ready(client))
        encoder.release.clear()
        slow = pool.submit(posted, client, QUERY, JPEG)
        assert encoder.entered.acquire(timeout=PATIENCE_S)
        workers = client.app.state.service.workers
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.request(method, client.base_url.join("/neighbors"), **what, timeout=0.3, trust_env=False)
        wait_until(lambda: workers.waiting == 0)
        encoder.release.set()
        assert slow.result().status_code == 200
        wait_until(lambda: workers.running == 0)
        assert not encoder.entered.acquire(blocking=False)
        assert posted(client, QUERY, JPEG).status_code == 200


def test_a_full_line_refuses_before_the_body_has_come(root):
    encoder = ColourEncoder()
    with serving(root, encoder, threads=1, waiting=0) as client, ThreadPoolExecutor(1) as pool:
        wait_until(lambda: is_ready(client))
        encoder.release.clear()
        slow = pool.submit(posted, client, QUERY, JPEG)
        assert encoder.entered.acquire(timeout=PATIENCE_S)
        with socket.create_connection((client.base_url.host, client.base_url.port), timeout=PATIENCE_S) as connection:
            connection.sendall(b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 503")
        encoder.release.set()
        assert slow.result().status_code == 200


def test_what_comes_of_a_refused_body_is_no_head(root):
    encoder = ColourEncoder()
    settings = Settings(index=root, poll_s=0.02, threads=1, waiting=0, port=0)
    server = server_of(create_app(settings, lambda folder, device: encoder), settings)
    with started(server) as address, client_of(address) as client, ThreadPoolExecutor(1) as pool:
        try:
            wait_until(lambda: is_ready(client))
            encoder.release.clear()
            slow = pool.submit(posted, client, QUERY, JPEG)
            assert encoder.entered.acquire(timeout=PATIENCE_S)
            with socket.create_connection(address, timeout=PATIENCE_S) as connection:
                connection.sendall(b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 503")
                connection.sendall(b"\0" * 500_000 + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            encoder.release.set()
            assert slow.result().status_code == 200
        finally:
            encoder.release.set()


def test_a_running_request_is_finished_when_the_server_stops(root):
    encoder = ColourEncoder()
    with ThreadPoolExecutor(1) as pool:
        with serving(root, encoder) as client:
            wait_until(lambda: is_ready(client))
            encoder.release.clear()
            neighbors = client.base_url.join("/neighbors")
            slow = pool.submit(httpx2.post, neighbors, files={"image": JPEG}, timeout=PATIENCE_S, trust_env=False)
            assert encoder.entered.acquire(timeout=PATIENCE_S)
        assert slow.result().status_code == 200


def test_a_declared_length_over_the_limit_is_refused_unread(root):
    with serving(root) as client:
        address = (client.base_url.host, client.base_url.port)
        with socket.create_connection(address, timeout=PATIENCE_S) as connection:
            connection.sendall(
                b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer
    assert b"got 1000000000000 bytes" in answer


def test_an_undeclared_length_is_counted(root):
    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while True:
            yield b"\0" * 65536

    headers = {"content-type": "multipart/form-data; boundary=x"}
    with serving(root, max_body_bytes=3_000_000) as client:
        assert client.post("/pose", content=endless(), headers=headers).status_code == 413
        assert client.get("/healthz").status_code == 200


def test_ids_that_are_no_plain_paths_have_working_pictures(tmp_path):
    build_index(tmp_path / "index", prefix="a b/#1?x=%2F&ü+")
    with serving(tmp_path / "index") as client:
        wait_until(lambda: is_ready(client))
        neighbors = posted(client, QUERY, JPEG, k=10).json()["objects"][0]["neighbors"]
        assert [client.get(n["image"]).headers["content-type"] for n in neighbors] == ["image/jpeg"] * 10


def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    command = [sys.executable, "-m", "service", "--index", str(tmp_path), "--port", "0", "--log-format", "json"]
    here = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[-1]
            assert httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200
            assert httpx2.get(f"{url}/readyz", trust_env=False).status_code == 503
        finally:
            process.send_signal(signal.SIGINT)
        log = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert process.returncode == 0
    assert {("GET", "/healthz", 200), ("GET", "/readyz", 503)} <= {
        (line.get("method"), line.get("path"), line.get("status")) for line in log
    }
    (warning,) = [line for line in log if line["level"] != "INFO"]
    assert "no index has been built here" in warning["message"]


def test_several_processes_serve_one_index_on_one_port(small_run, tmp_path):
    command = [sys.executable, "-m", "service", "--index", str(small_run.index), "--port", "0", "--workers", "2"]
    command += ["--drain-s", "2"]
    here = Path(__file__).parent.parent
    log = tmp_path / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            url = process.stdout.readline().split()[-1]
            wait_until(lambda: log.read_text().count("is open") == 2, timeout_s=60)
            wait_until(lambda: answers(url, "/readyz"), timeout_s=60)
            wait_until(lambda: sys.platform != "linux" or listeners(int(url.rpartition(":")[2])) == 2)
            statuses = {httpx2.get(f"{url}/healthz", trust_env=False).status_code for _ in range(20)}
            counts = f"{url}/metrics"
            wait_until(lambda: httpx2.get(counts, trust_env=False).text.count("resident_memory_bytes{") == 2, 60)
            counted = httpx2.get(counts, trust_env=False).text
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: b"problem:draining" in httpx2.get(f"{url}/readyz", trust_env=False).content)
        finally:
            process.send_signal(signal.SIGTERM)
    assert statuses == {200}
    assert 'nearpose_requests_total{method="GET",route="/healthz",status="200"} 20.0' in counted
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not deal connections out")
def test_connections_are_dealt_out_to_processes_that_are_there():
    with socket.create_server(("127.0.0.1", 0)) as bound:
        address = bound.getsockname()
        with _ShareOfPort.of(bound) as parent:
            shares = [pickle.loads(pickle.dumps(parent)) for _ in range(2)]
    with contextlib.ExitStack() as stack:
        for share in shares:
            stack.enter_context(share).settimeout(0)
            share.listen(128)
        for _ in range(64):
            stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S))
        got = [0, 0]

        def all_came() -> bool:
            got[:] = [before + accepted(share) for before, share in zip(got, shares, strict=True)]
            return sum(got) == 64

        wait_until(all_came)
        assert min(got) >= 8  # less by chance once in 10^10 times
        shares[0].close()
        stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S))
        wait_until(lambda: accepted(shares[1]) == 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not deal connections out")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_at_which_nobody_listens_yet_is_not_shared_with_another_service(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as bound:
        try:
            bound.bind((host, 0))
        except OSError:
            pytest.skip("no such address here")
        address = bound.getsockname()
        with _ShareOfPort.of(bound) as parent:
            with socket.socket(family) as late:  # as uvicorn binds: the system allows it
                late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                late.bind(address)
                with pytest.raises(OSError, match="Address already in use"):
                    _ShareOfPort.of(late)
            with pickle.loads(pickle.dumps(parent)) as share:  # one of its processes, and one that replaces it
                share.listen()
            with pickle.loads(pickle.dumps(parent)) as share:
                share.listen()
    with socket.socket(family) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        _ShareOfPort.of(bound).close()


def test_a_connection_is_known_whomever_a_proxy_speaks_for():
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        seen.append((scope["client"][0], scope[CONNECTION]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    with started(server_of(app, Settings(index="none", port=0))) as address:
        for forwarded in ("203.0.113.1", "203.0.113.2"):
            with client_of(address) as client:
                for _ in range(2):
                    client.get("/", headers={"X-Forwarded-For": forwarded})
    assert [client for client, _ in seen] == ["203.0.113.1"] * 2 + ["203.0.113.2"] * 2
    assert [connection[0] for _, connection in seen] == ["127.0.0.1"] * 4
    assert seen[0][1] == seen[1][1] != seen[2][1] == seen[3][1]


def listeners(port: int) -> int:
    """How many sockets listen there (proc(5): state 0A is LISTEN)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def accepted(share: socket.socket) -> int:
    """How many connections waited."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            share.accept()[0].close()
            count += 1
    return count


def test_a_port_that_is_taken_is_not_shared(small_run):
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "service", "--index", str(small_run.index), "--port", port, "--workers", "2"]
        process = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=60)
    assert process.returncode != 0
    assert "Address already in use" in process.stderr


def answers(url: str, path: str) -> bool:
    try:
        return httpx2.get(f"{url}{path}", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "index: Field required"), (["--index", "x", "--workers", "0"], "workers: Input should be greater")],
)
def test_the_command_says_what_is_wrong_with_its_settings(arguments, message, monkeypatch):
    from service.__main__ import main

    monkeypatch.setattr(sys, "argv", ["service", *arguments])
    with pytest.raises(SystemExit, match=message):
        main()


def test_a_setting_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("NEARPOSE_INDEX", "/somewhere")
    monkeypatch.setenv("NEARPOSE_MAX_PIXELS", "1000")
    settings = Settings()
    assert (settings.index, settings.max_pixels) == ("/somewhere", 1000)
