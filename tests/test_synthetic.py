"""The procedural set: reproducible, anatomically sound, and neither trivial nor hopeless."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lastkd.data.clip import Clip
from lastkd.data.synthetic.actions import ACTIONS, TIMING_PAIRS
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.data.synthetic.skeleton_files import write_skeleton_files
from lastkd.data.synthetic.source import SyntheticSource

CLEAN = {"noise_m": 0.0, "dropped_joint_share": 0.0}
PLAIN = {
    **CLEAN,
    "turn_degrees": 0.0,
    "proportion_spread": 0.0,
    "posture_degrees": 0.0,
    "style_degrees": 0.0,
    "sway_degrees": 0.0,
    "amplitude_spread": 0.0,
    "timing_spread": 0.0,
    "tempo_warp": 0.0,
    "framing_spread": 0.0,
    "echo": 0.0,
    "left_handed_share": 0.0,
    "other_hand_share": 0.0,
    "distractor_share": 0.0,
    "min_frames": 200,
    "max_frames": 200,
}
"""Every subject and every repetition moves the same way."""

LEFT_HAND, RIGHT_HAND, LEFT_FOOT, RIGHT_FOOT, HEAD, SPINE_BASE = 7, 11, 15, 19, 3, 0


def source(**settings: float) -> SyntheticSource:
    defaults = {"subjects": 4, "clips_per_subject_and_action": 1}
    return SyntheticSource(SyntheticSettings.model_validate({**defaults, **settings}))


def label_of(name: str) -> int:
    return [action.name for action in ACTIONS].index(name)


def test_the_same_seed_gives_the_same_bytes() -> None:
    once, again = list(source()), list(source())
    assert [clip.name for clip in once] == [clip.name for clip in again]
    assert all(a.joints.tobytes() == b.joints.tobytes() for a, b in zip(once, again, strict=True))


def test_a_clip_depends_neither_on_the_size_of_the_set_nor_on_the_order() -> None:
    large = {clip.name: clip for clip in source(subjects=5, clips_per_subject_and_action=2)}
    small = source(subjects=2)
    backwards = [small.clip(s, k, 0) for s in (1, 0) for k in reversed(range(len(ACTIONS)))]
    for clip in backwards:
        np.testing.assert_array_equal(clip.joints, large[clip.name].joints)


def test_another_seed_subject_or_repetition_gives_another_clip() -> None:
    clips = [
        source().clip(0, 0, 0),
        source(seed=1).clip(0, 0, 0),
        source().clip(1, 0, 0),
        source().clip(0, 0, 1),
    ]
    assert len({clip.joints.tobytes() for clip in clips}) == 4


def test_shapes_names_and_lengths() -> None:
    src = source(subjects=3, clips_per_subject_and_action=2, min_frames=30, max_frames=50)
    clips = list(src)
    assert len(clips) == len(src) == 3 * 2 * len(ACTIONS)
    assert len({clip.name for clip in clips}) == len(clips)
    assert src.layout.name == "ntu25"
    assert len(src.class_names) == len(set(src.class_names)) == len(ACTIONS) >= 14
    for clip in clips:
        T, M, V, C = clip.joints.shape
        assert clip.joints.dtype == np.float32 and np.isfinite(clip.joints).all()
        assert 30 <= T <= 50 and (V, C) == (25, 3)
        assert ACTIONS[clip.label].bodies == M
        assert clip.joints.any(axis=(2, 3)).all(), "no body is ever absent"
        performer, repetition, action = clip.name[9:12], clip.name[13:16], clip.name[17:20]
        assert clip.name == f"S001C001P{performer}R{repetition}A{action}"
        assert (int(performer), int(action)) == (clip.performer, clip.label + 1)
        assert (clip.setup, clip.camera) == (1, 1)
    assert len({len(clip.joints) for clip in clips}) > 5


def test_the_split_keeps_subjects_apart() -> None:
    src = source(subjects=6)
    clips = list(src)
    parts = src.splits(clips)["xsub"]
    train = {name[9:12] for name in parts["train"]}
    test = {name[9:12] for name in parts["test"]}
    assert train == {"001", "003", "005"} and test == {"002", "004", "006"}
    assert sorted([*parts["train"], *parts["test"]]) == sorted(clip.name for clip in clips)


def test_bones_keep_their_length_without_the_sensor() -> None:
    src = source(**CLEAN)
    leaders: dict[int, list[np.ndarray]] = {}
    for clip in src:
        children, parents = np.array(src.layout.bones).T
        bones = clip.joints[:, :, children] - clip.joints[:, :, parents]
        lengths = np.linalg.norm(bones, axis=-1)
        assert np.ptp(lengths, axis=0).max() < 1e-4
        assert lengths.min() > 0.02
        if lengths.shape[1] == 1:
            leaders.setdefault(clip.performer, []).append(lengths[0, 0])
    for lengths_of_one in leaders.values():
        assert np.ptp(lengths_of_one, axis=0).max() < 1e-4
    assert np.ptp([lengths[0] for lengths in leaders.values()], axis=0).max() > 0.005


def test_people_stand_upright_before_the_camera() -> None:
    for clip in source():
        first = clip.joints[0, 0]
        assert first[:, 1].argmax() == HEAD
        assert first[[LEFT_FOOT, RIGHT_FOOT], 1].max() < first[[13, 17, SPINE_BASE], 1].min()
        assert 1.2 < np.ptp(first[:, 1]) < 2.2
        assert 1.0 < first[SPINE_BASE, 2] < 5.0


def test_left_and_right_are_mirrored_and_follow_the_sensor() -> None:
    src = source(**PLAIN)
    left = src.clip(0, label_of("raise the left arm"), 0).joints[100, 0]
    right = src.clip(0, label_of("raise the right arm"), 0).joints[100, 0]
    # x grows to the sensor's left, which is the right of a person who faces it
    assert left[LEFT_HAND, 0] < left[SPINE_BASE, 0] < left[RIGHT_HAND, 0]
    assert left[LEFT_HAND, 1] > left[HEAD, 1] > left[RIGHT_HAND, 1]
    assert right[RIGHT_HAND, 1] > right[HEAD, 1] > right[LEFT_HAND, 1]
    swapped = (left - left[SPINE_BASE]) * (-1, 1, 1)
    for a, b in src.layout.mirror:
        swapped[[a, b]] = swapped[[b, a]]
    np.testing.assert_allclose(swapped, right - right[SPINE_BASE], atol=1e-5)
    kicking = src.clip(0, label_of("kick with the left foot"), 0).joints[:, 0]
    assert np.ptp(kicking[:, LEFT_FOOT], axis=0).max() > 0.5
    assert np.ptp(kicking[:, RIGHT_FOOT], axis=0).max() < 0.2


@pytest.mark.parametrize(("one", "other"), TIMING_PAIRS)
def test_timing_pairs_visit_the_same_poses_at_other_times(one: int, other: int) -> None:
    src = source(**PLAIN)
    poses = []
    for label in (one, other):
        joints = src.clip(0, label, 0).joints[:, 0].astype(np.float64)
        place = joints[:, SPINE_BASE, None].copy()
        place[..., 1] = joints[:, :, 1].min(axis=1)[:, None]
        poses.append(joints - place)
    distances = np.abs(poses[0][:, None] - poses[1][None]).max(axis=(2, 3))
    assert max(distances.min(axis=0).max(), distances.min(axis=1).max()) < 0.04
    assert distances.diagonal().max() > 0.06


def test_two_people_shake_hands_and_walk() -> None:
    src = source(**PLAIN)

    def gaps(name: str, joint: int) -> np.ndarray:
        joints = src.clip(0, label_of(name), 0).joints
        apart: np.ndarray = joints[:, 0, joint] - joints[:, 1, joint]
        distance: np.ndarray = np.sqrt((apart**2).sum(axis=-1))
        return distance

    assert gaps("shake hands", RIGHT_HAND).min() < 0.4 < gaps("shake hands", LEFT_HAND).min()
    towards = gaps("walk towards each other", SPINE_BASE)
    apart = gaps("back away from each other", SPINE_BASE)
    assert towards[0] - towards[-1] > 1.0 and apart[-1] - apart[0] > 1.0


def test_the_body_that_moves_most_comes_first() -> None:
    for clip in source(**CLEAN):
        moved = clip.joints.astype(np.float64).var(axis=(0, 2)).sum(axis=-1)
        wide = np.ptp(clip.joints[..., 0], axis=2) > 0.8 * np.ptp(clip.joints[..., 1], axis=2)
        if clip.joints.shape[1] == 2 and not wide.any():
            assert moved[0] >= moved[1]


def test_the_sensor_adds_noise_and_loses_joints() -> None:
    clean, noisy, lossy = (
        source(**{**CLEAN, **changed}).clip(0, 0, 0).joints
        for changed in ({}, {"noise_m": 0.01}, {"dropped_joint_share": 0.1})
    )
    assert 0.006 < np.std(noisy - clean) < 0.016
    touched = (np.abs(lossy - clean) > 1e-6).any(axis=-1).mean()
    assert 0.04 < touched < 0.14
    assert np.abs(lossy - clean).max() > 0.1


def test_settings_say_what_is_wrong() -> None:
    with pytest.raises(ValidationError, match="max_frames 20 is below min_frames 40"):
        SyntheticSettings(max_frames=20)
    with pytest.raises(ValidationError, match="Extra inputs"):
        SyntheticSettings.model_validate({"noise": 1})
    assert all(field.description for field in SyntheticSettings.model_fields.values())


def parsed(text: str) -> list[dict[str, np.ndarray]]:
    """Body id -> joints of every frame, by the description of the format alone."""
    lines = iter(text.splitlines())
    frames = []
    for _ in range(int(next(lines))):
        bodies = {}
        for _ in range(int(next(lines))):
            head = next(lines).split()
            assert len(head) == 10 and len(head[0]) == 17 and head[0].startswith("7205759403793")
            joints = [next(lines).split() for _ in range(int(next(lines)))]
            assert len(joints) == 25 and {len(row) for row in joints} == {12}
            assert {row[11] for row in joints} == {"2"}
            bodies[head[0]] = np.array([[float(number) for number in row[:3]] for row in joints])
        frames.append(bodies)
    assert next(lines, None) is None
    return frames


def test_raw_text_reads_back(tmp_path: Path) -> None:
    src = source()
    clips = [src.clip(0, 0, 0), src.clip(1, label_of("push somebody"), 0)]
    partly = clips[1].joints.copy()
    partly[:7, 1] = 0.0
    partly[9] = 0.0
    clips.append(Clip("S001C001P001R009A014", 13, partly))
    assert write_skeleton_files(iter(clips), tmp_path / "raw") == 3
    for clip in clips:
        frames = parsed((tmp_path / "raw" / f"{clip.name}.skeleton").read_text(encoding="utf-8"))
        ids = sorted({body for frame in frames for body in frame})
        assert len(ids) == clip.joints.shape[1]
        read = np.zeros(clip.joints.shape)
        for index, frame in enumerate(frames):
            for body, joints in frame.items():
                read[index, ids.index(body)] = joints
        np.testing.assert_allclose(read, clip.joints, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(read.astype(np.float32), clip.joints)
        if clip.joints is partly:
            assert [len(frame) for frame in frames[:11]] == [1] * 7 + [2, 2, 0, 2]


def test_the_raw_text_holds_only_the_kinects_joints(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"S1.*\(5, 1, 17, 3\)"):
        write_skeleton_files([Clip("S1", 0, np.ones((5, 1, 17, 3), np.float32))], tmp_path)


def crude_features(clip: Clip) -> np.ndarray:
    """How far each joint of the first body strays, and the number of bodies."""
    joints = clip.joints[:, 0] - clip.joints[:1, 0, :1]
    spread = np.concatenate([joints.std(axis=0).ravel(), np.ptp(joints, axis=0)[:, 1]])
    return np.append(spread, 0.5 * (clip.joints.shape[1] - 1))


def test_crude_features_do_better_than_chance_and_far_from_all() -> None:
    clips = list(source(subjects=10, clips_per_subject_and_action=2))
    features = np.stack([crude_features(clip) for clip in clips])
    labels = np.array([clip.label for clip in clips])
    train = np.array([clip.performer % 2 == 1 for clip in clips])
    centroids = np.stack(
        [features[train & (labels == k)].mean(axis=0) for k in range(len(ACTIONS))]
    )
    distances = np.linalg.norm(features[~train, None] - centroids, axis=-1)
    accuracy = float((distances.argmin(axis=1) == labels[~train]).mean())
    assert 3 / len(ACTIONS) < accuracy < 0.75


def test_a_thousand_clips_take_seconds() -> None:
    src = source()
    began = time.process_time()
    made = sum(1 for _ in src)
    assert (time.process_time() - began) / made < 0.02


def test_wrong_labels_are_those_of_training_clips_alone_and_change_nothing_else() -> None:
    sizes = {"subjects": 6, "clips_per_subject_and_action": 3}
    right = list(SyntheticSource(SyntheticSettings(**sizes)))
    given = list(SyntheticSource(SyntheticSettings(**sizes, wrong_label_share=0.25)))
    wrong = [a.label != b.label for a, b in zip(right, given, strict=True)]
    trains = [clip.performer % 2 == 1 for clip in right]
    assert not any(w for w, t in zip(wrong, trains, strict=True) if not t)
    assert sum(wrong) / sum(trains) == pytest.approx(0.25, abs=0.08)
    for a, b in zip(right, given, strict=True):
        assert np.array_equal(a.joints, b.joints)
