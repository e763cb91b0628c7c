"""The layout of a model's skeletons, for readers of files and for the picture."""

from __future__ import annotations

from lastkd.data.layouts import Layout
from lastkd.live.classifier import ModelFacts


def layout_of(facts: ModelFacts) -> Layout:
    """The joints and bones that a model knows; what only centring asks for is left out."""
    return Layout.model_validate(
        {
            "name": facts.layout,
            "joints": facts.joints,
            "parents": facts.parents,
            "centre": facts.parents.index(-1),
            "mirror": facts.mirror,
            "dimensions": facts.dimensions,
            "up": facts.up,
        }
    )
