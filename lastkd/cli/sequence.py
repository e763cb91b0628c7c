"""lastkd sequence: teacher, standalone and distilled students, evaluations and report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from lastkd.cli.options import (
    LOSS_HEADING,
    SettingOption,
    SettingsCommand,
    Temperature,
    Variants,
    options_of,
)
from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import Stopped
from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.pipeline.runner import PipelineRunner
from lastkd.pipeline.settings import (
    SequenceSettings,
    sequence_settings,
    settings_of_runs,
    without_missing_figures,
)
from lastkd.settings.durations import in_seconds
from lastkd.settings.runs import DistillSettings, TrainSettings
from lastkd.terminal import echo

TEXT = """Runs everything from a store to a report, and resumes wherever it was interrupted.

\b
  lastkd sequence --data data/ntu60 --split xsub --out runs/ntu60
  lastkd sequence --config ntu60_xsub --seeds 3 --time-budget 11h
  lastkd sequence --config ntu60_xsub --plan

It trains the teacher, the students without it and the students distilled on one pass of the
teacher, evaluates each run's last epoch on the test part, and writes the report. Each step is the
command that you would type, under accelerate launch where there is a GPU or --launch-config is
given; lastkd monitor OUT shows its run. Steps that are done are skipped, and one that was
interrupted goes on from its checkpoint. --config takes a file, or ntu60_xsub, ntu120_xsub or
ntu120_xset.

The options after the first group are settings of every run; a file can also give some to one kind
of run alone (docs/sequence.md)."""


def _options() -> list[click.Parameter]:
    """The sequence's options, then those passed on to the runs."""
    options: dict[str | None, SettingOption] = {
        option.name: option for option in options_of(SequenceSettings, {"variant": Variants()})
    }
    of_runs = settings_of_runs()
    of_training = {option.name for option in options_of(TrainSettings)}
    distilled = options_of(DistillSettings, {"tau": Temperature()})
    for option in [*options_of(TrainSettings), *distilled]:
        if option.name in of_runs and option.name not in options:
            if option.name not in of_training and option.heading != LOSS_HEADING:
                option.help = f"distilled: {option.help}"
            options[option.name] = option
    plan = click.Option(
        ["--plan"],
        is_flag=True,
        help="print what would be done and how long it takes here, by a short measurement",
    )
    config = click.Option(["--config"], type=PATH, help="YAML file, or a name in configs/sequence")
    return [*options.values(), config, plan]


def run(config: Path | None, plan: bool, **given: Any) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "lastkd sequence starts accelerate launch itself; start it without, and give the "
            "config with --launch-config"
        )
    given = {name: value for name, value in given.items() if value is not None}
    sequence = sequence_settings(given, config)
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
        ).run()
        report = sequence.folder / "report" / "07_Experiments.md"
        echo(f"{sequence.folder}: done; the report is {report}")
    except Stopped as stop:
        echo(f"\nStopped: {stop.reason}. The same command goes on from there.")
        if stop.exit_code:
            sys.exit(stop.exit_code)


sequence = SettingsCommand("sequence", params=_options(), callback=run, help=TEXT)
