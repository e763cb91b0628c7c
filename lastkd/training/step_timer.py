"""Time spent in each part of a step, measured without blocking the device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StepTimer:
    """Sums milliseconds by part; on a GPU with events that are only read in `take`."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._open: dict[str, float | torch.cuda.Event] = {}
        self._spans: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {}
        self._sums: dict[str, float] = {}

    def _now(self) -> float | torch.cuda.Event:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def start(self, part: str) -> None:
        self._open[part] = self._now()

    def stop(self, part: str) -> None:
        begun, ended = self._open.pop(part), self._now()
        if isinstance(begun, torch.cuda.Event) and isinstance(ended, torch.cuda.Event):
            self._spans.setdefault(part, []).append((begun, ended))
        elif isinstance(begun, float) and isinstance(ended, float):
            self._sums[part] = self._sums.get(part, 0.0) + 1000 * (ended - begun)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time spent inside the block to `part`."""
        self.start(part)
        yield
        self.stop(part)

    def take(self) -> dict[str, float]:
        """Milliseconds by part since the last call; the device must have finished those parts."""
        for part, spans in self._spans.items():
            self._sums[part] = sum(a.elapsed_time(b) for a, b in spans)
        taken, self._sums, self._spans = self._sums, {}, {}
        return taken
