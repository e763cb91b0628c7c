"""lastkd demo: teacher, standalone and distilled student on synthetic data."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import click

from lastkd.distributed.stop_requests import Stopped
from lastkd.entry_point import PATH


@click.command()
@click.option("--seed", default=0, show_default=True, help="Seed of all three runs.")
@click.option(
    "--out", type=PATH, help="Folder for the store and the runs [default: a new runs/demo-N]."
)
def demo(seed: int, out: Path | None) -> None:
    """Teacher, standalone and distilled student on synthetic data, in a few minutes.

    It is a short lastkd sequence. Both students have the same seed, epochs and views; the table at
    the end shows the gain.
    """
    from lastkd.pipeline.demo import run_demo

    if out is None:
        out = next(
            path for n in itertools.count(1) if not (path := Path("runs") / f"demo-{n}").exists()
        )
    try:
        run_demo(out, seed)
    except Stopped as stop:
        sys.exit(stop.exit_code)
