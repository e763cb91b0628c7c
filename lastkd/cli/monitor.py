"""lastkd monitor: the dashboard."""

from __future__ import annotations

from pathlib import Path

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError

DEFAULT = Path("runs")


class TerminalSize(click.ParamType):  # type: ignore[type-arg]
    """`120x40`."""

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
@click.option("--once", is_flag=True, help="Print one screen and end.")
@click.option("--json", "as_json", is_flag=True, help="Print what is known of the runs, as JSON.")
@click.option("--svg", type=PATH, help="Write one screen as a picture into this file.")
@click.option("--size", type=TerminalSize(), help="Of --once and --svg [default: the terminal's].")
@click.option("--theme", type=click.Choice(["dark", "light"]), help="[default: the terminal's]")
@click.option("--ascii/--utf8", "only_ascii", default=None, help="[default: as the locale says]")
def monitor(
    runs: tuple[Path, ...],
    once: bool,
    as_json: bool,
    svg: Path | None,
    size: tuple[int, int] | None,
    theme: str | None,
    only_ascii: bool | None,
) -> None:
    """Watches runs: loss split, accuracy by variant, time left, machine, alerts.

    RUNS are run folders or folders that hold some, at any depth [default: runs]. Runs that start
    later appear by themselves. It reads event logs and never touches a run, so it can be opened and
    closed at any time, beside a run or long after it; ? shows the keys.

    \b
      lastkd monitor                      all runs in runs/
      lastkd monitor runs/nano runs/base  these two
      lastkd monitor --once --size 120x40
      lastkd monitor --json | jq '.runs[] | {run, state, best}'
    """
    import gc
    import sys

    from lastkd.monitor.log.watcher import Watcher

    watcher = Watcher(runs or (DEFAULT,), must_exist=bool(runs))
    if as_json:
        import json

        from lastkd.monitor.log.json_output import facts

        watcher.load()
        click.echo(json.dumps(facts(watcher), indent=2, allow_nan=False))
        return
    gc.disable()  # all that an import makes stays: to look through it takes a tenth of the start
    try:
        from lastkd.monitor.screen.app import MonitorApp, theme_for
        from lastkd.monitor.screen.style import speaks_utf8
    finally:
        gc.enable()

    still = once or svg is not None
    app = MonitorApp(
        watcher,
        utf8=speaks_utf8() if only_ascii is None else not only_ascii,
        theme=f"lastkd-{theme}" if theme else theme_for(),
        show_clock=not still,
    )
    if not still:
        if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
            raise UserError(
                "the dashboard needs a terminal; --once prints one screen, --json the facts"
            )
        app.run()
        return
    import shutil

    from lastkd.monitor.screen.snapshot import picture, text

    watcher.load()
    if not watcher.runs:
        places = ", ".join(str(root) for root in watcher.roots)
        raise UserError(f"{places}: no runs there yet; start one, or name the folder of another")
    size = size or shutil.get_terminal_size((100, 32))
    if svg is not None:
        from lastkd.files.atomic import replacing

        with replacing(svg) as part:
            part.write_text(picture(app, size), encoding="utf-8")
        click.echo(f"{svg}: written")
    else:
        click.echo(text(app, size))
