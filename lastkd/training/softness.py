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
DROWNING_SHARE = 0.6
"""Above it the soft term leaves the hard labels too little of the gradient."""
BALANCED_SHARE = 0.4
"""The soft term's part where distilling helped."""
FEWEST_RIGHT = 96.0
"""Percent of the training views. A teacher that is right about fewer hasn't learnt its own training
clips, and a student takes its errors over."""
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
        share: the soft term's part of the first gradient, 0 to 1; see `gradient_share`.
        even_tau: temperature at which the entropy is `TARGET_ENTROPY`.
        advice: the options that give this entropy and a soft term of about `BALANCED_SHARE`.
        clips: views that were measured.
    """

    tau: float
    scale: float
    top: float
    entropy: float
    agreement: float
    share: float
    even_tau: float
    advice: str
    clips: int

    @classmethod
    def of(
        cls,
        loss: Loss,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        *,
        label_smoothing: float = 0.0,
    ) -> Softness:
        """
        Args:
            student: logits `(N, K)` of the untrained student.
            teacher: logits `(N, K)` of the same views.
            labels: class indices `(N,)`.
            label_smoothing: of the hard labels.
        """

        def share_of(loss: Loss) -> float:
            return gradient_share(loss, student, teacher, labels, label_smoothing=label_smoothing)

        softened = loss.softened(teacher)
        even = even_tau(softened)
        better = loss.model_copy(update={"tau": even})
        share = share_of(better)
        if share > BALANCED_SHARE:
            better = better.weighing_soft_term(_ratio(BALANCED_SHARE) / _ratio(share))
        return cls(
            tau=loss.tau,
            scale=float(teacher.float().std(dim=1).mean()),
            top=float((softened / loss.tau).softmax(dim=1).amax(dim=1).mean()),
            entropy=relative_entropy(softened, loss.tau),
            agreement=100 * float((teacher.argmax(dim=1) == labels).float().mean()),
            share=share_of(loss),
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
        """Where labels teach little, drown the hard ones or are wrong, and what to try; a sentence
        each."""
        found: list[str] = []
        if self.entropy < ONE_HOT_ENTROPY:
            found.append(
                f"the soft labels are next to one-hot at tau {self.tau:g} (entropy "
                f"{100 * self.entropy:.0f} % of uniform) and say little beyond their top class; "
                f"try {self.advice}"
            )
        if self.share > DROWNING_SHARE:
            found.append(
                f"the soft term takes {100 * self.share:.0f} % of the first gradient and drowns "
                f"the hard labels; try {self.advice}"
            )
        if self.agreement < FEWEST_RIGHT:
            found.append(
                f"the teacher is wrong about {100 - self.agreement:.0f} % of the training views "
                "and teaches its errors too; train it longer, or compare it with a standalone "
                "student first"
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


def even_tau(logits: Tensor) -> float:
    """The temperature at which logits `(N, K)` have the relative entropy `TARGET_ENTROPY`.

    It is proportional to the logits' scale, so a sure teacher and a smoothed one come out equally
    soft. Rounded to a quarter, between `SMALLEST_TAU` and `LARGEST_TAU`.
    """
    low, high = SMALLEST_TAU, LARGEST_TAU
    for _ in range(30):  # entropy grows with tau
        middle = math.sqrt(low * high)
        harder = relative_entropy(logits, middle) < TARGET_ENTROPY
        low, high = (middle, high) if harder else (low, middle)
    return max(SMALLEST_TAU, round(4 * low) / 4)


def gradient_share(
    loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor, *, label_smoothing: float = 0.0
) -> float:
    """The soft term's part of the first gradient: of the sum of both terms' norms.

    Gradients are those by the student's logits, a clip's norm averaged over clips, with the weights
    of the loss and its soft term fully grown.

    Args:
        student, teacher: logits `(N, K)`.
        labels: class indices `(N,)`.
    """
    logits = student.detach().float().requires_grad_()
    parts = loss(logits, teacher, labels, label_smoothing=label_smoothing)
    assert parts.soft is not None
    norms: list[float] = []
    for weight, term in zip(loss.weights(), (parts.ce, parts.soft), strict=True):
        (gradient,) = torch.autograd.grad(weight * term, logits, retain_graph=True)
        norms.append(float(gradient.norm(dim=1).mean()))
    hard, soft = norms
    return soft / (hard + soft) if hard + soft else 0.0


def _ratio(share: float) -> float:
    """The soft term beside the hard one, from its part of both."""
    return share / max(1 - share, 1e-6)


def _options(better: Loss, loss: Loss) -> str:
    """The options by which a loss becomes another; its tau where they are the same."""
    settings = better.settings()
    changed = [name for name in settings if settings[name] != loss.settings()[name]] or ["tau"]
    return " ".join(f"--{name.replace('_', '-')} {settings[name]:g}" for name in changed)
