"""A model that all processes train together: one replica in each, one collective a step."""

from __future__ import annotations

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

from lastkd.data.views import Streams
from lastkd.distributed.agreement import gather_objects
from lastkd.errors import UserError
from lastkd.models.bodies import BodyCounts


class Replica:
    """This process's replica of a model, on its device and under autocast.

    Several processes wrap it in `DistributedDataParallel`, which checks that all of them hold the
    same parameters and takes rank 0's parameters and buffers. Its reducer overlaps the exchange of
    gradients with the backward pass, and for that scales and copies each gradient separately: two
    launches a parameter, hundreds a step for models whose gradients together are a few megabytes.
    So each pass runs under `no_sync`, where the reducer stands by, and `average_gradients` takes
    its place: gradients are joined, averaged at once and become views of the result, which is
    about five launches whatever the model.

    Under `no_sync` no buffers are exchanged either, save before the first forward pass. Training
    reads no running statistics, and only the main process's are evaluated or saved.

    Attributes:
        module: the wrapped model; in a single process the model itself.
    """

    def __init__(
        self, accelerator: Accelerator, model: nn.Module, *, compiled: bool = False
    ) -> None:
        self._accelerator = accelerator
        self._parameters = [one for one in model.parameters() if one.requires_grad]
        self._with_gradient: list[bool] | None = None
        # a launcher's single process is unwrapped too: accelerate's no_sync would do nothing there
        alone = accelerator.num_processes == 1
        self.module: nn.Module = accelerator.prepare_model(model, evaluation_mode=alone)
        self._forward = torch.compile(self.module) if compiled else self.module

    def __call__(self, streams: Streams, bodies: BodyCounts) -> Tensor:
        """The model's logits `(B, K)`, in float32; a backward pass exchanges nothing."""
        with self._accelerator.no_sync(self.module):
            logits: Tensor = self._forward(streams, bodies)
        return logits

    def average_gradients(self) -> None:
        """Replaces each gradient by its mean; every process must call it at the same step.

        Parameters without a gradient keep none.

        Raises:
            UserError: the processes have gradients of different parameters.
        """
        world = self._accelerator.num_processes
        if world == 1:
            return
        self._check_parameters()
        by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter in self._parameters:
            if parameter.grad is not None:
                by_dtype.setdefault(parameter.dtype, []).append(parameter)
        for parameters in by_dtype.values():
            joined = torch.cat([one.grad.reshape(-1) for one in parameters if one.grad is not None])
            joined.div_(world)
            dist.all_reduce(joined)
            means = joined.split([one.numel() for one in parameters])
            for parameter, mean in zip(parameters, means, strict=True):
                parameter.grad = mean.view_as(parameter)

    def _check_parameters(self) -> None:
        """That the same parameters have a gradient everywhere, and as in the steps before."""
        present = [one.grad is not None for one in self._parameters]
        if present == self._with_gradient:
            return
        agree = self._with_gradient is None  # the first step: compare with all ranks
        if agree:
            everywhere = gather_objects(self._accelerator, present)
            agree = all(one == present for one in everywhere)
        if not agree:
            raise UserError(
                "which parameters of the model get a gradient differs between processes or steps; "
                "train it in one process, or let every parameter take part in each forward pass"
            )
        self._with_gradient = present
