"""How a kernel stands, in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lastkd.errors import UserError
from lastkd.kaggle import history
from lastkd.kaggle.api_types import Kernel
from lastkd.kaggle.job import read_job
from lastkd.runs.events import FILE_NAME, read_events


def standing(kernel: Kernel, folder: Path) -> Iterator[str]:
    """Lines for a terminal.

    Args:
        folder: where the kernel's events were followed to.
    """
    reason = f" ({kernel.failure})" if kernel.failure else ""
    yield f"{kernel.reference}: version {kernel.version} is {kernel.status}{reason}"
    yield f"  {history.recall(kernel.reference).url or f'https://www.kaggle.com/code/{kernel.reference}'}"
    try:
        job = read_job(kernel.text, str(kernel.reference))
    except UserError as error:
        yield f"  {error}"
        return
    yield f"  attempt {job.attempt}, time budget {job.time_budget}, machine {job.machine}"
    for step in job.steps:
        yield f"  step: {step}"
    for log in sorted(folder.rglob(FILE_NAME)):
        yield f"  {log.parent}: {_progress(log)}"


def _progress(log: Path) -> str:
    """Where a run is, by the events that have arrived here."""
    total, step, epoch, top1, end = 0, 0, 0, None, ""
    for event in read_events(log):
        if event["event"] == "start":
            total = int(event.get("total_steps") or 0)
        elif event["event"] == "step":
            step, epoch = int(event["step"]), int(event["epoch"])
        elif event["event"] == "epoch":
            top1 = event.get("top1")
        end = str(event.get("state", "")) if event["event"] == "end" else ""
    of_all = f"step {step:,} of {total:,}" if total else f"step {step:,}"
    accuracy = f", top-1 {top1:.2f} %" if isinstance(top1, int | float) else ""
    return f"{of_all}, epoch {epoch}{accuracy}{f', {end}' if end else ''}"
