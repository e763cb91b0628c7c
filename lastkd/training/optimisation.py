"""LAST's recipe: SGD with Nesterov momentum, linear warm-up, cosine."""

from __future__ import annotations

import math

import torch
from torch import nn

from lastkd.config import RunSettings

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


def learning_rate(settings: RunSettings, global_batch: int, progress: float) -> float:
    """The rate at a point of the run: a function of place, so nothing needs to be resumed.

    Args:
        global_batch: clips a step over all processes; every rate scales with it.
        progress: epochs done, as a fraction.
    """
    factor = global_batch / settings.reference_batch
    warmup = min(settings.warmup_epochs, settings.epochs)
    if progress < warmup:
        share = progress / warmup
        return factor * (settings.warmup_lr + share * (settings.lr - settings.warmup_lr))
    share = min(1.0, (progress - warmup) / max(settings.epochs - warmup, 1e-9))
    swing = (1 + math.cos(math.pi * share)) / 2
    return factor * (settings.final_lr + swing * (settings.lr - settings.final_lr))
