"""What a sequence would do, what is done already, and how long the rest takes here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import StopRequests
from lastkd.pipeline.estimate import measured, seconds_left
from lastkd.pipeline.settings import SequenceSettings
from lastkd.pipeline.steps import Step, StepStatus, make_steps
from lastkd.terminal import duration


def print_plan(sequence: SequenceSettings, launch: Launch) -> None:
    """Measures what is to do and prints the plan; nothing is begun or written.

    Raises:
        Stopped: it was asked to stop while it measured.
        UserError: a folder holds something else, or the measurement failed.
    """
    steps = make_steps(sequence)
    standings = [step.standing() for step in steps]
    parts = {step.part for step, own in zip(steps, standings, strict=True) if not own.done}
    found: dict[str, Any] | None = None
    if parts - {"report"}:
        with StopRequests() as requests:
            found = measured(sequence, launch, parts, requests)
    console = Console()
    console.print(table(sequence, steps, standings, found))
    if found is not None:
        processes = "1 process" if found["processes"] == 1 else f"{found['processes']} processes"
        console.print(
            f"Times are from a few steps of each kind on {found['device']}, {processes}, just "
            "now; the report isn't counted.",
            highlight=False,
            soft_wrap=True,
        )
    for step, standing in zip(steps, standings, strict=True):
        if not standing.done:
            command = step.command()
            shown = (
                launch.shown(command.module, *command.words)
                if command.launched
                else " ".join([command.module, *command.words])
            )
            console.print(f"$ {shown}", markup=False, highlight=False, soft_wrap=True)


def table(
    sequence: SequenceSettings,
    steps: Sequence[Step],
    standings: Sequence[StepStatus],
    found: dict[str, Any] | None,
) -> Table:
    """
    Args:
        found: the measurement; None where nothing had to be measured.
    """
    shown = Table(title=f"{sequence.data}, {sequence.split}, into {sequence.folder}")
    shown.add_column("")
    shown.add_column("step")
    shown.add_column("state")
    shown.add_column("time left", justify="right")
    total = 0.0
    for number, (step, standing) in enumerate(zip(steps, standings, strict=True), start=1):
        left = seconds_left(step, standing, found) if found else None
        total += left or 0.0
        time_left = "" if standing.done else "?" if left is None else duration(left)
        shown.add_row(str(number), step.title, standing.words, time_left)
    shown.add_section()
    shown.add_row("", "all", "", duration(total))
    return shown
