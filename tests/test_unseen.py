"""Every spelling of "not seen" means the same: a score of 0, a filled gap or an absent body."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lastkd.data.bodies import EMPTY
from lastkd.data.formats.assemble import Sample, reading_of_slots
from lastkd.data.formats.base import BODILESS, Reading
from lastkd.data.layouts import get_layout
from lastkd.data.unseen import FILLED, GAPS, LONGEST_GAP, UNSCORED

FLAT, SPATIAL = get_layout("coco17"), get_layout("ucla20")
SAMPLE = Sample("clip", 0, "set: clip 'clip'")
Spell = Callable[[np.ndarray, np.ndarray, tuple], None]


def flat_person(T: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Joints `(T, 1, 17, 2)` in pixels and scores `(T, 1, 17)`."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(100, 500, (1, 1, 17, 2)) + rng.normal(0, 3, (T, 1, 17, 2)).cumsum(axis=0)
    return joints.astype(np.float32), np.full((T, 1, 17), 0.9, np.float32)


def person(T: int = 40) -> np.ndarray:
    """Joints `(T, 1, 20, 3)` in metres, 3 m before the camera: the limbs of a body that sways."""
    rng = np.random.default_rng(1)
    body = np.zeros((20, 3))
    placed = [SPATIAL.centre]
    for parent in placed:
        for child, end in SPATIAL.bones:
            if end == parent:
                way = rng.normal(size=3)
                body[child] = body[parent] + 0.3 * way / np.linalg.norm(way)
                placed.append(child)
    sway = 0.2 * np.sin(np.arange(T) / 4)[:, None, None, None] * [1, 0, 0]
    return (body[None, None] + sway + [0.5, 0.2, 3.0]).astype(np.float32)


def at_zero(joints: np.ndarray, scores: np.ndarray, at: tuple) -> None:
    joints[at] = 0


def at_minus_one(joints: np.ndarray, scores: np.ndarray, at: tuple) -> None:
    joints[at] = -1


def nan(joints: np.ndarray, scores: np.ndarray, at: tuple) -> None:
    joints[at] = np.nan


def one_nan(joints: np.ndarray, scores: np.ndarray, at: tuple) -> None:
    joints[at][..., 0] = np.nan


def no_score(joints: np.ndarray, scores: np.ndarray, at: tuple) -> None:
    scores[at] = 0


def nan_score(joints: np.ndarray, scores: np.ndarray, at: tuple) -> None:
    scores[at] = np.nan


SPELLINGS = [at_zero, at_minus_one, nan, one_nan, no_score, nan_score]


@pytest.mark.parametrize("spell", SPELLINGS)
def test_an_unseen_joint_of_a_flat_clip_has_the_score_0(spell: Spell) -> None:
    joints, scores = flat_person()
    spell(joints, scores, (slice(3, 30), 0, 9))
    reading = reading_of_slots(SAMPLE, joints, FLAT, scores=scores)
    assert reading.clip is not None
    assert not reading.clip.joints[3:30, 0, 9].any()
    assert (reading.clip.joints[30:, 0, 9, 2] == np.float32(0.9)).all()
    assert reading.counts == {UNSCORED: 27}


@pytest.mark.parametrize("spell", SPELLINGS)
def test_a_frame_without_anybody_is_dropped_and_counted(spell: Spell) -> None:
    joints, scores = flat_person()
    spell(joints, scores, (slice(10, 14),))
    reading = reading_of_slots(SAMPLE, joints, FLAT, scores=scores)
    assert reading.clip is not None and len(reading.clip.joints) == 36
    assert reading.counts == {EMPTY: 4}


@pytest.mark.parametrize("spell", SPELLINGS[:4])
def test_a_body_that_is_never_seen_is_no_body(spell: Spell) -> None:
    joints, _ = flat_person()
    two = np.concatenate([joints, joints], axis=1)
    spell(two, np.ones(two.shape[:3]), (slice(None), 0))
    reading = reading_of_slots(SAMPLE, two, FLAT)
    assert reading.clip is not None and reading.clip.joints.shape[1] == 1
    assert [fate.body_id for fate in reading.fates] == ["body 1"]
    spell(two, np.ones(two.shape[:3]), (slice(None), 1))
    nobody = reading_of_slots(SAMPLE, two, FLAT)
    assert nobody.clip is None and nobody.counts == {BODILESS: 1}


def read_3d(joints: np.ndarray, scores: np.ndarray | None = None) -> Reading:
    return reading_of_slots(SAMPLE, joints, SPATIAL, scores=scores)


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize("length", [1, LONGEST_GAP])
def test_a_short_gap_of_a_3d_joint_is_interpolated(spell: Spell, length: int) -> None:
    truth = person()
    joints, scores = truth.copy(), np.ones(truth.shape[:3])
    spell(joints, scores, (slice(12, 12 + length), 0, 7))
    reading = read_3d(joints, scores)
    assert reading.clip is not None and reading.counts == {FILLED: length}
    ends = truth[11, 0, 7], truth[12 + length, 0, 7]
    middle = reading.clip.joints[12, 0, 7]
    np.testing.assert_allclose(middle, ends[0] + (ends[1] - ends[0]) / (length + 1), atol=1e-5)
    np.testing.assert_array_equal(np.delete(reading.clip.joints, 7, 2), np.delete(truth, 7, 2))


@pytest.mark.parametrize("spell", SPELLINGS[:4])
@pytest.mark.parametrize("hidden", [slice(5, 6 + LONGEST_GAP), slice(0, 40)])
def test_a_clip_with_a_long_gap_is_left_out(spell: Spell, hidden: slice) -> None:
    joints = person()
    spell(joints, np.ones(joints.shape[:3]), (hidden, 0, 7))
    reading = read_3d(joints)
    assert reading.clip is None and reading.fault is None
    assert reading.counts == {GAPS: 1}


def test_gaps_at_the_ends_take_the_nearest_place() -> None:
    joints = person()
    truth = joints.copy()
    joints[:4, 0, 7] = 0
    reading = read_3d(joints)
    assert reading.clip is not None
    np.testing.assert_array_equal(reading.clip.joints[:4, 0, 7], [truth[4, 0, 7]] * 4)


@pytest.mark.parametrize("frames", [slice(None), slice(0, 1)])
@pytest.mark.parametrize("joint", [0, 2, 7])
def test_a_joint_that_the_set_is_centred_on_is_at_the_origin(frames: slice, joint: int) -> None:
    joints = person()
    joints -= (
        joints[frames, :, joint : joint + 1]
        if frames.start is None
        else joints[:1, :, joint : joint + 1]
    )
    reading = read_3d(joints)
    assert reading.clip is not None and reading.counts == {}
    np.testing.assert_array_equal(reading.clip.joints, joints)


def test_a_missing_hand_of_a_centred_set_is_unseen_all_the_same() -> None:
    joints = person()
    joints -= joints[:, :, :1]
    truth = joints.copy()
    joints[20:23, 0, 7] = 0
    reading = read_3d(joints)
    assert reading.clip is not None and reading.counts == {FILLED: 3}
    np.testing.assert_allclose(reading.clip.joints, truth, atol=0.05)


def test_a_position_that_is_infinite_is_a_bad_sample() -> None:
    joints = person()
    joints[3, 0, 4, 1] = np.inf
    reading = read_3d(joints)
    assert reading.fault is not None and "not a finite number" in reading.fault
