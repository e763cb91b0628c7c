"""Skips optimiser steps whose loss or gradient isn't finite."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

IN_A_ROW = 10
"""Skipped steps in a row that end a run."""
HALVINGS = 24
"""After so many halvings, fp16's loss scale can no longer be the cause of an overflow."""


class RunningStatistics:
    """A snapshot of a model's running means and variances, restored after a skipped step.

    A single forward pass with non-finite values would otherwise spoil them for good.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = [
            buffer
            for name, buffer in model.named_buffers()
            if name.endswith(("running_mean", "running_var"))
        ]
        self._kept: Tensor | None = None

    def snapshot(self) -> None:
        """Takes the snapshot."""
        if self._buffers:
            self._kept = torch.cat([buffer.reshape(-1) for buffer in self._buffers])

    def restore(self, skipped: Tensor) -> None:
        """Restores the last snapshot if `skipped` (a boolean scalar) is true.

        On a GPU this happens on the device, without waiting for the value.
        """
        if self._kept is None:
            return
        if skipped.device.type == "cpu" and not skipped:
            return
        now = torch.cat([buffer.reshape(-1) for buffer in self._buffers])
        chosen = torch.where(skipped, self._kept, now).split([b.numel() for b in self._buffers])
        shaped = [x.view_as(buffer) for x, buffer in zip(chosen, self._buffers, strict=True)]
        torch._foreach_copy_(self._buffers, shaped)


class DelayedFlags:
    """Boolean flags of past steps, read back without blocking the device.

    On a GPU they are read two steps late, at the same step on every rank.
    """

    def __init__(self, device: torch.device) -> None:
        self._lag = 2 if device.type == "cuda" else 0
        self._queue: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()

    def put(self, step: int, flags: Tensor) -> None:
        """Queues the flags of a step, a boolean tensor."""
        if not self._lag:
            self._queue.append((step, flags.cpu(), None))
            return
        host = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
        host.copy_(flags, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._queue.append((step, host, copied))

    def take(self, *, all_: bool = False) -> tuple[int, list[int]] | None:
        """The oldest step whose flags may be read by now, with its flags."""
        if len(self._queue) <= (0 if all_ else self._lag):
            return None
        step, flags, copied = self._queue.popleft()
        if copied is not None:
            copied.synchronize()
        return step, flags.int().flatten().tolist()


class NonFiniteClips:
    """Finds clips with non-finite teacher logits, without blocking the device."""

    def __init__(self, device: torch.device) -> None:
        self._flags = DelayedFlags(device)
        self._clips: deque[NDArray[np.int64]] = deque()

    def put(self, clips: NDArray[np.int64], logits: Tensor) -> None:
        """Queues the check of the logits `(B, K)` of `clips` `(B,)`."""
        self._flags.put(0, ~logits.isfinite().all(dim=1))
        self._clips.append(clips)

    def take(self, *, all_: bool = False) -> int | None:
        """The first such clip among the batches whose flags may be read by now, if any."""
        first: int | None = None
        while (flags := self._flags.take(all_=all_)) is not None:
            clips = self._clips.popleft()
            bad = np.flatnonzero(flags[1])
            if first is None and len(bad):
                first = int(clips[bad[0]])
        return first


class SkippedSteps:
    """Counts a model's skipped steps and classifies why they were skipped."""

    def __init__(self, *, scaled: bool) -> None:
        """
        Args:
            scaled: whether the loss is scaled for fp16, where gradients overflow now and then.
        """
        self.scaled = scaled
        self.count = self.in_a_row = self.overflows_in_a_row = 0

    def record(self, *, loss: bool, gradient: bool) -> str | None:
        """Counts one step and returns why it was skipped, or None if it was taken.

        Args:
            loss, gradient: whether it was non-finite on any rank.
        """
        if not (loss or gradient):
            self.in_a_row = self.overflows_in_a_row = 0
            return None
        self.count += 1
        if self.scaled and not loss and self.overflows_in_a_row < HALVINGS:
            # how fp16 finds its loss scale; not a sign that anything is wrong
            self.overflows_in_a_row += 1
            return "overflow"
        self.in_a_row += 1
        return "loss" if loss else "gradient"

    def state(self) -> dict[str, int]:
        return {
            "count": self.count,
            "in_a_row": self.in_a_row,
            "overflows_in_a_row": self.overflows_in_a_row,
        }

    def load(self, state: dict[str, int]) -> None:
        self.count = state["count"]
        self.in_a_row = state["in_a_row"]
        self.overflows_in_a_row = state["overflows_in_a_row"]
