"""The clips that an exported file is compared on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lastkd.data.layouts import Layout
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Streams, Views
from lastkd.evaluation.checkpoint import split_of, view_settings
from lastkd.models.bodies import BodyCounts
from lastkd.models.checkpoint import Checkpoint, check_fit, read_checkpoint
from lastkd.settings.views import ViewSettings


class ExampleClips:
    """Clips to check on and to take ranges from: those of a store, or generated ones."""

    def __init__(
        self, layout: Layout, settings: ViewSettings, store: ClipStore | None, split: str
    ) -> None:
        self.layout = layout
        self.store = store
        self.views = Views(store, settings, torch.device("cpu")) if store else None
        self._training, self._test = np.arange(0), np.arange(8)
        if store is not None:
            self._training, self._test = store.split(split)

    @classmethod
    def of(cls, read: Checkpoint, data: str | Path | None, split: str) -> ExampleClips:
        if data is None:
            return cls(read.info.layout, view_settings(read.info), None, split)
        store, info = ClipStore.open(data), read.info
        check_fit(read.path, info.num_classes, info.class_names, info.layout.joints, store)
        return cls(info.layout, view_settings(info), store, split_of(store, split, info))

    @property
    def count(self) -> int:
        return len(self._test)

    @property
    def training_count(self) -> int:
        return len(self._training)

    def test(self, number: int, count: int = 1) -> Tensor:
        """Joints `(T, M, V, 3)` of the number-th of `count` clips spread evenly over the test."""
        return self._joints(self._test, number, count)

    def training(self, number: int, count: int) -> Tensor:
        return self._joints(self._training, number, count)

    def evaluation(self, number: int, count: int) -> tuple[Streams, BodyCounts] | None:
        """Streams and number of bodies of the evaluation view of `test`; None of a made-up clip."""
        if self.views is None:
            return None
        clip = np.array([_spread(self._test, number, count)])
        return self.views.evaluation(clip), self.views.bodies(clip)

    def label(self, number: int, count: int) -> int:
        """Its class; -1 for a generated clip."""
        return int(self.store.labels[_spread(self._test, number, count)]) if self.store else -1

    def _joints(self, clips: NDArray[np.int64], number: int, count: int) -> Tensor:
        clip = _spread(clips, number, count)
        if self.store is not None:
            return torch.from_numpy(self.store.clip(clip))
        made = torch.Generator().manual_seed(clip)
        frames = 40 + 10 * clip
        pose = torch.randn(1, 1, self.layout.num_joints, 3, generator=made) * 0.3
        walk = torch.randn(frames, 1, self.layout.num_joints, 3, generator=made).cumsum(0) * 0.02
        return pose + walk + torch.tensor([0.2, 0.1, 3.0])


def _spread(clips: NDArray[np.int64], number: int, count: int) -> int:
    return int(clips[number * len(clips) // count])


def example_clip(
    checkpoint: str | Path, data: str | Path | None, split: str
) -> NDArray[np.float32]:
    """Joints `(T, M, V, 3)` of the first test clip; generated without a store."""
    joints = ExampleClips.of(read_checkpoint(checkpoint), data, split).test(0)
    example: NDArray[np.float32] = joints.numpy().astype(np.float32)
    return example
