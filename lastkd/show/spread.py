"""Which frames stand for a clip."""

from __future__ import annotations

import numpy as np


def spread(frames: int, poses: int) -> list[int]:
    """Frames at equal distances, the first and the last among them."""
    places: list[int] = np.linspace(0, frames - 1, min(poses, frames)).round().astype(int).tolist()
    return places
