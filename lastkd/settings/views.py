"""How views are cut; apart from `views`, so that reading settings needs no torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ViewSettings(BaseModel):
    """How a view is cut from a clip; the defaults stand in `configs/training/recipe.yaml`."""

    model_config = ConfigDict(frozen=True)

    frames: int = Field(ge=2, description="frames of a view, T")
    crop_min: float = Field(gt=0, le=1, description="shortest crop, share of a clip's frames")
    test_crop: float = Field(gt=0, le=1, description="centre crop in evaluation")
    turn_degrees: float = Field(ge=0, description="largest turn about y to either side")
    scale: float = Field(ge=0, lt=1, description="largest change of size, share")
