"""The demo: a short sequence on the built-in synthetic set, and a table of what it reached."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from lastkd.distributed.launch import Launch
from lastkd.errors import UserError
from lastkd.pipeline.builtin import builtin_sequence, builtin_steps
from lastkd.pipeline.runner import PipelineRunner
from lastkd.pipeline.steps import TrainingStep
from lastkd.runs.log import Run


def run_demo(out: Path, seed: int) -> None:
    """Runs the demo into `out` and prints the table.

    Raises:
        Stopped: this process was asked to stop.
        UserError: `out` exists, or one of the runs failed.
    """
    if out.exists():
        raise UserError(f"{out}: exists already; remove it or choose another --out")
    steps = builtin_steps(builtin_sequence(out, seed))
    PipelineRunner(steps, out, Launch.default()).run()
    runs = [Run.read(step.folders[0]) for step in steps if isinstance(step, TrainingStep)]
    console = Console()
    console.print()
    console.print(accuracy_table(runs, seed))
    console.print(f"Same seed, epochs and views for both students. Everything is in {out}/")


def accuracy_table(runs: list[Run], seed: int) -> Table:
    """What the teacher, the standalone and the distilled student reached at their last epoch."""
    table = Table(title=f"Synthetic data, xsub, seed {seed}: accuracy in percent at the last epoch")
    for column in ("run", "model", "parameters", "top-1", "top-5", "mean class"):
        table.add_column(column, justify="left" if column in ("run", "model") else "right")
    top1: list[float] = []
    for name, run in zip(("teacher", "standalone", "distilled"), runs, strict=True):
        assert run.last is not None  # the last epoch is always evaluated
        top1.append(run.last["top1"])
        figures = (f"{run.last[key]:.2f}" for key in ("top1", "top5", "mean_class"))
        table.add_row(name, run.model, f"{run.start['parameters']:,}", *figures)
    gain = top1[2] - top1[1]
    table.add_section()
    table.add_row("[bold]gain", "distilled - standalone", "", f"[bold]{gain:+.2f}", "", "")
    return table
