"""An object that no index knows, and the requests that enrol and find it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from tests.scenes import standing_frame
from tests.service_fixtures import (
    COLOURS,
    encoded,
    picture_of,
    query_fields,
)

PURPLE = (150, 30, 160)
VASE = {"category": "vase", "object_id": "vases/blue 1", "size": (0.09, 0.2, 0.09)}


def shown(frame) -> np.ndarray:
    """The frame's picture; vases, which the index does not know, are purple."""
    if frame.category != "vase":
        return picture_of(frame)
    picture = picture_of(replace(frame, category="cup"))
    picture[(picture == COLOURS["cup"]).all(axis=2)] = PURPLE
    return picture


def vase(**changes):
    return standing_frame(**{**VASE, **changes})


def enrolled(client, frame, *, posed: bool = True, headers=None, image=None, **changes):
    """Posts a frame's picture, and all that is known of it, to its object; ``changes`` replace fields, None drops."""
    fields = query_fields(frame) | {"rect": json.dumps(frame.view.rect), "category": frame.category}
    if posed:
        parts = {name: getattr(frame.box, name).tolist() for name in ("center", "size", "rotation")}
        fields["box"] = json.dumps(parts)
    data = {name: value for name, value in (fields | changes).items() if value is not None}
    image = encoded(shown(frame)) if image is None else image
    path = f"/objects/{frame.object_id}/frames"
    return client.post(path, data=data, files={"image": ("upload.jpg", image, "image/jpeg")}, headers=headers)


def nearest(client, frame) -> dict:
    fields = {"rect": json.dumps(frame.view.rect)}
    files = {"image": ("upload.jpg", encoded(shown(frame)), "image/jpeg")}
    return client.post("/neighbors", data=fields, files=files).json()["neighbors"][0]
