"""Steps and learning rate of a run, as functions of its settings, data and process count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from lastkd.errors import UserError
from lastkd.settings.runs import ConfiguredSettings, RunSettings

Settings = TypeVar("Settings", bound=ConfiguredSettings)


@dataclass(frozen=True)
class Schedule:
    """The number of steps of a run.

    Attributes:
        global_batch: clips per step, over all processes and accumulation passes.
    """

    global_batch: int
    steps_per_epoch: int
    total_steps: int


def with_epochs(settings: Settings, clips: int, processes: int) -> Settings:
    """Settings whose `epochs` follow from `steps`, where those were asked for.

    Args:
        clips: number of training clips.

    Raises:
        UserError: there are fewer training clips than one global batch holds.
    """
    if settings.steps is None:
        return settings
    _, per_epoch = _sizes(settings, clips, processes)
    return settings.model_copy(update={"epochs": -(-settings.steps // per_epoch)})


def make_schedule(settings: RunSettings, clips: int, processes: int) -> Schedule:
    """The schedule for `clips` training clips on `processes` processes.

    Raises:
        UserError: there are fewer training clips than one global batch holds.
    """
    global_batch, steps = _sizes(settings, clips, processes)
    return Schedule(global_batch, steps, steps * settings.epochs)


def _sizes(settings: ConfiguredSettings, clips: int, processes: int) -> tuple[int, int]:
    """Clips of a global batch, and steps of an epoch."""
    accumulation = settings.accumulation if isinstance(settings, RunSettings) else 1
    global_batch = settings.batch_size * processes * accumulation
    steps = clips // global_batch  # a partial last batch would disturb batch norm: it is dropped
    if steps == 0:
        raise UserError(
            f"--batch-size {settings.batch_size}: a global batch of {global_batch} clips is more "
            f"than the {clips} training clips; choose a smaller one"
        )
    return global_batch, steps


def learning_rate(settings: RunSettings, global_batch: int, progress: float) -> float:
    """The learning rate: a linear warm-up, then a cosine down to `final_lr`.

    A pure function of the position in the run, so there is no scheduler state to resume.

    Args:
        global_batch: clips per step over all processes; the rate scales linearly with it.
        progress: epochs done, with a fraction.
    """
    factor = global_batch / settings.reference_batch
    warmup = min(settings.warmup_epochs, settings.epochs)
    if progress < warmup:
        share = progress / warmup
        return factor * (settings.warmup_lr + share * (settings.lr - settings.warmup_lr))
    share = min(1.0, (progress - warmup) / max(settings.epochs - warmup, 1e-9))
    swing = (1 + math.cos(math.pi * share)) / 2
    return factor * (settings.final_lr + swing * (settings.lr - settings.final_lr))
