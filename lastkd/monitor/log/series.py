"""The values of a run by step, in bounded memory however long the run is."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

CAPACITY = 512
"""Buckets of one series: somewhat more than a chart on a wide terminal has dot columns."""


class Channel:
    """For each bucket of one quantity: the number of values, their sum, smallest and largest."""

    __slots__ = ("count", "high", "low", "sum")

    def __init__(self) -> None:
        self.count, self.sum = array("q"), array("d")
        self.low, self.high = array("d"), array("d")

    def insert(self, index: int) -> None:
        self.count.insert(index, 0)
        self.sum.insert(index, 0.0)
        self.low.insert(index, math.inf)
        self.high.insert(index, -math.inf)

    def clear(self, index: int) -> None:
        self.count[index], self.sum[index] = 0, 0.0
        self.low[index], self.high[index] = math.inf, -math.inf

    def add(self, index: int, values: Sequence[float | None]) -> None:
        finite = [value for value in values if value is not None]
        if finite:
            self.count[index] += len(finite)
            self.sum[index] += sum(finite)
            low, high = min(finite), max(finite)
            self.low[index] = min(self.low[index], low)
            self.high[index] = max(self.high[index], high)

    def mean(self, index: int) -> float:
        count = self.count[index]
        return self.sum[index] / count if count else math.nan

    def merge(self, pairs: list[tuple[int, int]]) -> None:
        """Merges each range of buckets `[first, end)` into one."""
        self.count = array("q", [sum(self.count[a:b]) for a, b in pairs])
        self.sum = array("d", [sum(self.sum[a:b]) for a, b in pairs])
        self.low = array("d", [min(self.low[a:b]) for a, b in pairs])
        self.high = array("d", [max(self.high[a:b]) for a, b in pairs])


class Series:
    """Several quantities by step, in buckets that double in width whenever there are too many.

    Steps that are repeated after a resume replace the earlier values: exactly as long as a bucket
    is one step wide; later by whole buckets, from the first one that lies behind the resumed step.

    Args:
        names: of the quantities.
        capacity: the largest number of buckets.
    """

    def __init__(self, names: Sequence[str], capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.width = 1
        self.keys: list[int] = []
        self.last_step = 0
        self.channels = {name: Channel() for name in names}
        self._points: dict[str, list[tuple[float, float, float, float]]] = {}
        self._written = array("q")  # by bucket: how many resumes came before its values
        self._resumes = 0
        self._resumed_at = 0

    def add(self, steps: Sequence[int], columns: Sequence[Sequence[float | None]]) -> None:
        """Adds values.

        Args:
            steps: ascending step numbers.
            columns: for each quantity, one value a step; None for a missing one.
        """
        self._points = {}
        if steps[0] <= self.last_step:
            self._resumes += 1
            self._resumed_at = steps[0] - 1
        at = 0
        while at < len(steps):
            key = steps[at] // self.width
            end = bisect_left(steps, (key + 1) * self.width, at)
            index = self._bucket(key)
            for channel, column in zip(self.channels.values(), columns, strict=True):
                channel.add(index, column[at:end])
            at = end
            if len(self.keys) > self.capacity:
                self._widen()
        self.last_step = steps[-1]

    def _bucket(self, key: int) -> int:
        """The index of a bucket, which is added if missing and cleared if a resume repeats it."""
        keys = self.keys
        index = len(keys) if not keys or key > keys[-1] else bisect_left(keys, key)
        if index == len(keys) or keys[index] != key:
            keys.insert(index, key)
            self._written.insert(index, self._resumes)
            for channel in self.channels.values():
                channel.insert(index)
        elif self._written[index] < self._resumes:
            self._written[index] = self._resumes
            if key * self.width > self._resumed_at:
                for channel in self.channels.values():
                    channel.clear(index)
        return index

    def _widen(self) -> None:
        while len(self.keys) > self.capacity:
            self.width *= 2
            halved = [key // 2 for key in self.keys]
            firsts = [i for i, key in enumerate(halved) if i == 0 or key != halved[i - 1]]
            pairs = list(zip(firsts, [*firsts[1:], len(halved)], strict=True))
            self.keys = [halved[first] for first in firsts]
            self._written = array("q", [min(self._written[a:b]) for a, b in pairs])
            for channel in self.channels.values():
                channel.merge(pairs)

    def has(self, name: str) -> bool:
        return any(self.channels[name].count)

    def points(self, name: str) -> list[tuple[float, float, float, float]]:
        """`(step, mean, smallest, largest)` of each bucket that isn't empty."""
        if name in self._points:
            return self._points[name]
        channel, half = self.channels[name], (self.width - 1) / 2
        points = self._points[name] = [
            (
                min(key * self.width + half, self.last_step) if self.width > 1 else key,
                channel.mean(index),
                channel.low[index],
                channel.high[index],
            )
            for index, key in enumerate(self.keys)
            if channel.count[index]
        ]
        return points

    def recent(self, name: str, buckets: int = 20) -> list[float]:
        """Means of the last buckets that aren't empty, in order."""
        channel = self.channels[name]
        means: list[float] = []
        for index in range(len(self.keys) - 1, -1, -1):
            if channel.count[index]:
                means.append(channel.mean(index))
                if len(means) == buckets:
                    break
        return means[::-1]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def median(values: Iterable[float]) -> float:
    """The middle value, or the higher of two; importing `statistics` would take longer."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def smoothed(values: Sequence[float], window: float) -> list[float]:
    """The exponential moving average over about `window` values, without bias at the start."""
    keep = math.exp(-1 / max(window, 1e-9)) if window > 0 else 0.0
    total = weight = 0.0
    means = []
    for value in values:
        total = keep * total + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        means.append(total / weight)
    return means
