"""lastkd kaggle push: the commands of lastkd, done by a kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lastkd.cli.evaluate import evaluate as evaluate_command
from lastkd.cli.options import Variants, settings_command
from lastkd.cli.prepare import prepare as prepare_command
from lastkd.entry_point import PATH
from lastkd.kaggle.job import Job
from lastkd.kaggle.job_settings import evaluation_job, kernel_name, preparation_job, training_job
from lastkd.settings.runs import DistillSettings, TrainSettings

_HELP = {
    "data": "Dataset that holds a store: OWNER/SLUG, or kernel:OWNER/SLUG whose output it is.",
    "teacher": "Dataset that holds its checkpoint: OWNER/SLUG[/PATH], or kernel:OWNER/SLUG.",
    "run": "Folder below the kernel's runs/.",
    "time_budget": "After which a version stops; lastkd kaggle resume goes on.  [default: 11h]",
}
_PUSHED = ("name", "owner", "code", "fresh", "dry_run", "out", "poll")
_VARIANT = click.Option(
    ["--variant"], type=Variants(), help="Students: nano, small, base, large, several or all."
)


def _push_options(machine: str) -> list[click.Parameter]:
    return [
        click.Option(
            ["--machine"],
            type=click.Choice(["t4x2", "cpu"]),
            help=f"Two T4, or a CPU kernel without quota.  [default: {machine}]",
        ),
        click.Option(["--time-budget"], help=_HELP["time_budget"]),
        click.Option(["--name"], help="Slug of the kernel.  [default: from what it does]"),
        click.Option(["--owner"], help="Whose kernel; needed where --dry-run can't know it."),
        click.Option(
            ["--code"],
            type=click.Choice(["auto", "script", "dataset"]),
            default="auto",
            help="How lastkd travels: inside the script while it fits, or in a private dataset.",
        ),
        click.Option(
            ["--fresh"], is_flag=True, help="Start over where the kernel could be resumed."
        ),
        click.Option(
            ["--dry-run"], is_flag=True, help="Write the folder that would be pushed; ask nobody."
        ),
        click.Option(["--out"], type=PATH, help="Folder for --dry-run.  [default: kaggle-SLUG]"),
        click.Option(["--poll"], type=click.FloatRange(0.01), default=30.0, hidden=True),
    ]


def _ordered(what: str, given: dict[str, Any], job_of: Callable[[dict[str, Any]], Job]) -> None:
    """Splits what is said into settings of the work and of the push, and pushes."""
    from lastkd.kaggle.push import Order, dry_run
    from lastkd.kaggle.push import push as send

    about = {name: given.pop(name, None) for name in _PUSHED}
    job = job_of(given)
    order = Order(
        what=what,
        job=job,
        name=about["name"] or kernel_name(what, job),
        code=about["code"] or "auto",
        fresh=bool(about["fresh"]),
    )
    if about["dry_run"]:
        dry_run(order, owner=about["owner"], out=about["out"], say=click.echo)
    else:
        send(order, owner=about["owner"], poll_s=about["poll"] or 30.0, say=click.echo)


def _training(what: str, help_text: str) -> click.Command:
    kind = DistillSettings if what in ("distill", "sequence") else TrainSettings
    types: dict[str, Any] = {"data": click.STRING, "teacher": click.STRING}
    if kind is DistillSettings:
        types["variant"] = Variants()

    def run(given: dict[str, Any], file: Path | None) -> None:
        _ordered(what, given, lambda settings: training_job(what, settings, file))

    run.__doc__ = help_text
    command = settings_command(kind, run, types)
    command.name = what
    if what == "baselines":
        command.params = [_VARIANT, *(p for p in command.params if p.name != "model")]
    if what == "sequence":
        command.params = [p for p in command.params if p.name != "run"]
    pushed = _push_options("t4x2")
    own = {option.name for option in pushed}
    command.params = [p for p in command.params if p.name not in (*own, "resume")] + pushed
    for option in command.params:
        if isinstance(option, click.Option) and option.name in _HELP:
            option.help = _HELP[option.name]
    return command


def _evaluate(checkpoint: str, **given: Any) -> None:
    """Measures every checkpoint of a dataset or a kernel's output (the best of each run).

    \b
      lastkd kaggle push evaluate kernel:OWNER/lastkd-distill-all --data OWNER/ntu60
    """
    _ordered("evaluate", given, lambda settings: evaluation_job(checkpoint, settings))


def _prepare(sources: tuple[str, ...], **given: Any) -> None:
    """Turns a dataset that holds skeletons into a store, on a CPU kernel, without the quota.

    \b
      lastkd kaggle push prepare OWNER/ntu-skeletons
      lastkd kaggle push train --model last_v2_base --data kernel:OWNER/lastkd-prepare-...

    SOURCE is OWNER/SLUG of a dataset, with a PATH inside where it isn't the whole of it,
    kernel:OWNER/SLUG, or the word synthetic. The zips of NTU RGB+D are read together.
    """
    _ordered("prepare", given, lambda settings: preparation_job(sources, settings))


_TRAINED = {
    "train": """Trains one model: the teacher, or any other.

    \b
      lastkd kaggle push train --model last_v2_base --data OWNER/ntu60

    The settings are those of lastkd.train.
    """,
    "baselines": """Trains the students by themselves, one after the other.

    \b
      lastkd kaggle push baselines --variant all --data OWNER/ntu60
    """,
    "distill": """Distils the teacher into one student, several, or all on one pass.

    \b
      lastkd kaggle push distill --variant all --data OWNER/ntu60 --teacher OWNER/last-v2-base

    The settings are those of lastkd.distill.
    """,
    "sequence": """Teacher, baselines, distillation of all students, and their evaluation.

    \b
      lastkd kaggle push sequence --data OWNER/ntu60
      lastkd kaggle resume --until-done

    Settings go to every step that knows them. With --teacher, the teacher isn't trained.
    """,
}
_SOURCES = click.Argument(["sources"], nargs=-1, required=True, metavar="SOURCE...")
_EVALUATION_OPTIONS: list[click.Parameter] = [
    click.Argument(["checkpoint"]),
    click.Option(["--data"], help=_HELP["data"]),
    *(o for o in evaluate_command.params if o.name in ("split", "clips", "by_class", "confused")),
]
_PREPARATION_OPTIONS = [
    option
    for option in prepare_command.params
    if option.name not in ("out", "source", "sources", "as_skeleton_files")
]
push = click.Group(
    "push",
    help="Starts a kernel that does WHAT, after checking that it can. --dry-run asks nobody.",
    commands=[
        click.Command(
            "prepare",
            callback=_prepare,
            help=_prepare.__doc__,
            params=[_SOURCES, *_PREPARATION_OPTIONS, *_push_options("cpu")],
        ),
        *(_training(what, text) for what, text in _TRAINED.items()),
        click.Command(
            "evaluate",
            callback=_evaluate,
            help=_evaluate.__doc__,
            params=[*_EVALUATION_OPTIONS, *_push_options("t4x2")],
        ),
    ],
)
