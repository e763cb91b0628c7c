"""lastkd sequence: teacher, students alone and distilled, evaluation and report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from lastkd.cli.options import Temperature, Variants, setting_options
from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import Stopped
from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.pipeline.runner import PipelineRunner
from lastkd.pipeline.settings import (
    OF_ANY_RUN,
    SequenceSettings,
    sequence_settings,
    without_missing_figures,
)
from lastkd.settings.durations import in_seconds
from lastkd.settings.runs import DistillSettings, TrainSettings

TEXT = """Runs the whole way, from a store to a report, and goes on wherever it was cut.

\b
  lastkd sequence --data data/ntu60 --split xsub --out runs/ntu60
  lastkd sequence --config ntu60_xsub --seeds 3 --time-budget 11h
  lastkd sequence --config ntu60_xsub --plan

The teacher by itself, the students by themselves, the students distilled on one pass of the
teacher, each run's predictions on the test part, and the report: each step is the command that
you would type, under accelerate launch, and shows itself in lastkd monitor OUT. A step that is
done is passed over, and one that was cut goes on from its checkpoint. --config takes a file, or
ntu60_xsub, ntu120_xsub or ntu120_xset.

Further options are settings of every run; a file can also give some to one kind of run alone
(docs/sequence.md)."""


def _of_runs() -> list[click.Option]:
    """Options that are handed on to the runs."""
    found = {option.name: option for option in setting_options(TrainSettings)}
    found |= {o.name: o for o in setting_options(DistillSettings, tau=Temperature())}
    ours = [option for name, option in found.items() if name in OF_ANY_RUN]
    for option in ours:
        if option.name in _OF_DISTILLED:
            option.help = f"distilled: {option.help}"
    return ours


_OF_DISTILLED = set(DistillSettings.model_fields) - set(TrainSettings.model_fields)


def _own() -> list[click.Parameter]:
    types: dict[str, Any] = {
        "variant": Variants(),
        "teacher_epoch": click.Choice(["best", "last"]),
        "seeds": click.IntRange(1),
        "first_seed": click.IntRange(0),
        **dict.fromkeys(("data", "out", "teacher", "launch_config"), PATH),
    }
    options: list[click.Parameter] = []
    for name, field in SequenceSettings.model_fields.items():
        if name == "settings" or name.endswith("_settings"):
            continue
        spelled = name.replace("_", "-")
        flag = field.annotation is bool
        default = field.get_default()
        listed = "all" if isinstance(default, tuple) else default
        shown = f"  [default: {listed}]" if isinstance(listed, str | int) and not flag else ""
        if name == "data":
            shown = "  [default: the place in configs/data/places.yaml]"
        options.append(
            click.Option(
                [f"--{spelled}/--no-{spelled}" if flag else f"--{spelled}"],
                type=click.BOOL if flag else types.get(name, click.STRING),
                default=None,
                help=f"{field.description}{shown}",
            )
        )
    options.append(click.Option(["--config"], type=PATH, help="YAML file, or one of the names"))
    options.append(
        click.Option(
            ["--plan"],
            is_flag=True,
            help="print what would be done and how long it takes here, from a short measurement",
        )
    )
    return options


def run(config: Path | None, plan: bool, **given: Any) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "lastkd sequence starts accelerate launch itself; start it without, and name the "
            "config with --launch-config"
        )
    said = {name: value for name, value in given.items() if value is not None}
    sequence = sequence_settings(said, config)
    sequence.check()
    launch = Launch.find(sequence.launch_config) if sequence.launch_config else Launch.default()

    from lastkd.pipeline.plan import print_plan
    from lastkd.pipeline.steps import make_steps

    try:
        if plan:
            print_plan(sequence, launch)
            return
        sequence = without_missing_figures(sequence, echo)
        budget = sequence.time_budget
        PipelineRunner(
            make_steps(sequence),
            sequence.folder,
            launch,
            budget_s=in_seconds(budget) if budget else None,
            echo=echo,
        ).run()
        report = sequence.folder / "report" / "07_Experiments.md"
        echo(f"{sequence.folder}: done; the report is {report}")
    except Stopped as stop:
        echo(f"\nStopped: {stop.reason}. The same command goes on from there.")
        if stop.exit_code:
            sys.exit(stop.exit_code)


def echo(text: str) -> None:
    # flushed, so that it stands before the output of the step's process
    print(text, flush=True)


sequence = click.Command(
    "sequence",
    params=[*_own(), *_of_runs()],
    callback=run,
    help=TEXT,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
