from __future__ import annotations

import numpy as np
import pytest

from lastkd.data.clip import Clip
from lastkd.data.ntu import (
    NTU_60,
    NTU_120,
    XSUB_60_TRAIN,
    XSUB_120_TRAIN,
    Benchmark,
    SampleName,
    benchmark_of,
    missing_samples,
)


def sample(setup: int = 1, camera: int = 1, performer: int = 1, action: int = 1) -> SampleName:
    return SampleName(setup, camera, performer, 1, action)


def clip_of(name: SampleName) -> Clip:
    joints = np.zeros((0, 1, 25, 3), np.float32)
    return Clip(str(name), name.label, joints, name.performer, name.camera, name.setup)


def test_name_says_where_who_and_what() -> None:
    name = SampleName.parse("S017C003P020R002A060")
    assert name == SampleName(setup=17, camera=3, performer=20, replication=2, action=60)
    assert name.label == 59
    assert str(name) == "S017C003P020R002A060"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "S001C001P001R001A001.skeleton",
        "s001c001p001r001a001",
        "S001C001P001R001A1",
        "S001C001P001R001",
        "S001C001P001R001A000",
        "S001C001P001R001A121",
        "S000C001P001R001A001",
        "S001C001P001R001A00\u0661",
    ],
)
def test_other_names_are_not_ntu(text: str) -> None:
    assert SampleName.parse(text) is None


def test_one_list_of_missing_samples_serves_both_benchmarks() -> None:
    missing = missing_samples()
    assert len(missing) == 535 == NTU_120.samples - NTU_120.used
    names = [SampleName.parse(name) for name in missing]
    in_ntu_60 = [n for n in names if n is not None and n.setup <= 17 and n.action <= 60]
    assert None not in names
    assert len(in_ntu_60) == 302 == NTU_60.samples - NTU_60.used
    assert "S001C002P005R002A008" in missing


def test_120_classes_of_which_the_first_60_are_ntu_60() -> None:
    names = NTU_120.class_names
    assert len(names) == len(set(names)) == 120
    assert NTU_60.class_names == names[:60]
    by_action = {
        1: "drink water",
        2: "eat meal",
        9: "stand up",
        24: "kicking something",
        43: "falling down",
        50: "punch/slap",
        58: "shaking hands",
        60: "walking apart",
        61: "put on headphone",
        84: "play magic cube",
        95: "capitulate",
        105: "blow nose",
        106: "hit with object",
        112: "high-five",
        120: "rock-paper-scissors",
    }
    assert {action: names[action - 1] for action in by_action} == by_action


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([sample(setup=17, action=60)], NTU_60),
        ([sample(), sample(action=61)], NTU_120),
        ([sample(), sample(setup=18)], NTU_120),
    ],
)
def test_an_action_above_60_or_a_setup_above_17_tells_ntu_120(
    names: list[SampleName], expected: Benchmark
) -> None:
    assert benchmark_of(names) is expected


def test_half_of_the_performers_train() -> None:
    assert len(XSUB_60_TRAIN) == NTU_60.performers // 2
    assert len(XSUB_120_TRAIN) == NTU_120.performers // 2
    assert XSUB_60_TRAIN < XSUB_120_TRAIN <= set(range(1, 107))
    assert {1, 13, 19, 38} <= XSUB_60_TRAIN
    assert not {3, 12, 20, 40} & XSUB_60_TRAIN
    assert {45, 59, 80, 86, 91, 95, 103} <= XSUB_120_TRAIN
    assert not {51, 60, 79, 87, 90, 96, 106} & XSUB_120_TRAIN


def test_ntu_60_splits_by_performer_and_camera() -> None:
    first, second = sample(performer=1, camera=1), sample(performer=3, camera=2)
    splits = NTU_60.split_clips([clip_of(first), clip_of(second)])
    assert splits == {
        "xsub": {"train": [str(first)], "test": [str(second)]},
        "xview": {"train": [str(second)], "test": [str(first)]},
    }


def test_ntu_120_splits_by_performer_and_setup() -> None:
    even, odd = sample(setup=32, performer=106), sample(setup=31, performer=103)
    splits = NTU_120.split_clips([clip_of(even), clip_of(odd)])
    assert splits == {
        "xsub": {"train": [str(odd)], "test": [str(even)]},
        "xset": {"train": [str(even)], "test": [str(odd)]},
    }
