"""The plan of a sequence: its steps, what is done already, and how long the rest takes here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import StopRequests
from lastkd.pipeline.estimate import measure, seconds_left
from lastkd.pipeline.runner import StepStatus
from lastkd.pipeline.settings import SequenceSettings
from lastkd.pipeline.steps import SequenceStep, make_steps
from lastkd.terminal import duration


def print_plan(sequence: SequenceSettings, launch: Launch) -> None:
    """Measures what is to do and prints the plan; nothing is started or written.

    Raises:
        Stopped: this process was asked to stop while it measured.
        UserError: a folder holds something else, or the measurement failed.
    """
    steps = make_steps(sequence)
    statuses = [step.status() for step in steps]
    parts = {
        part
        for step, status in zip(steps, statuses, strict=True)
        if not status.done
        for part in step.parts
    }
    measured: dict[str, Any] | None = None
    if parts:
        with StopRequests() as requests:
            measured = measure(sequence, launch, parts, requests)
    console = Console()
    console.print(table(sequence, steps, statuses, measured))
    if measured is not None:
        count = measured["processes"]
        processes = "1 process" if count == 1 else f"{count} processes"
        console.print(
            f"Times are from a few steps of each kind on {measured['device']}, {processes}, just "
            "now; the report isn't counted.",
            highlight=False,
            soft_wrap=True,
        )
    for step, status in zip(steps, statuses, strict=True):
        if not status.done:
            text = step.command().text(launch)
            console.print(f"$ {text}", markup=False, highlight=False, soft_wrap=True)


def table(
    sequence: SequenceSettings,
    steps: Sequence[SequenceStep],
    statuses: Sequence[StepStatus],
    measured: dict[str, Any] | None,
) -> Table:
    """The steps with their states and the time left for each.

    Args:
        measured: the measurement; None where nothing had to be measured.
    """
    shown = Table(title=f"{sequence.data}, {sequence.split}, into {sequence.folder}")
    for column in ("", "step", "state"):
        shown.add_column(column)
    shown.add_column("time left", justify="right")
    total = 0.0
    for number, (step, status) in enumerate(zip(steps, statuses, strict=True), start=1):
        left = seconds_left(step, status, measured) if measured else None
        total += left or 0.0
        time_left = "" if status.done else "?" if left is None else duration(left)
        shown.add_row(str(number), step.title, status.text, time_left)
    shown.add_section()
    shown.add_row("", "all", "", duration(total))
    return shown
