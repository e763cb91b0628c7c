"""Views: resampling, augmentation and streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.writer import StoreWriter
from lastkd.data.views import Views
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings

CPU = torch.device("cpu")


def settings(**given: object) -> TrainSettings:
    return resolve(TrainSettings, {"model": "last_e_nano", **given})


def views_of(
    tmp_path: Path, clips: list[np.ndarray], layout: str = "ntu25", **given: object
) -> Views:
    with StoreWriter(tmp_path / "s", get_layout(layout)) as writer:
        for number, joints in enumerate(clips):
            writer.add(Clip(f"c{number}", 0, joints.astype(np.float32)))
        writer.finish(class_names=["a"], splits={}, source="made up", counts={})
    return Views(ClipStore.open(tmp_path / "s"), settings(**given), CPU)


def moving(frames: int, bodies: int = 1) -> np.ndarray:
    """Joints that move evenly: x of every joint is the frame's number plus one."""
    joints = np.random.default_rng(0).normal(size=(1, bodies, 25, 3)).repeat(frames, axis=0)
    joints[..., 0] = np.arange(1, frames + 1)[:, None, None]
    return joints


def test_the_centre_crop_spans_95_percent_of_the_real_frames(tmp_path: Path) -> None:
    views = views_of(tmp_path, [moving(101), moving(41)])
    joint = views.evaluation(np.array([0, 1]))["joint"]
    assert joint.shape == (2, 3, 64, 25, 1)
    for clip, last in ((0, 100), (1, 40)):
        x = joint[clip, 0, :, 3, 0]
        assert x[0].item() == pytest.approx(1 + 0.025 * last, abs=1e-4)
        assert x[-1].item() == pytest.approx(1 + 0.975 * last, abs=1e-4)
        torch.testing.assert_close(x.diff(), x.diff()[0].expand(63), atol=1e-4, rtol=0)


def test_training_crops_span_50_to_100_percent_and_lie_anywhere(tmp_path: Path) -> None:
    views = views_of(tmp_path, [moving(101)] * 400, turn_degrees=0, scale=0)
    clips = np.arange(400)
    x = views.training(clips, views.draw(0, 1))["joint"][:, 0, :, 0, 0]
    share = (x[:, -1] - x[:, 0]) / 100
    assert 0.5 <= share.min() < 0.52
    assert 0.98 < share.max() <= 1.0001
    assert x.min() >= 1
    assert x.max() <= 101.0001
    assert x[:, 0].std() > 5


def test_a_view_is_a_function_of_seed_epoch_and_clip_alone(store_path: Path) -> None:
    views = Views(ClipStore.open(store_path), settings(), CPU)
    draws = views.draw(3, 5)
    whole = views.training(np.arange(20), draws)
    some = views.training(np.array([11, 2]), draws)
    for name, stream in some.items():
        assert torch.equal(stream, whole[name][[11, 2]])
    again = Views(ClipStore.open(store_path), settings(), CPU).draw(3, 5)
    assert torch.equal(draws, again)
    assert not torch.equal(draws, views.draw(3, 6))
    assert not torch.equal(draws, views.draw(4, 5))


def test_turn_keeps_heights_and_lengths_and_scale_changes_both_alike(tmp_path: Path) -> None:
    still = np.random.default_rng(1).normal(size=(1, 1, 25, 3)).repeat(30, axis=0)
    views = views_of(tmp_path, [still] * 200)
    joint = views.training(np.arange(200), views.draw(0, 1))["joint"][:, :, 0, :, 0]
    source = torch.tensor(still[0, 0]).float().T
    scale = joint[:, 1] / source[1]
    assert scale.std(dim=1).max() < 1e-4
    assert 0.9 <= scale.min() < 0.92
    assert 1.08 < scale.max() <= 1.1001
    flat = joint[:, [0, 2]].norm(dim=1) / source[[0, 2]].norm(dim=0)
    torch.testing.assert_close(flat, scale, atol=1e-4, rtol=1e-4)
    turned = torch.atan2(joint[:, 2, 0], joint[:, 0, 0]) - torch.atan2(source[2, 0], source[0, 0])
    degrees = torch.rad2deg(torch.atan2(turned.sin(), turned.cos()))
    assert 14 < degrees.abs().max() <= 15.001
    assert degrees.min() < 0 < degrees.max()


def test_velocity_and_bone_follow_from_the_same_joints(store_path: Path) -> None:
    store = ClipStore.open(store_path)
    views = Views(store, settings(), CPU)
    streams = views.training(np.arange(8), views.draw(0, 1))
    joint, velocity, bone = streams["joint"], streams["velocity"], streams["bone"]
    expected = joint[:, :, 1:] - joint[:, :, :-1]
    torch.testing.assert_close(velocity[:, :, :-1], expected)
    assert (velocity[:, :, -1] == 0).all()
    for child, parent in store.layout.bones:
        torch.testing.assert_close(
            bone[:, :, :, child], joint[:, :, :, child] - joint[:, :, :, parent]
        )
    assert (bone[:, :, :, store.layout.centre] == 0).all()


def test_an_absent_body_is_all_zeros_in_every_stream(tmp_path: Path) -> None:
    views = views_of(tmp_path, [moving(30), moving(30, bodies=2)])
    streams = views.training(np.array([0, 1]), views.draw(0, 1))
    for stream in streams.values():
        assert stream.shape[-1] == 2
        assert (stream[0, ..., 1] == 0).all()
    assert streams["joint"][1, ..., 1].abs().min() > 0
    assert views.bodies(np.array([0, 1])).tolist() == [1, 2]


def test_a_body_that_comes_later_makes_no_false_spike(tmp_path: Path) -> None:
    joints = moving(40, bodies=2)
    joints[..., 0] = 50 + np.arange(40)[:, None, None] * 0.1
    joints[:20, 1] = 0
    views = views_of(tmp_path, [joints])
    streams = views.evaluation(np.array([0]))
    x = streams["joint"][0, 0, :, 0, 1]
    assert set((x == 0).tolist()) == {True, False}
    assert x[x != 0].min() > 49  # never a mixture of a pose and nothing
    assert streams["velocity"][0, ..., 1].abs().max() < 1


def test_a_flat_skeleton_keeps_its_score_and_is_not_turned(tmp_path: Path) -> None:
    joints = np.random.default_rng(2).normal(size=(20, 1, 17, 3))
    joints[..., 2] = 0.25
    joints[:, :, 5, 2] = 0.75
    views = views_of(tmp_path, [joints] * 50, layout="coco17")
    streams = views.training(np.arange(50), views.draw(0, 1))
    for stream, score in (
        (streams["joint"][:, 2, :, 5], 0.75),
        (streams["bone"][:, 2], 0.25),
        (streams["velocity"][:, 2, :-1, 5], 0.75),
    ):
        torch.testing.assert_close(stream, torch.full_like(stream, score))
    ratio = streams["joint"][:, 0] / streams["joint"][:, 1]
    plain = views.training(np.arange(50), torch.full((50, 4), 0.5))["joint"]
    assert ratio.isfinite().all()
    assert plain.shape == (50, 3, 64, 17, 1)


AUGMENTED = {
    "mirror": 0.5,
    "shear": 0.2,
    "time_warp": 0.3,
    "joint_noise": 0.01,
    "dropped_joints": 0.1,
}


def test_augmentation_leaves_the_draws_of_crop_turn_and_scale_as_they_are(store_path: Path) -> None:
    store = ClipStore.open(store_path)
    plain = Views(store, settings(), CPU)
    further = Views(store, settings(**AUGMENTED), CPU)
    assert plain.draw(3, 5).shape[1] == 4
    assert torch.equal(plain.draw(3, 5), further.draw(3, 5)[:, :4])
    clips = np.arange(6)
    before, after = (views.training(clips, plain.draw(3, 5)) for views in (plain, further))
    for name, stream in before.items():
        assert torch.equal(stream, after[name])  # the four columns alone ask for nothing more


@pytest.mark.parametrize("given", [AUGMENTED, *({name: AUGMENTED[name]} for name in AUGMENTED)])
def test_an_augmented_view_is_a_function_of_seed_epoch_and_clip(
    store_path: Path, given: dict[str, float]
) -> None:
    views = Views(ClipStore.open(store_path), settings(**given), CPU)
    draws = views.draw(3, 5)
    whole = views.training(np.arange(20), draws)
    some = views.training(np.array([11, 2]), draws)
    plain = Views(ClipStore.open(store_path), settings(), CPU)
    unchanged = plain.training(np.arange(20), plain.draw(3, 5))
    for name, stream in some.items():
        assert torch.equal(stream, whole[name][[11, 2]])
        assert not torch.equal(whole[name], unchanged[name])


def test_the_mirror_swaps_left_and_right_but_not_in_classes_that_name_a_side(
    tmp_path: Path,
) -> None:
    joints = np.random.default_rng(3).normal(size=(12, 1, 25, 3)).astype(np.float32)
    names = ["wave", "swipe left", "draw circle (counter clockwise)", "upright"]
    with StoreWriter(tmp_path / "s", get_layout("ntu25")) as writer:
        for label in range(4):
            writer.add(Clip(f"c{label}", label, joints))
        writer.finish(class_names=names, splits={}, source="made up", counts={})
    store = ClipStore.open(tmp_path / "s")
    views = Views(store, settings(mirror=1.0, turn_degrees=0, scale=0, crop_min=1), CPU)
    joint = views.training(np.arange(4), views.draw(0, 1))["joint"]
    swapped = list(range(25))
    for left, right in store.layout.mirror:
        swapped[left], swapped[right] = right, left
    image = joint[1][:, :, swapped] * torch.tensor([-1.0, 1, 1])[:, None, None, None]
    for clip, mirrored in enumerate((True, False, False, True)):
        assert torch.equal(joint[clip], image if mirrored else joint[1])


def test_a_time_warp_keeps_both_ends_and_runs_forward(tmp_path: Path) -> None:
    given = {"crop_min": 1, "turn_degrees": 0, "scale": 0, "time_warp": 0.45}
    views = views_of(tmp_path, [moving(101)] * 50, **given)
    x = views.training(np.arange(50), views.draw(0, 1))["joint"][:, 0, :, 0, 0]
    torch.testing.assert_close(x[:, 0], torch.full((50,), 1.0))
    torch.testing.assert_close(x[:, -1], torch.full((50,), 101.0))
    assert (x.diff(dim=1) > 0).all()
    assert x[:, 32].std() > 2


def test_noise_has_the_size_asked_for_and_spares_absent_bodies(tmp_path: Path) -> None:
    still = np.ones((1, 1, 25, 3)).repeat(30, axis=0)
    pair = np.ones((30, 2, 25, 3))
    given = {"turn_degrees": 0, "scale": 0, "joint_noise": 0.02}
    views = views_of(tmp_path, [still] * 99 + [pair], **given)
    joint = views.training(np.arange(100), views.draw(0, 1))["joint"]
    noise = joint[..., 0] - 1
    assert noise.std().item() == pytest.approx(0.02, rel=0.02)
    assert noise.mean().abs() < 1e-3
    assert (joint[:99, ..., 1] == 0).all()
    flat = torch.corrcoef(noise.flatten(1))
    assert (flat - torch.eye(100)).abs().max() < 0.1  # each clip has noise of its own


def test_a_dropped_joint_takes_its_parents_place_throughout_a_view(tmp_path: Path) -> None:
    joints = np.random.default_rng(4).normal(size=(1, 1, 25, 3)).repeat(20, axis=0)
    views = views_of(tmp_path, [joints] * 200, dropped_joints=0.2)
    bone = views.training(np.arange(200), views.draw(0, 1))["bone"][..., 0]
    gone = (bone == 0).all(dim=1)  # (B, T, V)
    assert torch.equal(gone.any(dim=1), gone.all(dim=1))
    children = [child for child, _ in views.store.layout.bones]
    assert gone[:, 0, children].float().mean().item() == pytest.approx(0.2, abs=0.03)
