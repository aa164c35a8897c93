"""The sweep's state as a table that is drawn again and again, or, where there is no terminal, as a line a change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
_STYLES = {WAITING: "dim", RUNNING: "bold", DONE: "green", FAILED: "bold red"}


@dataclass
class Status:
    """How far a row is. ``now``: the last line of its log; at the end its figures, or what went wrong."""

    state: str = WAITING
    now: str = ""
    started: float = 0.0
    seconds: float = 0.0

    def begin(self) -> None:
        """The row starts."""
        self.state, self.started = RUNNING, time.monotonic()

    def end(self, state: str, now: str) -> None:
        """The row ends as ``state``."""
        self.state, self.now = state, now
        self.seconds = time.monotonic() - self.started if self.started else 0.0


class Board:
    """Shows ``rows`` while it is open."""

    def __init__(self, rows: Mapping[str, Status], console: Console | None = None) -> None:
        self._rows, self._console = rows, console or Console(stderr=True)
        self._live = Live(self.table(), console=self._console, auto_refresh=False)
        self._told: dict[str, str] = {}

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.update()
        if self._console.is_terminal:
            self._live.stop()

    def update(self) -> None:
        """Draws the table anew, or tells what has changed."""
        if self._console.is_terminal:
            self._live.update(self.table(), refresh=True)
            return
        for name, status in self._rows.items():
            if status.state != self._told.get(name, WAITING):
                self._told[name] = status.state
                now = "" if status.state == RUNNING else status.now
                line = f"{name}: {status.state} {now}".rstrip()
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def table(self) -> Table:
        """All rows, and above them how many are done."""
        ended = sum(status.state in (DONE, FAILED) for status in self._rows.values())
        table = Table(title=f"{ended} of {len(self._rows)} rows", title_justify="left", expand=True)
        table.add_column("row", no_wrap=True)
        table.add_column("state")
        table.add_column("time", justify="right")
        table.add_column("now", ratio=1, no_wrap=True, overflow="ellipsis")
        for name, status in self._rows.items():
            seconds = time.monotonic() - status.started if status.state == RUNNING else status.seconds
            clock = f"{seconds // 60:.0f}:{seconds % 60:02.0f}" if seconds else ""
            table.add_row(name, status.state, clock, status.now, style=_STYLES[status.state])
        return table
