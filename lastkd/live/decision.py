"""What a stream shows of the probabilities: an action that somebody who moves is likely to do.

A model of whole clips has no class for "no action". So the answer is "nothing" while nobody moves,
and until an action is likely enough; once shown, it stays until it has become unlikely. The next
window begins with the rest: what was done before it is no part of what comes after.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

HOLD = 0.5
"""An action that is shown stays until its probability falls below this share of the threshold: two
limits instead of one, so that an answer at the limit doesn't come and go."""
STRETCH_S = 0.16
"""Speed is measured between the mean poses of stretches this long, which averages a sensor's jitter
out. At no usual frame rate does one end halfway between two frames, where rounding would decide."""
STRETCHES = 3


class Decision:
    """The answers to a stream's predictions, one after the other.

    Args:
        threshold: probability from which an action is shown.
        stillness: speed below which nothing is shown, in body heights per second.
    """

    def __init__(self, threshold: float, stillness: float) -> None:
        self.threshold, self.stillness = threshold, stillness
        self._shown: int | None = None

    def reset(self) -> None:
        """Forgets what was shown."""
        self._shown = None

    def update(self, probabilities: NDArray[np.float64], speed: float) -> int | None:
        """The action that is shown now, None for "nothing".

        Args:
            probabilities: `(K,)`.
            speed: as `speed_of` measures it.
        """
        if speed < self.stillness:
            self._shown = None
            return None
        best = int(probabilities.argmax())
        if probabilities[best] >= self.threshold:
            self._shown = best
        elif self._shown is not None and probabilities[self._shown] < HOLD * self.threshold:
            self._shown = None
        return self._shown


def speed_of(clip: NDArray[np.float32], frame_s: float, dimensions: int) -> float:
    """How fast the faster of the bodies has moved lately, in body heights per second.

    That is the mean speed of the quickest quarter of its joints over the last half second. A body
    height is the longest side of the box around the joints. Infinite where the clip is too short,
    or where nobody was seen throughout.

    Args:
        clip: `(T, M, V, 3)`, zeros where a body is absent or a joint unseen.
        frame_s: seconds from frame to frame.
        dimensions: 2 or 3; the first channels that are coordinates.
    """
    frames = max(round(STRETCH_S / frame_s), 1)
    recent = clip[-STRETCHES * frames :]
    if len(recent) < STRETCHES * frames:
        return math.inf
    seen: NDArray[np.bool_] = np.all(np.any(recent, axis=3), axis=0)  # (M, V)
    poses = recent.reshape(STRETCHES, frames, *clip.shape[1:]).mean(axis=1)[..., :dimensions]
    steps = poses[1:] - poses[:-1]
    moved = np.sqrt(np.einsum("smvc,smvc->smv", steps, steps)).mean(axis=0) * seen
    top = poses[-1].max(axis=1, where=seen[..., None], initial=-np.inf)
    bottom = poses[-1].min(axis=1, where=seen[..., None], initial=np.inf)
    height = (top - bottom).max(axis=1)
    quickest = np.sort(moved, axis=1)[:, -math.ceil(moved.shape[1] / 4) :].mean(axis=1)
    there = height > 0
    if not there.any():
        return math.inf
    return float((quickest[there] / height[there]).max() / (frames * frame_s))
