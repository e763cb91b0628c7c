"""The `lastkd` command. A subcommand is imported when it is asked for, so that each starts fast."""

from __future__ import annotations

import importlib

import click

from lastkd.entry_point import run_command
from lastkd.version import __version__

COMMANDS = {
    "prepare": "lastkd.cli.prepare:prepare",
    "info": "lastkd.cli.info:info",
    "show": "lastkd.cli.show:show",
    "convert": "lastkd.cli.convert:convert",
    "evaluate": "lastkd.cli.evaluate:evaluate",
    "predict": "lastkd.cli.predict:predict",
    "export": "lastkd.cli.export:export",
    "calibrate": "lastkd.cli.calibrate:calibrate",
    "live": "lastkd.cli.live:live",
    "report": "lastkd.cli.report:report",
    "teacher-cache": "lastkd.cli.teacher_cache:teacher_cache",
    "sweep": "lastkd.cli.sweep:sweep",
    "sequence": "lastkd.cli.sequence:sequence",
    "check": "lastkd.cli.check:check",
    "bench": "lastkd.cli.bench:bench",
    "monitor": "lastkd.cli.monitor:monitor",
    "kaggle": "lastkd.cli.kaggle:kaggle",
    "demo": "lastkd.cli.demo:demo",
}
"""By name, in the order of the help: the module and attribute of the command."""


class Commands(click.Group):
    """The commands of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="lastkd")
def cli() -> None:
    """Knowledge distillation for skeleton action recognition: from LAST-v2 into LAST-E.

    \b
    A typical run:
      lastkd prepare SOURCE --out data/ntu60
      accelerate launch -m lastkd.train --model last_v2_base --data data/ntu60 --split xsub
      accelerate launch -m lastkd.distill --variant large --data data/ntu60 --split xsub \\
          --teacher runs/last_v2_base/best.safetensors
      lastkd evaluate runs/large/best.safetensors --data data/ntu60 --split xsub

    All of it, also over several starts: lastkd sequence --data data/ntu60 --split xsub.
    Without any data: lastkd demo
    """


def main() -> None:
    run_command(cli, "lastkd")


if __name__ == "__main__":
    main()
