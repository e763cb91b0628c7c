"""`--tau auto --standalone`: the temperature chosen from a student's standalone run.

Without `--standalone` the teacher's labels decide (`lastkd.training.measured_tau`).

The design's advice is tau 6.0 for nano and small where they underfit by themselves, else 4.0. A
standalone run counts as underfitting by its event log alone, at its end:

    fit = exp(H - ce)
    underfits = fit < 1/2

where `ce` is the mean training loss of the last epoch and H the entropy of its smoothed labels: the
minimum of `ce`. So `fit` is between 0 and 1: the probability that the model gives the right
class of a training view, as a geometric mean, relative to the most that the smoothed labels allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lastkd.errors import UserError
from lastkd.losses import KD
from lastkd.runs.log import Run
from lastkd.runs.standalone import standalone_of
from lastkd.settings.runs import DistillSettings

AUTO = "auto"
USUAL_TAU, UNDERFITTING_TAU = 4.0, 6.0
SMALL_VARIANTS = ("nano", "small")
LEAST_FIT = 0.5


def training_fit(run: Run) -> float:
    """How well a standalone run fits its own training clips at its end, from 0 to 1; see above.

    Raises:
        UserError: its log lacks the last epoch's loss.
    """
    last_epoch = max((event["epoch"] for event in run.steps.values()), default=0)
    loss = run.mean_over_epoch("ce", last_epoch)
    if loss is None:
        raise UserError(f"{run.folder}: its log lacks the last epoch's loss; give --tau a number")
    smoothing = float(run.start["settings"].get("label_smoothing") or 0.0)
    least = smoothed_entropy(smoothing, int(run.start["data"]["classes"]))
    # rounding may put the running mean slightly below the minimum
    return min(1.0, math.exp(least - loss))


def smoothed_entropy(smoothing: float, classes: int) -> float:
    """Entropy in nats of hard labels smoothed over `classes`: the least cross-entropy there is."""
    other = smoothing / classes
    right = 1 - smoothing + other
    parts = [right * math.log(right)]
    if other:
        parts.append((classes - 1) * other * math.log(other))
    return -sum(parts)


@dataclass(frozen=True)
class Resolved:
    """A temperature with the reason for it in words."""

    tau: float
    why: str


def require_kd(students: Sequence[DistillSettings]) -> None:
    """
    Raises:
        UserError: the loss isn't kd, the only one that `--tau auto` supports.
    """
    loss = students[0].loss
    if not isinstance(loss, KD):
        raise UserError(
            f"--tau auto is a rule for the loss kd, not for {loss.name}; leave --tau out or give a "
            "number"
        )


def auto_tau(settings: DistillSettings) -> Resolved:
    """The temperature for a student.

    Args:
        settings: of its distillation, with its standalone run; their tau is ignored.

    Raises:
        UserError: a run is needed and missing or unfit.
    """
    variant = settings.variant
    if variant not in SMALL_VARIANTS:
        return Resolved(USUAL_TAU, f"{variant}: tau {USUAL_TAU:g}, as for all but nano and small")
    run = standalone_of(settings)
    fit = training_fit(run)
    underfits = fit < LEAST_FIT
    tau = UNDERFITTING_TAU if underfits else USUAL_TAU
    return Resolved(
        tau,
        f"{variant}: tau {tau:g}, as {run.folder} {'underfits' if underfits else 'fits'} "
        f"(training fit {fit:.3f})",
    )
