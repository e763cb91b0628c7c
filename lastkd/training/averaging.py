"""An exponential moving average of a student's weights, which is evaluated and saved."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


class WeightAverage(Generic[Model]):
    """An exponential moving average of a model's weights and running statistics.

    After step n the average moves towards the model by `1 - min(decay, (1 + n) / (10 + n))`, so
    that the random initial weights are soon forgotten, whatever the decay.

    Args:
        model: averaged in place; the average starts as a copy of it.
        decay: between 0 and 1; 0.999 averages over about a thousand steps.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.model: Model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        average, current = self.model.state_dict(), model.state_dict()
        self._average = [tensor for tensor in average.values() if tensor.is_floating_point()]
        self._current = [tensor for tensor in current.values() if tensor.is_floating_point()]
        self._counters = [
            (average[name], tensor)
            for name, tensor in current.items()
            if not tensor.is_floating_point()
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Updates the average after `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, self._current, 1 - decay)
        for average, current in self._counters:
            average.copy_(current)

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs, by name."""
        return {f"average.{name}": tensor for name, tensor in self.model.state_dict().items()}
