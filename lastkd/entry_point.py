"""What every command shares: how a path is taken, and how a user's mistake ends it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from lastkd.errors import LostRankError, UserError

PATH = click.Path(path_type=Path)


def run_command(command: click.Command, program: str) -> None:
    """Runs a command; a `UserError` ends it with one sentence and exit code 2.

    A lost rank is told by each of the others: nobody knows which of them will be heard.
    """
    try:
        command.main(prog_name=program)
    except LostRankError as error:
        click.echo(f"Error: {error}", err=True)
        sys.stdout.flush()
        # not sys.exit: the group's threads would wait for the lost one
        os._exit(error.exit_code)
    except UserError as error:
        if int(os.environ.get("LOCAL_RANK", "0")) > 0:
            # one rank speaks for all; wait, or the launcher stops it before it has spoken
            time.sleep(2)
        else:
            click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
