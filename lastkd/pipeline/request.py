"""What a distillation was asked for: its settings by student, its store and its teacher."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lastkd.errors import UserError
from lastkd.files.yaml_files import read_mapping
from lastkd.pipeline.auto_tau import AUTO, USUAL_TAU, auto_tau
from lastkd.settings.architecture import is_factory
from lastkd.settings.resolve import default_paths, resolve
from lastkd.settings.runs import DistillSettings


def _missing(what: str, path: Path, named: bool, way_out: str) -> UserError:
    place = "" if named else " at the place that configs/data/places.yaml names"
    return UserError(f"{path}: no such {what}{place}; {way_out}")


def find_inputs(settings: DistillSettings) -> tuple[Path, Path | None] | None:
    """The store and the teacher to use, or None where neither was named nor is at its place.

    The teacher is None where none was named or is at its place, and there is a cache to read from.

    Raises:
        UserError: one that was named is missing, or only one of the two is there.
    """
    usual = default_paths()
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
