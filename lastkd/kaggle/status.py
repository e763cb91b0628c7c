"""The status of a kernel as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lastkd.errors import UserError
from lastkd.kaggle import history
from lastkd.kaggle.api_types import Kernel
from lastkd.kaggle.job import read_job
from lastkd.runs.events import FILE_NAME
from lastkd.runs.log import Run


def describe_kernel(kernel: Kernel, folder: Path) -> Iterator[str]:
    """Lines about the latest version, its job and its runs.

    Args:
        folder: where the kernel's event logs were restored.
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
    for command in job.commands:
        yield f"  lastkd {command}"
    for log in sorted(folder.rglob(FILE_NAME)):
        yield f"  {log.parent}: {_progress(log.parent)}"


def _progress(folder: Path) -> str:
    """How far a run is, by the events received so far."""
    try:
        run = Run.read(folder)
    except UserError as error:
        return str(error)
    step, event = next(reversed(run.steps.items()), (0, {"epoch": 0}))
    texts = [f"step {step:,} of {run.start.get('total_steps', 0):,}", f"epoch {event['epoch']}"]
    if run.last is not None:
        texts.append(f"top-1 {run.last['top1']:.2f} %")
    if run.end is not None:
        texts.append(run.state)
    return ", ".join(texts)
