"""Losses of distillation: formula, settings and defaults of each in one class.

Every loss is a weighted sum of two terms, computed in float32 whatever the models run in:

    total = hard_weight * CE(student, labels)
            + ramp * soft_weight * soft_term(student, teacher, labels)

`weights()` gives the two weights; `ramp` grows from 0 to 1 over the first `soft_warmup` of the run.
To add a loss, derive a class from `Loss`: here, with an entry in `LOSSES`, or in a module of your
own, named as `--loss package.module:Class`. `docs/losses.md` compares the built-in losses.

torch is imported inside the methods, so that commands can read settings without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from lastkd.errors import UserError, nearest
from lastkd.plugins import import_object, is_import_path

if TYPE_CHECKING:
    from torch import Tensor


class LossParts(NamedTuple):
    """Scalars: the unweighted terms `ce` and `soft`, and the `total` to minimise."""

    ce: Tensor
    soft: Tensor | None
    total: Tensor


def standalone_loss(student: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> LossParts:
    """Cross-entropy of logits `(B, K)` with labels `(B,)`: training without a teacher."""
    import torch.nn.functional as F

    ce = F.cross_entropy(student.float(), labels, label_smoothing=label_smoothing)
    return LossParts(ce, None, ce)


class Loss(BaseModel, ABC):
    """A distillation loss; its fields are its settings, with their defaults and help texts.

    A subclass defines `weights` and `soft_term`, and adds the settings that they use. Every field
    becomes a command-line option, a key of settings files, and a setting that a sweep can vary.

    Attributes:
        name: what `--loss` calls it; of a class outside this module its import path.
        title: short name of the soft term in charts and tables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    title: ClassVar[str] = "soft"

    tau: float = Field(1.0, gt=0, description="temperature that softens both distributions")
    soft_warmup: float = Field(
        0.0, ge=0, le=1, description="share of the run over which the soft term grows from 0"
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if cls.__module__ != __name__:
            cls.name = f"{cls.__module__}:{cls.__qualname__}"

    @abstractmethod
    def weights(self) -> tuple[float, float]:
        """Weights of the hard and of the soft term, tau^2 included."""

    @abstractmethod
    def soft_term(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The unweighted soft term, a scalar.

        Args:
            student, teacher: logits `(B, K)`.
            labels: class indices `(B,)`.
        """

    def softened(self, teacher: Tensor) -> Tensor:
        """The logits `(B, K)` that tau softens: the teacher's, unless the loss changes them."""
        return teacher.float()

    def weighing_soft_term(self, factor: float) -> Loss:
        """This loss with a soft term that weighs `factor` times as much beside the hard one.

        The loss itself, if its settings can't say so.
        """
        return self

    def ramp(self, done: float) -> float:
        """The factor of the soft term at a point of the run, 0 to 1.

        Args:
            done: share of the run that is completed, 0 to 1.
        """
        return min(1.0, done / self.soft_warmup) if self.soft_warmup else 1.0

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        *,
        done: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> LossParts:
        """The loss of one batch. No gradient reaches the teacher.

        Args:
            student, teacher: logits `(B, K)` of any precision.
            labels: class indices `(B,)`.
            done: share of the run that is completed, 0 to 1.
            label_smoothing: of the hard labels, 0 to 1.

        Raises:
            UserError: `soft_term` of a loss from outside doesn't return a scalar.
        """
        import torch.nn.functional as F

        student, teacher = student.float(), teacher.detach().float()
        soft = self.soft_term(student, teacher, labels)
        if soft.ndim:
            raise UserError(
                f"{self.name}: soft_term returned a tensor of shape {tuple(soft.shape)}; "
                "return a scalar, such as the mean over the batch"
            )
        ce = F.cross_entropy(student, labels, label_smoothing=label_smoothing)
        hard_weight, soft_weight = self.weights()
        return LossParts(ce, soft, hard_weight * ce + self.ramp(done) * soft_weight * soft)

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """Its settings in the order of the help: its own, then those that every loss has."""
        shared = tuple(Loss.model_fields)
        return (*(name for name in cls.model_fields if name not in shared), *shared)

    def settings(self) -> dict[str, Any]:
        """Its settings by name, in the order of the help."""
        return {name: getattr(self, name) for name in self.setting_names()}

    def to_dict(self) -> dict[str, Any]:
        """What the start event records of it."""
        hard_weight, soft_weight = self.weights()
        return {
            "name": self.name,
            "title": self.title,
            "hard_weight": hard_weight,
            "soft_weight": soft_weight,
            "settings": self.settings(),
        }

    def __str__(self) -> str:
        return describe(self.name, self.settings())


def describe(name: str, settings: Mapping[str, Any]) -> str:
    """A loss with its settings in one line: `kd, alpha 0.7, tau 4`.

    A `soft_warmup` of 0 is left out, as are settings that are None.
    """
    shown = [
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in settings.items()
        if value is not None and (key, value) != ("soft_warmup", 0)
    ]
    return ", ".join([name, *shown])


class KD(Loss):
    """Knowledge distillation (Hinton, Vinyals and Dean, 2015).

    `alpha * CE + (1 - alpha) * tau^2 * KL(teacher || student)`, KL between the distributions
    softened by tau and averaged over the batch; tau^2 keeps the size of the gradient. `alpha` and
    `tau` have other defaults for some students (`distillation` in configs/model).
    """

    name = "kd"
    title = "KL"

    alpha: float = Field(0.5, ge=0, le=1, description="weight of the hard-label loss, 0 to 1")
    tau: float = Field(4.0, gt=0, description="temperature that softens both distributions")

    def weights(self) -> tuple[float, float]:
        return self.alpha, (1 - self.alpha) * self.tau**2

    def weighing_soft_term(self, factor: float) -> KD:
        if not self.alpha:
            return self
        ratio = factor * (1 - self.alpha) / self.alpha
        return self.model_copy(update={"alpha": round(1 / (1 + ratio), 2)})

    def soft_term(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return _softened_kl(student, teacher, self.tau)


class WeightedLoss(Loss):
    """`ce_weight * CE + soft_weight * tau^2 * soft_term`, with both weights as settings."""

    ce_weight: float = Field(1.0, ge=0, description="weight of the hard-label loss")
    soft_weight: float = Field(1.0, ge=0, description="weight of the soft term, besides tau^2")

    def weights(self) -> tuple[float, float]:
        return self.ce_weight, self.soft_weight * self.tau**2

    def weighing_soft_term(self, factor: float) -> WeightedLoss:
        weight = float(f"{factor * self.soft_weight:.2g}")
        return self.model_copy(update={"soft_weight": weight})


class DKD(WeightedLoss):
    """Decoupled knowledge distillation (Zhao et al., CVPR 2022).

    The soft term is `dkd_alpha * TCKD + dkd_beta * NCKD`, KL in two parts that plain distillation
    couples: TCKD compares the probability of the label's class with that of all others together,
    NCKD the distributions among the others.
    """

    name = "dkd"
    title = "DKD"

    tau: float = Field(4.0, gt=0, description="temperature that softens both distributions")
    soft_warmup: float = Field(  # 20 of the paper's 240 epochs
        0.0833, ge=0, le=1, description="share of the run over which the soft term grows from 0"
    )
    dkd_alpha: float = Field(1.0, ge=0, description="weight of the label's class (TCKD)")
    dkd_beta: float = Field(8.0, ge=0, description="weight of the other classes (NCKD)")

    def soft_term(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F

        K = student.shape[1]
        others = torch.arange(K - 1, device=labels.device).expand(len(labels), -1)
        others = others + (others >= labels[:, None]).long()

        def split(logits: Tensor) -> tuple[Tensor, Tensor]:
            """Log-probabilities: label's class against the rest `(B, 2)`, the rest `(B, K - 1)`."""
            scaled = logits.float() / self.tau
            rest = scaled.gather(1, others)
            # from logits: the probabilities of a confident teacher leave the rest no digits
            pair = scaled.gather(1, labels[:, None])[:, 0], rest.logsumexp(dim=1)
            return F.log_softmax(torch.stack(pair, dim=1), dim=1), F.log_softmax(rest, dim=1)

        target, rest = split(student)
        teacher_target, teacher_rest = split(teacher.detach())
        tckd, nckd = _kl(target, teacher_target), _kl(rest, teacher_rest)
        return self.dkd_alpha * tckd + self.dkd_beta * nckd


class DIST(WeightedLoss):
    """DIST (Huang et al., NeurIPS 2022).

    The soft term is `dist_beta * inter + dist_gamma * intra`. The student matches the teacher's
    order instead of its numbers: `inter` is one minus Pearson's correlation of a clip's
    probabilities over the classes, `intra` that of a class's probabilities over the clips of this
    process's batch, both averaged. B and K must be at least 2.
    """

    name = "dist"
    title = "DIST"

    dist_beta: float = Field(1.0, ge=0, description="weight of the correlation within a clip")
    dist_gamma: float = Field(1.0, ge=0, description="weight of the correlation within a class")

    def soft_term(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        import torch.nn.functional as F

        p = F.softmax(student.float() / self.tau, dim=1)
        q = F.softmax(teacher.detach().float() / self.tau, dim=1)
        inter = 1 - _correlation(p, q).mean()
        intra = 1 - _correlation(p.t(), q.t()).mean()
        return self.dist_beta * inter + self.dist_gamma * intra


class LogitStd(WeightedLoss):
    """KL(teacher || student) of standardised logits (Sun et al., CVPR 2024).

    Each clip's logits are brought to mean 0 and standard deviation 1 first, so that the student
    learns their relations without having to reach the teacher's range.
    """

    name = "logit_std"
    title = "KL"

    tau: float = Field(2.0, gt=0, description="temperature that softens both distributions")
    ce_weight: float = Field(0.1, ge=0, description="weight of the hard-label loss")
    soft_weight: float = Field(9.0, ge=0, description="weight of the soft term, besides tau^2")

    def soft_term(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return _softened_kl(_standardised(student), _standardised(teacher), self.tau)

    def softened(self, teacher: Tensor) -> Tensor:
        return _standardised(teacher.float())


LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (KD, DKD, DIST, LogitStd)}
"""The built-in losses by name."""


def load_loss(name: str) -> type[Loss]:
    """The loss that `--loss` names: a built-in one, or `package.module:Class`.

    Raises:
        UserError: there is no such loss, or the class isn't a complete `Loss`.
    """
    if not is_import_path(name):
        if name not in LOSSES:
            raise UserError(
                f"loss {name!r} is unknown; {nearest(name, LOSSES)} "
                "(or name your own as package.module:Class)"
            )
        return LOSSES[name]
    loss = import_object(name, "class")
    if not (isinstance(loss, type) and issubclass(loss, Loss)):
        raise UserError(f"{name}: isn't a loss; derive a class from lastkd.losses.Loss")
    if loss.__abstractmethods__:
        lacking = " and ".join(sorted(loss.__abstractmethods__))
        raise UserError(f"{name}: doesn't define {lacking}, which every loss needs")
    return loss


def loss_setting_names(name: str | None = None) -> tuple[str, ...]:
    """The settings of all built-in losses and of the one named, each once, in the help's order.

    Raises:
        UserError: as in `load_loss`.
    """
    losses = [*LOSSES.values(), *([] if name is None else [load_loss(name)])]
    return tuple(dict.fromkeys(key for loss in losses for key in loss.setting_names()))


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities `(B, N)`, averaged over the batch."""
    import torch.nn.functional as F

    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _softened_kl(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """KL(teacher || student) of logits `(B, K)` softened by `tau`, averaged over the batch."""
    import torch.nn.functional as F

    return _kl(
        F.log_softmax(student.float() / tau, dim=1),
        F.log_softmax(teacher.detach().float() / tau, dim=1),
    )


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of the rows of `(N, L)`, `(N,)`; 0 for a row without variance."""
    import torch.nn.functional as F

    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1, eps=1e-8)


def _standardised(logits: Tensor) -> Tensor:
    """Each row of `(B, K)` at mean 0 and standard deviation 1."""
    logits = logits.float()
    spread = logits.std(dim=1, keepdim=True)  # over K - 1, like the authors' code
    return (logits - logits.mean(dim=1, keepdim=True)) / (spread + 1e-7)
