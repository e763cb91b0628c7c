"""Gradients averaged over all processes with one collective a step."""

from __future__ import annotations

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import nn

from lastkd.distributed.agreement import gather_objects
from lastkd.errors import UserError


class GradientAverage:
    """Averages a model's gradients over all processes.

    DistributedDataParallel copies each gradient into a bucket separately, which overlaps the
    exchange with the backward pass: one launch a parameter, hundreds a step for models whose
    gradients together are a few megabytes. Here they are joined, averaged at once and become views
    of the result, which is about five launches whatever the model.

    Args:
        model: on its device. Every process takes the main process's parameters and buffers.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module) -> None:
        self._accelerator = accelerator
        self._world = accelerator.num_processes
        self._parameters = [one for one in model.parameters() if one.requires_grad]
        self._present: list[bool] | None = None
        if self._world > 1:
            with torch.no_grad():
                for tensor in (*model.parameters(), *model.buffers()):
                    dist.broadcast(tensor, src=0)

    def __call__(self) -> None:
        """Replaces each gradient by its mean; every process must call it at the same step.

        Parameters without a gradient keep none.

        Raises:
            UserError: the processes have gradients of different parameters.
        """
        if self._world == 1:
            return
        self._check_present()
        by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter in self._parameters:
            if parameter.grad is not None:
                by_dtype.setdefault(parameter.dtype, []).append(parameter)
        for parameters in by_dtype.values():
            joined = torch.cat([one.grad.reshape(-1) for one in parameters if one.grad is not None])
            joined.div_(self._world)
            dist.all_reduce(joined)
            means = joined.split([one.numel() for one in parameters])
            for parameter, mean in zip(parameters, means, strict=True):
                parameter.grad = mean.view_as(parameter)

    def _check_present(self) -> None:
        present = [one.grad is not None for one in self._parameters]
        if present == self._present:
            return
        agree = self._present is None  # the first step: compare with all ranks
        if agree:
            everywhere = gather_objects(self._accelerator, present)
            agree = all(one == present for one in everywhere)
        if not agree:
            raise UserError(
                "which parameters of the model get a gradient differs between processes or steps; "
                "train it in one process, or let every parameter take part in each forward pass"
            )
        self._present = present
