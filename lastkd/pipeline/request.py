"""What the user asked to train: settings and folder of each student, store and teacher."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.files.yaml_files import read_mapping
from lastkd.pipeline.auto_tau import AUTO, USUAL_TAU, auto_tau, require_kd
from lastkd.runs.standalone import standalone_of
from lastkd.settings.architecture import short_name
from lastkd.settings.resolve import default_paths, kind_values, resolve
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.settings.students import model_of, parse_variants
from lastkd.settings.teachers import missing_checkpoint

Run = TypeVar("Run", bound=RunSettings)


def find_inputs(settings: DistillSettings) -> tuple[Path, Path | None] | None:
    """The store and the teacher to use; None if neither was given nor is at its default path.

    The teacher is None if soft labels are read from a cache instead.

    Raises:
        UserError: one that was given is missing, or only one of the two exists.
    """
    usual = default_paths()
    data, teacher = settings.data or usual.store, settings.teacher or usual.teacher
    given = any((settings.data, settings.teacher, settings.teacher_cache))
    if not given and not data.exists() and not teacher.exists():
        return None
    require_store(data, given=settings.data is not None)
    missing = missing_checkpoint(teacher)
    if missing is not None:
        if settings.teacher is None and settings.teacher_cache is not None:
            return data, None
        raise UserError(
            f"{missing}: no such teacher{_origin(settings.teacher is not None)}; train one with "
            "accelerate launch -m lastkd.train --model last_v2_base, convert a public one with "
            "lastkd convert, or give yours with --teacher"
        )
    return data, teacher


def require_store(data: Path, *, given: bool) -> None:
    """
    Args:
        given: by the user; else it is the default path.

    Raises:
        UserError: there is no store.
    """
    if not data.exists():
        raise UserError(
            f"{data}: no such store{_origin(given)}; make one with lastkd prepare SOURCE --out "
            f"{data} or give yours with --data"
        )


def on_split(settings: Run, store: Path) -> Run:
    """The settings with the split that `auto` stands for, by the name that the store has for it.

    Raises:
        UserError: the store is damaged, has no such split, or has several to choose from.
    """
    return settings.model_copy(update={"split": ClipStore.open(store).split_name(settings.split)})


def run_folders(run: Path | None, names: Sequence[str]) -> list[Path]:
    """The run folder of each of the models or variants that one command trains.

    Args:
        run: of a single one its run folder, of several the folder above theirs; by default `runs`
            is above.

    Raises:
        UserError: two have the same folder.
    """
    if run is not None and len(names) == 1:
        return [run]
    folders = [(run or Path("runs")) / short_name(name) for name in names]
    for number, folder in enumerate(folders):
        if (first := folders.index(folder)) < number:
            raise UserError(
                f"{names[first]} and {names[number]}: both would write to {folder}; train them "
                "with separate commands"
            )
    return folders


def resolve_models(given: dict[str, Any], file: Path | None) -> dict[str, TrainSettings]:
    """The settings of each model that is trained without a teacher, by the name that it is given.

    Args:
        given, file: as in `resolve`; `model` may name several (`last_e_nano,last_e_base`), and
            students by their aliases.

    Raises:
        UserError: as in `resolve`, or the models' settings differ in more than the model.
    """
    from_file = read_mapping(file) if file else {}
    named = given.get("model") or from_file.get("model") or ()
    parts = [named] if isinstance(named, str) else named
    names = [name.strip() for part in parts for name in str(part).split(",")]
    models: dict[str | None, str] = {}
    for name in names:
        models.setdefault(model_of(name), name)  # of two names for one model, the first
    settings = {
        name: resolve(TrainSettings, given | {"model": model}, file=file)
        for model, name in (models or {None: ""}).items()
    }
    first, *others = settings.values()
    for other in others:
        values, expected = other.model_dump(), first.model_dump()
        differing = [
            name for name in expected if name != "model" and expected[name] != values[name]
        ]
        if differing:
            raise UserError(
                f"--model {','.join(names)}: {first.model} and {other.model} train with different "
                f"settings ({', '.join(differing)}); train them with separate commands"
            )
    return settings


def _origin(given: bool) -> str:
    return "" if given else " at the path in configs/data/places.yaml"


def _file_values(file: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a distillation in the user's file."""
    return kind_values(read_mapping(file), DistillSettings, given) if file else {}


def tau_is_measured(given: dict[str, Any], file: Path | None) -> bool:
    """Whether `--tau auto` uses the teacher's labels, because no standalone run is given."""
    from_file = _file_values(file, given)
    standalone = given.get("standalone", from_file.get("standalone"))
    return given.get("tau", from_file.get("tau")) == AUTO and standalone is None


def resolve_all(
    given: dict[str, Any],
    file: Path | None,
    preset: str | None = None,
    echo: Callable[[str], None] = click.echo,
) -> list[DistillSettings]:
    """The settings of each student; the defaults of alpha and tau differ between them.

    Args:
        given, file, preset: as in `resolve`; `variant` may name several students, and `tau` may be
            `auto`. Without `standalone` tau then stays the default here, and is to be measured
            (`tau_is_measured`).
        echo: receives on the first rank what `--tau auto` chose, and why.

    Raises:
        UserError: as in `resolve`, or `standalone` holds no finished run of a student.
    """
    given = dict(given)
    from_file = _file_values(file, given)
    automatic = given.get("tau", from_file.get("tau")) == AUTO
    if automatic:
        given["tau"] = USUAL_TAU
    try:
        variants = parse_variants(given.get("variant") or from_file.get("variant") or ())
    except ValueError as error:
        raise UserError(f"{file}: {error}" if file else str(error)) from None
    settings = [
        resolve(DistillSettings, given | {"variant": variant}, file=file, preset=preset)
        for variant in variants
    ]
    if automatic:
        require_kd(settings)
    if settings[0].standalone is None:
        return settings
    for student in settings:  # a mistake is found before anything is started
        standalone_of(student)
    if not automatic:
        return settings
    chosen = [auto_tau(student) for student in settings]
    if int(os.environ.get("RANK", "0")) == 0:
        for resolved in chosen:
            echo(resolved.why)
    return [
        student.model_copy(update={"loss": student.loss.model_copy(update={"tau": resolved.tau})})
        for student, resolved in zip(settings, chosen, strict=True)
    ]
