"""LAST-v2 and LAST-E, and the checkpoints they live in."""

from __future__ import annotations

from lastkd.architecture import (
    STREAMS,
    Architecture,
    LastEArchitecture,
    LastV2Architecture,
    get_architecture,
    model_names,
)
from lastkd.data.layouts import Layout, get_layout
from lastkd.models.last_e import LastE
from lastkd.models.last_v2 import LastV2

LastModel = LastV2 | LastE


def build_model(
    model: str | Architecture,
    num_classes: int,
    layout: str | Layout = "ntu25",
    *,
    dropout: float | None = None,
) -> LastModel:
    """A freshly initialised model, in training mode.

    Args:
        model: a name (`last_e_nano`, `last_v2_base`, ...) or an architecture.
        num_classes: K, the width of the logits.
        layout: of the skeletons, a name or a `Layout`.
        dropout: replaces every dropout rate of the architecture.

    Raises:
        UserError: the model or the layout is unknown.
    """
    architecture = get_architecture(model)
    skeleton = get_layout(layout)
    if isinstance(architecture, LastV2Architecture):
        rates = {} if dropout is None else {"dropout": dropout}
        return LastV2(architecture.model_copy(update=rates), num_classes, skeleton)
    rates = {} if dropout is None else {"dropout": dropout, "head_dropout": dropout}
    return LastE(architecture.model_copy(update=rates), num_classes, skeleton)


from lastkd.models.checkpoint import load_model  # noqa: E402  (it needs build_model)

__all__ = [
    "STREAMS",
    "Architecture",
    "LastE",
    "LastEArchitecture",
    "LastModel",
    "LastV2",
    "LastV2Architecture",
    "build_model",
    "get_architecture",
    "load_model",
    "model_names",
]
