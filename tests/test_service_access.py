"""Who may ask, how often, and what every answer carries."""

from __future__ import annotations

import hashlib
import logging
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from index.schema import InvalidValueError
from service.__main__ import main
from service.app import create_app
from service.keys import KeyFile, new_key
from service.rates import Rates
from service.settings import Settings
from tests.scenes import standing_frame
from tests.service_fixtures import ColourEncoder, build_index, client_of, posted

QUERY = standing_frame(azimuth=0.45, category="shoe")
FRAME = {"frame": "v1/cup/0"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run") / "index"
    build_index(root)
    return root


@pytest.fixture
def secrets(tmp_path):
    """Two keys by name, in the file ``tmp_path / "keys"``: robot's is limited to 2 requests a minute."""
    robot, anna = new_key("robot", 2), new_key("anna")
    (tmp_path / "keys").write_text(f"# who may ask\n\n{robot[1]}\n{anna[1]}\n")
    return {"robot": robot[0], "anna": anna[0]}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_key_is_needed_where_there_are_keys(root, tmp_path, secrets):
    with client_of(root, api_keys=tmp_path / "keys") as client:
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert client.get("/openapi.json").status_code == 200
        for path in ("/neighbors", "/metrics", "/samples", "/nothing", "/frames/v1/cup/0/image.jpg", "/pagex"):
            refused = client.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == 'Bearer realm="nearpose"'
            assert refused.json()["type"] == "urn:nearpose:problem:unauthorized"
        wrong = client.get("/neighbors", params=FRAME, headers=bearer(secrets["anna"] + "x"))
        assert wrong.status_code == 401
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
        for headers in (
            bearer(secrets["anna"]),
            {"X-API-Key": secrets["anna"]},
            {"authorization": f"bEARER {secrets['anna']}"},
        ):
            assert client.get("/neighbors", params=FRAME, headers=headers).status_code == 200
        assert posted(client, QUERY).status_code == 401


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "Bearer ä".encode(), "x" * 8000])
def test_what_is_no_key_is_refused(root, tmp_path, secrets, header):
    with client_of(root, api_keys=tmp_path / "keys") as client:
        assert client.get("/metrics", headers={"Authorization": header}).status_code == 401
        assert client.get("/metrics", headers={"X-API-Key": header}).status_code == 401


def test_public_paths_need_no_key(root, tmp_path, secrets):
    public = ("/metrics", "/frames/*")
    with client_of(root, api_keys=tmp_path / "keys", public_paths=public) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/frames/v1/cup/0/image.jpg").status_code == 200
        for path in ("/metricsx", "/metrics/", "/frames", "/neighbors"):
            assert client.get(path).status_code == 401


def test_an_answer_to_a_key_is_for_that_client_alone(root, tmp_path, secrets):
    path = "/frames/v1/cup/0/image.jpg"
    with client_of(root, api_keys=tmp_path / "keys") as client:
        answer = client.get(path, headers={"X-API-Key": secrets["anna"]})
    with client_of(root) as client:
        assert client.get(path).headers["cache-control"].startswith("public")
    assert answer.headers["cache-control"].startswith("private")
    assert "X-API-Key" in answer.headers["vary"]


def test_the_log_names_the_key_and_never_shows_it(root, tmp_path, secrets, caplog):
    with client_of(root, api_keys=tmp_path / "keys") as client, caplog.at_level(logging.INFO):
        client.get("/metrics", headers=bearer(secrets["anna"]))
        client.get("/metrics", headers=bearer("np_wrong"))
    lines = [r for r in caplog.records if getattr(r, "path", None) == "/metrics"]
    assert [getattr(line, "key", None) for line in lines] == ["anna", None]
    told = " ".join(str(vars(record)) for record in caplog.records)
    assert not any(secret in told for secret in (*secrets.values(), "np_wrong"))


def test_the_file_is_read_again_when_it_changes(tmp_path, secrets, caplog):
    file, (secret, line) = tmp_path / "keys", new_key("new")
    keys = KeyFile(file)
    assert keys.find(secret) is None
    file.write_text(line)
    assert keys.find(secret).name == "new"
    assert keys.find(secrets["anna"]) is None
    file.write_text("nonsense")
    assert keys.find(secret).name == "new"
    file.unlink()
    assert keys.find(secret).name == "new"
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 2
    file.write_text("# nobody")
    assert keys.find(secret) is None


def test_a_key_is_long_and_only_its_hash_is_kept():
    secret, line = new_key("robot", 30)
    assert re.fullmatch(r"np_[\w-]{43}", secret)
    assert line == f"robot:{hashlib.sha256(secret.encode()).hexdigest()}:30"
    assert new_key("robot")[0] != secret


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("robot", "line 2, sha256"),
        ("robot:np_in_the_clear", "line 2, sha256"),
        ("ro bot:" + "0" * 64, "line 2, name"),
        (":" + "0" * 64, "line 2, name"),
        ("robot:" + "A" * 64, "line 2, sha256"),
        ("robot:" + "0" * 64 + ":", "line 2, requests_per_minute"),
        ("robot:" + "0" * 64 + ":0", "line 2, requests_per_minute"),
        ("robot:" + "0" * 64 + ":1.5", "line 2, requests_per_minute"),
    ],
)
def test_a_wrong_line_is_named_and_a_key_in_it_not_repeated(tmp_path, line, field):
    (tmp_path / "keys").write_text(f"anna:{'1' * 64}\n{line}\n")
    with pytest.raises(InvalidValueError, match=re.escape(field)) as caught:
        KeyFile(tmp_path / "keys")
    assert "np_in_the_clear" not in str(caught.value)


def test_a_service_without_the_file_that_it_was_told_of_does_not_start(root, tmp_path):
    with pytest.raises(InvalidValueError, match="readable file"):
        create_app(Settings(index=root, api_keys=tmp_path / "nowhere"))


def test_the_command_makes_a_key_that_works(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["service", "key", "robot", "30"])
    main()
    secret, line = (text.split()[-1] for text in capsys.readouterr().out.splitlines())
    (tmp_path / "keys").write_text(line)
    key = KeyFile(tmp_path / "keys").find(secret)
    assert (key.name, key.per_minute) == ("robot", 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a:b"], "name: got 'a:b'"),
        ([], "usage"),
        (["robot", "many"], "usage"),
        (["robot", "0"], "per_minute: got '0'"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["service", "key", *arguments])
    with pytest.raises(SystemExit, match=message):
        main()


def test_a_key_has_its_own_limit(root, tmp_path, secrets):
    with client_of(root, api_keys=tmp_path / "keys") as client:
        answers = [client.get("/neighbors", params=FRAME, headers=bearer(secrets["robot"])) for _ in range(3)]
        assert [a.status_code for a in answers] == [200, 200, 429]
        assert answers[0].headers["ratelimit"] == '"minute";r=1;t=30'
        assert answers[0].headers["ratelimit-policy"] == '"minute";q=2;w=60'
        assert answers[2].headers["ratelimit"].startswith('"minute";r=0;')
        assert 25 <= int(answers[2].headers["retry-after"]) <= 30
        assert answers[2].json()["type"] == "urn:nearpose:problem:rate-limited"
        free = client.get("/neighbors", params=FRAME, headers=bearer(secrets["anna"]))
        assert free.status_code == 200
        assert "ratelimit" not in free.headers


def test_without_keys_each_address_has_a_limit_and_probes_have_none(root):
    with client_of(root, requests_per_minute=3) as client:
        assert [client.get("/metrics").status_code for _ in range(4)] == [200] * 3 + [429]
        assert {client.get("/readyz").status_code for _ in range(9)} == {200}
        assert 'nearpose_rejected_total{reason="rate-limited"}' not in client.get("/metrics").text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200), st.integers(1, 120))
def test_no_client_gets_more_than_a_full_bucket_and_what_flows_in(pauses, per_minute):
    clock, allowed = Clock(), 0
    rates = Rates(clock)
    for pause in pauses:
        clock.now += pause
        verdict = rates.take("client", per_minute)
        allowed += verdict.allowed
        assert allowed <= per_minute + clock.now * per_minute / 60 + 1e-6
        assert verdict.allowed or verdict.remaining == 0


@given(st.integers(1, 600))
def test_a_refused_client_is_let_in_when_it_was_told(per_minute):
    clock = Clock()
    rates = Rates(clock)
    while (verdict := rates.take("client", per_minute)).allowed:
        pass
    clock.now += verdict.retry_s
    assert rates.take("client", per_minute).allowed
    assert rates.take("another", per_minute).allowed


def test_only_so_many_clients_are_remembered_the_busy_ones_first():
    rates = Rates(Clock(), most=10)
    for stranger in range(1000):
        rates.take("busy", 5)
        rates.take(stranger, 5)
    assert len(rates) == 10
    assert not rates.take("busy", 5).allowed


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
    ],
)
def test_addresses_of_one_network_are_one_client(one, other, same):
    from service.access import _client

    assert (_client({"client": (one, 1)}, None) == _client({"client": (other, 1)}, None)) == same


def test_pages_of_other_origins_may_ask_only_where_it_is_set(root):
    origin = {"Origin": "https://shop.example"}
    preflight = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    with client_of(root) as client:
        assert "access-control-allow-origin" not in client.get("/healthz", headers=origin).headers
        assert client.options("/pose", headers=preflight).status_code == 405
    with client_of(root, cors_origins=("https://shop.example",)) as client:
        allowed = client.options("/pose", headers=preflight)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://shop.example")
        refused = posted(client, QUERY, k="0")
        assert "access-control-allow-origin" not in refused.headers
        answer = client.get("/nothing", headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        other = client.get("/healthz", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_preflight_needs_no_key(root, tmp_path, secrets):
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    with client_of(root, api_keys=tmp_path / "keys", cors_origins=("https://a.example",)) as client:
        assert client.options("/neighbors", headers=headers).status_code == 200
        refused = client.get("/neighbors", headers={"Origin": "https://a.example"})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://a.example")


@pytest.mark.parametrize("origin", ["https://a.example/", "a.example", "https://*.example", "null"])
def test_an_origin_that_is_none_is_refused(root, origin):
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(index=root, cors_origins=(origin,))


def test_every_answer_is_guarded(root):
    class Broken(ColourEncoder):
        def crop(self, image, rect):
            raise RuntimeError

    with client_of(root, lambda folder, device: Broken()) as client:
        answers = [client.get("/healthz"), client.get("/nothing"), client.post("/pose"), posted(client, QUERY)]
    assert [answer.status_code for answer in answers] == [200, 404, 415, 500]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert {"default-src 'self'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
