"""lastkd kaggle push: starts a kernel that runs a command of lastkd."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import click

from lastkd.cli.check import check as check_command
from lastkd.cli.evaluate import evaluate as evaluate_command
from lastkd.cli.options import CONFIG, SettingsCommand, Temperature, Variants, options_of
from lastkd.cli.prepare import prepare as prepare_command
from lastkd.cli.sequence import sequence as sequence_command
from lastkd.entry_point import PATH
from lastkd.kaggle.job import Job
from lastkd.kaggle.job_settings import (
    check_job,
    evaluation_job,
    kernel_name,
    preparation_job,
    training_job,
)
from lastkd.kaggle.push import Order, dry_run
from lastkd.kaggle.push import push as send
from lastkd.settings.runs import DistillSettings, TrainSettings

_HELP = {
    "data": "Dataset that contains a store: OWNER/SLUG, or kernel:OWNER/SLUG whose output it is.",
    "teacher": "Dataset that contains a checkpoint: OWNER/SLUG[/PATH], or kernel:OWNER/SLUG.",
    "run": "Folder below the kernel's runs/.",
    "time_budget": "After which a version stops; lastkd kaggle resume continues.  [default: 11h]",
}
_PUSHED = ("name", "owner", "code", "fresh", "dry_run", "out", "poll")


def _push_options(machine: str) -> list[click.Parameter]:
    """The options of the push itself."""
    return [
        click.Option(
            ["--machine"],
            type=click.Choice(["t4x2", "cpu"]),
            help=f"Two T4, or a CPU kernel, which needs no quota.  [default: {machine}]",
        ),
        click.Option(["--time-budget"], help=_HELP["time_budget"]),
        click.Option(["--name"], help="Slug of the kernel.  [default: from what it does]"),
        click.Option(["--owner"], help="Owner of the kernel; --dry-run needs it without a login."),
        click.Option(
            ["--code"],
            type=click.Choice(["auto", "script", "dataset"]),
            default="auto",
            help="How lastkd travels: inside the script while it fits, or in a private dataset.",
        ),
        click.Option(
            ["--fresh"], is_flag=True, help="Start over even if the kernel could be resumed."
        ),
        click.Option(
            ["--dry-run"],
            is_flag=True,
            help="Only write the folder that would be pushed.",
        ),
        click.Option(["--out"], type=PATH, help="Folder for --dry-run.  [default: kaggle-SLUG]"),
        click.Option(["--poll"], type=click.FloatRange(0.01), default=30.0, hidden=True),
    ]


def _push(kind: str, given: dict[str, Any], job_of: Callable[[dict[str, Any]], Job]) -> None:
    """Makes a job from the options of its command, and pushes it with the options of the push."""
    push_options = {name: given.pop(name, None) for name in _PUSHED}
    job = job_of({name: value for name, value in given.items() if value is not None})
    order = Order(
        job=job,
        name=push_options["name"] or kernel_name(kind, job),
        code=push_options["code"] or "auto",
        fresh=bool(push_options["fresh"]),
    )
    if push_options["dry_run"]:
        dry_run(order, owner=push_options["owner"], out=push_options["out"], echo=click.echo)
    else:
        send(
            order, owner=push_options["owner"], poll_s=push_options["poll"] or 30.0, echo=click.echo
        )


def _training(
    kind: str, params: Sequence[click.Parameter], without: Container[str | None]
) -> click.Command:
    """A push command whose kernel trains.

    Args:
        params: parameters of the command that the kernel runs.
        without: names of the parameters that the kernel decides.
    """

    def callback(config: Path | None, **given: Any) -> None:
        _push(kind, given, lambda settings: training_job(kind, settings, config))

    pushed = _push_options("t4x2")
    decided = {option.name for option in pushed}
    options = [
        copy(param) for param in params if param.name not in decided and param.name not in without
    ]
    for option in options:
        if isinstance(option, click.Option) and option.name in _HELP:
            option.help = _HELP[option.name]
    return SettingsCommand(kind, params=[*options, *pushed], callback=callback, help=_TRAINED[kind])


def _evaluate(checkpoint: str, **given: Any) -> None:
    """Evaluates every checkpoint of a dataset or of a kernel's output (the best of each run).

    \b
      lastkd kaggle push evaluate kernel:OWNER/lastkd-distill-all --data OWNER/ntu60
    """
    _push("evaluate", given, lambda settings: evaluation_job(checkpoint, settings))


def _check(**given: Any) -> None:
    """Checks Kaggle's machine before hours are spent on it, and times the steps of a sequence.

    \b
      lastkd kaggle push check --data OWNER/ntu60

    Without --data the steps are timed on generated clips. Other kernels that use GPUs run the same
    check first, without the times.
    """
    _push("check", given, check_job)


def _prepare(sources: tuple[str, ...], **given: Any) -> None:
    """Turns a dataset of skeletons into a store, on a CPU kernel, which needs no quota.

    \b
      lastkd kaggle push prepare OWNER/ntu-skeletons
      lastkd kaggle push train --model last_v2_base --data kernel:OWNER/lastkd-prepare-...

    SOURCE is OWNER/SLUG of a dataset, OWNER/SLUG/PATH for a part of it, kernel:OWNER/SLUG, or the
    word synthetic. The zip files of NTU RGB+D are read together.
    """
    _push("prepare", given, lambda settings: preparation_job(sources, settings))


_TRAINED = {
    "train": """Trains one model: the teacher, or any other.

    \b
      lastkd kaggle push train --model last_v2_base --data OWNER/ntu60

    The settings are those of lastkd.train.
    """,
    "baselines": """Trains the students without a teacher, side by side on one pass of the views.

    \b
      lastkd kaggle push baselines --variant all --data OWNER/ntu60
    """,
    "distill": """Distils the teacher into one student, several, or all of them on one pass.

    \b
      lastkd kaggle push distill --variant all --data OWNER/ntu60 --teacher OWNER/last-v2-base

    The settings are those of lastkd.distill.
    """,
    "sequence": """Runs lastkd sequence: teacher, students without it and distilled, evaluations.

    \b
      lastkd kaggle push sequence --data OWNER/ntu60
      lastkd kaggle resume --until-done

    The settings are those of lastkd sequence. With --teacher, no teacher is trained.
    """,
}
_SOURCES = click.Argument(["sources"], nargs=-1, required=True, metavar="SOURCE...")
_EVALUATION_OPTIONS: list[click.Parameter] = [
    click.Argument(["checkpoint"]),
    click.Option(["--data"], help=_HELP["data"]),
    *(o for o in evaluate_command.params if o.name in ("split", "clips", "by_class", "confused")),
]
_CHECK_OPTIONS: list[click.Parameter] = [
    click.Option(["--data"], help=_HELP["data"]),
    *(o for o in check_command.params if o.name in ("split", "teacher_model", "pace")),
]
_PREPARATION_OPTIONS = [
    option
    for option in prepare_command.params
    if option.name not in ("out", "name", "source", "sources", "as_skeleton_files")
]
_TRAIN = [*options_of(TrainSettings), CONFIG]
_DISTILL = [
    *options_of(DistillSettings, {"variant": Variants(), "tau": Temperature()}),
    CONFIG,
]
_OF_BASELINES = {"data", "split", "variant", "seeds", "first_seed", *(one.name for one in _TRAIN)}
_NOT_PUSHED = ("launch_config", "figures", "plan")
_NOT_BASELINES = {one.name for one in sequence_command.params} - _OF_BASELINES
push = click.Group(
    "push",
    help="Starts a kernel that does WHAT, after checking that it can. --dry-run only writes it.",
    commands=[
        click.Command(
            "prepare",
            callback=_prepare,
            help=_prepare.__doc__,
            params=[_SOURCES, *_PREPARATION_OPTIONS, *_push_options("cpu")],
        ),
        click.Command(
            "check",
            callback=_check,
            help=_check.__doc__,
            params=[*_CHECK_OPTIONS, *_push_options("t4x2")],
        ),
        _training("train", _TRAIN, ("resume",)),
        _training("baselines", sequence_command.params, (*_NOT_PUSHED, *_NOT_BASELINES)),
        _training("distill", _DISTILL, ("resume", "standalone")),
        _training("sequence", sequence_command.params, _NOT_PUSHED),
        click.Command(
            "evaluate",
            callback=_evaluate,
            help=_evaluate.__doc__,
            params=[*_EVALUATION_OPTIONS, *_push_options("t4x2")],
        ),
    ],
)
