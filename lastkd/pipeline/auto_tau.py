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
from pathlib import Path

from lastkd.data.store.clip_store import AUTO_SPLIT
from lastkd.errors import UserError
from lastkd.losses import KD
from lastkd.runs.log import Run, read_runs
from lastkd.settings.runs import DistillSettings

AUTO = "auto"
USUAL_TAU, UNDERFITTING_TAU = 4.0, 6.0
SMALL_VARIANTS = ("nano", "small")
LEAST_FIT = 0.5


def training_fit(run: Run) -> float:
    """How well a standalone run fits its own training clips at its end, from 0 to 1; see above.

    Raises:
        UserError: the run isn't finished, or its log lacks the last epoch's loss.
    """
    if not run.finished:
        raise UserError(
            f"{run.folder}: the standalone run is {run.state}; --tau auto needs it finished"
        )
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


def standalone_of(settings: DistillSettings, runs: Sequence[Run], folder: Path) -> Run:
    """The standalone run of a student's model on the same split, of the same seed if there is one.

    Args:
        folder: where `runs` were found, for the error.

    Raises:
        UserError: there is none, or several fit equally well.
    """
    fitting = [
        run
        for run in runs
        if run.teacher is None
        and run.model == settings.model_name
        and settings.split in (AUTO_SPLIT, run.start["settings"]["split"])
    ]
    same_seed = [run for run in fitting if run.seed == settings.seed]
    chosen = same_seed or fitting
    if not chosen:
        raise UserError(
            f"{folder}: holds no standalone run of {settings.model_name} on {settings.split}, "
            "which --tau auto needs; train it with lastkd.train or give --tau a number"
        )
    if len(chosen) > 1:
        names = ", ".join(str(run.folder) for run in chosen)
        raise UserError(f"{folder}: holds several fitting standalone runs ({names}); name one")
    return chosen[0]


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


def auto_tau(settings: DistillSettings, standalone: Path) -> Resolved:
    """The temperature for a student.

    Args:
        settings: of its distillation; their tau is ignored.
        standalone: the folder of its standalone run, or one above it.

    Raises:
        UserError: a run is needed and missing or unfit.
    """
    variant = settings.variant
    if variant not in SMALL_VARIANTS:
        return Resolved(USUAL_TAU, f"{variant}: tau {USUAL_TAU:g}, as for all but nano and small")
    run = standalone_of(settings, read_runs(standalone), standalone)
    fit = training_fit(run)
    underfits = fit < LEAST_FIT
    tau = UNDERFITTING_TAU if underfits else USUAL_TAU
    return Resolved(
        tau,
        f"{variant}: tau {tau:g}, as {run.folder} {'underfits' if underfits else 'fits'} "
        f"(training fit {fit:.3f})",
    )
