"""Accuracy over a whole split, shared out among the processes, each clip once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn

from lastkd.data.views import Views


@dataclass(frozen=True)
class Accuracy:
    """What a model got right.

    Attributes:
        confusion: `(K, K)` counts, true class by predicted class.
        top5_hits: clips whose class is among the five likeliest.
    """

    confusion: NDArray[np.int64]
    top5_hits: int

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


@torch.no_grad()
def evaluate(
    model: nn.Module,
    views: Views,
    clips: NDArray[np.int64],
    *,
    batch_size: int,
    accelerator: Accelerator,
    between: Callable[[], None] | None = None,
) -> Accuracy:
    """Evaluates `model` on the centre views of `clips`; every process gets the whole result.

    Rank r takes every world-size-th clip from r on, and counts are summed. Nothing is padded, so
    each clip counts once, whatever the number of processes.

    Args:
        between: called before each batch, on every rank equally often.
    """
    was_training = model.training
    model.eval()
    K = views.store.num_classes
    mine = clips[accelerator.process_index :: accelerator.num_processes]
    counts = torch.zeros(K * K + 1, dtype=torch.int64, device=views.device)
    for start in range(0, -(-len(clips) // accelerator.num_processes), batch_size):
        if between is not None:
            between()
        batch = mine[start : start + batch_size]
        if not len(batch):  # the others have one clip more
            continue
        labels = views.labels[torch.from_numpy(batch).to(views.device)]
        streams = {k: v.to(accelerator.device) for k, v in views.evaluation(batch).items()}
        with accelerator.autocast():
            logits = model(streams, views.bodies(batch).to(accelerator.device))
        best = logits.float().topk(min(5, K), dim=1).indices.to(views.device)
        counts[:-1] += torch.bincount(labels * K + best[:, 0], minlength=K * K)
        counts[-1] += (best == labels[:, None]).sum()
    if accelerator.num_processes > 1:
        counts = accelerator.reduce(counts.to(accelerator.device), reduction="sum")
    model.train(was_training)
    total = counts.cpu().numpy()
    return Accuracy(total[:-1].reshape(K, K), int(total[-1]))
