"""LAST's recipe: SGD with Nesterov momentum, linear warm-up, cosine."""

from __future__ import annotations

import torch
from torch import nn

from lastkd.settings.runs import RunSettings


def make_optimizer(model: nn.Module, settings: RunSettings) -> torch.optim.SGD:
    """SGD with weight decay for the weights of convolutions and linear layers only.

    Vectors and the parameters that a module lists in its `undecayed` aren't decayed. Where the
    optimiser is fused, `found_inf` (a tensor that is 0 or 1) decides on the device whether `step`
    does anything.
    """
    spared = {
        parameter
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if name in getattr(module, "undecayed", ())
    }
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for parameter in model.parameters():
        vector = parameter.dim() < 2
        (undecayed if vector or parameter in spared else decayed).append(parameter)
    optimizer = torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": undecayed, "weight_decay": 0.0},
        ],
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=next(model.parameters()).device.type in ("cpu", "cuda"),
    )
    if settings.momentum:
        # SGD would create them in its first step, uninitialised if that step is skipped
        for parameter in (*decayed, *undecayed):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
