"""Schemathesis over the annotator's OpenAPI document, against a real server: no server error, no status it hides."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.annotation import bare_capture, opened
from tests.serving import annotating
from tests.test_service_metrics import samples

HERE = Path(__file__).parent.parent
EXAMPLES = 25  # an operation
# What fits together is beyond a schema: a rotation, an object of one name alone.
BEYOND = "positive_data_acceptance"


@pytest.fixture
def client(tmp_path):
    bare_capture(tmp_path / "captures" / "mug")
    with (
        annotating(tmp_path / "captures") as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=30) as client,
    ):
        yield client


def narrowed(document: dict[str, Any], revision: str) -> dict[str, Any]:
    """The document with its statuses alone (``default`` allows any), and with hints that get requests through."""
    hints = {"name": ["mug"], "number": [0, 4, 5], "if-match": [f'"{revision}"'], "rect": ["20,40,160,200"]}
    for operation in (found for every in document["paths"].values() for found in every.values()):
        operation["responses"].pop("default", None)
        for parameter in operation.get("parameters", ()):
            if hint := hints.get(parameter["name"]):
                parameter["schema"] = {"anyOf": [{"enum": hint}, parameter["schema"]]}
    turn = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    document["components"]["schemas"]["BoxShape"]["properties"]["rotation"] |= {"enum": [turn]}
    return document


def test_nothing_that_the_document_allows_or_forbids_makes_the_server_fail(client, tmp_path):
    document = narrowed(client.get("/openapi.json").json(), opened(client, "mug")["revision"])
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run", "openapi.json"]
    options = ["--url", str(client.base_url), "--seed", "1", "-n", str(EXAMPLES), "--checks", "all"]
    done = subprocess.run(
        [*command, *options, "--exclude-checks", BEYOND, "--suppress-health-check", "all", "--continue-on-failure"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) > 100
    counted = [
        dict(labels) for name, labels in samples(client.get("/metrics").text) if name == "nearpose_requests_total"
    ]
    answered = {(labels["route"], labels["method"], labels["status"]) for labels in counted}
    for route in ("/annotate/captures/{name}", "/annotate/captures/{name}/frames/{number}.jpg"):
        assert (route, "GET", "200") in answered
    assert ("/annotate/captures/{name}", "PUT", "422") in answered
    assert not [status for _, _, status in answered if status >= "500" and status != "503"]
