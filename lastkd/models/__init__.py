"""LAST-v2 and LAST-E, models of one's own, and their checkpoints."""

from __future__ import annotations

from lastkd.models.checkpoint import load_model
from lastkd.models.external import ExternalModel
from lastkd.models.last_e import LastE
from lastkd.models.last_v2 import LastV2
from lastkd.models.registry import SkeletonModel, build_model
from lastkd.settings.architecture import (
    STREAMS,
    Architecture,
    ExternalArchitecture,
    LastEArchitecture,
    LastV2Architecture,
    get_architecture,
    model_names,
)

__all__ = [
    "STREAMS",
    "Architecture",
    "ExternalArchitecture",
    "ExternalModel",
    "LastE",
    "LastEArchitecture",
    "LastV2",
    "LastV2Architecture",
    "SkeletonModel",
    "build_model",
    "get_architecture",
    "load_model",
    "model_names",
]
