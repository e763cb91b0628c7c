"""How preparing shows itself: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from lastkd.data.clip import Clip

LINE_EVERY_S = 10.0


class Counter:
    """Samples done so far, with rate and time left."""

    def __init__(self, total: int, unit: str, console: Console, live: Progress | None) -> None:
        self._total = total
        self._unit = unit
        self._console = console
        self._live = live
        self._task = live.add_task(unit, total=total, state="") if live else None
        self._started = self._last_line = time.monotonic()
        self._first: int | None = None
        self.done = 0

    def to(self, count: int) -> None:
        now = time.monotonic()
        if self._first is None and count:
            # the clock runs from the first that is done: before it, processes were started
            self._first, self._started = count, now
        self.done = count
        rate = (count - (self._first or 0)) / max(now - self._started, 1e-9)
        left = f"{(self._total - count) / rate:.0f} s left" if rate else ""
        state = f"{rate:,.0f} {self._unit}/s, {left}"
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=count, state=state if rate else "")
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self._console.print(f"  {count:,} of {self._total:,} {self._unit}, {state}")

    def go_on(self, count: int) -> None:
        """So many were done by an earlier start, and don't count for the rate."""
        self.done = count
        if count:
            self._console.print(f"  going on after {count:,} {self._unit}")
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=count)

    def each(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        for count, clip in enumerate(clips, start=1):
            yield clip
            self.to(count)


@contextmanager
def counted(total: int, unit: str = "clips") -> Iterator[Counter]:
    """A counter that shows itself while the block runs."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Counter(total, unit, console, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as live:
        yield Counter(total, unit, console, live)
