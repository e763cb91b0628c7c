"""The sizes of a run that follow from its settings, its data and the number of processes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lastkd.errors import UserError
from lastkd.settings.runs import RunSettings


@dataclass(frozen=True)
class Schedule:
    """The sizes that follow from settings, data and number of processes."""

    global_batch: int
    steps_per_epoch: int
    total_steps: int


def make_schedule(settings: RunSettings, clips: int, processes: int) -> Schedule:
    """
    Raises:
        UserError: there are fewer training clips than one global batch holds.
    """
    global_batch = settings.batch_size * processes * settings.accumulation
    steps = clips // global_batch  # a last partial batch would upset the norms: it is left out
    if steps == 0:
        raise UserError(
            f"--batch-size {settings.batch_size}: a global batch of {global_batch} clips is more "
            f"than the {clips} training clips; choose a smaller one"
        )
    return Schedule(global_batch, steps, steps * settings.epochs)


def learning_rate(settings: RunSettings, global_batch: int, progress: float) -> float:
    """The rate at a point of the run: a function of place, so nothing needs to be resumed.

    Args:
        global_batch: clips a step over all processes; every rate scales with it.
        progress: epochs done, as a fraction.
    """
    factor = global_batch / settings.reference_batch
    warmup = min(settings.warmup_epochs, settings.epochs)
    if progress < warmup:
        share = progress / warmup
        return factor * (settings.warmup_lr + share * (settings.lr - settings.warmup_lr))
    share = min(1.0, (progress - warmup) / max(settings.epochs - warmup, 1e-9))
    swing = (1 + math.cos(math.pi * share)) / 2
    return factor * (settings.final_lr + swing * (settings.lr - settings.final_lr))
