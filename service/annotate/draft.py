"""The box that the index proposes for an object of a capture."""

from __future__ import annotations

from index.schema import NearposeError


class NoDraftError(NearposeError):
    """No box can be proposed; the message says why."""
