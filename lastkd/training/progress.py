"""How a run shows itself: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

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
