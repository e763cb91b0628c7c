"""NTU RGB+D 60 and 120: what a sample's name says, the benchmarks' splits, samples and classes.

Shahroudy et al., "NTU RGB+D: A Large Scale Dataset for 3D Human Activity Analysis" (CVPR 2016), and
Liu et al., "NTU RGB+D 120" (TPAMI 2020).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lastkd.data.clip import Clip, Part, Splits

KINECT_FPS = 30.0
"""Frames per second of a Kinect."""

_TEXTS = Path(__file__).resolve().parent
_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)

XSUB_60_TRAIN = frozenset(
    [1, 2, 4, 5, 8, 9, *range(13, 20), 25, 27, 28, 31, 34, 35, 38],
)
"""Performers whose samples train in NTU 60 xsub."""
XSUB_120_TRAIN = (
    XSUB_60_TRAIN
    | frozenset([45, 46, 47, 49, 50, *range(52, 60), 70, 74, 78, *range(80, 87), 89])
    | frozenset([*range(91, 96), 97, 98, 100, 103])
)
"""Performers whose samples train in NTU 120 xsub."""
XVIEW_TRAIN = frozenset([2, 3])
"""Cameras whose samples train in NTU 60 xview."""


@dataclass(frozen=True, order=True)
class SampleName:
    """What `SsssCcccPpppRrrrAaaa` says; every number counts from 1."""

    setup: int
    camera: int
    performer: int
    replication: int
    action: int

    @classmethod
    def parse(cls, text: str) -> SampleName | None:
        """The parts of a name such as `S001C002P003R001A060`; None where it isn't of this form."""
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        name = cls(*map(int, match.groups()))
        parts = (name.setup, name.camera, name.performer, name.replication, name.action)
        return name if min(parts) > 0 and name.action <= NTU_120.num_classes else None

    @property
    def label(self) -> int:
        """Class index from 0."""
        return self.action - 1

    def __str__(self) -> str:
        return (
            f"S{self.setup:03}C{self.camera:03}P{self.performer:03}"
            f"R{self.replication:03}A{self.action:03}"
        )


@dataclass(frozen=True)
class Benchmark:
    """One of the two sets, as its paper counts it.

    Attributes:
        title: as people call it.
        samples, used: published samples, and those left without the missing ones.
        sizes: of the two splits that the benchmark defines, the usual one first: training and test
            samples without the missing ones.
    """

    title: str
    num_classes: int
    performers: int
    setups: int
    samples: int
    used: int
    sizes: Mapping[str, tuple[int, int]]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The official names, by label."""
        return _lines("ntu_classes.txt")[: self.num_classes]

    def has(self, sample: SampleName) -> bool:
        """Whether a sample is one of this set, by its action and setup."""
        return sample.action <= self.num_classes and sample.setup <= self.setups

    def trains(self, split: str, sample: SampleName | Clip) -> bool:
        """Whether a sample belongs to the train part of `xsub`, `xview` or `xset`."""
        if split == "xsub":
            train = XSUB_60_TRAIN if self.num_classes == 60 else XSUB_120_TRAIN
            return sample.performer in train
        if split == "xview":
            return sample.camera in XVIEW_TRAIN
        if split == "xset":
            return sample.setup % 2 == 0
        raise ValueError(f"{self.title} has no split {split!r}")

    def split_clips(self, clips: Sequence[Clip]) -> Splits:
        """Every split of this benchmark over these clips, by their performer, camera and setup."""
        parts: dict[str, dict[Part, list[str]]] = {}
        for split in self.splits:
            parts[split] = {"train": [], "test": []}
            for clip in clips:
                part: Part = "train" if self.trains(split, clip) else "test"
                parts[split][part].append(clip.name)
        return parts


NTU_60 = Benchmark(
    "NTU RGB+D 60", 60, 40, 17, 56_880, 56_578,
    {"xsub": (40_091, 16_487), "xview": (37_646, 18_932)},
)  # fmt: skip
NTU_120 = Benchmark(
    "NTU RGB+D 120", 120, 106, 32, 114_480, 113_945,
    {"xsub": (63_026, 50_919), "xset": (54_468, 59_477)},
)  # fmt: skip
DATASETS = {"ntu60": NTU_60, "ntu120": NTU_120}
"""As `--dataset` names them."""


def benchmark_of(names: Iterable[SampleName]) -> Benchmark:
    """NTU 120 where there is an action above 60 or a setup above 17, else NTU 60."""
    beyond = any(name.action > NTU_60.num_classes or name.setup > NTU_60.setups for name in names)
    return NTU_120 if beyond else NTU_60


@lru_cache
def missing_samples() -> frozenset[str]:
    """Names of the 535 samples that the benchmarks omit: no skeletons, or incomplete ones.

    One set serves both: the list published for NTU 120 repeats the 302 of NTU 60, and its other 233
    lie in setups that NTU 60 doesn't have.
    """
    return frozenset(_lines("ntu_missing_60.txt") + _lines("ntu_missing_120.txt"))


@lru_cache
def _lines(file: str) -> tuple[str, ...]:
    return tuple((_TEXTS / file).read_text(encoding="utf-8").split("\n")[:-1])
