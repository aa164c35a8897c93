"""Schemathesis over the whole OpenAPI document, against a real server: no server error, no status it does not name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.service_fixtures import COLOURS, build_index, indexed_frames, wait_until
from tests.test_service_metrics import samples
from tests.test_service_server import is_ready, serving

HERE = Path(__file__).parent.parent
EXAMPLES = 40  # an operation; benchmarks/fuzz_service.py runs longer
# What fits together is beyond a schema: a rect in the picture, a camera of its size.
BEYOND = "positive_data_acceptance"


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its statuses alone (``default`` allows any), and with hints that get requests through."""
    ids = [frame.id for frame in indexed_frames()]
    for path, operation in ((path, found) for path, every in document["paths"].items() for found in every.values()):
        operation["responses"].pop("default", None)
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "frame" and not path.startswith("/objects"):
                parameter["schema"] = {"anyOf": [{"enum": ids}, {"type": "string"}]}
    schemas = document["components"]["schemas"]
    camera = schemas["CameraField"]["properties"]
    del camera["width"], camera["height"]
    for name in camera:
        camera[name] |= {"minimum": 100, "maximum": 600}
    for form in (schemas[name] for name in ("PoseForm", "ViewsForm", "NeighborsForm")):
        form["properties"]["category"] = {"enum": sorted(COLOURS)}
        for part in form["properties"].values():
            if "contentSchema" in part.get("items", {}):
                part["items"]["format"] = f"json-{part['items']['contentSchema']['maxItems']}"
    return document


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("run") / "index"
    build_index(root)
    with serving(root, max_pixels=1_000_000) as client:
        wait_until(lambda: is_ready(client))
        yield client


def test_nothing_that_the_document_allows_or_forbids_makes_the_server_fail(client, tmp_path):
    (tmp_path / "openapi.json").write_text(json.dumps(narrowed(client.get("/openapi.json").json())))
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run", "openapi.json"]
    options = ["--url", str(client.base_url), "--seed", "1", "-n", str(EXAMPLES), "--checks", "all"]
    # Of the ids that it makes up, hardly any are ones that can be put into a path.
    options += ["--suppress-health-check", "filter_too_much"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks", "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [*command, *options, "--exclude-checks", BEYOND, "--continue-on-failure"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) > 200
    answered = {(dict(labels)["route"], dict(labels)["status"]) for labels in counted(client)}
    for route in ("/pose", "/neighbors", "/frames/{frame}/image.jpg"):
        assert (route, "200") in answered, f"no request to {route} got through"
    assert not [status for _, status in answered if status >= "500" and status != "503"]


def counted(client) -> list[frozenset]:
    """The labels of all requests that were counted."""
    return [labels for name, labels in samples(client.get("/metrics").text) if name == "nearpose_requests_total"]
