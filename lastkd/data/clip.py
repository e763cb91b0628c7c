"""The clip: what every reader yields and the store takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

USUAL_FPS = 30.0
"""Frames per second of clips of which nobody says it."""


@dataclass(frozen=True)
class Clip:
    """One recorded action.

    Attributes:
        name: the sample's name, unique in its set (NTU: `S001C001P001R001A001`).
        label: class index from 0.
        joints: `(T, M, V, C)` float32; metres for 3-D sets, pixels and a score for 2-D ones. A body
            that is absent in a frame is all zeros there; actor 1 is body 0.
        performer, camera, setup: numbers from the clip's name or a table; -1 if unknown.
        fps: frames per second; 0 if unknown.
    """

    name: str
    label: int
    joints: FloatArray
    performer: int = -1
    camera: int = -1
    setup: int = -1
    fps: float = 0.0


Part = Literal["train", "validation", "test"]
"""A validation part is optional; the others are not."""

Splits = Mapping[str, Mapping[Part, Sequence[str]]]
"""Split name (`xsub`, ...) -> `train` and `test`, perhaps `validation` -> clip names."""
