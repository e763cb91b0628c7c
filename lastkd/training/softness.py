"""How soft a teacher's labels are, measured before a distillation starts.

The same `alpha` and `tau` help with one teacher and harm with another: what counts is how much the
labels say beyond their top class, and how much of the gradient they take. Both depend on the scale
of the teacher's logits, which label smoothing keeps small and long training without it makes large.
The rules below come from short runs on small sets; docs/distilling.md has the figures.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lastkd.losses import Loss

TARGET_ENTROPY = 0.93
"""Share of the uniform distribution's entropy at which labels are softened well."""
ONE_HOT_ENTROPY = 0.25
"""Below it the labels say next to nothing beyond their top class."""
DROWNING_PULL = 0.85
"""Above it students spend their steps on the teacher's logits, whatever the hard labels' weight."""
BALANCED_PULL = 0.4
"""The pull of soft terms that helped."""
SMALLEST_TAU, LARGEST_TAU = 0.5, 64.0


@dataclass(frozen=True)
class Softness:
    """The measure of one student's labels.

    Attributes:
        tau: temperature of the loss.
        scale: standard deviation of a clip's logits over the classes, averaged over clips.
        top: top probability at `tau`, averaged.
        entropy: of the labels at `tau`, averaged; 0 is one-hot, 1 uniform.
        agreement: percent of clips whose top class is the label.
        share: the soft term's part of the first gradient, 0 to 1.
        pull: the soft term's first gradient beside that of plain cross-entropy; unlike `share` it
            doesn't depend on how much the hard labels weigh. See `FirstGradient` for both.
        even_tau: temperature at which the entropy is `TARGET_ENTROPY`.
        advice: the options that give this entropy and a pull of at most about `BALANCED_PULL`.
        clips: views that were measured.
    """

    tau: float
    scale: float
    top: float
    entropy: float
    agreement: float
    share: float
    pull: float
    even_tau: float
    advice: str
    clips: int

    @classmethod
    def of(cls, loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor) -> Softness:
        """
        Args:
            student: logits `(N, K)` of the untrained student.
            teacher: logits `(N, K)` of the same views.
            labels: class indices `(N,)`.
        """
        softened = loss.softened(teacher)
        even = even_tau(softened)
        better = loss.model_copy(update={"tau": even})
        pull = FirstGradient.of(better, student, teacher, labels).pull
        if pull > BALANCED_PULL:
            better = better.weighing_soft_term(BALANCED_PULL / pull)
        gradient = FirstGradient.of(loss, student, teacher, labels)
        return cls(
            tau=loss.tau,
            scale=float(teacher.float().std(dim=1).mean()),
            top=float((softened / loss.tau).softmax(dim=1).amax(dim=1).mean()),
            entropy=relative_entropy(softened, loss.tau),
            agreement=100 * float((teacher.argmax(dim=1) == labels).float().mean()),
            share=gradient.share,
            pull=gradient.pull,
            even_tau=even,
            advice=_options(better, loss),
            clips=len(teacher),
        )

    def to_dict(self) -> dict[str, Any]:
        """What the start event records."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def warnings(self) -> list[str]:
        """Where labels teach little or drown the hard ones, and what to try; a sentence each."""
        found: list[str] = []
        if self.entropy < ONE_HOT_ENTROPY:
            found.append(
                f"the soft labels are next to one-hot at tau {self.tau:g} (entropy "
                f"{100 * self.entropy:.0f} % of uniform) and say little beyond their top class; "
                f"try {self.advice}"
            )
        if self.pull > DROWNING_PULL:
            found.append(
                f"the soft term's first gradient is {self.pull:.2g} times that of plain "
                f"cross-entropy and drowns the labels; try {self.advice}"
            )
        return found

    def __str__(self) -> str:
        return (
            f"soft labels at tau {self.tau:g}: top probability {self.top:.2f}, entropy "
            f"{100 * self.entropy:.0f} % of uniform, logit scale {self.scale:.1f}, "
            f"{self.agreement:.0f} % right; {100 * self.share:.0f} % of the first gradient is soft"
        )


def relative_entropy(logits: Tensor, tau: float) -> float:
    """Mean entropy of `(N, K)` logits softened by `tau`, as a share of log K."""
    log_probabilities = (logits.float() / tau).log_softmax(dim=1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=1).mean()
    return float(entropy) / math.log(logits.shape[1])


def even_tau(logits: Tensor, target: float = TARGET_ENTROPY) -> float:
    """The temperature at which logits `(N, K)` have the relative entropy `target`.

    It is proportional to the logits' scale, so a sure teacher and a smoothed one come out equally
    soft. Rounded to a quarter, between `SMALLEST_TAU` and `LARGEST_TAU`.
    """
    low, high = SMALLEST_TAU, LARGEST_TAU
    for _ in range(30):  # entropy grows with tau
        middle = math.sqrt(low * high)
        low, high = (middle, high) if relative_entropy(logits, middle) < target else (low, middle)
    return max(SMALLEST_TAU, round(4 * low) / 4)


@dataclass(frozen=True)
class FirstGradient:
    """How large both terms' gradients by an untrained student's logits are.

    A clip's norm, averaged over clips, with the soft term fully grown.

    Attributes:
        cross_entropy: of the hard labels' cross-entropy, without its weight.
        hard, soft: of both terms, with their weights.
    """

    cross_entropy: float
    hard: float
    soft: float

    @classmethod
    def of(cls, loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor) -> FirstGradient:
        """
        Args:
            student, teacher: logits `(N, K)`.
            labels: class indices `(N,)`.
        """
        logits = student.detach().float().requires_grad_()
        parts = loss(logits, teacher, labels)
        assert parts.soft is not None
        hard_weight, soft_weight = loss.weights()
        norms: list[float] = []
        for term in (parts.ce, soft_weight * parts.soft):
            (gradient,) = torch.autograd.grad(term, logits, retain_graph=True)
            norms.append(float(gradient.norm(dim=1).mean()))
        cross_entropy, soft = norms
        return cls(cross_entropy, hard_weight * cross_entropy, soft)

    @property
    def share(self) -> float:
        """The soft term's part of both, 0 to 1."""
        return self.soft / (self.hard + self.soft) if self.hard + self.soft else 0.0

    @property
    def pull(self) -> float:
        """The soft term beside plain cross-entropy."""
        return self.soft / self.cross_entropy if self.cross_entropy else 0.0


def _options(better: Loss, loss: Loss) -> str:
    """The options by which a loss becomes another; its tau where they are the same."""
    settings = better.settings()
    changed = [name for name in settings if settings[name] != loss.settings()[name]] or ["tau"]
    return " ".join(f"--{name.replace('_', '-')} {settings[name]:g}" for name in changed)
