"""Distillation: accelerate launch -m lastkd.distill --variant large --data DIR --teacher FILE"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lastkd.architecture import is_factory, short_name
from lastkd.command_line import PATH, run_command
from lastkd.config import DistillSettings, places, resolve
from lastkd.errors import UserError
from lastkd.settings_command import Temperature, Variants, settings_command
from lastkd.temperature import AUTO, USUAL_TAU, auto_tau
from lastkd.yaml_files import read_mapping

STANDALONE = click.Option(
    ["--standalone"],
    type=PATH,
    help="for --tau auto: the student's standalone run, or a folder that holds it",
)


def _missing(what: str, path: Path, named: bool, way_out: str) -> UserError:
    place = "" if named else " at the place that configs/data/places.yaml names"
    return UserError(f"{path}: no such {what}{place}; {way_out}")


def find_inputs(settings: DistillSettings) -> tuple[Path, Path | None] | None:
    """The store and the teacher to use, or None where neither was named nor is at its place.

    The teacher is None where none was named or is at its place, and there is a cache to read from.

    Raises:
        UserError: one that was named is missing, or only one of the two is there.
    """
    usual = places()
    data, teacher = settings.data or usual.store, settings.teacher or usual.teacher
    named = any((settings.data, settings.teacher, settings.teacher_cache))
    if not named and not data.exists() and not teacher.exists():
        return None
    if not data.exists():
        way_out = f"make one with lastkd prepare SOURCE --out {data} or name yours with --data"
        raise _missing("store", data, settings.data is not None, way_out)
    if not is_factory(str(teacher)) and not teacher.exists():
        if settings.teacher is None and settings.teacher_cache is not None:
            return data, None
        way_out = (
            "train one with accelerate launch -m lastkd.train --model last_v2_base, convert a "
            "public one with lastkd convert, or name yours with --teacher"
        )
        raise _missing("teacher", teacher, settings.teacher is not None, way_out)
    return data, teacher


def resolve_all(
    given: dict[str, Any],
    file: Path | None,
    embedded: str | None = None,
    say: Callable[[str], None] = click.echo,
) -> list[DistillSettings]:
    """The settings of each student that was asked for; alpha and tau differ by variant.

    Args:
        say: told on the first rank what `--tau auto` chose and why.

    Raises:
        UserError: as in `resolve`, or `--tau auto` finds no run to go by.
    """
    given = dict(given)
    standalone = given.pop("standalone", None)
    tau = given.get("tau", read_mapping(file).get("tau") if file else None)
    if tau == AUTO:
        given["tau"] = USUAL_TAU
        settings = resolve_all(given, file, embedded, say)
        chosen = [auto_tau(own, standalone) for own in settings]
        if int(os.environ.get("RANK", "0")) == 0:
            for resolved in chosen:
                say(resolved.why)
        return [
            own.model_copy(update={"tau": resolved.tau})
            for own, resolved in zip(settings, chosen, strict=True)
        ]
    if standalone is not None:
        raise UserError(f"--standalone {standalone} is for --tau auto alone; give both or none")
    asked = given.get("variant")
    if asked is None:  # the file names it, or `resolve` says what is missing
        return [resolve(DistillSettings, given, file=file, embedded=embedded)]
    return [
        resolve(DistillSettings, given | {"variant": variant}, file=file, embedded=embedded)
        for variant in asked
    ]


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
        usual = places()
        settings = resolve_all(given, file, embedded="synthetic")
        if int(os.environ.get("RANK", "0")) == 0:
            click.echo(
                f"Neither a store ({usual.store}) nor a teacher ({usual.teacher}) is here, and "
                "none was named: running on the embedded synthetic data with a tiny teacher. Its "
                "figures say nothing about NTU."
            )
        from lastkd.training.embedded import embedded_store, embedded_teacher

        inputs = embedded_store(), embedded_teacher()
    data, teacher = inputs

    from lastkd.training.processes import make_accelerator, run_and_leave

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
