"""How views are cut from clips; separate from `lastkd.data.views`, which needs torch."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class ViewSettings(BaseModel):
    """How a view is cut from a clip; `configs/training/recipe.yaml` has the defaults."""

    model_config = ConfigDict(frozen=True)
    heading: ClassVar[str] = "Views"

    frames: int = Field(ge=2, description="frames per view, T")
    crop_min: float = Field(
        gt=0, le=1, description="shortest crop, as a share of the clip's frames"
    )
    test_crop: float = Field(
        gt=0, le=1, description="centre crop in evaluation, as a share of the clip's frames"
    )
    turn_degrees: float = Field(ge=0, description="largest rotation about y, in either direction")
    scale: float = Field(ge=0, lt=1, description="largest change of scale, as a share")
    mirror: float = Field(
        0.0, ge=0, le=1, description="share of training views with left and right swapped"
    )
    shear: float = Field(0.0, ge=0, lt=1, description="largest shear of one axis along another")
    time_warp: float = Field(
        0.0, ge=0, lt=0.5, description="largest change of pace within a view, share"
    )
    joint_noise: float = Field(
        0.0, ge=0, description="standard deviation of noise on every coordinate, torso lengths"
    )
    dropped_joints: float = Field(
        0.0, ge=0, lt=1, description="share of joints that take their parent's place in a view"
    )

    @property
    def augmented(self) -> bool:
        """Whether training views are changed beyond crop, turn and scale."""
        return any(getattr(self, name) for name in AUGMENTATIONS)


AUGMENTATIONS = ("mirror", "shear", "time_warp", "joint_noise", "dropped_joints")
"""Settings that are zero in the recipe of LAST."""
