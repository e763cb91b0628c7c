"""What a model's YAML says (`configs/model/<name>.yaml`), typed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from lastkd.errors import UserError, nearest
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_mapping, validated
from lastkd.plugins import is_import_path

Stages = Annotated[tuple[int, int, int], Field(description="one value a stage")]
Mib = Literal["joint", "velocity", "bone"]
STREAMS: tuple[Mib, Mib, Mib] = ("joint", "velocity", "bone")
STAGE_STRIDES = (1, 2, 2)


class LastV2Architecture(BaseModel):
    """A LAST-v2: the teacher's family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: Literal["last_v2"] = "last_v2"
    public: bool = Field(True, description="a size of the public design; false: lastkd's own")
    channels: Stages
    blocks: Stages
    temporal: tuple[
        Literal["tcn", "linear_attention"],
        Literal["tcn", "linear_attention"],
        Literal["tcn", "linear_attention"],
    ]
    dropout: float = Field(0.1, ge=0, lt=1)
    body_average: Literal["all", "present"] = Field(
        "all", description="logits are averaged over all bodies (public) or the present ones"
    )


class LastEArchitecture(BaseModel):
    """A LAST-E: the students' family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: Literal["last_e"] = "last_e"
    public: bool = True
    channels: Stages
    blocks: Stages
    attention: tuple[bool, bool, bool] = Field(description="`st_att` in each stage's blocks")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the blocks")
    head_dropout: float = Field(0.3, ge=0, lt=1, description="before the last layer")


class ExternalArchitecture(BaseModel):
    """A model that lastkd doesn't know: `name` is the `package.module:factory` that makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    public: ClassVar[bool] = False

    name: str
    family: Literal["own"] = "own"


Architecture = LastV2Architecture | LastEArchitecture | ExternalArchitecture
_BY_FAMILY: dict[str, type[LastV2Architecture] | type[LastEArchitecture]] = {
    "last_v2": LastV2Architecture,
    "last_e": LastEArchitecture,
}


def model_names() -> list[str]:
    """The models that come with lastkd."""
    return sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))


def is_factory(name: str) -> bool:
    """Whether a name is a factory's, `package.module:factory`."""
    return is_import_path(name)


def short_name(name: str) -> str:
    """A model's or variant's name for a folder: of a factory, what stands behind the colon."""
    return name.rpartition(":")[2]


def get_architecture(model: str | Architecture) -> Architecture:
    """A model's architecture by its name; for `package.module:factory`, that it is one's own.

    Raises:
        UserError: no such model.
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
    values = read_mapping(path)
    return validated(_BY_FAMILY[values["family"]], values, str(path))
