"""One answer of a stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTHING = "nothing"
"""How the answer is called while no action goes on."""


@dataclass(frozen=True)
class StreamPrediction:
    """What is going on at one moment.

    Attributes:
        time: of the newest frame, in the stream's own seconds.
        start: of the oldest frame that was looked at.
        frames: T that were looked at; 0 where nobody was there.
        label: the action's index, or None for "nothing": nobody is there, nobody moves, or no
            action is likely enough.
        probabilities: `(K,)`, calibrated and smoothed over time; zeros where nobody is there.
        logits: `(K,)` of this window alone; zeros where nobody is there.
        speed: in body heights per second (`speed_of`); 0 where nobody is there, infinite where it
            can't be told yet.
        class_names: K.
        milliseconds: that making it took.
    """

    time: float
    start: float
    frames: int
    label: int | None
    probabilities: NDArray[np.float64]
    logits: NDArray[np.float32]
    speed: float
    class_names: tuple[str, ...]
    milliseconds: float

    @property
    def action(self) -> str:
        """The action's name, or "nothing"."""
        return NOTHING if self.label is None else self.class_names[self.label]

    @property
    def probability(self) -> float:
        """Of the likeliest action, whether or not it is the answer."""
        return float(self.probabilities.max())

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest actions with their probabilities, the likeliest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[k], float(self.probabilities[k])) for k in order]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """Plain values, the line of `lastkd live --json`."""
        return {
            "time": round(self.time, 4),
            "start": round(self.start, 4),
            "frames": self.frames,
            "action": None if self.label is None else self.class_names[self.label],
            "label": self.label,
            "probability": round(self.probability, 6),
            "top": [
                {"class": name, "probability": round(share, 6)} for name, share in self.top(count)
            ],
            "speed": round(self.speed, 3) if math.isfinite(self.speed) else None,
            "milliseconds": round(self.milliseconds, 3),
        }
