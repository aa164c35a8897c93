"""The images' and the cluster's files: linted, valid, locked down; and what they start is what the programs take.

There is no Docker where tests run: the containers' commands are run as processes, on folders in place of volumes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from service.settings import Settings
from tests.captures import write_capture
from tests.service_fixtures import wait_until
from tests.serving import ROOT, Server

yaml = pytest.importorskip("yaml")
KUBERNETES = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
IMAGES = ("service", "service-gpu", "trainer", "trainer-gpu")


def documents():
    return [document for file in KUBERNETES for document in yaml.safe_load_all(file.read_text())]


def pod(document):
    """The pod's spec in a Deployment or a CronJob."""
    spec = document["spec"]
    return (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]["spec"]


def stage(name: str) -> str:
    """The lines of one stage of the Dockerfile, and of those that it is made from."""
    text = (ROOT / "Dockerfile").read_text()
    base, lines = re.search(rf"^FROM (\S+) AS {name}$\n((?:(?!^FROM).*\n)*)", text, re.M).groups()
    return (stage(base) if f"AS {base}\n" in text else "") + lines


def command(name: str) -> list[str]:
    """What an image starts: ENTRYPOINT and CMD."""
    found = [re.search(rf"^{word} (\[.*\])$", stage(name), re.M)[1] for word in ("ENTRYPOINT", "CMD")]
    return [argument for words in found for argument in json.loads(words)]


def test_the_dockerfile_is_linted():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed")
    # DL3013: versions are those that pyproject.toml allows.
    linted = subprocess.run([hadolint, "--ignore", "DL3013", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert linted.stdout == ""


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_nobody_in_particular(image):
    assert re.findall(r"^USER (.*)$", stage(image), re.M) == ["10001"]


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.name)
def test_what_kubernetes_is_told_is_valid(file):
    validate = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(file.read_text()):
        validate.validate(document, validate.latest_version(), strict=True)


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_pods_are_locked_down(kind):
    (document,) = [document for document in documents() if document["kind"] == kind]
    spec = pod(document)
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 10001)
    (container,) = spec["containers"]
    lock = container["securityContext"]
    assert lock == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    named = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == named
    claims = {document["metadata"]["name"] for document in documents() if document["kind"] == "PersistentVolumeClaim"}
    assert {v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if "persistentVolumeClaim" in v} <= claims


def test_the_deployment_never_stops_answering():
    (document,) = [document for document in documents() if document["kind"] == "Deployment"]
    (container,) = pod(document)["containers"]
    assert document["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    settings = Settings(
        index="/run/nearpose/index", **{k.removeprefix("NEARPOSE_").lower(): v for k, v in environment.items()}
    )
    assert pod(document)["terminationGracePeriodSeconds"] > settings.drain_s + settings.shutdown_s
    labels = document["spec"]["template"]["metadata"]["labels"]
    for other in (d for d in documents() if d["kind"] in ("Service", "PodDisruptionBudget")):
        selector = other["spec"]["selector"]
        assert selector.get("matchLabels", selector) == labels


def test_compose_locks_its_containers():
    found = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name, service in found.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["build"]["target"] in IMAGES
    assert {name.removeprefix("NEARPOSE_").lower() for name in found["service"]["environment"]} <= set(
        Settings.model_fields
    )
    assert "run:/run/nearpose:ro" in found["service"]["volumes"]
    gpu = yaml.safe_load((ROOT / "compose.gpu.yaml").read_text())["services"]
    assert {service["build"]["target"] for service in gpu.values()} == {"service-gpu", "trainer-gpu"}


def test_pods_start_what_the_images_start():
    for document in documents():
        if document["kind"] in ("Deployment", "CronJob"):
            (container,) = pod(document)["containers"]
            image = container["image"].removeprefix("nearpose-").partition(":")[0]
            assert container["args"] == command(image)[-len(container["args"]) :]


def test_a_rebuild_is_switched_to_by_the_running_service(tmp_path):
    captures, run, kept = tmp_path / "captures", tmp_path / "run", tmp_path / "kept"
    for i in range(2):
        write_capture(captures / f"cup-{i}", object_id=f"cup-{i}", category="cup", split="train", seed=i)
    run.mkdir()
    kept.mkdir()
    places = {"/captures": str(captures), "/run/nearpose": str(run)}
    rebuild = [sys.executable, *(places.get(word, word) for word in command("trainer")[1:])]
    server = Server(
        Path(command("service")[4].replace("/run/nearpose", str(run))), "--enrolment", str(kept / "e"), colours=False
    )
    environment = os.environ | {
        "HOME": str(tmp_path / "home"),
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", ""),
    }
    try:
        with httpx2.Client(base_url=server.url, trust_env=False) as client:
            assert client.get("/readyz").status_code == 503
            for added, frames in ((None, 12), ("cup-2", 18)):
                if added:
                    write_capture(captures / added, object_id=added, category="cup", split="train", seed=7)
                subprocess.run(rebuild, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=280)
                wait_until(lambda wanted=frames: _frames(client) == wanted, 120)
    finally:
        server.end()


def _frames(client) -> int:
    answer = client.get("/readyz")
    return int(answer.json().get("frames", 0)) if answer.status_code == 200 else 0
