"""A run's settings from, each overriding the one before: `configs/`, a file, the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lastkd.errors import UserError, nearest
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_mapping, read_model, validated
from lastkd.losses import KD, Loss, load_loss, loss_setting_names
from lastkd.settings.architecture import get_architecture, model_names
from lastkd.settings.runs import ConfiguredSettings, DistillSettings, TrainSettings, setting_names
from lastkd.settings.students import parse_variant, students
from lastkd.settings.teachers import joined

Settings = TypeVar("Settings", bound="ConfiguredSettings")


class TeacherCacheSettings(ConfiguredSettings):
    """Settings for filling a teacher's cache: those of a distillation that its views depend on."""

    heading: ClassVar[str] = "Teacher"

    teacher: Annotated[Path | None, BeforeValidator(joined)] = Field(
        description="checkpoint of the teacher; several (A,B) teach as an ensemble"
    )


class DefaultPaths(BaseModel):
    """Where the store and the teacher are looked for when none is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path
    teacher: Path


def default_paths() -> DefaultPaths:
    return read_model(DefaultPaths, CONFIGS / "data" / "places.yaml")


def defaults(kind: type[ConfiguredSettings]) -> dict[str, Any]:
    """The defaults of a command's settings in `configs/`; those of losses are in their classes."""
    values: dict[str, Any] = dict.fromkeys(("teacher", "teacher_cache", "standalone"))
    values["loss"] = KD.name
    for name in kind.default_files:
        values |= read_mapping(CONFIGS / f"{name}.yaml")
    return {name: value for name, value in values.items() if name in kind.model_fields}


def resolve(
    kind: type[Settings],
    given: dict[str, Any],
    *,
    file: Path | None = None,
    preset: str | None = None,
) -> Settings:
    """Settings from, each overriding the one before: `configs/`, `preset`, `file`, `given`.

    Args:
        given: settings by name, as on the command line.
        file: the user's YAML file.
        preset: name of a file in `configs/training`.

    Raises:
        UserError: a key is unknown, or a value is missing or doesn't fit.
    """
    where = str(file or "settings")
    from_file = kind_values(read_mapping(file), kind, given) if file else {}
    known = setting_names(kind, from_file | given)
    for key in from_file:
        if key not in known:
            raise UserError(f"{file}: unknown key {key!r}; {nearest(key, known)}")
    values = defaults(kind)
    values |= recipe_values(kind, from_file | given)
    if preset is not None:
        of_preset = read_mapping(CONFIGS / "training" / f"{preset}.yaml")
        values |= without_kd(kind_values(of_preset, kind, from_file | given), from_file | given)
    values |= from_file | given
    if kind is TrainSettings and values.get("model") is None:
        raise UserError(f"which model? give --model with one of {', '.join(model_names())}")
    if kind is DistillSettings:
        try:
            values["variant"] = parse_variant(values.get("variant") or ())
        except ValueError as error:
            raise UserError(f"{file}: {error}" if file else str(error)) from None
        values = _with_loss(values, where)
    return validated(kind, values, where)


def _with_loss(values: dict[str, Any], where: str) -> dict[str, Any]:
    """`values` with the loss's settings gathered into the loss.

    Raises:
        UserError: a setting is another loss's, is missing or doesn't fit.
    """
    name = str(values["loss"])
    kind = load_loss(name)
    names = loss_setting_names(name)
    # None is what a settings file says of the settings of other losses
    given = {key: values[key] for key in names if values.get(key) is not None}
    for key, value in given.items():
        if key not in kind.model_fields:
            raise UserError(
                f"{where}: {key} = {value} is no setting of the loss {name}, which has "
                f"{', '.join(kind.setting_names())}"
            )
    student = students().get(values["variant"])
    if kind is KD and student:
        given = student.kd_defaults | given
    for key, field in kind.model_fields.items():
        if field.is_required() and key not in given:
            raise UserError(f"{where}: the loss {name} needs a value for {key}")
    loss: Loss = validated(kind, given, where)
    rest = {key: value for key, value in values.items() if key not in names}
    return rest | {"loss": loss}


def recipes() -> list[str]:
    """The names that `--recipe` takes."""
    return sorted(path.stem for path in (CONFIGS / "recipe").glob("*.yaml"))


def recipe_values(kind: type[ConfiguredSettings], given: dict[str, Any]) -> dict[str, Any]:
    """The defaults of the recipe that is asked for: those of every run, then those of its kind.

    Epochs that are asked for go before the recipe's number of steps.

    Args:
        given: what the user asks for.

    Raises:
        UserError: there is no such recipe.
    """
    name = given.get("recipe")
    if name is None:
        return {}
    if name not in recipes():
        raise UserError(f"recipe {name!r} is unknown; {nearest(str(name), recipes())}")
    of_recipe = read_mapping(CONFIGS / "recipe" / f"{name}.yaml")
    values = without_kd(kind_values(of_recipe, kind, given), given)
    if given.get("epochs") is not None and given.get("steps") is None:
        values["steps"] = None
    known = setting_names(kind, values | given)
    return {key: value for key, value in values.items() if key in known}


def kind_values(
    values: Mapping[str, Any], kind: type[ConfiguredSettings], given: Mapping[str, Any]
) -> dict[str, Any]:
    """A file's settings for one kind of run: those of every run, overridden by its own.

    The file may have the sections `teacher_settings`, `standalone_settings` and
    `distilled_settings`, as a sequence's has.
    """
    sections = {f"{name}_settings": values.get(f"{name}_settings") or {} for name in KINDS}
    common = {name: value for name, value in values.items() if name not in sections}
    return common | sections[f"{_kind_of_run(kind, {**common, **given})}_settings"]


def without_kd(values: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without KD's settings if another loss is asked for."""
    if given.get("loss", KD.name) == KD.name:
        return values
    return {name: value for name, value in values.items() if name not in KD.setting_names()}


KINDS = ("teacher", "standalone", "distilled")
"""Kinds of runs that a file may give settings of their own."""


def _kind_of_run(kind: type[ConfiguredSettings], given: Mapping[str, Any]) -> str:
    """`distilled`, `teacher` for a LAST-v2 that is trained alone, or `standalone`."""
    if kind is not TrainSettings:
        return "distilled"
    model = str(given.get("model"))
    known = model in model_names()
    return "teacher" if known and get_architecture(model).family == "last_v2" else "standalone"
