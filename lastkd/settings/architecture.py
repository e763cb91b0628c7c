"""The architecture of each model family, as its YAML states it (`configs/model/<name>.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from lastkd.errors import UserError, nearest
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_mapping, validated
from lastkd.plugins import is_import_path

Stages = Annotated[tuple[int, int, int], Field(description="one value a stage")]
Temporal = Literal["tcn", "linear_attention"]
Mib = Literal["joint", "velocity", "bone"]
STREAMS: tuple[Mib, Mib, Mib] = ("joint", "velocity", "bone")
STAGE_STRIDES = (1, 2, 2)


class Architecture(BaseModel):
    """What a model is built from; each family has a subclass, listed in `FAMILIES`.

    Attributes:
        implementation: `module:Class` of the `SkeletonModel` that is built, called with the
            architecture, the number of classes and the layout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    implementation: ClassVar[str]

    name: str
    family: str

    @property
    def factory(self) -> str | None:
        """`package.module:factory` of a model whose code isn't part of lastkd, else None."""
        return None

    def with_dropout(self, rate: float) -> Architecture:
        """The architecture with every dropout rate replaced."""
        raise UserError(f"{self.name}: has no dropout rate to set")

    def for_training(self) -> Architecture:
        """The architecture as lastkd trains it, where that differs from the public design."""
        return self


class LastArchitecture(Architecture):
    """What the two families of the LAST design have in common."""

    public: bool = Field(True, description="a size of the public design; false: lastkd's own")
    channels: Stages
    blocks: Stages


class LastV2Architecture(LastArchitecture):
    """A LAST-v2: the teacher's family."""

    implementation = "lastkd.models.last_v2:LastV2"

    family: Literal["last_v2"] = "last_v2"
    temporal: tuple[Temporal, Temporal, Temporal]
    dropout: float = Field(0.1, ge=0, lt=1)
    body_average: Literal["all", "present"] = Field(
        "all", description="logits are averaged over all bodies (public) or the present ones"
    )

    def with_dropout(self, rate: float) -> LastV2Architecture:
        """The architecture with its dropout rate replaced."""
        return self.model_copy(update={"dropout": rate})

    def for_training(self) -> LastV2Architecture:
        """The architecture with its logits averaged over the present bodies alone."""
        return self.model_copy(update={"body_average": "present"})


class LastEArchitecture(LastArchitecture):
    """A LAST-E: the students' family."""

    implementation = "lastkd.models.last_e:LastE"

    family: Literal["last_e"] = "last_e"
    attention: tuple[bool, bool, bool] = Field(description="`st_att` in each stage's blocks")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the blocks")
    head_dropout: float = Field(0.3, ge=0, lt=1, description="before the last layer")

    def with_dropout(self, rate: float) -> LastEArchitecture:
        """The architecture with both dropout rates replaced."""
        return self.model_copy(update={"dropout": rate, "head_dropout": rate})


class ExternalArchitecture(Architecture):
    """A model that isn't part of lastkd: `name` is the `package.module:factory` that makes it."""

    implementation = "lastkd.models.external:ExternalModel"

    family: Literal["own"] = "own"

    @property
    def factory(self) -> str | None:
        return self.name

    def with_dropout(self, rate: float) -> ExternalArchitecture:
        """
        Raises:
            UserError: always; the factory decides about dropout.
        """
        raise UserError(
            f"{self.name}: takes no --dropout; set the rates of your own model in its factory"
        )


OF_A_STUDENT = ("variant", "distillation")
"""Keys of a model's YAML that concern distillation, not the model; `students` reads them."""
FAMILIES: dict[str, type[Architecture]] = {
    "last_v2": LastV2Architecture,
    "last_e": LastEArchitecture,
    "own": ExternalArchitecture,
}
"""By the `family` that a YAML or a checkpoint names."""


def parse_architecture(values: Mapping[str, Any] | Architecture) -> Architecture:
    """The architecture that a mapping describes, of the family that it names.

    Raises:
        ValueError: the family is unknown, or a value doesn't fit it.
    """
    if isinstance(values, Architecture):
        return values
    family = values.get("family")
    if family not in FAMILIES:
        raise ValueError(f"model family {family!r} is unknown; {nearest(str(family), FAMILIES)}")
    return FAMILIES[family].model_validate(values)


def model_names() -> list[str]:
    """The models that come with lastkd."""
    return sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))


def is_factory(name: str) -> bool:
    """Whether a name is a factory's, `package.module:factory`."""
    return is_import_path(name)


def short_name(name: str) -> str:
    """A model's or variant's name for a folder: of a factory, the part after the colon."""
    return name.rpartition(":")[2]


def get_architecture(model: str | Architecture) -> Architecture:
    """A model's architecture by its name or, for a model of one's own, by its factory's.

    Raises:
        UserError: there is no such model.
    """
    if not isinstance(model, str):
        return model
    if is_factory(model):
        return ExternalArchitecture(name=model)
    if model not in model_names():
        raise UserError(
            f"model {model!r} is unknown; {nearest(model, model_names())} "
            "(or name your own as package.module:factory)"
        )
    path = CONFIGS / "model" / f"{model}.yaml"
    values = {key: x for key, x in read_mapping(path).items() if key not in OF_A_STUDENT}
    return validated(FAMILIES[values["family"]], values, str(path))
