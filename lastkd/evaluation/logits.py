"""Logits and accuracy over a set of clips, each evaluated once on one of the processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from lastkd import rng
from lastkd.data.views import Views
from lastkd.evaluation.accuracy import Accuracy


def evaluate(
    model: nn.Module,
    views: Views,
    clips: NDArray[np.int64],
    *,
    batch_size: int,
    accelerator: Accelerator,
    between: Callable[[], None] | None = None,
) -> Accuracy:
    """Evaluates `model` on the centre views of `clips`; every process gets the full result.

    Args:
        between: called before each batch, equally often on every rank.
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
    on_progress: Callable[[int], None] = lambda done: None,
    between: Callable[[], None] | None = None,
) -> Tensor:
    """Logits `(N, K)` of `clips`, float32 on the CPU; every process gets all of them.

    Rank r takes every world-size-th clip, starting with clip r. Nothing is padded, so each clip
    counts once, whatever the number of processes.

    Args:
        views_per_clip: 1 for the centre view. Each further view is a crop as in training, neither
            turned nor scaled, and a function of its number and the clip only. The result is then
            the logarithm of the mean probability.
        precision: `no`, `fp16` or `bf16`; None takes that of `accelerator`. On a CPU, fp16 means
            float32.
        on_progress: called with the number of views that this rank has done.
        between: called before each batch, equally often on every rank.
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
            if not len(batch):  # other ranks have one clip more
                continue
            cut = views.evaluation(batch) if number == 0 else views.training(batch, draws)
            streams = {name: stream.to(device) for name, stream in cut.items()}
            with _autocast(accelerator, precision):
                logits = model(streams, views.bodies(batch)).float()
            places = slice(rank + start * world, rank + (start + len(batch)) * world, world)
            rows[places] += logits if views_per_clip == 1 else logits.softmax(dim=1)
            on_progress(number * len(mine) + start + len(batch))
    model.train(was_training)
    if world > 1:  # each row is set on one rank and zero on the others
        rows = accelerator.reduce(rows, reduction="sum")
    if views_per_clip > 1:
        rows = (rows / views_per_clip).clamp(min=torch.finfo(rows.dtype).tiny).log()
    return rows.cpu()


def _crop_draws(views: Views, number: int) -> Tensor:
    """Draws for `Views.training` that only crop, `(clips in the store, 4)`."""
    draws = np.full((len(views.store), 4), 0.5, np.float32)  # 0.5 means no turn and no scaling
    draws[:, :2] = rng.uniform(0, "test view", number, shape=(len(views.store), 2))
    return torch.from_numpy(draws).to(views.device)


def _autocast(accelerator: Accelerator, precision: str | None) -> AbstractContextManager[Any]:
    if precision is None:
        context: AbstractContextManager[Any] = accelerator.autocast()
        return context
    kind = accelerator.device.type
    half = precision == "bf16" or (precision == "fp16" and kind != "cpu")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(kind, dtype) if half else nullcontext()
