"""lastkd teacher-cache: computes soft labels before the runs that read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lastkd.cli.options import settings_command
from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.settings.resolve import TeacherCacheSettings, default_paths, resolve
from lastkd.settings.teachers import missing_checkpoint

if TYPE_CHECKING:
    from lastkd.training.cache_builder import CacheBuilder

TOLERANCE = 1e-2
"""Largest difference that `verify` lets pass, relative to the largest logit: that of fp16."""


def _inputs(settings: TeacherCacheSettings) -> tuple[Path, Path]:
    paths = default_paths()
    data, teacher = settings.data or paths.store, settings.teacher or paths.teacher
    for option, path in (("data", data), ("teacher", missing_checkpoint(teacher))):
        if path is not None and not path.exists():
            raise UserError(f"{path}: no such {option}; name yours with --{option}")
    return data, teacher


def _builder(folder: Path, settings: TeacherCacheSettings) -> CacheBuilder:
    from lastkd.distributed.accelerator import make_accelerator
    from lastkd.training.cache_builder import CacheBuilder

    data, teacher = _inputs(settings)
    return CacheBuilder(folder, settings, data, teacher, make_accelerator())


def build(given: dict[str, Any], file: Path | None) -> None:
    """Fills the cache in DIR with the teacher's soft labels of every epoch.

    \b
      lastkd teacher-cache build soft/ntu60 --data data/ntu60 --teacher T.safetensors --epochs 70
      accelerate launch --config_file launch_configs/gpu.yaml \\
        -m lastkd teacher-cache build soft/ntu60 --data data/ntu60 --teacher T.safetensors

    Runs with the same data, view settings and seed then read them with --teacher-cache DIR, also on
    a machine without the teacher. Epochs that are cached already are kept, so the command can be
    interrupted and started again.
    """
    from lastkd.distributed.accelerator import leave

    builder = _builder(given.pop("folder"), resolve(TeacherCacheSettings, given, file=file))
    builder.fill()
    accelerator = builder.accelerator
    del builder
    leave(accelerator)


def verify(given: dict[str, Any], file: Path | None) -> None:
    """Recomputes a sample of the cache in DIR and reports the largest difference.

    \b
      lastkd teacher-cache verify soft/ntu60 --data data/ntu60 --teacher T.safetensors
    """
    folder, clips = given.pop("folder"), given.pop("clips", None) or 256
    builder = _builder(folder, resolve(TeacherCacheSettings, given, file=file))
    compared, difference = builder.verify(clips)
    click.echo(
        f"{folder}: {compared} rows recomputed; the largest difference is {difference:.1e} of the "
        "largest logit"
    )
    if difference > TOLERANCE:
        raise UserError(
            f"{folder}: differs from its teacher by more than {TOLERANCE:g}; remove it and fill it "
            "again"
        )


def _command(name: str, run: Any) -> click.Command:
    folder = click.Argument(["folder"], metavar="DIR", type=PATH)
    command = settings_command(TeacherCacheSettings, run, extra=[folder])
    command.name = name
    return command


check = _command("verify", verify)
check.params.append(
    click.Option(["--clips"], type=click.IntRange(1), help="Rows to recompute. [default: 256]")
)
teacher_cache = click.Group(
    "teacher-cache",
    help="Computes a teacher's soft labels before the runs that read them.",
    commands=[_command("build", build), check],
)
