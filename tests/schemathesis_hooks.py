"""What Schemathesis puts where the document can only say: a picture, four numbers in JSON. Loaded by its command."""

from __future__ import annotations

import json

import schemathesis
from hypothesis import strategies as st

from tests.scenes import standing_frame
from tests.service_fixtures import encoded, picture_of

_PICTURE = picture_of(standing_frame(azimuth=0.45, category="shoe"))
_FILES = [encoded(_PICTURE, ".jpg"), encoded(_PICTURE[::4, ::4], ".png"), encoded(_PICTURE, ".webp")]
_COORDINATE = st.floats(-100, 700) | st.integers(0, 480)


def _rect(edges: list[int]) -> list[int]:
    across, down = sorted(edges[:2]), sorted(edges[2:])
    return [across[0], down[0], across[1], down[1]]


_EDGES = st.lists(st.integers(0, 480), min_size=4, max_size=4, unique=True)
_VECTOR = st.lists(st.floats(-1, 1), min_size=3, max_size=3)

for _type in ("image/jpeg", "image/png", "image/webp"):
    schemathesis.openapi.media_type(_type, st.sampled_from(_FILES))
schemathesis.openapi.format("json-3", _VECTOR.map(json.dumps))
schemathesis.openapi.format(
    "json-4", st.one_of(_EDGES.map(_rect), st.lists(_COORDINATE, min_size=4, max_size=4)).map(json.dumps)
)
