"""What is kept of an enrolled picture."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.picture import decode_picture
from service.enrolment.keep import embed, keep
from tests.scenes import standing_frame
from tests.service_fixtures import ColourEncoder, picture_of


def test_the_same_encoder_makes_the_same_vector_of_what_is_kept():
    frame, encoder = standing_frame(), ColourEncoder()
    picture = picture_of(frame)
    kept = keep(picture, frame.view.rect)
    direct = encoder.embed(encoder.crop(picture, frame.view.rect)[None])[0]
    first, second = embed(encoder, [kept, kept])
    assert first.tolist() == second.tolist()
    assert float(first @ direct) > 0.999


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(8, 1500), st.integers(8, 1500)),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_what_is_kept_holds_the_rect_and_is_small(size, corners):
    (height, width), (u0, u1, v0, v1) = size, corners
    rect = (min(u0, u1) * (width - 1), min(v0, v1) * (height - 1))
    rect = (*rect, max(rect[0] + 1, max(u0, u1) * width), max(rect[1] + 1, max(v0, v1) * height))
    kept = keep(np.full((height, width, 3), 90, np.uint8), rect)
    shown = decode_picture(kept.jpeg)
    x0, y0, x1, y1 = kept.rect
    assert 0 <= x0 < x1 <= shown.shape[1] + 1e-6
    assert 0 <= y0 < y1 <= shown.shape[0] + 1e-6
    assert max(shown.shape[:2]) <= 1.5 * 512 + 4
    assert max(decode_picture(kept.thumbnail).shape[:2]) <= 320
