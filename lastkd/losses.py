"""The distillation loss, in float32 whatever the models run in."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class LossParts(NamedTuple):
    """Scalars: `ce` and `kl` as such, without alpha and tau^2, and the `total` to step on."""

    ce: Tensor
    kl: Tensor | None
    total: Tensor


def standalone_loss(student: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> LossParts:
    """Cross-entropy of logits `(B, K)` with labels `(B,)`: training without a teacher."""
    ce = F.cross_entropy(student.float(), labels, label_smoothing=label_smoothing)
    return LossParts(ce, None, ce)


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
    student, teacher = student.float(), teacher.detach().float()
    ce = F.cross_entropy(student, labels)
    kl = F.kl_div(
        F.log_softmax(student / tau, dim=1),
        F.log_softmax(teacher / tau, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return LossParts(ce, kl, alpha * ce + (1 - alpha) * tau**2 * kl)
