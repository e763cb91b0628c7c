"""Models that lastkd doesn't know, named `package.module:factory`. `docs/losses.md` says more."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lastkd.data.layouts import Layout
from lastkd.errors import UserError
from lastkd.plugins import import_object
from lastkd.settings.architecture import ExternalArchitecture


class ExternalModel(nn.Module):
    """What `factory(num_classes, layout)` made, held to what a run asks of a model.

    The factory's module is called as `module(streams, bodies)` with the MIB dict, `(B, 3, T, V, M)`
    a stream, and each clip's number of bodies `(B,)`; it gives logits `(B, K)`.
    """

    def __init__(
        self, architecture: ExternalArchitecture, num_classes: int, layout: Layout
    ) -> None:
        """
        Raises:
            UserError: the factory can't be imported, can't be called so, or gives no module.
        """
        super().__init__()
        self.architecture = architecture
        self.num_classes = num_classes
        self.layout = layout
        self.model = _made(architecture.name, num_classes, layout)

    def forward(self, streams: Mapping[str, Tensor], bodies: Tensor | None = None) -> Tensor:
        """Logits `(B, K)`, from each stream's `(B, 3, T, V, M)`.

        Raises:
            UserError: the module gives something else.
        """
        logits = self.model(streams, bodies)
        expected = len(streams["joint"]), self.num_classes
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"{self.architecture.name}: its model gives {found} where logits of shape "
                f"{expected} (clips, classes) are needed"
            )
        return logits


def _made(name: str, num_classes: int, layout: Layout) -> nn.Module:
    factory = import_object(name, "function")
    if not callable(factory):
        raise UserError(f"{name}: is no function (num_classes, layout) -> torch.nn.Module")
    made = factory(num_classes=num_classes, layout=layout)
    if not isinstance(made, torch.nn.Module):
        raise UserError(f"{name}: gives a {type(made).__name__}, and no torch.nn.Module")
    return made
