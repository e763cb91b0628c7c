"""Distillation: accelerate launch -m lastkd.distill --variant large --data DIR --teacher FILE"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lastkd.cli.options import Temperature, Variants, settings_command
from lastkd.entry_point import PATH, run_command
from lastkd.pipeline.request import find_inputs, resolve_all
from lastkd.settings.architecture import short_name
from lastkd.settings.resolve import default_paths, resolve
from lastkd.settings.runs import DistillSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

STANDALONE = click.Option(
    ["--standalone"],
    type=PATH,
    help="for --tau auto: the student's standalone run, or a folder that holds it",
)


def distill_model(
    variant: str,
    *,
    data: str | Path,
    teacher: str | Path,
    run: str | Path | None = None,
    config: str | Path | None = None,
    accelerator: Accelerator | None = None,
    **settings: Any,
) -> Path:
    """Distils a teacher into one student, as `python -m lastkd.distill` does.

    Args:
        variant: `nano`, `small`, `base`, `large` or `package.module:factory`.
        teacher: a checkpoint, or `package.module:factory` that gives a model with its weights.
        settings: any of `lastkd.settings.runs.DistillSettings`: `loss`, `alpha`, `tau`, ...

    Other arguments, result and errors as for `train_model`; the default folder is `runs/<variant>`.
    """
    from lastkd.distributed.accelerator import make_accelerator
    from lastkd.training.loop import train

    given = settings | {"variant": variant, "data": Path(data), "teacher": Path(teacher)}
    resolved = resolve(DistillSettings, given, file=Path(config) if config else None)
    accelerator = accelerator or make_accelerator(resolved.accumulation)
    folder = Path(run or resolved.run or Path("runs") / short_name(variant))
    best = train(
        resolved,
        data=Path(data),
        teacher=resolved.teacher,
        folder=folder,
        accelerator=accelerator,
    )
    return best[0]


def run(given: dict[str, Any], file: Path | None) -> None:
    """Distils a frozen teacher into a LAST-E student, or into several at once.

    \b
      accelerate launch --config_file launch_configs/gpu.yaml \\
        -m lastkd.distill --variant large --data data/ntu60 --split xsub \\
        --teacher runs/last_v2_base/best.safetensors

    --variant takes nano, small, base, large, several of them (nano,large) or all: then one pass of
    the teacher serves all students, each ends as it would have alone, and --run is the folder that
    holds their run folders. --teacher-cache DIR keeps the teacher's logits; a later run with the
    same teacher, data, view settings and seed reads them and never loads the teacher.

    The loss is alpha * CE + (1 - alpha) * tau^2 * KL(teacher || student). alpha and tau have
    defaults by variant (configs/distillation). --tau auto takes 6 for nano and small where their
    --standalone runs underfit, else 4 (docs/sequence.md has the rule). --loss takes others, dkd,
    dist and logit_std, with the defaults of their papers (configs/loss). Without --data and
    --teacher the places in configs/data/places.yaml are used; where neither is there, the embedded
    synthetic data.
    """
    settings = resolve_all(given, file)
    inputs = find_inputs(settings[0])
    if inputs is None:
        usual = default_paths()
        settings = resolve_all(given, file, embedded="synthetic")
        if int(os.environ.get("RANK", "0")) == 0:
            click.echo(
                f"Neither a store ({usual.store}) nor a teacher ({usual.teacher}) is here, and "
                "none was named: running on the embedded synthetic data with a tiny teacher. Its "
                "figures say nothing about NTU."
            )
        from lastkd.pipeline.builtin import builtin_store, builtin_teacher

        inputs = builtin_store(), builtin_teacher()
    data, teacher = inputs

    from lastkd.distributed.accelerator import make_accelerator, run_and_leave

    accelerator = make_accelerator(settings[0].accumulation)
    from lastkd.training.loop import train

    above = settings[0].run if len(settings) > 1 else None
    folders = [(above or Path("runs")) / short_name(own.variant) for own in settings]
    if len(settings) == 1 and settings[0].run:
        folders = [settings[0].run]
    run_and_leave(
        accelerator,
        lambda: train(
            settings, data=data, teacher=teacher, folder=folders, accelerator=accelerator
        ),
    )


def main() -> None:
    command = settings_command(DistillSettings, run, variant=Variants(), tau=Temperature())
    command.params.append(STANDALONE)
    run_command(command, "python -m lastkd.distill")


if __name__ == "__main__":
    main()
