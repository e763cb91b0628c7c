"""Accuracy and confusion of a model on a set of clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Accuracy:
    """Top-1, top-5 and per-class accuracy, from a confusion matrix.

    Attributes:
        confusion: `(K, K)` counts, true class by predicted class.
        top5_hits: number of clips whose class is among the five with the largest logits.
    """

    confusion: NDArray[np.int64]
    top5_hits: int

    @classmethod
    def of(cls, logits: Tensor, labels: NDArray[np.int64]) -> Accuracy:
        """The accuracy of logits `(N, K)` against true classes `(N,)`."""
        K = logits.shape[1]
        best = logits.topk(min(5, K), dim=1).indices.numpy()
        confusion = np.bincount(labels * K + best[:, 0], minlength=K * K).reshape(K, K)
        return cls(confusion, int((best == labels[:, None]).sum()))

    @property
    def clips(self) -> int:
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Top-1 accuracy in percent."""
        return 100 * float(np.trace(self.confusion)) / self.clips

    @property
    def top5(self) -> float:
        """Top-5 accuracy in percent."""
        return 100 * self.top5_hits / self.clips

    @property
    def by_class(self) -> NDArray[np.float64]:
        """Accuracy of each class in percent, `(K,)`; NaN for a class without clips."""
        count = self.confusion.sum(axis=1)
        share = np.full(len(count), np.nan)
        np.divide(100 * np.diag(self.confusion), count, out=share, where=count > 0)
        return share

    @property
    def mean_class(self) -> float:
        """Mean of the per-class accuracies, in percent."""
        return float(np.nanmean(self.by_class))

    def summary(self) -> dict[str, Any]:
        """The figures that event logs and checkpoints record."""
        return {
            "top1": round(self.top1, 4),
            "top5": round(self.top5, 4),
            "mean_class": round(self.mean_class, 4),
            "clips": self.clips,
        }

    def most_confused(self, count: int) -> list[tuple[int, int, int, float]]:
        """The most frequent confusions, as (true, predicted, clips, percent of the true class)."""
        errors = self.confusion.copy()
        np.fill_diagonal(errors, 0)
        total = self.confusion.sum(axis=1)
        largest = np.argsort(-errors, axis=None, kind="stable")[:count]
        pairs = [divmod(int(cell), len(errors)) for cell in largest]
        return [
            (true, predicted, int(clips), 100 * float(clips / total[true]))
            for true, predicted in pairs
            if (clips := errors[true, predicted]) > 0
        ]
