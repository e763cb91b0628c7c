"""How a run shows itself: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from lastkd.data.clip import Clip

LINE_EVERY_S = 15.0


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class RunProgress:
    """Steps done, state and time left of one run; silent on all ranks but the first."""

    def __init__(self, name: str, total_steps: int, *, shown: bool, stderr: bool = False) -> None:
        self._console = Console(quiet=not shown, stderr=stderr)
        self._name = name
        self._total = total_steps
        self._begun_at = 0
        self._started = self._last_line = time.monotonic()
        self._live = (
            Progress(
                SpinnerColumn(),
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            if shown and self._console.is_terminal
            else None
        )
        if self._live:
            self._task = self._live.add_task(name, total=total_steps, state="")

    def __enter__(self) -> RunProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def begin(self, step: int) -> None:
        """Says that the run goes on after `step`, which took no time."""
        self._begun_at = step
        self._started = time.monotonic()
        if self._live:
            self._live.update(self._task, completed=step)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, step: int, state: str) -> None:
        """After `step` steps of the whole run; `state` says how it stands."""
        now = time.monotonic()
        took = (now - self._started) / max(step - self._begun_at, 1)
        left = duration(took * (self._total - step))
        state = f"{state} | {left} left"
        if self._live:
            self._live.update(self._task, completed=step, state=state)
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self.say(f"{self._name} | step {step}/{self._total} | {state}")


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
