"""Captures to annotate, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.captures_scene import capture_document, orbit, write_folder

POSES = orbit(5)
BOX = {"center": [0.05, 0.1, -0.02], "size": [0.12, 0.2, 0.16], "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
PLANE = {"normal": [0, 1, 0], "point": [0, 0, 0]}


def bare_capture(folder: Path, **changes: Any) -> Path:
    """A capture as an import leaves it: pictures, poses, the ground, and no object; ``changes`` replace fields."""
    document = capture_document(POSES) | {"objects": [], "plane_from": "A GUESS: below the lowest points"} | changes
    return write_folder(folder, document, POSES)


def content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "capture.json").read_text())


def annotation(size: float = 0.12, **changes: Any) -> dict[str, Any]:
    """An object as wide as ``size`` on the ground, as the page puts it; ``changes`` replace the object's fields."""
    box = BOX | {"size": [size, 0.2, 0.16]}
    item = {"id": "mug-17", "category": "cup", "box": box, "accepted": True} | changes
    return {"plane": PLANE, "objects": [item]}


def save(client, name: str, revision: str, body: dict[str, Any]):
    return client.put(f"/annotate/captures/{name}", json=body, headers={"If-Match": f'"{revision}"'})


def opened(client, name: str) -> dict[str, Any]:
    answer = client.get(f"/annotate/captures/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json()
