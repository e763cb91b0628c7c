"""Runs a command, and turns a user's mistake into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from lastkd.errors import LostRankError, UserError

PATH = click.Path(path_type=Path)
UP = click.Choice(["y", "-y", "z", "-z", "x", "-x"])
"""Which way is up in a source's coordinates."""


def run_command(command: click.Command, program: str) -> None:
    """Runs a command; a `UserError` ends it with one sentence and exit code 2.

    A lost rank is reported by every remaining rank, since any of them may be the last one running.
    """
    try:
        command.main(prog_name=program)
    except LostRankError as error:
        click.echo(f"Error: {error}", err=True)
        sys.stdout.flush()
        # not sys.exit: the process group's threads would wait for the lost rank
        os._exit(error.exit_code)
    except UserError as error:
        if int(os.environ.get("LOCAL_RANK", "0")) > 0:
            # rank 0 prints the error; if this rank exited first, the launcher would kill rank 0
            time.sleep(2)
        else:
            click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
