"""The students that distillation knows by a short name, from the models' YAML files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from lastkd.errors import nearest
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_mapping, validated
from lastkd.losses import KD
from lastkd.settings.architecture import is_factory, model_names

ALL = "all"


class Student(BaseModel):
    """A model that `--variant` knows by an alias.

    Attributes:
        variant: the alias.
        model: the model's name.
        kd: the loss kd with the model's defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    model: str
    kd: KD

    @property
    def kd_defaults(self) -> dict[str, Any]:
        """The settings of kd that the model's file gives."""
        return self.kd.model_dump(exclude_unset=True)


@lru_cache
def students() -> dict[str, Student]:
    """The models that have an alias (`variant` in their YAML file), smallest first, by alias."""
    found: list[tuple[Any, Student]] = []
    for name in model_names():
        path = CONFIGS / "model" / f"{name}.yaml"
        values = read_mapping(path)
        if "variant" in values:
            kd = validated(KD, values.get("distillation") or {}, f"{path}: distillation")
            student = Student(variant=values["variant"], model=name, kd=kd)
            found.append(((values["channels"], values["blocks"]), student))
    return {student.variant: student for _, student in sorted(found, key=lambda pair: pair[0])}


def model_of(variant: str) -> str:
    """The model of a variant; a model's own name and a factory stand for themselves."""
    known = students().get(variant)
    return known.model if known else variant


def variant_of(model: str) -> str:
    """A model's alias, or its own name if it has none."""
    return next((one.variant for one in students().values() if one.model == model), model)


def parse_variants(value: Any) -> tuple[str, ...]:
    """Variants as users write them: `large`, `nano,large`, `all`, or a list of such.

    A variant is an alias, the name of a model, or `package.module:factory`. Repeated ones count
    once; aliases come first, smallest first.

    Raises:
        ValueError: one is unknown, or there is none.
    """
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    names = [name.strip() for part in parts for name in str(part).split(",")]
    known = students()
    variants = [one for name in names for one in (known if name == ALL else [variant_of(name)])]
    if not variants:
        raise ValueError(f"which variant? give --variant with one of {', '.join([*known, ALL])}")
    for variant in variants:
        if not (variant in known or variant in model_names() or is_factory(variant)):
            raise ValueError(
                f"variant {variant!r} is unknown; {nearest(variant, [*known, ALL])} "
                "(or name your own student as package.module:factory)"
            )
    aliases = [variant for variant in known if variant in variants]
    return tuple(dict.fromkeys([*aliases, *variants]))


def parse_variant(value: Any) -> str:
    """One variant; errors as in `parse_variants`, and where there are several."""
    variants = parse_variants(value)
    if len(variants) > 1:
        raise ValueError(f"variant {value!r} names several students, and one is needed here")
    return variants[0]
