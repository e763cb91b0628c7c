"""Progress: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import rich.progress
from rich.console import Console

Item = TypeVar("Item")
Echo = Callable[[str], None]
"""Prints a line."""

SECONDS_BETWEEN_LINES = 15.0


def echo(text: str) -> None:
    """Prints a line at once, so that it stands before the output of a process started next."""
    print(text, flush=True)


def mute_native_libraries() -> None:
    """From here on Python alone writes to standard error, and what C++ libraries print is dropped.

    MediaPipe prints a hundred lines a film, across the picture in the terminal; what a user can do
    something about it raises.
    """
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    # textual draws on the second one
    sys.stderr = sys.__stderr__ = os.fdopen(terminal, "w", buffering=1, encoding="utf-8")  # type: ignore[misc]


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Progress:
    """How much of a task is done, at what rate, and the time left.

    On a terminal it is a bar, which disappears at the end of the `with` block. Elsewhere, as in a
    log file, it is a line every 15 seconds.
    """

    def __init__(
        self,
        name: str,
        total: int,
        *,
        unit: str = "steps",
        shown: bool = True,
        stderr: bool = False,
    ) -> None:
        """
        Args:
            name: what is being done, in front of the bar and of each line.
            unit: what `total` counts, in the plural.
            shown: False keeps it silent, as on all processes but the main one.
            stderr: whether it is written to standard error or to standard output.
        """
        self.done = 0
        self._name = name
        self._total = total
        self._unit = unit
        self._console = Console(quiet=not shown, stderr=stderr)
        self._started = self._last_line = time.monotonic()
        self._resumed_at = 0
        self._first: tuple[int, float] | None = None  # count and time of the first update
        self._bar: rich.progress.Progress | None = None
        if shown and self._console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.SpinnerColumn(),
                rich.progress.TextColumn("[bold]{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TextColumn("{task.fields[state]}"),
                rich.progress.TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(name, total=total, state="")

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def echo(self, text: str) -> None:
        """Prints a line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def resume_at(self, count: int) -> None:
        """Starts from `count`, which an earlier process reached; the rate leaves it out."""
        self.done = self._resumed_at = count
        self._started = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=count)

    def update(self, count: int, state: str = "") -> None:
        """Shows that `count` of the whole are done.

        Args:
            state: what else to show; the rate if empty.
        """
        now = time.monotonic()
        self.done = count
        rate = self._rate(now)
        shown = [state or (f"{rate:,.0f} {self._unit}/s" if rate else "")]
        if rate:
            shown.append(f"{duration((self._total - count) / rate)} left")
        text = " | ".join(filter(None, shown))
        if self._bar:
            self._bar.update(self._task, completed=count, state=text)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            at = f"{count:,} of {self._total:,} {self._unit}"
            self.echo(" | ".join(filter(None, (self._name, at, text))))

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Passes `items` through, counting each once it has been dealt with."""
        for count, item in enumerate(items, start=1):
            yield item
            self.update(count)

    def _rate(self, now: float) -> float:
        """Units a second: since the first update, as what came before includes the start-up."""
        if self._first is None:
            if self.done > self._resumed_at:
                self._first = self.done, now
            return (self.done - self._resumed_at) / max(now - self._started, 1e-9)
        count, since = self._first
        return (self.done - count) / max(now - since, 1e-9)
