"""The sizes of a run that follow from its settings, its data and the number of processes."""

from __future__ import annotations

from dataclasses import dataclass

from lastkd.config import RunSettings
from lastkd.errors import UserError


@dataclass(frozen=True)
class Plan:
    """The sizes that follow from settings, data and number of processes."""

    global_batch: int
    steps_per_epoch: int
    total_steps: int


def make_plan(settings: RunSettings, clips: int, processes: int) -> Plan:
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
    return Plan(global_batch, steps, steps * settings.epochs)
