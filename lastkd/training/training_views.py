"""What training sees of a store, epoch by epoch: the clips in their order, and their views.

Runs, teacher caches and the measure of soft labels share it: a cache is only right where all of
them see the same views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lastkd import rng
from lastkd.data.views import Streams, Views
from lastkd.models.bodies import BodyCounts
from lastkd.training.batches import Batch

Clips = NDArray[np.int64]


@dataclass(frozen=True)
class EpochViews:
    """The views of one epoch.

    Attributes:
        order: the training clips in the order of this epoch.
        draws: what crops, turns, ... are drawn by, as `Views.draw` gives them.
    """

    views: Views
    order: Clips
    draws: Tensor
    device: torch.device

    def batch(self, clips: Clips) -> Batch:
        """The views of `clips` `(B,)`, on the training device."""
        return Batch.of(clips, self.views, self.draws, self.device)

    def inputs(self, clips: Clips) -> tuple[Streams, BodyCounts]:
        """What a model takes of `batch`: streams and body counts."""
        batch = self.batch(clips)
        return batch.streams, batch.bodies


class TrainingViews:
    """The views that training cuts from the clips of its part.

    Args:
        clips: of the training part, as indices into the store.
        device: to which batches go.
    """

    def __init__(self, views: Views, clips: Clips, *, seed: int, device: torch.device) -> None:
        self.views = views
        self.clips = clips
        self._seed, self._device = seed, device

    def order(self, epoch: int) -> Clips:
        """The training clips in the order of an epoch, counted from 1."""
        return self.clips[rng.permutation(self._seed, "order", epoch, count=len(self.clips))]

    def epoch(self, number: int) -> EpochViews:
        """The views of an epoch, counted from 1."""
        draws = self.views.draw(self._seed, number)
        return EpochViews(self.views, self.order(number), draws, self._device)
