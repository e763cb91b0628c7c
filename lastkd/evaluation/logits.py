"""Accuracy over a whole split, shared out among the processes, each clip once."""

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
    on_progress: Callable[[int], None] = lambda done: None,
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
        on_progress: called with the number of this rank's views done.
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
            on_progress(number * len(mine) + start + len(batch))
    model.train(was_training)
    if world > 1:  # a row is one rank's, and zero on the others
        rows = accelerator.reduce(rows, reduction="sum")
    if views_per_clip > 1:
        rows = (rows / views_per_clip).clamp(min=torch.finfo(rows.dtype).tiny).log()
    return rows.cpu()


def _crop_draws(views: Views, number: int) -> Tensor:
    """Draws for `Views.training` that crop and do nothing else, `(clips of the store, 4)`."""
    draws = np.full((len(views.store), 4), 0.5, np.float32)  # 0.5 turns and scales by nothing
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
