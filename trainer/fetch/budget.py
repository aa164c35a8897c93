"""The disk that a run may fill, shared by its threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from index.schema import NearposeError


class DiskFullError(NearposeError):
    """No more fits into the disk budget, or onto the disk."""


class DiskBudget:
    """At most ``limit`` bytes over all keys: what lies there, and what is promised to files that are still growing."""

    def __init__(self, limit: int, there: Mapping[str, int]) -> None:
        """``there``: the bytes that each key holds already."""
        self._limit, self._held = limit, dict(there)
        self._growing: set[str] = set()
        self._changed = threading.Condition()

    def promise(self, key: str, size: int) -> None:
        """``key`` will grow to ``size`` bytes; waits until others have settled so that it fits.

        Raises DiskFullError when no other is growing, and it still does not fit.
        """
        with self._changed:
            self._growing.discard(key)
            while not self._fits(key, size):
                if not self._growing:
                    raise DiskFullError(f"{self._text(size)} more do not fit into {self._text(self._limit)}")
                self._changed.wait()
            self._held[key] = size
            self._growing.add(key)

    def settle(self, key: str, size: int) -> None:
        """``key`` has its ``size`` and grows no more."""
        with self._changed:
            self._held[key] = size
            self._growing.discard(key)
            self._changed.notify_all()

    def _fits(self, key: str, size: int) -> bool:
        return sum(self._held.values()) - self._held.get(key, 0) + size <= self._limit

    @staticmethod
    def _text(size: int) -> str:
        return f"{size / 1e9:.3g} GB"
