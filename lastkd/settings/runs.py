"""Typed settings of runs: defaults from `configs/`, overridden by a file and by the command line.

Each class is one group of options in a command's help, with its `heading` and its fields in order;
the groups of a command follow the order of its settings' base classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from lastkd.errors import UserError
from lastkd.losses import Loss, loss_setting_names
from lastkd.settings.durations import checked_duration
from lastkd.settings.students import model_of
from lastkd.settings.teachers import joined
from lastkd.settings.validation import checked_performers, checked_rule
from lastkd.settings.views import ViewSettings


class ConfiguredSettings(ViewSettings):
    """Settings with defaults in `configs/`: which clips are used, and which views of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    heading: ClassVar[str] = "Data and length"

    data: Path | None = Field(description="prepared store (made by lastkd prepare)")
    split: str = Field(
        description="split of the store: xsub, xview, ..., or auto: its only one, or xsub"
    )
    validation: Annotated[str | None, AfterValidator(checked_rule)] = Field(
        None,
        description="training clips that are kept out and choose the epoch: 0.2 (of the "
        "performers), performers:2, fold:1/5, or part (the split's own); without it the test part "
        "chooses",
    )
    performers: Annotated[str | None, AfterValidator(checked_performers)] = Field(
        None,
        description="who performs each clip, where the store doesn't know it: a regular expression "
        "with a group to search in names, or a CSV file of clip,performer",
    )
    recipe: str | None = Field(
        None, description="defaults for other sets than NTU: small, for some thousand clips or less"
    )
    epochs: int = Field(ge=1, description="passes over the training clips")
    steps: int | None = Field(
        None,
        ge=1,
        description="length of the run in steps: replaces epochs, rounded up to whole ones",
    )
    batch_size: int = Field(ge=2, description="clips per process and forward pass")
    seed: int = Field(ge=0, description="determines weights, order, views and dropout")

    default_files: ClassVar[tuple[str, ...]] = ("training/recipe",)


class RuntimeSettings(BaseModel):
    """Where and how a run runs: nothing here changes its result, so a resumed run may differ."""

    heading: ClassVar[str] = "Run"

    run: Path | None = Field(description="folder for events, settings and checkpoints")
    resume: Literal["auto", "never", "must"] = Field(
        description="auto resumes the run in the folder if there is one; never refuses a folder "
        "that holds a run, must refuses one that doesn't"
    )
    time_budget: Annotated[str | None, AfterValidator(checked_duration)] = Field(
        description="stop with a checkpoint after this time: 11h, 90m, 10h30m"
    )
    checkpoint_minutes: float = Field(
        gt=0, description="minutes between checkpoints; every epoch ends with one as well"
    )
    eval_batch_size: int = Field(ge=1, description="clips per process in evaluation")
    log_every: int = Field(ge=1, description="steps between step events")
    log_with: Literal["tensorboard", "wandb", "trackio"] | None = Field(
        description="tracker to log to besides the event log"
    )


class OptimiserSettings(BaseModel):
    """How the weights are moved."""

    heading: ClassVar[str] = "Optimisation"

    lr: float = Field(gt=0, description="peak learning rate at the reference batch")
    reference_batch: int = Field(ge=1, description="global batch that lr refers to")
    warmup_epochs: int = Field(ge=0, description="epochs of linear warm-up")
    warmup_lr: float = Field(ge=0, description="learning rate at the start of the warm-up")
    final_lr: float = Field(ge=0, description="learning rate at the end of the cosine")
    accumulation: int = Field(ge=1, description="forward passes per step")
    momentum: float = Field(ge=0, lt=1, description="Nesterov momentum")
    weight_decay: float = Field(ge=0, description="of weights; norms and biases have none")
    clip_grad: float = Field(gt=0, description="largest gradient norm")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the average of the weights that is evaluated and saved; 0: none",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="smoothing of the hard labels")
    dropout: float | None = Field(ge=0, lt=1, description="replaces the model's dropout rates")
    eval_every: int = Field(ge=1, description="epochs between evaluations")
    compile: bool = Field(
        description="compile the student: faster steps on a GPU, slower ones on a CPU; takes "
        "minutes to start"
    )


class RunSettings(ConfiguredSettings, RuntimeSettings, OptimiserSettings, ViewSettings):
    """Settings of every training run; `configs/training/recipe.yaml` has the defaults."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The model that is trained."""


class TrainSettings(RunSettings):
    """Standalone training of any model."""

    heading: ClassVar[str] = "Model"

    model: str = Field(
        description="last_v2_base, last_e_nano, ... (configs/model), a student's alias, several "
        "(nano,base), or package.module:factory"
    )

    default_files: ClassVar[tuple[str, ...]] = ("training/recipe", "training/standalone")

    @property
    def model_name(self) -> str:
        return self.model


class DistillSettings(RunSettings):
    """Distillation of a frozen teacher into a student.

    In files, on the command line and in the event log the settings of the loss stand beside the
    others: `loss: kd`, `alpha: 0.7`, `tau: 4`.
    """

    heading: ClassVar[str] = "Student and teacher"

    variant: str = Field(
        description="student: nano, small, base, large, several (nano,base), all, or "
        "package.module:factory"
    )
    teacher: Annotated[Path | None, BeforeValidator(joined)] = Field(
        description="checkpoint of the teacher, a package.module:factory that returns it, or "
        "FILE@package.module:factory for a checkpoint of a model of your own; several (A B or A,B) "
        "teach as an ensemble"
    )
    teacher_cache: Path | None = Field(
        description="folder of soft labels: epochs that it holds are read, others are added"
    )
    standalone: Path | None = Field(
        description="the student's standalone run, or a folder that contains it: to say how far "
        "the teacher is ahead of it; --tau auto then goes by how well it fits"
    )
    loss: SerializeAsAny[Loss] = Field(
        description="kd, dkd, dist, logit_std or package.module:Class (docs/losses.md)"
    )

    @property
    def model_name(self) -> str:
        return model_of(self.variant)

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if "loss" in values:
            values |= {"loss": self.loss.name, **values["loss"]}
        return values


def setting_names(kind: type[BaseModel], given: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """The names by which files and keyword arguments give a command's settings.

    Args:
        given: may name a loss from outside, whose settings are then included.

    Raises:
        UserError: the loss can't be loaded.
    """
    if not issubclass(kind, DistillSettings):
        return tuple(kind.model_fields)
    loss = (given or {}).get("loss")
    of_losses = loss_setting_names(None if loss is None else str(loss))
    if clash := [name for name in of_losses if name in kind.model_fields]:
        raise UserError(
            f"{loss}: its setting {clash[0]!r} has the name of a setting of the run; rename it"
        )
    return (*kind.model_fields, *of_losses)
