"""Models by name, and what lastkd asks of each of them."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from lastkd.data.layouts import Layout, get_layout
from lastkd.plugins import import_object
from lastkd.settings.architecture import Architecture, get_architecture


class SkeletonModel(nn.Module):
    """A classifier of skeleton clips; each family is a subclass that brings what is its own.

    A family has an `Architecture` in `lastkd/settings/architecture.py` that names its subclass, and
    nothing else in lastkd asks which family a model belongs to. Every model is called as
    `model(streams, bodies)` and returns logits `(B, K)`: `streams` are `joint`, `velocity` and
    `bone`, each `(B, 3, T, V, M)`, and `bodies` each clip's number of bodies (`BodyCounts`). A
    module lists those of its parameters that weight decay must spare in `undecayed`, a tuple of
    names.

    Attributes:
        max_bodies: bodies of a clip that the model looks at.
        inference_in_half: whether the module that `for_inference` gives may be cast to float16 as
            a whole; else it runs under autocast on a GPU.
    """

    max_bodies: ClassVar[int] = 2
    inference_in_half: ClassVar[bool] = False

    def __init__(self, architecture: Architecture, num_classes: int, layout: Layout) -> None:
        super().__init__()
        self.architecture = architecture
        self.num_classes = num_classes
        self.layout = layout

    def for_inference(self) -> nn.Module:
        """The fastest module with the same logits, called in the same way."""
        return self

    def for_export(self) -> nn.Module:
        """A module with the same logits that every export format can express.

        It is called with one clip, in the same way as the model.
        """
        return self


def build_model(
    model: str | Architecture,
    num_classes: int,
    layout: str | Layout = "ntu25",
    *,
    dropout: float | None = None,
) -> SkeletonModel:
    """A freshly initialised model, in training mode.

    Args:
        model: a name (`last_e_nano`, `last_v2_base`, ...), an architecture, or
            `package.module:factory`, of which `factory(num_classes, layout)` is called.
        num_classes: K, the width of the logits.
        layout: of the skeletons, a name or a `Layout`.
        dropout: replaces every dropout rate of the architecture.

    Raises:
        UserError: the model or the layout is unknown, or a factory can't be called or doesn't give
            a module.
    """
    architecture = get_architecture(model)
    if dropout is not None:
        architecture = architecture.with_dropout(dropout)
    family = import_object(architecture.implementation, "class")
    built: SkeletonModel = family(architecture, num_classes, get_layout(layout))
    return built
