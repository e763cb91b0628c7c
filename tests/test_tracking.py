"""Who is who from frame to frame: bodies that move, cross, hide joints, leave and come back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lastkd.data.tracking import LOST_AFTER_S, Tracker

RATE = 30
POSE = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3)).astype(np.float32)


def at(*places: float) -> NDArray[np.float32]:
    """Bodies of about a metre, side by side: `(bodies, V, 3)`."""
    return np.stack([POSE + np.float32([place, 0, 3]) for place in places])


def test_two_who_cross_keep_their_identities() -> None:
    tracker = Tracker()
    for number in range(60):
        way = 2 * number / 59 - 1  # from -1 m to 1 m, and the other way, in two seconds
        ids = tracker.assign(at(way, -way), number / RATE)
        assert ids.tolist() == [0, 1], number
    assert tracker.assign(at(-1, 1), 60 / RATE).tolist() == [1, 0]  # in another order


def test_joints_that_are_not_seen_change_nothing() -> None:
    whole, partly = Tracker(), Tracker()
    draws = np.random.default_rng(1)
    for number in range(40):
        bodies = at(0.03 * number, 2)
        hidden = bodies.copy()
        hidden[0, draws.choice(20, 4, replace=False)] = np.nan
        whole.assign(bodies, number / RATE)
        assert partly.assign(hidden, number / RATE).tolist() == [0, 1], number
    (moving, _), (expected, _) = partly._tracks, whole._tracks
    # joints keep their last place while they are hidden, so a mean step may be a few of them
    assert moving.velocity[0] == pytest.approx(expected.velocity[0], rel=0.5)
    assert np.isfinite(moving.pose).all()
    assert moving.height == pytest.approx(expected.height, rel=0.5)


def test_a_body_without_a_joint_in_common_is_somebody_else() -> None:
    tracker = Tracker()
    upper, lower = at(0), at(0)
    upper[0, 10:] = lower[0, :10] = np.nan
    assert tracker.assign(upper, 0.0).tolist() == [0]
    assert tracker.assign(lower, 1 / RATE).tolist() == [1]


def test_who_is_far_away_or_comes_late_is_somebody_new() -> None:
    tracker = Tracker()
    assert tracker.assign(at(0), 0.0).tolist() == [0]
    assert tracker.assign(at(5), 1 / RATE).tolist() == [1]
    assert tracker.assign(at(0), 2 / RATE).tolist() == [0]
    assert tracker.assign(at(0), 2 / RATE + LOST_AFTER_S + 0.1).tolist() == [2]
    assert tracker.assign(at(0)[:0], 2.0).tolist() == []


def test_a_caller_may_use_its_arrays_again() -> None:
    tracker = Tracker()
    frame = at(0)
    for number in range(3):
        assert tracker.assign(frame, number / RATE).tolist() == [0]
    frame += 9
    assert tracker.assign(at(0), 3 / RATE).tolist() == [0]
