"""Settings of a run from, each overriding the one before: `configs/`, a file, the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from lastkd.errors import UserError, nearest
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_mapping, read_model, validated
from lastkd.settings.architecture import get_architecture, is_factory, model_names
from lastkd.settings.runs import LOSS_SETTINGS, ConfiguredSettings, DistillSettings, TrainSettings

Settings = TypeVar("Settings", bound="ConfiguredSettings")


class TeacherCacheSettings(ConfiguredSettings):
    """All that filling a teacher's cache has to be told."""

    teacher: Path | None = Field(description="checkpoint of the teacher")


class DefaultPaths(BaseModel):
    """Where a store and a teacher are looked for by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path
    teacher: Path


def default_paths() -> DefaultPaths:
    return read_model(DefaultPaths, CONFIGS / "data" / "places.yaml")


def defaults(
    kind: type[ConfiguredSettings], variant: str | None = None, loss: str | None = None
) -> dict[str, Any]:
    """What `configs/` says for a kind of run, before a user says anything."""
    values: dict[str, Any] = {}
    files = list(kind.default_files)
    if kind is DistillSettings:
        values |= {"teacher": None, "teacher_cache": None}
        if variant is not None:
            files.append(f"distillation/{variant}")
        if loss is not None:
            files.append(f"loss/{loss}")
    for name in files:
        values |= read_mapping(CONFIGS / f"{name}.yaml")
    if kind is TeacherCacheSettings:  # a part of a distillation's settings
        values = {"teacher": None} | {k: v for k, v in values.items() if k in kind.model_fields}
    return values


def resolve(
    kind: type[Settings],
    given: dict[str, Any],
    *,
    file: Path | None = None,
    embedded: str | None = None,
) -> Settings:
    """Settings from, each over the one before: `configs/`, `embedded`, a file, the command line.

    Args:
        given: what the command line says.
        file: a YAML file of the user's.
        embedded: name of the file in `configs/training` for the embedded synthetic data.

    Raises:
        UserError: a key is unknown, or a value is missing or doesn't fit.
    """
    from_file = read_mapping(file) if file else {}
    for key in from_file:
        if key not in kind.model_fields:
            raise UserError(f"{file}: unknown key {key!r}; {nearest(key, kind.model_fields)}")
    said = from_file | given
    variant, loss = said.get("variant"), said.get("loss", "kd")
    own = is_factory(str(variant))
    known_variant = "own" if own else variant if variant in variants() else None
    values = defaults(kind, known_variant, loss if loss in LOSS_SETTINGS else None)
    values |= recipe_values(kind, said)
    if embedded is not None:
        values |= read_mapping(CONFIGS / "training" / f"{embedded}.yaml")
    values |= said
    required: dict[type[ConfiguredSettings], str] = {
        TrainSettings: "model",
        DistillSettings: "variant",
    }
    name = required.get(kind)
    if name is not None and values.get(name) is None:
        known = model_names() if name == "model" else variants()
        raise UserError(f"which {name}? give --{name} with one of {', '.join(known)}")
    if kind is DistillSettings and not own and variant not in variants():
        raise UserError(
            f"variant {variant!r} is unknown; {nearest(str(variant), variants())} "
            "(or name your own student as package.module:factory)"
        )
    return validated(kind, values, str(file or "settings"))


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
    values = read_mapping(CONFIGS / "recipe" / f"{name}.yaml")
    of_kind = {
        kind: values.pop(f"{kind}_settings") for kind in ("teacher", "standalone", "distilled")
    }
    values |= of_kind[_kind_of_run(kind, given)]
    if given.get("epochs") is not None and given.get("steps") is None:
        values["steps"] = None
    return {key: value for key, value in values.items() if key in kind.model_fields}


def _kind_of_run(kind: type[ConfiguredSettings], given: dict[str, Any]) -> str:
    """`distilled`, `teacher` for a LAST-v2 that is trained alone, or `standalone`."""
    if kind is not TrainSettings:
        return "distilled"
    model = str(given.get("model"))
    known = model in model_names()
    return "teacher" if known and get_architecture(model).family == "last_v2" else "standalone"


def variants() -> list[str]:
    """The students' sizes, smallest first."""
    return ["nano", "small", "base", "large"]
