"""What operators count on: ids in the log, limits in time, a pause before the end, answers that leak nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from service.keys import new_key
from service.settings import settings_table
from tests.scenes import standing_frame
from tests.service_fixtures import (
    ColourEncoder,
    build_index,
    client_of,
    encoded,
    indexed_frames,
    open_colours,
    picture_of,
    posted,
    wait_until,
)
from tests.test_service_decode import png_that_declares
from tests.test_service_server import is_ready, serving

HERE = Path(__file__).parent.parent
QUERY = standing_frame(azimuth=0.45, category="shoe")
JPEG = encoded(picture_of(QUERY))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run") / "index"
    build_index(root)
    return root


@pytest.mark.parametrize("given", ["01J9-abc.DEF_7", "Root=1-67891233-abcdef012345678912345678", "a" * 128])
def test_a_clients_own_request_id_is_kept(root, given, caplog):
    with client_of(root, ready=False) as client, caplog.at_level(logging.INFO):
        assert client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given
    assert given in [getattr(record, "request_id", None) for record in caplog.records]


@pytest.mark.parametrize("given", ["", "a" * 129, "two words", 'quote"', "%0a", "ü".encode(), "<script>"])
def test_a_request_id_that_is_not_safe_is_replaced(root, given):
    with client_of(root, ready=False) as client:
        answer = client.get("/healthz", headers={"X-Request-Id": given})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-01-more", TRACE),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        ("nonsense", None),
    ],
)
def test_the_callers_trace_is_in_the_log(root, header, trace, caplog):
    with client_of(root, ready=False) as client, caplog.at_level(logging.INFO, "service.middleware"):
        client.get("/healthz", headers={"traceparent": header})
    (record,) = [record for record in caplog.records if record.name == "service.middleware"]
    assert getattr(record, "trace_id", None) == trace


HEAD = b"POST /neighbors HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
BODY = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + JPEG + b"\r\n--x--\r\n"


@contextlib.contextmanager
def connected(client):
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as connection:
        yield connection


def answer_of(connection) -> bytes:
    """Everything that comes, to the connection's end."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def drip(connection, data: bytes) -> None:
    """Sends a byte every hundredth of a second: the sleep is the client's, not a wait for something."""
    for at in range(len(data)):
        connection.sendall(data[at : at + 1])
        time.sleep(0.01)


def test_a_body_that_does_not_come_is_not_waited_for(root):
    with serving(root, body_s=0.2) as client:
        wait_until(lambda: is_ready(client))
        with connected(client) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:50])
            answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"got 50 bytes, must be complete within 0.2 s" in answer
        assert posted(client, QUERY, JPEG).status_code == 200


def test_a_body_that_comes_a_byte_at_a_time_is_not_waited_for_either(root):
    with serving(root, body_s=0.3) as client, connected(client) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY))
        with pytest.raises(ConnectionError):
            drip(connection, BODY)
        assert 'nearpose_rejected_total{reason="body-timeout"} 1.0' in client.get("/metrics").text


def test_a_request_that_takes_too_long_is_given_up(root):
    encoder = ColourEncoder()
    with serving(root, encoder, timeout_s=0.3) as client:
        wait_until(lambda: is_ready(client))
        encoder.release.clear()
        answer = posted(client, QUERY, JPEG)
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:nearpose:problem:timeout"
        assert "retry-after" in answer.headers
        encoder.release.set()
        wait_until(lambda: posted(client, QUERY, JPEG).status_code == 200)


def test_who_reads_an_answer_slowly_may(root):
    with serving(root, timeout_s=0.3) as client:
        wait_until(lambda: is_ready(client))

        async def slow(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.sleep(0.5)  # longer than the limit
            await send({"type": "http.response.body", "body": b"all of it"})

        client.app.mount("/slow", slow)
        assert client.get("/slow/one").content == b"all of it"


SERVER = """
from service.app import create_app
from service.server import server_of
from service.settings import Settings
from tests.service_fixtures import open_colours
settings = Settings(_cli_parse_args=True)
server_of(create_app(settings, open_colours), settings).run()
"""


@contextlib.contextmanager
def process_serving(root, *flags: str):
    """A server's process, and a client of it once its index is open."""
    command = [sys.executable, "-c", SERVER, "--index", str(root), "--port", "0", *flags]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[-1]
            with httpx2.Client(base_url=url, trust_env=False) as client:
                wait_until(lambda: is_ready(client), 60)
                yield process, client
        finally:
            process.kill()


def accepts(client) -> bool:
    try:
        with connected(client):
            return True
    except ConnectionRefusedError:
        return False


def test_a_server_that_is_told_to_stop_says_so_and_serves_on_for_a_while(root):
    with process_serving(root, "--drain-s", "1") as (process, client), connected(client) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:100])
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_ready(client))
        draining = client.get("/readyz")
        assert draining.json()["type"] == "urn:nearpose:problem:draining"
        assert client.get("/healthz").status_code == 200
        answer = posted(client, QUERY, JPEG)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        wait_until(lambda: not accepts(client))
        connection.sendall(BODY[100:])
        assert answer_of(connection).startswith(b"HTTP/1.1 200")
        assert process.wait(timeout=20) == -signal.SIGTERM


def test_a_second_signal_ends_the_pause(root):
    with process_serving(root, "--drain-s", "600") as (process, client):
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_ready(client))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == -signal.SIGTERM


def test_a_head_that_does_not_end_is_not_waited_for(root):
    with process_serving(root, "--body-s", "0.3") as (_, client):
        with connected(client) as silent, connected(client) as slow, connected(client) as endless:
            slow.sendall(b"GET /healthz HTTP/1.1\r\n")
            endless.sendall(b"GET /healthz HTTP/1.1\r\n")
            with pytest.raises(ConnectionError):
                endless.sendall(b"X-Many: of them\r\n" * 10_000_000)
            assert answer_of(silent) == answer_of(slow) == b""
        with connected(client) as patient:  # a slow request is another matter
            patient.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            assert patient.recv(15).startswith(b"HTTP/1.1 200")
        assert client.get("/healthz").status_code == 200


def test_the_documented_settings_are_those_that_there_are():
    assert (HERE / "docs" / "settings.md").read_text() == settings_table(), (
        "python -m service settings > docs/settings.md"
    )


LEAK = re.compile(
    r"(?<![\w.])/(?:tmp|home|root|usr|var|opt|work|etc)\b|\.py\b|Traceback|site-packages|upload\.jpg|0x[0-9a-f]{6}"
)


def assert_silent(answer, status: int, *secrets: object) -> None:
    """The answer is a problem that tells nothing of the server's insides."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.text + str(answer.headers)
    assert not LEAK.search(told), told
    assert not [secret for secret in secrets if str(secret) in told], told


def test_no_refusal_tells_of_the_servers_insides(root, tmp_path):
    secret, line = new_key("anna", 40)
    (tmp_path / "keys").write_text(line)
    limits = {"max_pixels": 1_000_000, "max_body_bytes": 200_000, "api_keys": tmp_path / "keys"}
    with client_of(root, **limits) as client:
        assert_silent(client.get("/metrics"), 401, tmp_path, secret)
        client.headers["X-API-Key"] = secret
        for image in (b"", b"x", JPEG[:-9], JPEG[:300], png_that_declares(60000, 60000), b"GIF89a" + bytes(99)):
            assert_silent(posted(client, QUERY, image), 422, root)
        for field in ("camera", "plane", "rect", "k", "category", "fit", "image_is", "nonsense"):
            assert_silent(posted(client, QUERY, JPEG, **{field: "\x00../../etc"}), 422, root)
        assert_silent(posted(client, QUERY, bytes(300_000)), 413, root)
        assert_silent(client.post("/pose", content=b"{}", headers={"content-type": "application/json"}), 415, root)
        assert_silent(client.post("/pose", content=b"--", headers={"content-type": "multipart/form-data"}), 400, root)
        assert_silent(client.get("/frames/../../../etc/passwd/image.jpg"), 404, root)
        assert_silent(client.get("/frames/nothing/image.jpg"), 404, root)
        assert_silent(client.get("/neighbors", params={"frame": "../CURRENT"}), 404, root)
        assert_silent(client.get("/index.html"), 404, root)
        assert_silent(client.delete("/pose"), 405, root)
        wait_until(lambda: client.get("/nothing").status_code == 429)
        assert_silent(client.get("/nothing"), 429, root)


def _altered(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"~")


DAMAGE = {
    "nothing there": lambda version: shutil.rmtree(version.parent.parent),
    "CURRENT empty": lambda version: (version.parent.parent / "CURRENT").write_text(""),
    "CURRENT leads out": lambda version: (version.parent.parent / "CURRENT").write_text("../../etc"),
    "CURRENT a folder": lambda version: (
        (version.parent.parent / "CURRENT").unlink(),
        (version.parent.parent / "CURRENT").mkdir(),
    ),
    "manifest cut": lambda version: (version / "manifest.json").write_text('{"format": '),
    "manifest foreign": lambda version: (version / "manifest.json").write_text('{"format": "another"}'),
    "manifest without files": lambda version: (version / "manifest.json").write_text('{"format": "nearpose-index-1"}'),
    "vectors altered": lambda version: _altered(version / "vectors.npy"),
    "table missing": lambda version: (version / "frames.parquet").unlink(),
    "encoder altered": lambda version: _altered(version / "encoder" / "encoder.json"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_index_is_told_of_without_its_place(tmp_path, damage, caplog):
    damage(tmp_path / "index" / "versions" / build_index(tmp_path / "index"))
    with client_of(tmp_path / "index", ready=False) as client:
        wait_until(lambda: client.app.state.service.live.failure is not None)
        for answer in (client.get("/readyz"), posted(client, QUERY), client.get("/neighbors", params={"frame": "a"})):
            assert_silent(answer, 503, tmp_path, "index/")
    assert any(record.levelno == logging.WARNING for record in caplog.records)


def test_an_encoder_that_cannot_be_opened_is_told_of_without_its_place(root):
    def fail(folder, device):
        raise RuntimeError(f"{folder}/encoder.py: secret")

    with client_of(root, fail, ready=False) as client:
        wait_until(lambda: client.app.state.service.live.failure is not None)
        assert_silent(client.get("/readyz"), 503, root, "secret")


def test_a_failure_while_answering_is_told_of_by_its_id_alone(root):
    class Failing(ColourEncoder):
        def embed(self, crops):
            raise OSError(28, "No space left on device", "/var/lib/nearpose/secret.py")

    with client_of(root, lambda folder, device: Failing()) as client:
        assert_silent(posted(client, QUERY, JPEG), 500, root, "secret", "space")


def test_a_newer_index_that_failed_is_told_of_without_its_place(tmp_path):
    build_index(tmp_path / "index")
    with client_of(tmp_path / "index", open_colours) as client:
        build_index(tmp_path / "index", "v2", digest="broken")
        wait_until(lambda: client.get("/readyz").json()["failure"])
        assert not LEAK.search(client.get("/readyz").text)
        assert str(tmp_path) not in client.get("/readyz").text
        assert client.get("/neighbors", params={"frame": indexed_frames()[0].id}).status_code == 200
