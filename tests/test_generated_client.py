"""The OpenAPI document is enough: a client that a public generator makes of it asks a real server."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from index.iou import iou_3d
from tests.scenes import standing_frame
from tests.service_fixtures import build_index, encoded, picture_of, query_fields, wait_until
from tests.test_service_server import is_ready, serving

QUERY = standing_frame(azimuth=0.45, elevation=0.62, category="shoe")
FIELDS = query_fields(QUERY)
PACKAGE = "generated_nearpose_client"
# Without the override a JPEG has no type; without the empty list the generator looks for a formatter.
CONFIG = "content_type_overrides:\n  image/jpeg: application/octet-stream\npost_hooks: []\n"


def generate(document: dict, folder) -> None:
    """Writes the client's package into ``folder``; anything that the generator leaves out is a failure."""
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
    paths = ["--path", "openapi.json", "--config", "config.yaml", "--output-path", PACKAGE]
    done = subprocess.run([*command, *paths], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The generated package's parts, and its client of a server that runs."""
    root = tmp_path_factory.mktemp("run")
    build_index(root / "index")
    with serving(root / "index") as http:
        wait_until(lambda: is_ready(http))
        generate(http.get("/openapi.json").json(), root)
        sys.path.insert(0, str(root))
        Client = importlib.import_module(f"{PACKAGE}.client").Client
        try:
            with Client(base_url=str(http.base_url), httpx_args={"trust_env": False}) as generated:
                yield SimpleNamespace(
                    http=generated,
                    models=importlib.import_module(f"{PACKAGE}.models"),
                    types=importlib.import_module(f"{PACKAGE}.types"),
                    call=lambda tag, name: importlib.import_module(f"{PACKAGE}.api.{tag}.{name}"),
                )
        finally:
            sys.path.remove(str(root))


def picture(client, frame=QUERY):
    return client.types.File(payload=encoded(picture_of(frame)), file_name="a.jpg", mime_type="image/jpeg")


def pose_form(client, **changes):
    camera = client.models.CameraField.from_dict(json.loads(FIELDS["camera"]))
    plane = client.models.PlaneField.from_dict(json.loads(FIELDS["plane"]))
    fields = {"image": picture(client), "camera": camera, "plane": plane, "rect": FIELDS["rect"]}
    return client.models.PoseForm(**fields | changes)


def test_pose(client):
    rects = [*FIELDS["rect"], "[10, 20, 90, 160]"]
    answer = client.call("queries", "pose").sync(client=client.http, body=pose_form(client, rect=rects, k=4))
    found, other = answer.objects
    assert found.category == "shoe"
    assert len(found.neighbors) == 4
    assert other.rect == [10, 20, 90, 160]
    assert iou_3d(np.array(found.box.corners)[None], QUERY.box.corners[None])[0] > 0.7


def test_pose_of_views(client):
    views = client.models.ViewsForm(
        image=[picture(client), picture(client)],
        camera=client.models.CameraField.from_dict(json.loads(FIELDS["camera"])),
        plane=client.models.PlaneField.from_dict(json.loads(FIELDS["plane"])),
        rect=FIELDS["rect"] * 2,
        world_from_camera=[json.dumps(np.eye(4).tolist())] * 2,
    )
    answer = client.call("queries", "pose_of_views").sync(client=client.http, body=views)
    assert len(answer.objects) == 2
    assert answer.objects[0].box == answer.objects[1].box


def test_neighbors_of_a_picture_and_of_a_frame(client):
    form = client.models.NeighborsForm(image=picture(client), rect=FIELDS["rect"])
    found = client.call("queries", "neighbors").sync(client=client.http, body=form)
    first = found.neighbors[0].frame
    assert first.startswith("v1/shoe/")
    others = client.call("queries", "neighbors_of_frame").sync(client=client.http, frame=first, k=3)
    assert len(others.neighbors) == 3
    jpeg = client.call("queries", "frame_image").sync(client=client.http, frame=first)
    assert jpeg.payload.read(3) == b"\xff\xd8\xff"


def test_readiness_and_metrics(client):
    assert client.call("operation", "readyz").sync(client=client.http).frames == 12
    assert client.call("operation", "healthz").sync(client=client.http).status == "alive"
    assert "nearpose_requests_total" in client.call("operation", "metrics").sync(client=client.http)


def test_a_refusal_is_a_typed_problem(client):
    response = client.call("queries", "pose").sync_detailed(client=client.http, body=pose_form(client, k=0))
    problem = response.parsed
    assert isinstance(problem, client.models.Problem)
    assert (response.status_code, problem.status, problem.field, problem.value) == (422, 422, "k", "0")
    assert problem.type_ == "urn:nearpose:problem:invalid-value"
    nothing = client.call("queries", "neighbors_of_frame").sync(client=client.http, frame="no such frame")
    assert (nothing.status, nothing.field) == (404, "frame")
