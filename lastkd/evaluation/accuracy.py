"""Accuracy and confusion of a model over a set of clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Accuracy:
    """What a model got right.

    Attributes:
        confusion: `(K, K)` counts, true class by predicted class.
        top5_hits: clips whose class is among the five likeliest.
    """

    confusion: NDArray[np.int64]
    top5_hits: int

    @classmethod
    def of(cls, logits: Tensor, labels: NDArray[np.int64]) -> Accuracy:
        """From logits `(N, K)` and true classes `(N,)`."""
        K = logits.shape[1]
        best = logits.topk(min(5, K), dim=1).indices.numpy()
        confusion = np.bincount(labels * K + best[:, 0], minlength=K * K).reshape(K, K)
        return cls(confusion, int((best == labels[:, None]).sum()))

    @property
    def clips(self) -> int:
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Percent of clips."""
        return 100 * float(np.trace(self.confusion)) / self.clips

    @property
    def top5(self) -> float:
        """Percent of clips."""
        return 100 * self.top5_hits / self.clips

    @property
    def by_class(self) -> NDArray[np.float64]:
        """Percent of each class's clips, NaN for a class without clips."""
        count = self.confusion.sum(axis=1)
        share = np.full(len(count), np.nan)
        np.divide(100 * np.diag(self.confusion), count, out=share, where=count > 0)
        return share

    @property
    def mean_class(self) -> float:
        """Mean of the classes' accuracies, in percent."""
        return float(np.nanmean(self.by_class))

    def summary(self) -> dict[str, Any]:
        return {
            "top1": round(self.top1, 4),
            "top5": round(self.top5, 4),
            "mean_class": round(self.mean_class, 4),
            "clips": self.clips,
        }

    def most_confused(self, count: int) -> list[tuple[int, int, int, float]]:
        """The pairs (true, predicted, clips, percent of the true class) that are mixed up most."""
        off = self.confusion.copy()
        np.fill_diagonal(off, 0)
        total = self.confusion.sum(axis=1)
        pairs = np.argsort(-off, axis=None, kind="stable")[:count]
        rows = [(int(i) // len(off), int(i) % len(off)) for i in pairs]
        return [
            (true, said, int(off[true, said]), 100 * float(off[true, said] / total[true]))
            for true, said in rows
            if off[true, said] > 0
        ]
