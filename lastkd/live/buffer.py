"""The frames of the last seconds: a ring buffer in time, whatever the frame rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_FRAMES = 1024
"""Frames of one window: what comes in faster than this in a window's time isn't kept."""
MOST_BODIES = 6
"""Bodies of one frame: of more, those that were seen longest are kept."""
ABSENT = -1
"""Id of a place in a frame that holds no body."""


class FrameBuffer:
    """Frames no older than `window_s` before the newest.

    The arrays are twice as long as the longest window. When they are full, the window moves to
    their front: memory never grows, and a window is always one piece.

    Args:
        joints: V.
        window_s: seconds that are kept, half open: a frame exactly that old is gone.
    """

    def __init__(self, joints: int, window_s: float) -> None:
        self.window_s = window_s
        size = 2 * MOST_FRAMES
        self._joints = np.zeros((size, MOST_BODIES, joints, 3), np.float32)
        self._ids = np.full((size, MOST_BODIES), ABSENT, np.int64)
        self._times = np.zeros(size)
        self._start = self._stop = 0

    def __len__(self) -> int:
        return self._stop - self._start

    def clear(self) -> None:
        self._start = self._stop = 0

    def add(self, time: float, joints: NDArray[np.float32], ids: NDArray[np.int64]) -> bool:
        """Takes a frame; False where it follows the one before too closely to be kept.

        Args:
            time: seconds, later than the last.
            joints: `(bodies, V, 3)`, NaN where a joint wasn't seen.
            ids: `(bodies,)`, each body's identity over time.
        """
        if len(self) and time - self._times[self._stop - 1] < self.window_s / MOST_FRAMES:
            return False
        if self._stop == len(self._times):
            kept = len(self)
            for column in (self._joints, self._ids, self._times):
                column[:kept] = column[self._start : self._stop]
            self._start, self._stop = 0, kept
        bodies = min(len(joints), MOST_BODIES)
        self._joints[self._stop, :bodies] = joints[:bodies]
        self._ids[self._stop, :bodies] = ids[:bodies]
        self._ids[self._stop, bodies:] = ABSENT
        self._times[self._stop] = time
        self._stop += 1
        # a little less than the window, so that rounding never keeps the frame at its open end
        oldest = time - self.window_s * (1 - 1e-6)
        first = np.searchsorted(self._times[self._start : self._stop], oldest)
        self._start = max(self._start + int(first), self._stop - MOST_FRAMES)
        return True

    def forget(self, before: float) -> None:
        """Drops the frames earlier than a time, in seconds."""
        self._start += int(np.searchsorted(self._times[self._start : self._stop], before))

    @property
    def times(self) -> NDArray[np.float64]:
        """`(T,)` seconds, ascending."""
        return self._times[self._start : self._stop]

    @property
    def joints(self) -> NDArray[np.float32]:
        """`(T, MOST_BODIES, V, 3)`; undefined where the id is `ABSENT`."""
        return self._joints[self._start : self._stop]

    @property
    def ids(self) -> NDArray[np.int64]:
        """`(T, MOST_BODIES)`."""
        return self._ids[self._start : self._stop]
