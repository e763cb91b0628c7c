"""Models by name."""

from __future__ import annotations

from lastkd.data.layouts import Layout, get_layout
from lastkd.errors import UserError
from lastkd.models.external import ExternalModel
from lastkd.models.last_e import LastE
from lastkd.models.last_v2 import LastV2
from lastkd.settings.architecture import (
    Architecture,
    ExternalArchitecture,
    LastV2Architecture,
    get_architecture,
)

LastModel = LastV2 | LastE | ExternalModel


def build_model(
    model: str | Architecture,
    num_classes: int,
    layout: str | Layout = "ntu25",
    *,
    dropout: float | None = None,
) -> LastModel:
    """A freshly initialised model, in training mode.

    Args:
        model: a name (`last_e_nano`, `last_v2_base`, ...), an architecture, or
            `package.module:factory`, of which `factory(num_classes, layout)` is called.
        num_classes: K, the width of the logits.
        layout: of the skeletons, a name or a `Layout`.
        dropout: replaces every dropout rate of the architecture.

    Raises:
        UserError: the model or the layout is unknown, or a factory doesn't do what it should.
    """
    architecture = get_architecture(model)
    skeleton = get_layout(layout)
    if isinstance(architecture, ExternalArchitecture):
        if dropout is not None:
            raise UserError(
                f"{architecture.name}: takes no --dropout; set the rates of your own model in its "
                "factory"
            )
        return ExternalModel(architecture, num_classes, skeleton)
    if isinstance(architecture, LastV2Architecture):
        rates = {} if dropout is None else {"dropout": dropout}
        return LastV2(architecture.model_copy(update=rates), num_classes, skeleton)
    rates = {} if dropout is None else {"dropout": dropout, "head_dropout": dropout}
    return LastE(architecture.model_copy(update=rates), num_classes, skeleton)
