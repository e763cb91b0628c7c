"""The losses of distillation, in float32 whatever the models run in.

Each soft term takes student and teacher logits `(B, K)` and gives a scalar as such, without weight
and without tau^2; `combined` adds it to the hard labels' cross-entropy. `docs/losses.md` compares
them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class LossParts(NamedTuple):
    """Scalars: `ce` and the soft term `kl` as such, without their weights, and the `total` to step
    on."""

    ce: Tensor
    kl: Tensor | None
    total: Tensor


def standalone_loss(student: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> LossParts:
    """Cross-entropy of logits `(B, K)` with labels `(B,)`: training without a teacher."""
    ce = F.cross_entropy(student.float(), labels, label_smoothing=label_smoothing)
    return LossParts(ce, None, ce)


def combined(
    student: Tensor, labels: Tensor, soft: Tensor, *, ce_weight: float, soft_weight: float
) -> LossParts:
    """`ce_weight * CE(student, labels) + soft_weight * soft`, the soft term a scalar."""
    ce = F.cross_entropy(student.float(), labels)
    return LossParts(ce, soft, ce_weight * ce + soft_weight * soft)


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, alpha: float, tau: float
) -> LossParts:
    """`alpha * CE(student, labels) + (1 - alpha) * tau^2 * KL(teacher || student)`.

    The KL divergence is between the distributions softened by `tau`, averaged over the batch;
    `tau^2` keeps the gradient's size (Hinton, Vinyals and Dean, 2015).

    Args:
        student, teacher: logits `(B, K)` of any precision; both are taken to float32 first.
        labels: `(B,)` class indices.
        alpha: weight of the hard-label term, 0 to 1.
        tau: temperature, above 0.
    """
    soft = kl_term(student, teacher, tau=tau)
    return combined(student, labels, soft, ce_weight=alpha, soft_weight=(1 - alpha) * tau**2)


def kl_term(student: Tensor, teacher: Tensor, *, tau: float) -> Tensor:
    """`KL(teacher || student)` of the distributions softened by `tau`, averaged over the batch."""
    return _divergence(
        F.log_softmax(student.float() / tau, dim=1),
        F.log_softmax(teacher.detach().float() / tau, dim=1),
    )


def dkd_term(
    student: Tensor, teacher: Tensor, labels: Tensor, *, alpha: float, beta: float, tau: float
) -> Tensor:
    """Decoupled knowledge distillation, `alpha * TCKD + beta * NCKD` (Zhao et al., CVPR 2022).

    KL in two parts that plain distillation ties to each other: TCKD compares how much probability
    the label's class gets against all others together, NCKD the distributions among the others.

    Args:
        student, teacher: logits `(B, K)`, K at least 2.
        labels: `(B,)` class indices.
        alpha, beta: weights of TCKD and NCKD.
        tau: temperature.
    """
    K = student.shape[1]
    others = torch.arange(K - 1, device=labels.device).expand(len(labels), -1)
    others = others + (others >= labels[:, None]).long()

    def split(logits: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities: the label's class against the rest `(B, 2)`, the rest `(B, K - 1)`."""
        scaled = logits.float() / tau
        rest = scaled.gather(1, others)
        # of logits, not of probabilities: a teacher that is sure leaves the rest no digit of those
        pair = torch.stack((scaled.gather(1, labels[:, None])[:, 0], rest.logsumexp(dim=1)), dim=1)
        return F.log_softmax(pair, dim=1), F.log_softmax(rest, dim=1)

    target, rest = split(student)
    target_soft, rest_soft = split(teacher.detach())
    return alpha * _divergence(target, target_soft) + beta * _divergence(rest, rest_soft)


def dist_term(student: Tensor, teacher: Tensor, *, beta: float, gamma: float, tau: float) -> Tensor:
    """DIST, `beta * inter + gamma * intra` (Huang et al., NeurIPS 2022).

    What the student is to match is the order and not the numbers: `inter` is one minus Pearson's
    correlation of a clip's probabilities over the classes, `intra` that of a class's probabilities
    over the clips of the batch (of this process), both averaged.

    Args:
        student, teacher: logits `(B, K)`, B and K at least 2.
        beta, gamma: weights of `inter` and `intra`.
        tau: temperature.
    """
    p = F.softmax(student.float() / tau, dim=1)
    q = F.softmax(teacher.detach().float() / tau, dim=1)
    inter = 1 - _correlation(p, q).mean()
    intra = 1 - _correlation(p.t(), q.t()).mean()
    return beta * inter + gamma * intra


def logit_std_term(student: Tensor, teacher: Tensor, *, tau: float) -> Tensor:
    """`kl_term` of standardised logits (Sun et al., CVPR 2024).

    Each clip's logits are brought to mean 0 and standard deviation 1 first, so that the student
    learns their relations and isn't bound to the teacher's range.
    """
    return kl_term(_standardised(student), _standardised(teacher), tau=tau)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities `(B, N)`, averaged over the batch."""
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of the rows of `(N, L)`, `(N,)`; 0 for a row without variance."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1, eps=1e-8)


def _standardised(logits: Tensor) -> Tensor:
    logits = logits.float()
    spread = logits.std(dim=1, keepdim=True)  # over K - 1, as the paper's public code has it
    return (logits - logits.mean(dim=1, keepdim=True)) / (spread + 1e-7)
