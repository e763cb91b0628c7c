"""Body choice, rule by rule, on made-up bodies of five joints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest

from lastkd.data.bodies import (
    ACTORS,
    BRIEF,
    CONTINUED,
    EMPTY,
    OVERLAP,
    SHORT,
    SPREAD,
    BodyRules,
    BodyTrack,
    ChosenBodies,
    choose_bodies,
    motion,
)

V = 5
TALL = np.array([[0, 0, 3], [0.2, 0.5, 3], [-0.2, 0.5, 3], [0, 1, 3], [0, 1.7, 3]])
WIDE = TALL[:, [1, 0, 2]]


def body(
    frames: Iterable[int], at: float, sway: float = 0.1, wide: Iterable[int] = ()
) -> BodyTrack:
    """A body round x = `at` that sways along z; `wide` are the frames in which it lies."""
    frames, wide = list(frames), set(wide)
    joints = np.array([WIDE if frame in wide else TALL for frame in frames]).reshape(-1, V, 3)
    joints[..., 0] += at
    joints[..., 2] += sway * np.sin(np.arange(len(frames)))[:, None]
    return BodyTrack(np.array(frames, np.intp), joints)


def choose(*tracks: BodyTrack, total_frames: int = 40) -> ChosenBodies:
    return choose_bodies(tracks, total_frames, V)


def place(joints: np.ndarray, actor: int) -> list[int]:
    """Where an actor is in each frame: the rounded x of its middle, -1 while it is absent."""
    here = joints[:, actor]
    return [round(float(frame[0, 0])) if frame.any() else -1 for frame in here]


def test_one_body_is_the_only_actor() -> None:
    track = body(range(40), at=1)
    chosen = choose(track)
    assert chosen.joints.shape == (40, 1, V, 3)
    assert chosen.joints.dtype == np.float32
    np.testing.assert_allclose(chosen.joints[:, 0], track.joints, atol=1e-6)
    assert chosen.left_out == {}


def test_no_body_gives_no_frame() -> None:
    chosen = choose(total_frames=7)
    assert chosen.joints.shape == (0, 1, V, 3)
    assert chosen.left_out == {EMPTY: 7}


@pytest.mark.parametrize(("seen", "actors"), [(11, 1), (12, 2)])
def test_a_body_seen_in_11_frames_or_fewer_is_noise(seen: int, actors: int) -> None:
    chosen = choose(body(range(40), at=1), body(range(seen), at=2, sway=5))
    assert chosen.joints.shape[1] == actors
    assert chosen.left_out.get(SHORT, 0) == 2 - actors


def test_a_short_body_stays_where_it_is_the_only_one() -> None:
    chosen = choose(body(range(3), at=1), total_frames=3)
    assert place(chosen.joints, 0) == [1, 1, 1]


def test_of_short_bodies_alone_the_one_seen_longest_stays() -> None:
    chosen = choose(body(range(3), at=1), body(range(5), at=2), total_frames=5)
    assert place(chosen.joints, 0) == [2] * 5
    assert chosen.left_out == {SHORT: 1}


@pytest.mark.parametrize(("noisy", "actors"), [(69, 2), (70, 1)])
def test_a_body_that_is_wide_in_70_of_100_frames_is_no_person(noisy: int, actors: int) -> None:
    person = body(range(100), at=1)
    furniture = body(range(100), at=2, sway=5, wide=range(noisy))
    chosen = choose(person, furniture, total_frames=100)
    assert chosen.joints.shape[1] == actors
    assert chosen.left_out.get(SPREAD, 0) == 2 - actors


def test_an_extent_of_just_0_8_is_not_noisy() -> None:
    joints = np.zeros((20, V, 3), np.float32)
    joints[:, 1] = [0.8, 0, 0]
    joints[:, 2] = [0, 1, 0]
    chosen = choose(BodyTrack(np.arange(20), joints), BodyTrack(np.arange(20), joints + 1))
    assert chosen.joints.shape[1] == 2


def test_the_last_body_left_stays_however_wide() -> None:
    first = body(range(40), at=1, wide=range(40))
    second = body(range(40), at=2, wide=range(40))
    chosen = choose(first, second)
    assert place(chosen.joints, 0) == [2] * 40
    assert chosen.left_out == {SPREAD: 1}


def test_a_lone_body_is_never_asked_how_wide_it_is() -> None:
    assert len(choose(body(range(40), at=1, wide=range(40))).joints) == 40


def test_actor_1_is_the_one_that_moves_most() -> None:
    chosen = choose(body(range(40), at=1, sway=0.1), body(range(40), at=2, sway=0.5))
    assert place(chosen.joints, 0) == [2] * 40
    assert place(chosen.joints, 1) == [1] * 40


def test_equal_motion_leaves_the_order_of_appearance() -> None:
    chosen = choose(body(range(40), at=1), body(range(40), at=2))
    assert place(chosen.joints, 0) == [1] * 40


def test_motion_is_the_variance_of_all_joints_over_all_frames() -> None:
    points = np.random.default_rng(0).normal(size=(30, V, 3)) + 100
    flat = points.reshape(-1, 3)
    expected = sum(np.mean((flat[:, axis] - flat[:, axis].mean()) ** 2) for axis in range(3))
    assert motion(points) == pytest.approx(expected)


def test_motion_of_noisy_frames_does_not_count() -> None:
    calm = body(range(40), at=1, sway=0.3)
    jumpy = body(range(40), at=2, sway=0.1, wide=range(10))
    jumpy.joints[:10, :, 2] += 50  # moves far, but only while it is noise
    chosen = choose(jumpy, calm)
    assert place(chosen.joints, 0) == [1] * 40
    assert len(chosen.joints) == 40


def test_clean_frames_never_raise_the_motion() -> None:
    steady = body(range(40), at=1, sway=0.3)
    swaying = body(range(40), at=2, sway=0.1, wide=range(20))
    swaying.joints[20:, :, 2] = 3 + 0.5 * np.sin(np.arange(20))[:, None]
    swaying.joints[:20] = [2, 0.8, 3]  # one still point: noisy only if wider than tall
    swaying.joints[:20, 1, 0] += 0.05
    assert motion(swaying.joints) < motion(steady.joints) < motion(swaying.joints[20:])
    assert place(choose(swaying, steady).joints, 0) == [1] * 40


def test_a_later_body_fills_the_frames_that_actor_1_lacks() -> None:
    chosen = choose(body(range(20), at=1, sway=1), body(range(20, 40), at=2))
    assert chosen.joints.shape[1] == 1
    assert place(chosen.joints, 0) == [1] * 20 + [2] * 20


def test_a_body_fills_a_gap_in_the_middle_too() -> None:
    comes_and_goes = body([*range(13), *range(27, 40)], at=1, sway=1)
    chosen = choose(comes_and_goes, body(range(13, 27), at=2))
    assert place(chosen.joints, 0) == [1] * 13 + [2] * 14 + [1] * 13


def test_a_body_that_overlaps_actor_1_becomes_actor_2() -> None:
    chosen = choose(body(range(20), at=1, sway=1), body(range(19, 40), at=2))
    assert place(chosen.joints, 0) == [1] * 20 + [-1] * 20
    assert place(chosen.joints, 1) == [-1] * 19 + [2] * 21


def test_a_third_body_fills_actor_2_or_is_dropped() -> None:
    first, second = body(range(40), at=1, sway=1), body(range(20), at=2, sway=0.5)
    after = choose(first, second, body(range(20, 40), at=3))
    assert place(after.joints, 1) == [2] * 20 + [3] * 20
    beside = choose(first, second, body(range(5, 40), at=3))
    assert place(beside.joints, 1) == [2] * 20 + [-1] * 20
    assert beside.left_out == {OVERLAP: 1}


def test_frames_without_an_actor_go() -> None:
    chosen = choose(body([*range(5), *range(10, 30)], at=1))
    assert len(chosen.joints) == 25
    assert chosen.left_out == {EMPTY: 15}


def test_frames_that_only_a_dropped_body_has_go_too() -> None:
    chosen = choose(body(range(20), at=1), body(range(30, 40), at=2))
    assert place(chosen.joints, 0) == [1] * 20
    assert chosen.left_out == {SHORT: 1, EMPTY: 20}


def test_a_body_of_zeros_counts_as_absent() -> None:
    nothing = BodyTrack(np.arange(20), np.zeros((20, V, 3), np.float32))
    chosen = choose(body(range(40), at=1), nothing)
    assert chosen.joints.shape[:2] == (40, 1)


# ------------------------------------------------------------------------------ other sensors


def estimated(*tracks: BodyTrack, total_frames: int = 40, **rules: bool) -> ChosenBodies:
    return choose_bodies(tracks, total_frames, V, rules=BodyRules(**rules))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_false_detection_in_3_of_40_frames_is_no_actor(order: tuple[int, int]) -> None:
    person, ghost = body(range(40), at=1, sway=0.1), body([5, 17, 30], at=9, sway=8)
    chosen = estimated(*[(person, ghost)[index] for index in order])
    assert place(chosen.joints, 0) == [1] * 40
    assert chosen.joints.shape[1] == 1
    assert chosen.left_out == {BRIEF: 1}
    assert chosen.fates[order.index(1)].fate == BRIEF


def test_a_body_seen_in_half_of_the_clip_ranks_before_one_that_moves_more() -> None:
    person, passer_by = body(range(5, 35), at=1), body(range(15), at=5, sway=4)
    assert place(estimated(passer_by, person).joints, 0)[10] == 1


def test_two_people_of_a_short_clip_both_stay() -> None:
    chosen = estimated(body(range(8), at=1), body(range(8), at=2, sway=0.3), total_frames=8)
    assert place(chosen.joints, 0) == [2] * 8
    assert place(chosen.joints, 1) == [1] * 8


def test_a_body_of_low_scores_ranks_after_one_that_is_surely_there() -> None:
    person, poster = body(range(40), at=1), body(range(40), at=2, sway=3)
    poster = dataclasses.replace(poster, score=0.2)
    person = dataclasses.replace(person, score=0.8)
    assert place(estimated(poster, person).joints, 0) == [1] * 40
    even = dataclasses.replace(poster, score=0.5)
    assert place(estimated(even, person).joints, 0) == [2] * 40, "it moves more"


def test_a_person_whose_id_changes_goes_on_as_the_same_actor() -> None:
    chosen = estimated(body(range(22), at=1), body(range(22, 40), at=2))
    assert place(chosen.joints, 0) == [1] * 22 + [2] * 18
    assert [fate.fate for fate in chosen.fates] == [ACTORS[0], CONTINUED[0]]


def test_people_who_lie_are_no_furniture() -> None:
    lying = body(range(40), at=1, wide=range(40), sway=1)
    assert place(estimated(body(range(40), at=2), lying).joints, 0) == [1] * 40


def test_an_order_that_was_published_holds_among_bodies_seen_in_much_of_the_clip() -> None:
    calm, lively = body(range(40), at=1), body(range(40), at=2, sway=3)
    assert place(estimated(calm, lively, by_motion=False).joints, 0) == [1] * 40
    brief = body(range(14), at=3, sway=3)
    assert place(estimated(brief, calm, by_motion=False).joints, 0) == [1] * 40


def test_joints_that_were_not_seen_do_not_count_as_motion() -> None:
    points = np.random.default_rng(0).normal(size=(30, V, 3))
    seen = points.copy()
    points[3:9, 2] = np.nan
    rest = np.delete(seen.reshape(-1, 3), [frame * V + 2 for frame in range(3, 9)], axis=0)
    assert motion(points) == pytest.approx(motion(rest))
