"""How much work is asked for and how fast it gets done: what the line in front of the threads is ruled by."""

from __future__ import annotations

import math
from collections.abc import Hashable

_NEWEST = 0.03  # what the newest value counts in a mean
# What is longer than so many means is taken for so long, once among so many: a stall of all threads says little about
# what a call takes, but where a few of many calls are heavy they are most of the work.
_OUTLIER, _RARE = 10.0, 100
_AGAIN_S = 0.1


class Mean:
    """Of all values at first, then of the recent ones."""

    def __init__(self) -> None:
        self.value, self._count, self._since_outlier = 0.0, 0, _RARE

    def add(self, value: float) -> float:
        """One more value. Returns what it counts as: a rare outlier for no more than ten means."""
        self._count += 1
        self._since_outlier += 1
        newest = max(_NEWEST, 1 / self._count)
        if newest == _NEWEST and value > _OUTLIER * self.value:
            value = value if self._since_outlier < _RARE else _OUTLIER * self.value
            self._since_outlier = 0
        self.value += newest * (value - self.value)
        return value


class Demand:
    """What is asked as a share of what could be answered, the last moments counting most.

    What could be answered in them is what was, while all threads were busy, and what calls take on average for the
    rest of the time. So clients that each wait for their answer never ask for much more than there is, however fast
    calls become slower: what they asked for lately at what a call takes now would be too much.
    """

    def __init__(self) -> None:
        self._asked = self._answered = self._busy_s = self._since = 0.0  # sums over the last ``_recent_s``
        self._recent_s = 1.0

    def ask(self, now: float, recent_s: float) -> None:
        """One call is asked for. ``recent_s``: how long it is remembered."""
        self._fade(now, recent_s)
        self._asked += 1

    def answer(self, now: float, busy_s: float, recent_s: float) -> None:
        """A call ends, and all threads have been busy for the last ``busy_s``."""
        self._fade(now, recent_s)
        self._answered += 1
        self._busy_s += recent_s * -math.expm1(-busy_s / recent_s)  # its first moments have faded already

    def share(self, now: float, recent_s: float, interval_s: float) -> float:
        """Above 1, more is asked than can be answered, every ``interval_s`` one. 0 while that is not known."""
        self._fade(now, recent_s)
        if interval_s <= 0:
            return 0.0
        return self._asked / (self._answered + max(0.0, recent_s - self._busy_s) / interval_s)

    def _fade(self, now: float, recent_s: float) -> None:
        left = math.exp((self._since - now) / recent_s) * recent_s / self._recent_s  # the same rates over another time
        self._asked, self._answered, self._busy_s = self._asked * left, self._answered * left, self._busy_s * left
        self._since, self._recent_s = now, recent_s


class Refused:
    """Who was refused less than a tenth of a second ago."""

    def __init__(self) -> None:
        self._last: dict[Hashable, float] = {}  # the oldest first

    def has(self, client: Hashable, now: float) -> bool:
        """Whether ``client`` is one of them."""
        return now - self._last.get(client, -math.inf) < _AGAIN_S

    def note(self, client: Hashable, now: float) -> None:
        """``client`` is refused."""
        self._last.pop(client, None)
        self._last[client] = now
        while now - next(iter(self._last.values())) >= _AGAIN_S:
            del self._last[next(iter(self._last))]

    def forget(self, client: Hashable) -> None:
        """``client`` has a thread: what it asks next is new."""
        self._last.pop(client, None)
