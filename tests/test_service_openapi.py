"""What the OpenAPI document says beyond what FastAPI does: parts, headers, keys, names."""

from __future__ import annotations

import pytest

from service.access import PROBES
from service.app import create_app
from service.keys import new_key
from service.settings import Settings


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    return create_app(Settings(index=tmp_path_factory.mktemp("none"))).openapi()


def operations(document):
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


def test_operations_are_named_as_a_client_would_name_them(document):
    names = {operation["operationId"] for _, operation in operations(document)}
    assert {"pose", "pose_of_views", "neighbors", "neighbors_of_frame", "frame_image", "readyz", "metrics"} <= names
    assert len(names) == len(operations(document))


def test_parts_are_what_they_hold_and_say_how_they_travel(document):
    (form,) = document["paths"]["/pose"]["post"]["requestBody"]["content"].values()
    assert form["encoding"] == {
        "image": {"contentType": "image/jpeg, image/png, image/webp"},
        "camera": {"contentType": "application/json"},
        "plane": {"contentType": "application/json"},
    }
    parts = document["components"]["schemas"]["PoseForm"]["properties"]
    assert parts["image"].items() >= {"type": "string", "format": "binary"}.items()
    assert parts["camera"]["$ref"] == "#/components/schemas/CameraField"
    assert parts["camera"]["examples"][0]["fx"] == 525
    assert parts["category"]["type"] == "string"
    assert "null" not in str(parts)


def test_every_operation_names_its_refusals_and_headers(document):
    for path, operation in operations(document):
        refused = {"500", "503"} if path in PROBES else {"401", "429", "500", "503"}
        assert refused <= operation["responses"].keys(), path
        assert operation["responses"].keys() & {"200", "201", "204"}, path
        for status, response in operation["responses"].items():
            assert "X-Request-Id" in response["headers"], (path, status)
        assert "Retry-After" in operation["responses"]["503"]["headers"]
        assert path in PROBES or "WWW-Authenticate" in operation["responses"]["401"]["headers"]
        if "requestBody" in operation:
            assert {"400", "408", "413", "415", "422"} <= operation["responses"].keys(), path


def test_keys_are_optional_until_there_are_some(document, tmp_path):
    assert document["security"] == [{"bearer": []}, {"header": []}, {}]
    (tmp_path / "keys").write_text(new_key("anna")[1])
    asking = create_app(Settings(index=tmp_path, api_keys=tmp_path / "keys")).openapi()
    assert asking["security"] == [{"bearer": []}, {"header": []}]
    assert asking["components"]["securitySchemes"].keys() == {"bearer", "header"}
    assert asking["paths"]["/healthz"]["get"]["security"] == []


def test_the_document_is_the_same_each_time_it_is_asked_for(tmp_path):
    app = create_app(Settings(index=tmp_path))
    assert app.openapi() == app.openapi()
    assert app.openapi()["servers"] == [{"url": "/", "description": "where this document comes from"}]
