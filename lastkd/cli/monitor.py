"""lastkd monitor: the dashboard."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from pathlib import Path

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.files.atomic import write_text
from lastkd.monitor.log.json_output import to_dict
from lastkd.monitor.log.watcher import Watcher

DEFAULT = Path("runs")


class TerminalSize(click.ParamType):  # type: ignore[type-arg]
    """A terminal's size such as `120x40`."""

    name = "COLUMNSxROWS"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        columns, _, rows = str(value).lower().partition("x")
        if not (columns.isdigit() and rows.isdigit() and int(columns) and int(rows)):
            self.fail(f"{value!r} is not a size like 120x40")
        return int(columns), int(rows)


@click.command()
@click.argument("runs", nargs=-1, type=PATH)
@click.option("--once", is_flag=True, help="Print one screen and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print the state of all runs as JSON.")
@click.option("--svg", type=PATH, help="Write one screen as a picture into this file.")
@click.option(
    "--size", type=TerminalSize(), help="Size for --once and --svg [default: the terminal's]."
)
@click.option("--theme", type=click.Choice(["dark", "light"]), help="[default: the terminal's]")
@click.option("--ascii/--utf8", "only_ascii", default=None, help="[default: by the locale]")
def monitor(
    runs: tuple[Path, ...],
    once: bool,
    as_json: bool,
    svg: Path | None,
    size: tuple[int, int] | None,
    theme: str | None,
    only_ascii: bool | None,
) -> None:
    """Watches runs: parts of the loss, accuracy, time left, devices, alerts.

    RUNS are run folders or folders that contain some, at any depth [default: runs]. Runs that start
    later appear by themselves. The dashboard only reads event logs, so it can be opened and closed
    at any time, while a run goes on or long after it; ? shows the keys.

    \b
      lastkd monitor                      all runs in runs/
      lastkd monitor runs/nano runs/base  these two
      lastkd monitor --once --size 120x40
      lastkd monitor --json | jq '.runs[] | {run, state, best}'
    """
    watcher = Watcher(runs or (DEFAULT,), must_exist=bool(runs))
    if as_json:
        watcher.load()
        click.echo(json.dumps(to_dict(watcher), indent=2, allow_nan=False))
        return
    gc.disable()  # imported objects stay alive: scanning them takes a tenth of the start
    try:
        from lastkd.monitor.screen.app import MonitorApp, theme_for
        from lastkd.monitor.screen.glyphs import speaks_utf8
    finally:
        gc.enable()

    app = MonitorApp(
        watcher,
        utf8=speaks_utf8() if only_ascii is None else not only_ascii,
        theme=f"lastkd-{theme}" if theme else theme_for(),
        show_clock=not once and svg is None,
    )
    if not once and svg is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
            raise UserError(
                "the dashboard needs a terminal; print one screen with --once, or JSON with --json"
            )
        app.run()
        return
    from lastkd.monitor.screen.snapshot import picture, text

    watcher.load()
    if not watcher.runs:
        roots = ", ".join(str(root) for root in watcher.roots)
        raise UserError(f"{roots}: contains no runs yet; start one, or name another folder")
    size = size or shutil.get_terminal_size((100, 32))
    if svg is not None:
        write_text(svg, picture(app, size))
        click.echo(f"{svg}: written")
    else:
        click.echo(text(app, size))
