"""What pages of other origins may have a browser send: nothing that changes anything, unless a setting names them."""

from __future__ import annotations

import pytest

from tests.enrolling import enrolled, vase
from tests.service_fixtures import build_index, client_of

SHOP = "https://shop.example"
FOREIGN = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Origin": SHOP},
    "another site without an origin": {"Sec-Fetch-Site": "cross-site"},
    "another port": {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver:3000"},
    "an older browser": {"Origin": SHOP},
    "a sandbox": {"Origin": "null"},
    "no address at all": {"Origin": "http://[oops"},
}
OWN = {
    "no browser": {},
    "a person": {"Sec-Fetch-Site": "none"},
    "the page": {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"},
    "the page in an older browser": {"Origin": "http://testserver"},
    "the page behind a proxy": {"Origin": "http://pose.example", "X-Forwarded-Host": "pose.example"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run") / "index"
    build_index(root)
    return root


@pytest.fixture(scope="module")
def client(root):
    with client_of(root) as client:
        yield client


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_form_of_another_page_enrols_and_removes_nothing(client, headers):
    answer = enrolled(client, vase(object_id="foreign"), headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (403, "urn:nearpose:problem:foreign-origin")
    assert (problem["field"], problem["value"]) == ("Origin", headers.get("Origin"))
    assert "--cors-origins" in problem["bound"]
    assert "content-security-policy" in answer.headers
    assert client.delete("/objects/foreign", headers=headers).status_code == 403
    assert client.get("/objects/foreign", headers=headers).status_code == 404


@pytest.mark.parametrize("headers", OWN.values(), ids=OWN.keys())
def test_all_others_may(client, headers):
    assert enrolled(client, vase(), headers=headers).status_code == 201


@pytest.mark.parametrize("origins", [("*",), (SHOP,)])
def test_pages_that_are_named_may(root, origins):
    with client_of(root, cors_origins=origins) as client:
        assert enrolled(client, vase(), headers={"Sec-Fetch-Site": "cross-site", "Origin": SHOP}).status_code == 201
