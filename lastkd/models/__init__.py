"""LAST-v2 and LAST-E, and the checkpoints they live in."""

from __future__ import annotations

from lastkd.models.checkpoint import load_model
from lastkd.models.external import OwnModel
from lastkd.models.last_e import LastE
from lastkd.models.last_v2 import LastV2
from lastkd.models.registry import LastModel, build_model
from lastkd.settings.architecture import (
    STREAMS,
    Architecture,
    LastEArchitecture,
    LastV2Architecture,
    OwnArchitecture,
    get_architecture,
    model_names,
)

__all__ = [
    "STREAMS",
    "Architecture",
    "LastE",
    "LastEArchitecture",
    "LastModel",
    "LastV2",
    "LastV2Architecture",
    "OwnArchitecture",
    "OwnModel",
    "build_model",
    "get_architecture",
    "load_model",
    "model_names",
]
