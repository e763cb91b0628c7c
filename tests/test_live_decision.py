"""When a stream shows an action, and when it shows nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lastkd.live.decision import Decision, speed_of


def shares(first: float, second: float = 0.0) -> np.ndarray:
    return np.array([first, second, 0.0])


def test_an_action_is_shown_from_the_threshold_until_half_of_it() -> None:
    decision = Decision(threshold=0.6, stillness=0.0)
    answers = [decision.update(shares(p), 1.0) for p in (0.5, 0.6, 0.4, 0.31, 0.29, 0.5)]
    assert answers == [None, 0, 0, 0, None, None]


def test_a_likelier_action_takes_over_from_the_threshold_on() -> None:
    decision = Decision(threshold=0.5, stillness=0.0)
    assert decision.update(shares(0.6), 1.0) == 0
    assert decision.update(shares(0.35, 0.45), 1.0) == 0
    assert decision.update(shares(0.3, 0.6), 1.0) == 1


def test_without_a_threshold_the_likeliest_is_shown() -> None:
    decision = Decision(threshold=0.0, stillness=0.0)
    answers = [decision.update(shares(p, 0.5 - p), 0.0) for p in (0.4, 0.1, 0.3)]
    assert answers == [0, 1, 0]


def test_who_does_not_move_does_nothing_and_what_was_shown_is_over() -> None:
    decision = Decision(threshold=0.6, stillness=0.2)
    assert decision.update(shares(0.9), 0.3) == 0
    assert decision.update(shares(0.9), 0.1) is None
    assert decision.update(shares(0.5), 0.3) is None
    assert decision.update(shares(0.9), math.inf) == 0  # unknown yet


def walking(speed: float, frames: int = 30, rate: float = 30.0, height: float = 2.0) -> np.ndarray:
    """`(T, 1, 8, 3)`: somebody a quarter of whose joints move along x."""
    clip = np.zeros((frames, 1, 8, 3), np.float32)
    clip[:, 0, :, 1] = np.linspace(0.1, 0.1 + height, 8)
    clip[:, 0, :2, 0] += (np.arange(frames) * speed / rate)[:, None]
    return clip


@pytest.mark.parametrize("rate", [10.0, 30.0, 60.0])
def test_speed_is_in_body_heights_of_the_quickest_quarter(rate: float) -> None:
    clip = walking(0.5, frames=round(rate), rate=rate)
    assert speed_of(clip, 1 / rate, 3) == pytest.approx(0.25, rel=0.01)
    larger = 1000 * clip  # millimetres
    assert speed_of(larger, 1 / rate, 3) == pytest.approx(0.25, rel=0.01)


def test_a_sensors_jitter_is_no_movement() -> None:
    draws = np.random.default_rng(0)
    clip = walking(0.0) + draws.normal(0, 0.01, (30, 1, 8, 3)).astype(np.float32)
    assert speed_of(clip, 1 / 30, 3) < 0.08 < speed_of(walking(0.5), 1 / 30, 3)


def test_the_faster_of_two_counts_and_an_absent_one_does_not() -> None:
    pair = np.concatenate((walking(0.5), walking(1.0)), axis=1)
    assert speed_of(pair, 1 / 30, 3) == pytest.approx(0.5, rel=0.01)
    pair[:, 1] = 0
    assert speed_of(pair, 1 / 30, 3) == pytest.approx(0.25, rel=0.01)


def test_flat_joints_that_are_not_seen_throughout_do_not_count() -> None:
    clip = walking(0.5)
    clip[..., 2] = 1  # the score
    clip[-4, 0, 5] = 0
    assert speed_of(clip, 1 / 30, 2) == pytest.approx(0.25, rel=0.01)
    clip[-4] = 0
    assert speed_of(clip, 1 / 30, 2) == math.inf


def test_of_too_few_frames_the_speed_is_unknown() -> None:
    assert speed_of(walking(0.5, frames=5), 1 / 30, 3) == math.inf
