"""Models that aren't part of lastkd, named `package.module:factory` (see `docs/losses.md`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lastkd.data.layouts import Layout
from lastkd.data.transfer import to_device
from lastkd.errors import UserError
from lastkd.models.bodies import BodyCounts
from lastkd.models.registry import SkeletonModel
from lastkd.plugins import import_object
from lastkd.settings.architecture import ExternalArchitecture


class ExternalModel(SkeletonModel):
    """The module that `factory(num_classes, layout)` returns, checked for what a run needs.

    The module is called as `module(streams, bodies)` with the MIB dict, each stream
    `(B, 3, T, V, M)`, and each clip's number of bodies `(B,)`; it must return logits `(B, K)`.
    """

    architecture: ExternalArchitecture

    def __init__(
        self, architecture: ExternalArchitecture, num_classes: int, layout: Layout
    ) -> None:
        """
        Raises:
            UserError: the factory can't be imported or called, or doesn't return a module.
        """
        super().__init__(architecture, num_classes, layout)
        self.model = _call_factory(architecture.name, num_classes, layout)

    def forward(self, streams: Mapping[str, Tensor], bodies: BodyCounts | None = None) -> Tensor:
        """Logits `(B, K)` from the MIB dict.

        Raises:
            UserError: the module returns something else.
        """
        if bodies is not None:
            bodies = to_device(torch.as_tensor(bodies), streams["joint"].device)
        logits = self.model(streams, bodies)
        expected = len(streams["joint"]), self.num_classes
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"{self.architecture.name}: its model gives {found} where logits of shape "
                f"{expected} (clips, classes) are needed"
            )
        return logits


def _call_factory(name: str, num_classes: int, layout: Layout) -> nn.Module:
    factory = import_object(name, "function")
    if not callable(factory):
        raise UserError(f"{name}: is no function (num_classes, layout) -> torch.nn.Module")
    made = factory(num_classes=num_classes, layout=layout)
    if not isinstance(made, torch.nn.Module):
        raise UserError(f"{name}: gives a {type(made).__name__}, and no torch.nn.Module")
    return made
