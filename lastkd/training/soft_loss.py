"""The distillation loss that a run's settings ask for."""

from __future__ import annotations

from torch import Tensor

from lastkd.losses import (
    LossParts,
    combined,
    dist_term,
    dkd_term,
    kl_term,
    logit_std_term,
)
from lastkd.settings.runs import DistillSettings


def soft_label_loss(
    settings: DistillSettings, student: Tensor, teacher: Tensor, labels: Tensor, done: float
) -> LossParts:
    """The loss of one batch.

    Args:
        student, teacher: logits `(B, K)`; `labels` `(B,)`.
        done: share of the run that is behind, which decides how far the soft term has grown.
    """
    grown = min(1.0, done / settings.soft_warmup) if settings.soft_warmup else 1.0
    tau = settings.tau
    if settings.loss == "kd":
        alpha = _known(settings.alpha)
        soft = kl_term(student, teacher, tau=tau)
        ce_weight, soft_weight = alpha, 1 - alpha
    else:
        ce_weight, soft_weight = _known(settings.ce_weight), _known(settings.soft_weight)
        if settings.loss == "dkd":
            alpha, beta = _known(settings.dkd_alpha), _known(settings.dkd_beta)
            soft = dkd_term(student, teacher, labels, alpha=alpha, beta=beta, tau=tau)
        elif settings.loss == "dist":
            beta, gamma = _known(settings.dist_beta), _known(settings.dist_gamma)
            soft = dist_term(student, teacher, beta=beta, gamma=gamma, tau=tau)
        else:
            soft = logit_std_term(student, teacher, tau=tau)
    weight = grown * soft_weight * tau**2
    return combined(student, labels, soft, ce_weight=ce_weight, soft_weight=weight)


def _known(setting: float | None) -> float:
    assert setting is not None  # the settings of the chosen loss are there
    return setting
