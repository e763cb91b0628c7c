"""lastkd check: whether this machine will do."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lastkd.entry_point import PATH

if TYPE_CHECKING:
    from rich.console import Console

    from lastkd.pipeline.check import Finding

_MARKS = {
    "ok": "[green]ok[/]",
    "warning": "[yellow]warning[/]",
    "failed": "[bold red]failed[/]",
    "skipped": "[dim]skipped[/]",
}


@click.command()
@click.option("--data", type=PATH, help="Store to open and to measure on; else generated clips.")
@click.option(
    "--split", default="auto", show_default="its only one, or xsub", help="Split of the store."
)
@click.option(
    "--out", type=PATH, default=Path("runs"), show_default=True, help="Where runs would be written."
)
@click.option(
    "--launch-config",
    type=PATH,
    help="Config for accelerate launch: a file, or kaggle_t4x2, gpu, cpu, multi_node.",
)
@click.option(
    "--gpus", default=0, show_default=True, type=click.IntRange(0), help="GPUs that are needed."
)
@click.option(
    "--teacher-model", default="last_v2_base", show_default=True, help="Teacher to be trained."
)
@click.option(
    "--pace/--no-pace", default=True, show_default=True, help="Time the steps of a sequence."
)
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def check(as_json: bool, **given: Any) -> None:
    """Checks this machine before hours are spent on it, in about two minutes.

    Versions, devices, what they compute (teacher, student and losses against float32 on the CPU),
    whether --compile works, whether several processes agree, the store and its disk, room for the
    runs, and the pace of each step of lastkd sequence here. Exits with code 1 if a check fails.
    """
    from rich.console import Console

    from lastkd.pipeline.check import Checks, CheckSettings

    console = Console(stderr=as_json, highlight=False)
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(CheckSettings(**given), Path(folder))
        with console.status("") as status:
            for finding in checks.run(lambda name: status.update(f"checking {name}")):
                findings.append(finding)
                if not as_json:
                    _print(console, finding)
    failed = [finding for finding in findings if finding.state == "failed"]
    if as_json:
        report = {"ok": not failed, "findings": [finding.to_dict() for finding in findings]}
        click.echo(json.dumps(report, indent=1))
    elif failed:
        console.print(f"[bold red]This machine won't do:[/] {failed[0].name}: ", end="")
        console.print(failed[0].detail, markup=False, soft_wrap=True)
    else:
        console.print("[bold green]This machine will do.[/]")
    sys.exit(1 if failed else 0)


def _print(console: Console, finding: Finding) -> None:
    from rich.table import Table

    row = Table.grid(padding=(0, 1))
    row.add_column(width=9)
    row.add_column(width=7)
    row.add_column(ratio=1)
    row.add_row(f"[bold]{finding.name}[/]", _MARKS[finding.state], finding.detail)
    console.print(row)
    steps: list[dict[str, Any]] = finding.values.get("steps", [])
    if steps:
        table = Table(title=finding.values["title"])
        for column in ("step", "ms a step", "time"):
            table.add_column(column, justify="left" if column == "step" else "right")
        for step in steps:
            table.add_row(step["step"], step["ms"], step["time"])
        console.print(table)
