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
    TimeRemainingColumn,
)

from lastkd.data.clip import Clip

LINE_EVERY_S = 10.0


class Counter:
    """Clips done so far, with rate and time left."""

    def __init__(self, total: int, console: Console, live: Progress | None) -> None:
        self._total = total
        self._console = console
        self._live = live
        self._task = live.add_task("clips", total=total, rate="") if live else None
        self._started = self._last_line = time.monotonic()

    def to(self, count: int) -> None:
        now = time.monotonic()
        rate = count / max(now - self._started, 1e-9)
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=count, rate=f"{rate:.0f} clips/s")
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            left = (self._total - count) / rate
            self._console.print(
                f"  {count:,} of {self._total:,} clips, {rate:.0f} clips/s, {left:.0f} s left"
            )

    def each(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        for count, clip in enumerate(clips, start=1):
            yield clip
            self.to(count)


@contextmanager
def counted(total: int) -> Iterator[Counter]:
    """A counter that shows itself while the block runs."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Counter(total, console, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as live:
        yield Counter(total, console, live)
