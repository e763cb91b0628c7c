"""Who is who from frame to frame, where a source doesn't say."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

REACH = 0.6
"""Farthest that a body may be from where it was expected, in its own heights..."""
SPEED = 2.0
"""... and how many heights a second that grows by while it isn't seen."""
LOST_AFTER_S = 1.0
"""A body not seen for longer has gone; who comes then is somebody new."""
_MOST_PERMUTED = 5


@dataclass
class _Track:
    body: int
    pose: NDArray[np.float32]
    velocity: NDArray[np.float32]  # of the body's middle
    height: float
    time: float


class Tracker:
    """Joins the bodies of each frame to those of the frames before.

    A body is expected where it was, moved on by the speed that it had: two who cross keep their
    identities. The pairing with the least distance over all of them wins.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._next = 0

    def clear(self) -> None:
        """Forgets everybody; ids aren't used again."""
        self._tracks = []

    def assign(self, joints: NDArray[np.float32], time: float) -> NDArray[np.int64]:
        """An id for each body of a frame.

        Args:
            joints: `(bodies, V, 3)`, NaN where a joint wasn't seen; the first two coordinates
                and, where it is one, the third are places.
            time: in seconds.
        """
        self._tracks = [t for t in self._tracks if time - t.time <= LOST_AFTER_S]
        ids = np.full(len(joints), -1, np.int64)
        if not len(joints):
            return ids
        cost = self._costs(joints, time)
        for body, number in _pairs(cost):
            track = self._tracks[number]
            self._follow(track, joints[body], time)
            ids[body] = track.body
        for body in np.flatnonzero(ids < 0).tolist():
            pose = joints[body]
            self._tracks.append(
                _Track(self._next, pose.copy(), np.zeros(3, np.float32), _height(pose), time)
            )
            ids[body] = self._next
            self._next += 1
        return ids

    def _costs(self, joints: NDArray[np.float32], time: float) -> NDArray[np.float64]:
        """Distance over reach `(bodies, tracks)`; infinite where it is more than 1."""
        cost = np.full((len(joints), len(self._tracks)), np.inf)
        for number, track in enumerate(self._tracks):
            away = time - track.time
            expected = track.pose + track.velocity * min(away, 0.5)
            apart = joints - expected
            distances = np.sqrt(np.einsum("bvc,bvc->bv", apart, apart))
            reach = track.height * (REACH + SPEED * away)
            cost[:, number] = _mean_of_finite(distances) / reach
        cost[cost > 1] = np.inf
        return cost

    @staticmethod
    def _follow(track: _Track, pose: NDArray[np.float32], time: float) -> None:
        passed = time - track.time
        steps = (pose - track.pose).T
        if passed > 0 and np.isfinite(moved := _mean_of_finite(steps)).all():
            velocity = (moved / passed).astype(np.float32)
            track.velocity = np.float32(0.6) * track.velocity + np.float32(0.4) * velocity
        if np.isfinite(pose.sum()):
            track.pose = pose.copy()
        else:
            seen: NDArray[np.bool_] = np.all(np.isfinite(pose), axis=1)
            track.pose = np.where(seen[:, None], pose, track.pose)
        track.height = 0.9 * track.height + 0.1 * _height(track.pose)
        track.time = time


def _height(pose: NDArray[np.float32]) -> float:
    """The longest side of a body's box, in the data's unit."""
    if not np.isfinite(pose.sum()):
        pose = pose[np.isfinite(pose).all(axis=1)]
    return max(float((pose.max(axis=0) - pose.min(axis=0)).max()), 1e-6) if len(pose) else 1e-6


def _mean_of_finite(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Each row's mean over what is finite of it, infinite where nothing is."""
    means: NDArray[np.floating] = rows.sum(axis=1) / rows.shape[1]
    if np.isfinite(means).all():  # nearly always, and far cheaper
        return means
    finite = np.isfinite(rows)
    counts = finite.sum(axis=1)
    means = np.where(finite, rows, 0).sum(axis=1) / np.maximum(counts, 1)
    return np.where(counts > 0, means, np.inf)


def _pairs(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs (row, column) with the most matches and, among those, the least sum."""
    rows, columns = cost.shape
    if not columns:
        return []
    if rows == columns == 1:
        return [(0, 0)] if np.isfinite(cost[0, 0]) else []
    if max(rows, columns) > _MOST_PERMUTED:
        return _greedy(cost)
    # every unmatched pair costs more than all matched ones together
    priced = np.where(np.isfinite(cost), cost, 1.0 + cost.size)
    wide = priced if rows <= columns else priced.T
    short, long = wide.shape
    best = min(
        permutations(range(long), short),
        key=lambda choice: sum(wide[row, column] for row, column in enumerate(choice)),
    )
    pairs = list(enumerate(best))
    if rows > columns:
        pairs = [(row, column) for column, row in pairs]
    return [(row, column) for row, column in pairs if np.isfinite(cost[row, column])]


def _greedy(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """In crowds: the nearest pair first."""
    left = cost.copy()
    pairs = []
    while np.isfinite(left).any():
        row, column = divmod(int(left.argmin()), left.shape[1])
        pairs.append((row, column))
        left[row, :] = left[:, column] = np.inf
    return pairs
