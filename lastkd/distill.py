"""Distillation: accelerate launch -m lastkd.distill --variant large --data DIR --teacher FILE"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import click

from lastkd.cli.options import SettingsCommand, Temperature, Variants, settings_command
from lastkd.entry_point import run_command
from lastkd.pipeline.request import (
    find_inputs,
    on_split,
    resolve_all,
    run_folders,
    tau_is_measured,
)
from lastkd.pipeline.runner import train_in_groups
from lastkd.settings.resolve import default_paths
from lastkd.settings.runs import DistillSettings
from lastkd.settings.teachers import joined

if TYPE_CHECKING:
    from accelerate import Accelerator


@overload
def distill_model(
    variant: str | None = ...,
    *,
    data: str | Path | None = ...,
    teacher: str | Path | Sequence[str | Path] | None = ...,
    run: str | Path | None = ...,
    config: str | Path | None = ...,
    accelerator: Accelerator | None = ...,
    **settings: Any,
) -> Path: ...


@overload
def distill_model(
    variant: list[str] | tuple[str, ...],
    *,
    data: str | Path | None = ...,
    teacher: str | Path | Sequence[str | Path] | None = ...,
    run: str | Path | None = ...,
    config: str | Path | None = ...,
    accelerator: Accelerator | None = ...,
    **settings: Any,
) -> dict[str, Path]: ...


def distill_model(
    variant: str | list[str] | tuple[str, ...] | None = None,
    *,
    data: str | Path | None = None,
    teacher: str | Path | Sequence[str | Path] | None = None,
    run: str | Path | None = None,
    config: str | Path | None = None,
    accelerator: Accelerator | None = None,
    **settings: Any,
) -> Path | dict[str, Path]:
    """Distils a teacher into one student or several, as `python -m lastkd.distill` does.

    Without `data` and `teacher` the paths in `configs/data/places.yaml` are used; if nothing is
    there either, the built-in synthetic data with a tiny teacher.

    Args:
        variant: `nano`, `small`, `base`, `large` or `package.module:factory`. A list of them,
            `"nano,large"` and `"all"` train several students on one pass of the teacher. Only a
            `config` may give it instead.
        teacher: a checkpoint, or `package.module:factory` that returns a model with its weights;
            several teach as an ensemble.
        run: folder of the run, or for several students the folder above their run folders; by
            default `runs/<variant>` and `runs`.
        settings: any of `lastkd.settings.runs.DistillSettings`, and those of the loss: `epochs`,
            `loss`, `alpha`, `tau`, ...

    Other arguments are those of `lastkd.train_model`.

    Returns:
        The best checkpoint of one student; of several, their best checkpoints by variant, as also
        for a list that holds one.

    Raises:
        UserError, lastkd.distributed.stop_requests.Stopped: as `lastkd.train_model` does.
    """
    arguments = {
        "variant": variant,
        "data": data and Path(data),
        "teacher": teacher and Path(joined(teacher)),
        "run": run and Path(run),
    }
    given = settings | {name: value for name, value in arguments.items() if value is not None}
    file = Path(config) if config else None
    students = resolve_all(given, file)
    inputs = find_inputs(students[0])
    if inputs is None:
        students = resolve_all(given, file, preset="synthetic")
        inputs = _builtin_inputs()
    store, checkpoint = inputs
    students = [on_split(student, store) for student in students]

    from lastkd.distributed.accelerator import make_accelerator
    from lastkd.training.measured_tau import with_measured_tau

    folders = run_folders(students[0].run, [student.variant for student in students])
    accelerator = accelerator or make_accelerator(students[0].accumulation)
    if tau_is_measured(given, file):
        students = with_measured_tau(
            students, data=store, teacher=checkpoint, folders=folders, accelerator=accelerator
        )
    best = train_in_groups(
        students, folders, data=store, teacher=checkpoint, accelerator=accelerator
    )
    if len(students) == 1 and not isinstance(variant, list | tuple):
        return best[0]
    return {student.variant: path for student, path in zip(students, best, strict=True)}


def _builtin_inputs() -> tuple[Path, Path]:
    """The built-in store and teacher, which the first rank announces."""
    from lastkd.pipeline.builtin import builtin_store, builtin_teacher

    usual = default_paths()
    if int(os.environ.get("RANK", "0")) == 0:
        click.echo(
            f"Neither a store ({usual.store}) nor a teacher ({usual.teacher}) exists, and none was "
            "given: running on the built-in synthetic data with a tiny teacher. The accuracies say "
            "nothing about NTU."
        )
    return builtin_store(), builtin_teacher()


def run(given: dict[str, Any], file: Path | None) -> None:
    """Distils a frozen teacher into a student, or into several at once.

    \b
      accelerate launch --config_file launch_configs/gpu.yaml \\
        -m lastkd.distill --variant large --data data/ntu60 --split xsub \\
        --teacher runs/last_v2_base/best.safetensors

    --variant takes nano, small, base, large, several of them (nano,large) or all. Several students
    share one pass of the teacher and each ends as it would alone; --run is then the folder above
    their run folders. --teacher-cache DIR keeps the teacher's logits: a later run with the same
    teacher, data, view settings and seed reads them and never loads the teacher. --teacher A B
    distils the ensemble of several: the logarithm of their mean probability.

    The loss is alpha * CE + (1 - alpha) * tau^2 * KL(teacher || student); the defaults of alpha and
    tau depend on the student (configs/model). --tau auto measures at which temperature the
    teacher's labels are soft; with --standalone it chooses 6 for nano and small if their standalone
    runs underfit, else 4. --standalone also warns where the teacher is hardly better than the
    student by itself (docs/distilling.md). --loss takes dkd, dist, logit_std or a
    class of your own (docs/losses.md).

    Without --data and --teacher the paths in configs/data/places.yaml are used; if nothing is there
    either, the built-in synthetic data.
    """
    from lastkd.distributed.accelerator import run_and_leave

    run_and_leave(lambda: distill_model(config=file, **given))


def command() -> SettingsCommand:
    """The command line of `python -m lastkd.distill`."""
    types = {"variant": Variants(), "tau": Temperature()}
    return settings_command(DistillSettings, run, types)


def main() -> None:
    run_command(command(), "python -m lastkd.distill")


if __name__ == "__main__":
    main()
