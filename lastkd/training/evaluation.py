"""Accuracy over a whole split, shared out among the processes, each clip once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from lastkd import chance
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

    Args:
        between: called before each batch, on every rank equally often.
    """
    logits = clip_logits(
        model, views, clips, batch_size=batch_size, accelerator=accelerator, between=between
    )
    return Accuracy.of(logits, views.store.labels[clips])


@torch.no_grad()
def clip_logits(
    model: nn.Module,
    views: Views,
    clips: NDArray[np.int64],
    *,
    batch_size: int,
    accelerator: Accelerator,
    views_per_clip: int = 1,
    precision: str | None = None,
    visited: Callable[[int], None] = lambda done: None,
    between: Callable[[], None] | None = None,
) -> Tensor:
    """Logits `(N, K)` of `clips` in float32 on the CPU; every process gets all of them.

    Rank r takes every world-size-th clip from r on. Nothing is padded, so each clip counts once,
    whatever the number of processes.

    Args:
        views_per_clip: 1 for the centre view. Each further one is a crop as training cuts them, not
            turned or scaled, a function of its number and the clip alone; the result is then the
            logarithm of the mean probability.
        precision: `no`, `fp16` or `bf16`; None for that of `accelerator`. fp16 is float32 on a CPU.
        visited: called with the number of this rank's views done.
        between: called before each batch, on every rank equally often.
    """
    was_training = model.training
    model.eval()
    device, K = accelerator.device, views.store.num_classes
    rank, world = accelerator.process_index, accelerator.num_processes
    rows = torch.zeros(len(clips), K, device=device)
    mine = clips[rank::world]
    for number in range(views_per_clip):
        draws = _crop_draws(views, number)
        for start in range(0, -(-len(clips) // world), batch_size):
            if between is not None:
                between()
            batch = mine[start : start + batch_size]
            if not len(batch):  # the others have one clip more
                continue
            cut = views.evaluation(batch) if number == 0 else views.training(batch, draws)
            streams = {name: stream.to(device) for name, stream in cut.items()}
            with _autocast(accelerator, precision):
                logits = model(streams, views.bodies(batch).to(device)).float()
            places = slice(rank + start * world, rank + (start + len(batch)) * world, world)
            rows[places] += logits if views_per_clip == 1 else logits.softmax(dim=1)
            visited(number * len(mine) + start + len(batch))
    model.train(was_training)
    if world > 1:  # a row is one rank's, and zero on the others
        rows = accelerator.reduce(rows, reduction="sum")
    if views_per_clip > 1:
        rows = (rows / views_per_clip).clamp(min=torch.finfo(rows.dtype).tiny).log()
    return rows.cpu()


def _crop_draws(views: Views, number: int) -> Tensor:
    """Draws for `Views.training` that crop and do nothing else, `(clips of the store, 4)`."""
    draws = np.full((len(views.store), 4), 0.5, np.float32)  # 0.5 turns and scales by nothing
    draws[:, :2] = chance.uniform(0, "test view", number, shape=(len(views.store), 2))
    return torch.from_numpy(draws).to(views.device)


def _autocast(accelerator: Accelerator, precision: str | None) -> AbstractContextManager[Any]:
    if precision is None:
        context: AbstractContextManager[Any] = accelerator.autocast()
        return context
    kind = accelerator.device.type
    half = precision == "bf16" or (precision == "fp16" and kind != "cpu")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(kind, dtype) if half else nullcontext()
