"""LAST's recipe: SGD with Nesterov momentum, linear warm-up, cosine."""

from __future__ import annotations

import torch
from torch import nn

from lastkd.settings.runs import RunSettings

_NEVER_DECAYED = ("alpha", "A_learned", "stream_weights")


def make_optimizer(model: nn.Module, settings: RunSettings) -> torch.optim.SGD:
    """SGD that decays weights of convolutions and linear layers, and nothing else.

    Where it is fused, `found_inf` (a tensor that is 0 or 1) decides on the device whether `step`
    does anything.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        spared = parameter.dim() < 2 or name.rsplit(".", 1)[-1] in _NEVER_DECAYED
        (free if spared else decayed).append(parameter)
    optimizer = torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ],
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=next(model.parameters()).device.type in ("cpu", "cuda"),
    )
    if settings.momentum:
        # left to itself it makes them at the first step, uninitialised if that step is skipped
        for parameter in (*decayed, *free):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
