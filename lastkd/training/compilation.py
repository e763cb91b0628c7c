"""Checks that `--compile` works on a device before hours are spent."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lastkd.distributed.device import device_name


def _probe(x: Tensor) -> Tensor:
    return (2 * x + 1).relu().sum()


@cache
def compile_refusal(device: torch.device) -> str | None:
    """One sentence that says why torch can't compile for `device`; None if it can.

    It compiles and runs a one-line function: the only check that takes the card, its driver and the
    installed Triton into account.
    """
    try:
        with torch.enable_grad():
            x = torch.ones(8, device=device, requires_grad=True)
            torch.compile(_probe, dynamic=False)(x).backward()
    except Exception as error:  # compilers, drivers and Triton each raise their own
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        capability = ""
        if device.type == "cuda":
            capability = " (compute {}.{})".format(*torch.cuda.get_device_capability(device))
        return (
            f"--compile: torch {torch.__version__} can't compile for {device_name(device)}"
            f"{capability}: {reason}; the run continues without it"
        )
    return None


def allow_compiled(models: int) -> None:
    """Prepares dynamo for so many models.

    Students of one family share their `forward`, so each of them needs a compiled variant of it.
    Dynamo would also split a model in DDP where its buckets end, to overlap their exchange with
    the backward pass, in which a `Replica` exchanges nothing.
    """
    settings = torch._dynamo.config
    settings.optimize_ddp = False
    name = "recompile_limit" if hasattr(settings, "recompile_limit") else "cache_size_limit"
    setattr(settings, name, max(getattr(settings, name), 8 + 2 * models))
