"""The one way in which numerical loops are compiled (Numba)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, compiled to machine code when it is first called; it then runs without Python's lock.

    What was compiled is kept beside the source or in the user's cache, or in ``NUMBA_CACHE_DIR``; where none of them
    can be written, every process compiles anew (seconds). Functions that call each other must be in one file: the
    cache does not look further for what has changed.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder for the cache
        return njit(**options)(function)  # type: ignore[no-any-return]
