"""The `lastkd` command. A subcommand is imported when it is asked for, so that each starts fast."""

from __future__ import annotations

import importlib

import click

import lastkd

COMMANDS = {
    "prepare": "lastkd.commands.prepare:prepare",
    "info": "lastkd.commands.info:info",
    "show": "lastkd.commands.show:show",
    "convert": "lastkd.commands.convert:convert",
    "evaluate": "lastkd.commands.evaluate:evaluate",
    "predict": "lastkd.commands.predict:predict",
    "export": "lastkd.commands.export:export",
    "report": "lastkd.commands.report:report",
    "teacher-cache": "lastkd.commands.teacher_cache:teacher_cache",
    "sweep": "lastkd.commands.sweep:sweep",
    "sequence": "lastkd.commands.sequence:sequence",
    "bench": "lastkd.commands.bench:bench",
    "monitor": "lastkd.commands.monitor:monitor",
    "kaggle": "lastkd.commands.kaggle:kaggle",
    "demo": "lastkd.commands.demo:demo",
}
"""By name, in the order of the help: where the command stands."""


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
@click.version_option(lastkd.__version__, prog_name="lastkd")
def cli() -> None:
    """Knowledge distillation for skeleton action recognition: from LAST-v2 into LAST-E.

    \b
    The way of a run:
      lastkd prepare SOURCE --out data/ntu60
      accelerate launch -m lastkd.train --model last_v2_base --data data/ntu60 --split xsub
      accelerate launch -m lastkd.distill --variant large --data data/ntu60 --split xsub \\
          --teacher runs/last_v2_base/best.safetensors
      lastkd evaluate runs/large/best.safetensors --data data/ntu60 --split xsub

    All of it, also over several starts: lastkd sequence --data data/ntu60 --split xsub.
    Without any data: lastkd demo
    """


def main() -> None:
    from lastkd.command_line import run_command

    run_command(cli, "lastkd")


if __name__ == "__main__":
    main()
