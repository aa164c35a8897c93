"""How often each client may ask: token buckets, as many as fit in a bound."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_MOST_CLIENTS = 10_000
_MINUTE = 60.0


@dataclass(frozen=True)
class Verdict:
    """Whether a request may go on. ``remaining`` whole requests may follow at once; times are whole seconds."""

    allowed: bool
    per_minute: int
    remaining: int
    retry_s: int
    full_s: int

    def headers(self) -> dict[str, str]:
        """As https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers puts it."""
        told = {
            "RateLimit-Policy": f'"minute";q={self.per_minute};w={_MINUTE:.0f}',
            "RateLimit": f'"minute";r={self.remaining};t={self.full_s}',
        }
        return told if self.allowed else told | {"Retry-After": str(self.retry_s)}


class Rates:
    """A bucket a client: it holds a minute's requests, and fills as fast as they are allowed.

    The client not seen for longest is forgotten where there are too many; its next bucket is full. Not for threads.

    Args:
        clock: seconds, never going back.
        most: how many clients are remembered.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _MOST_CLIENTS) -> None:
        self._clock, self._most = clock, most
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # tokens, when

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: Hashable, per_minute: int) -> Verdict:
        """Takes one request out of the bucket of ``client``, if one is there."""
        now, rate = self._clock(), per_minute / _MINUTE
        tokens, then = self._buckets.pop(client, (float(per_minute), now))
        tokens = min(float(per_minute), tokens + (now - then) * rate)
        allowed = tokens >= 1
        tokens -= allowed
        self._buckets[client] = tokens, now
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return Verdict(
            allowed=allowed,
            per_minute=per_minute,
            remaining=int(tokens),
            retry_s=max(1, math.ceil((1 - tokens) / rate)),
            full_s=math.ceil((per_minute - tokens) / rate),
        )
