"""Typed settings: defaults from `configs/`, overridden by a file and by the command line."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lastkd.settings.architecture import is_factory
from lastkd.settings.durations import _duration
from lastkd.settings.validation import checked_performers, checked_rule
from lastkd.settings.views import ViewSettings


class ConfiguredSettings(ViewSettings):
    """Settings with defaults in `configs/`: which views are drawn of which clips, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    data: Path | None = Field(description="prepared store (made by lastkd prepare)")
    split: str = Field(description="split of the store: xsub, xview, xset, ...")
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
    seed: int = Field(ge=0, description="decides weights, order, views and dropout")
    recipe: str | None = Field(
        None, description="defaults for other sets than NTU: small, for some thousand clips or less"
    )
    epochs: int = Field(ge=1, description="passes over the training clips")
    steps: int | None = Field(
        None,
        ge=1,
        description="length of the run in steps: replaces epochs, rounded up to whole ones",
    )
    batch_size: int = Field(ge=2, description="clips a process and forward pass")

    default_files: ClassVar[tuple[str, ...]] = ("training/recipe",)


class RuntimeSettings(BaseModel):
    """How a run is conducted: none of it changes the result, and a resumed run may have others."""

    run: Path | None = Field(description="folder for events, settings and checkpoints")
    resume: Literal["auto", "never", "must"] = Field(
        description="auto goes on with the run that the folder holds, if any; never refuses a "
        "folder that holds one, must one that doesn't"
    )
    checkpoint_minutes: float = Field(
        gt=0, description="minutes between checkpoints to resume from; each epoch ends with one too"
    )
    time_budget: Annotated[str | None, AfterValidator(_duration)] = Field(
        description="stop with a checkpoint when so much time is over: 11h, 90m, 10h30m"
    )
    eval_batch_size: int = Field(ge=1, description="clips a process in evaluation")
    log_every: int = Field(ge=1, description="steps between step events")
    log_with: Literal["tensorboard", "wandb", "trackio"] | None = Field(
        description="tracker that is told of the run beside its event log"
    )


class RunSettings(ConfiguredSettings, RuntimeSettings):
    """What every training run is told; the defaults stand in `configs/training/recipe.yaml`."""

    accumulation: int = Field(ge=1, description="forward passes a step")
    lr: float = Field(gt=0, description="peak learning rate at the reference batch")
    reference_batch: int = Field(ge=1, description="global batch for which lr is meant")
    warmup_epochs: int = Field(ge=0, description="epochs of linear warm-up")
    warmup_lr: float = Field(ge=0, description="learning rate at the warm-up's start")
    final_lr: float = Field(ge=0, description="learning rate at the cosine's end")
    momentum: float = Field(ge=0, lt=1, description="Nesterov momentum")
    weight_decay: float = Field(ge=0, description="on weights alone, not on norms and biases")
    clip_grad: float = Field(gt=0, description="largest gradient norm")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the average of the weights that is evaluated and saved; 0: none",
    )
    compile: bool = Field(
        description="compile the student: faster steps on a GPU, slower ones on a CPU; takes "
        "minutes to start"
    )
    dropout: float | None = Field(ge=0, lt=1, description="replaces the model's dropout rates")
    eval_every: int = Field(ge=1, description="epochs between evaluations")

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The model that is trained."""


class TrainSettings(RunSettings):
    """Standalone training of any model."""

    model: str = Field(
        description="last_v2_base, last_e_nano, ... (configs/model) or package.module:factory"
    )
    label_smoothing: float = Field(ge=0, lt=1, description="smoothing of the hard labels")

    default_files: ClassVar[tuple[str, ...]] = ("training/recipe", "training/standalone")

    @property
    def model_name(self) -> str:
        return self.model


LOSS_SETTINGS: dict[str, tuple[str, ...]] = {
    "kd": ("alpha", "tau"),
    "dkd": ("ce_weight", "soft_weight", "dkd_alpha", "dkd_beta", "tau"),
    "dist": ("ce_weight", "soft_weight", "dist_beta", "dist_gamma", "tau"),
    "logit_std": ("ce_weight", "soft_weight", "tau"),
}
"""Each loss with the settings that are its own."""
SWEPT = tuple(dict.fromkeys(name for names in LOSS_SETTINGS.values() for name in names))
"""Settings that a grid may vary: none of them changes what the teacher says."""


class DistillSettings(RunSettings):
    """Distillation of a frozen teacher into a student."""

    variant: str = Field(
        description="the student: nano, small, base, large; several (nano,base), all, or "
        "package.module:factory"
    )
    teacher: Path | None = Field(
        description="checkpoint of the teacher, or package.module:factory that gives it"
    )
    teacher_cache: Path | None = Field(
        description="folder of soft labels: read where they are there, filled where they aren't"
    )
    loss: Literal["kd", "dkd", "dist", "logit_std"] = Field(
        "kd", description="kd, dkd, dist or logit_std (configs/loss); each has settings of its own"
    )
    alpha: float | None = Field(ge=0, le=1, description="kd: weight of the hard-label loss")
    tau: float = Field(gt=0, description="temperature of the soft labels")
    ce_weight: float | None = Field(
        None, ge=0, description="dkd, dist, logit_std: weight of the hard-label loss"
    )
    soft_weight: float | None = Field(
        None, ge=0, description="dkd, dist, logit_std: weight of the soft term"
    )
    dkd_alpha: float | None = Field(None, ge=0, description="dkd: weight of the label's class")
    dkd_beta: float | None = Field(None, ge=0, description="dkd: weight of the other classes")
    dist_beta: float | None = Field(None, ge=0, description="dist: weight within a clip")
    dist_gamma: float | None = Field(None, ge=0, description="dist: weight within a class")
    soft_warmup: float = Field(
        0.0, ge=0, le=1, description="share of the run in which the soft term grows from 0"
    )

    @model_validator(mode="after")
    def _settings_of_the_loss(self) -> DistillSettings:
        own = LOSS_SETTINGS[self.loss]
        for name in sorted(SWEPT):
            value = getattr(self, name)
            if name in own and value is None:
                raise ValueError(f"the loss {self.loss} needs {name}")
            if name not in own and value is not None:
                raise ValueError(
                    f"{name} = {value} is no setting of the loss {self.loss}, which has "
                    f"{', '.join(own)}"
                )
        return self

    @property
    def model_name(self) -> str:
        return self.variant if is_factory(self.variant) else f"last_e_{self.variant}"

    @property
    def describe_loss(self) -> str:
        """The loss with its settings, for the one who watches."""
        own = [f"{name} {getattr(self, name):g}" for name in LOSS_SETTINGS[self.loss]]
        ramp = [f"soft_warmup {self.soft_warmup:.3g}"] if self.soft_warmup else []
        return ", ".join([self.loss, *own, *ramp])
