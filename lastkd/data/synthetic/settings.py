"""Size and difficulty of the synthetic set."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_model


def builtin_set() -> SyntheticSettings:
    """The synthetic set of the demo and of runs without data."""
    return read_model(SyntheticSettings, CONFIGS / "data" / "synthetic.yaml")


class SyntheticSettings(BaseModel):
    """How large, how varied and how noisy the synthetic set is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subjects: int = Field(
        default=16, ge=1, le=999, description="subjects; odd performers are for training"
    )
    clips_per_subject_and_action: int = Field(
        default=4, ge=1, le=999, description="repetitions of each action by each subject"
    )
    seed: int = Field(default=0, description="another seed gives other subjects and other clips")
    min_frames: int = Field(
        default=40, ge=16, description="length of the shortest clips, at 30 frames/s"
    )
    max_frames: int = Field(default=110, ge=16, description="length of the longest clips")
    distance_m: float = Field(
        default=3.0, gt=1.0, description="metres from the camera to the subject"
    )
    turn_degrees: float = Field(
        default=35.0, ge=0, le=180, description="a clip is turned by up to so much to either side"
    )
    proportion_spread: float = Field(
        default=0.06,
        ge=0,
        le=0.2,
        description="standard deviation of bone lengths between subjects",
    )
    posture_degrees: float = Field(
        default=5.0, ge=0, description="standard deviation of a subject's resting joint angles"
    )
    style_degrees: float = Field(
        default=22.0,
        ge=0,
        description="how far subjects differ in the plane in which they lift an arm",
    )
    sway_degrees: float = Field(default=2.5, ge=0, description="idle movement of every joint")
    amplitude_spread: float = Field(
        default=0.22,
        ge=0,
        le=1,
        description="standard deviation of how far a movement goes (1 is usual)",
    )
    timing_spread: float = Field(
        default=1.0,
        ge=0,
        description="how much the timing varies; actions that differ in timing begin to overlap",
    )
    tempo_warp: float = Field(
        default=0.2, ge=0, lt=0.5, description="how unevenly time passes within a clip"
    )
    framing_spread: float = Field(
        default=0.08,
        ge=0,
        lt=0.4,
        description="share of the action that a clip may cut off at either end",
    )
    echo: float = Field(
        default=0.35,
        ge=0,
        le=1,
        description="how far the idle arm may go along with the leading one",
    )
    left_handed_share: float = Field(
        default=0.25, ge=0, le=1, description="share of left-handed subjects"
    )
    other_hand_share: float = Field(
        default=0.1, ge=0, le=1, description="share of clips in which a subject uses the other hand"
    )
    distractor_share: float = Field(
        default=0.5, ge=0, le=1, description="share of bodies that make an unrelated small movement"
    )
    wrong_label_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the training performers' clips that are labelled as another action",
    )
    noise_m: float = Field(default=0.015, ge=0, description="sensor noise per coordinate, metres")
    dropped_joint_share: float = Field(
        default=0.03,
        ge=0,
        le=0.5,
        description="share of joints that the sensor loses for some frames",
    )

    @model_validator(mode="after")
    def _check_frames(self) -> SyntheticSettings:
        if self.max_frames < self.min_frames:
            raise ValueError(
                f"max_frames {self.max_frames} is below min_frames {self.min_frames}; raise it"
            )
        return self
