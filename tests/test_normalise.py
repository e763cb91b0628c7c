from __future__ import annotations

import numpy as np
import pytest

from lastkd.data.layouts import get_layout
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


def test_a_torso_without_length_is_measured_by_other_parts_of_the_body() -> None:
    joints = two_people()
    joints[:, :, SPINE_SHOULDER] = joints[:, :, SPINE_BASE]
    out = centre_and_scale(joints, NTU)
    again = centre_and_scale(joints * np.float32(50), NTU)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(again, out, atol=1e-4)


def walker(T: int = 30) -> np.ndarray:
    """`(T, 1, 17, 3)`: an upright person in pixels, 500 high, who sways and waves."""
    person = np.zeros((17, 2))
    person[:5] = [[0, 0], [6, -6], [-6, -6], [14, -2], [-14, -2]]
    person[5:11] = [[50, 70], [-50, 70], [60, 145], [-60, 145], [65, 215], [-65, 215]]
    person[11:] = [[35, 215], [-35, 215], [38, 335], [-38, 335], [40, 450], [-40, 450]]
    joints = np.ones((T, 1, 17, 3), np.float32)
    joints[..., :2] = person + np.array([900, 300])
    joints[:, 0, :, 0] += 30 * np.sin(np.arange(T) / 5)[:, None]
    joints[:, 0, 9, 1] -= 60 * np.arange(T) / T
    return joints


@pytest.mark.parametrize("legs", [True, False])
@pytest.mark.parametrize("pixels", [1.0, 0.2])
def test_a_clip_whose_hips_are_never_seen_has_nearly_the_same_size(
    legs: bool, pixels: float
) -> None:
    joints = walker()
    joints[..., :2] *= np.float32(pixels)
    whole = centre_and_scale(joints, COCO)
    hidden = joints.copy()
    hidden[:, :, 11 : 13 if legs else 17] = 0
    out = centre_and_scale(hidden, COCO)
    height = np.ptp(out[0, 0, [0, 9], 1]) / np.ptp(whole[0, 0, [0, 9], 1])
    assert 0.75 < height < 1.3
    assert not out[:, :, 11:13].any()


def test_a_face_alone_is_measured_by_its_bones() -> None:
    joints = walker()
    joints[:, :, 5:] = 0
    out, near = (centre_and_scale(j, COCO) for j in (joints, joints * np.float32([3, 3, 1])))
    assert 0.1 < np.ptp(out[0, 0, :5, 0]) < 10
    np.testing.assert_allclose(near, out, atol=1e-4)
