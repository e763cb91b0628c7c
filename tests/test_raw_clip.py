"""One raw clip in torch: the same streams as by centring, store and evaluation view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shared

from lastkd.data.bodies import choose_bodies
from lastkd.data.clip import Clip, FloatArray
from lastkd.data.formats.datasets.ntu_skeleton import read_skeleton
from lastkd.data.layouts import get_layout, layout_names
from lastkd.data.normalise import centre_and_scale
from lastkd.data.raw_clip import SingleClip
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.writer import StoreWriter
from lastkd.data.views import Views
from lastkd.settings.views import ViewSettings

SETTINGS = ViewSettings(frames=24, crop_min=0.5, test_crop=0.95, turn_degrees=15, scale=0.1)


def by_store(joints: FloatArray, layout: str, folder: Path) -> dict[str, torch.Tensor]:
    """The long way: centred in numpy, written, opened, cut."""
    skeleton = get_layout(layout)
    with StoreWriter(folder, skeleton) as writer:
        writer.add(Clip("clip", 0, centre_and_scale(joints, skeleton)))
        writer.finish(class_names=["one"], splits={}, source="a test", counts={})
    views = Views(ClipStore.open(folder), SETTINGS, torch.device("cpu"))
    return views.evaluation(np.array([0]))


def compare(joints: FloatArray, layout: str, folder: Path) -> None:
    expected = by_store(joints, layout, folder)
    streams, bodies = SingleClip(get_layout(layout), SETTINGS)(torch.from_numpy(joints))
    M = expected["joint"].shape[-1]
    assert bodies.tolist() == [M]
    for name, stream in streams.items():
        torch.testing.assert_close(stream[..., :M], expected[name], rtol=1e-4, atol=1e-5)
        assert not stream[..., M:].any()


def made_up(layout: str, frames: int, bodies: int) -> FloatArray:
    skeleton, chance = get_layout(layout), np.random.default_rng(frames)
    shape = (frames, bodies, skeleton.num_joints, 3)
    walk = chance.normal(size=shape).cumsum(axis=0) * 0.03
    joints = (chance.normal(size=(1, *shape[1:])) * 0.4 + walk + [0.5, 0.2, 3]).astype(np.float32)
    if skeleton.dimensions == 2:
        joints[..., :2] = 400 + 100 * joints[..., :2]
        joints[..., 2] = chance.uniform(0.1, 1, shape[:-1])
        joints[chance.uniform(size=shape[:-1]) < 0.1] = 0  # not every joint is seen
    return joints


@pytest.mark.parametrize("layout", layout_names())
@pytest.mark.parametrize(("frames", "bodies"), [(2, 1), (71, 1), (40, 2)])
def test_every_layout_and_length(layout: str, frames: int, bodies: int, tmp_path: Path) -> None:
    compare(made_up(layout, frames, bodies), layout, tmp_path / "store")


@pytest.mark.parametrize("layout", ["ntu25", "coco17"])
def test_bodies_that_come_and_go_and_one_that_never_was(layout: str, tmp_path: Path) -> None:
    joints = made_up(layout, 50, 2)
    joints[:3, 0] = 0  # actor 1 comes late: its first own frame decides the place
    joints[20:31, 0] = 0
    joints[:25, 1] = 0
    compare(joints, layout, tmp_path / "store")
    three = np.concatenate([joints, np.zeros_like(joints[:, :1])], axis=1)
    compare(three, layout, tmp_path / "three")


def test_shoulders_one_above_the_other_are_not_turned(tmp_path: Path) -> None:
    joints = made_up("ntu25", 10, 1)
    joints[0, 0, 8] = joints[0, 0, 4] + np.float32([0, 0.4, 0])
    compare(joints, "ntu25", tmp_path / "store")


def test_the_six_real_files(tmp_path: Path) -> None:
    for file in sorted(shared("data", "ntu_samples").glob("*.skeleton")):
        recording = read_skeleton(file)
        chosen = choose_bodies(recording.tracks, recording.total_frames, 25)
        compare(chosen.joints, "ntu25", tmp_path / file.stem)


@pytest.mark.parametrize("hidden", [(11, 12), tuple(range(11, 17)), tuple(range(5, 17))])
def test_joints_that_are_never_seen_are_measured_round(
    hidden: tuple[int, ...], tmp_path: Path
) -> None:
    joints = made_up("coco17", 40, 1)
    joints[:, :, list(hidden)] = 0
    compare(joints, "coco17", tmp_path / "store")
