from __future__ import annotations

import numpy as np
import pytest

from lastkd.data.layouts import Layout, get_layout
from lastkd.data.normalise import centre_and_scale

NTU = get_layout("ntu25")
COCO = get_layout("coco17")
SPINE_BASE, LEFT_SHOULDER, RIGHT_SHOULDER, SPINE_SHOULDER = 0, 4, 8, 20


def two_people(T: int = 12) -> np.ndarray:
    """`(T, 2, 25, 3)` without any symmetry."""
    rng = np.random.default_rng(1)
    joints = rng.normal(size=(1, 2, 25, 3)) + 0.1 * rng.normal(size=(T, 2, 25, 3))
    return (joints + np.array([0.3, 0.2, 3.0])).astype(np.float32)


def turned_about_y(joints: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (joints @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T).astype(np.float32)


def torso(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(joints[:, 0, SPINE_SHOULDER] - joints[:, 0, SPINE_BASE], axis=-1)


def test_spine_base_of_the_first_frame_is_the_origin() -> None:
    out = centre_and_scale(two_people(), NTU)
    np.testing.assert_allclose(out[0, 0, SPINE_BASE], 0, atol=1e-6)
    assert np.abs(out[1, 0, SPINE_BASE]).max() > 1e-3
    assert out.dtype == np.float32


def test_first_shoulders_lie_along_x_from_left_to_right() -> None:
    out = centre_and_scale(two_people(), NTU)
    x, y, z = out[0, 0, RIGHT_SHOULDER] - out[0, 0, LEFT_SHOULDER]
    assert x > 0.1
    assert z == pytest.approx(0, abs=1e-6)
    assert abs(y) > 1e-3, "only a turn about y: the shoulders keep their slope"


def test_mean_torso_length_is_one() -> None:
    assert torso(centre_and_scale(two_people(), NTU)).mean() == pytest.approx(1, abs=1e-5)


def test_place_heading_and_size_of_the_recording_leave_no_trace() -> None:
    joints = two_people()
    elsewhere = turned_about_y(joints * np.float32(1.7), 130) + np.float32([5, -1, 2])
    np.testing.assert_allclose(
        centre_and_scale(elsewhere, NTU), centre_and_scale(joints, NTU), atol=1e-4
    )


def test_it_is_a_rotation_and_no_reflection() -> None:
    joints = two_people()
    out = centre_and_scale(joints, NTU)

    def handedness(points: np.ndarray) -> float:
        return float(np.linalg.det(points[[1, 5, 9]] - points[0]))

    assert np.sign(handedness(out[0, 0])) == np.sign(handedness(joints[0, 0]))
    gaps, out_gaps = (np.linalg.norm(p[:, 0] - p[:, 1], axis=-1) for p in (joints, out))
    np.testing.assert_allclose(out_gaps / gaps, out_gaps[0, 0] / gaps[0, 0], rtol=1e-4)


def test_absent_bodies_stay_exactly_zero() -> None:
    joints = two_people()
    joints[:4, 1] = 0
    joints[7, 0] = 0
    out = centre_and_scale(joints, NTU)
    assert not out[:4, 1].any()
    assert not out[7, 0].any()
    assert out[4:, 1].any(axis=(1, 2)).all()


def test_the_first_frame_is_the_first_with_actor_1() -> None:
    joints = two_people()
    joints[:3, 0] = 0
    out = centre_and_scale(joints, NTU)
    np.testing.assert_allclose(out[3, 0, SPINE_BASE], 0, atol=1e-6)
    np.testing.assert_allclose(torso(out)[3:].mean(), 1, atol=1e-5)
    np.testing.assert_allclose(out[3:], centre_and_scale(joints[3:], NTU), atol=1e-6)


def test_a_clip_already_in_place_with_its_origin_joint_at_zero_is_not_taken_for_absent() -> None:
    once = centre_and_scale(two_people(), NTU)
    np.testing.assert_allclose(centre_and_scale(once, NTU), once, atol=1e-5)


def test_shoulders_above_each_other_are_not_turned() -> None:
    joints = two_people()
    joints[0, 0, RIGHT_SHOULDER, [0, 2]] = joints[0, 0, LEFT_SHOULDER, [0, 2]]
    out = centre_and_scale(joints, NTU)
    direction = joints[1, 1, 3] - joints[0, 0, SPINE_BASE]
    cosine = direction @ out[1, 1, 3] / np.linalg.norm(direction) / np.linalg.norm(out[1, 1, 3])
    assert cosine == pytest.approx(1, abs=1e-5)


def test_a_torso_without_length_leaves_the_scale() -> None:
    joints = two_people()
    joints[:, :, SPINE_SHOULDER] = joints[:, :, SPINE_BASE]
    out = centre_and_scale(joints, NTU)
    height = joints[5, 1, 3, 1] - joints[0, 0, SPINE_BASE, 1]
    assert np.isfinite(out).all()
    assert out[5, 1, 3, 1] == pytest.approx(height, abs=1e-5)


def test_nobody_at_all_stays_nobody() -> None:
    assert not centre_and_scale(np.zeros((4, 2, 25, 3), np.float32), NTU).any()


def test_without_a_torso_the_mean_bone_is_the_unit() -> None:
    layout = Layout(name="chain", joints=("a", "b", "c"), parents=(-1, 0, 1), centre=1)
    joints = np.array([[0, 1, 0], [0, 3, 0], [0, 7, 0]], np.float32)[None, None]
    out = centre_and_scale(joints, layout)
    np.testing.assert_allclose(out[0, 0, :, 1], [-2 / 3, 0, 4 / 3], atol=1e-6)


def test_the_input_is_left_as_it_was() -> None:
    joints = two_people()
    before = joints.copy()
    centre_and_scale(joints, NTU)
    np.testing.assert_array_equal(joints, before)


def image_pose() -> np.ndarray:
    rng = np.random.default_rng(2)
    joints = rng.uniform(100, 400, size=(6, 2, 17, 3)).astype(np.float32)
    joints[..., 2] = rng.uniform(0.2, 0.9, size=joints.shape[:3])
    joints[:, :, [5, 6], 1] = 100
    joints[:, :, [11, 12], 1] = 300
    joints[:, :, [5, 6, 11, 12], 0] = [200, 300, 200, 300]
    return joints


def test_2d_is_moved_and_scaled_but_not_turned_and_keeps_its_scores() -> None:
    joints = image_pose()
    out = centre_and_scale(joints, COCO)
    np.testing.assert_array_equal(out[..., 2], joints[..., 2])
    np.testing.assert_allclose(out[..., :2], (joints[..., :2] - [250, 300]) / 200, atol=1e-5)


def test_2d_y_still_points_down() -> None:
    out = centre_and_scale(image_pose(), COCO)
    assert (out[:, 0, 5, 1] < out[:, 0, 11, 1]).all()


def test_2d_joint_that_was_not_seen_stays_zero_and_counts_for_nothing() -> None:
    joints = image_pose()
    unseen = joints.copy()
    unseen[0, 0, 3] = 0
    unseen[2, 0, 5] = 0
    out, whole = centre_and_scale(unseen, COCO), centre_and_scale(joints, COCO)
    assert not out[0, 0, 3].any()
    assert not out[2, 0, 5].any()
    seen = unseen.any(axis=-1)
    np.testing.assert_allclose(out[seen], whole[seen], atol=1e-5)
