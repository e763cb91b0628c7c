"""Standalone against distilled, variant by variant: the numbers of the report."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lastkd.evaluation.statistics import Gain, PairedComparison, compare, gain_over_seeds
from lastkd.runs.log import Run
from lastkd.settings.students import students


@dataclass(frozen=True)
class Mean:
    """A figure over seeds: mean, and deviation where there are several."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        if self.mean is None:
            return "missing"
        spread = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        return f"{self.mean:.2f}{spread}"


@dataclass(frozen=True)
class Row:
    """One student with one method beside the same student alone.

    Attributes:
        model: its name.
        method: the loss with its settings.
        standalone, distilled: the finished runs, one a seed.
        gain: over the seeds that both have, from the last epochs' predictions; None without them.
        by_seed: McNemar's test and the rest for each such seed.
    """

    model: str
    method: str
    standalone: tuple[Run, ...]
    distilled: tuple[Run, ...]
    gain: Gain | None
    by_seed: dict[int, PairedComparison]

    @property
    def parameters(self) -> int | None:
        runs = self.standalone + self.distilled
        return int(runs[0].start["parameters"]) if runs else None

    def figure(self, which: str, epoch: str, key: str) -> Mean:
        """A figure of the `standalone` or `distilled` runs.

        Args:
            epoch: `last` or `best`.
            key: `top1`, `top5` or `mean_class`.
        """
        events = [getattr(run, epoch) for run in getattr(self, which)]
        return Mean(tuple(float(event[key]) for event in events if event is not None))

    @property
    def mean_gain(self) -> float | None:
        """Distilled minus standalone at the last epoch, in points; of all seeds there are."""
        first = self.figure("distilled", "last", "top1").mean
        second = self.figure("standalone", "last", "top1").mean
        return None if first is None or second is None else first - second


def make_rows(runs: Sequence[Run]) -> list[Row]:
    """A row for each student and method of runs that share data and split; missing ones too."""
    done = [run for run in runs if run.finished]
    models = [student.model for student in students().values()]
    models += sorted({run.model for run in done if run.teacher is not None} - set(models))
    rows: list[Row] = []
    for model in models:
        alone = tuple(run for run in done if run.model == model and run.teacher is None)
        distilled = [run for run in done if run.model == model and run.teacher is not None]
        for method in sorted({run.method for run in distilled}) or ["distilled"]:
            own = tuple(run for run in distilled if run.method == method)
            by_seed = _pairs(alone, own)
            rows.append(Row(model, method, alone, own, _gain(alone, own), by_seed))
    return rows


def teachers(runs: Sequence[Run]) -> list[Run]:
    """Finished standalone runs of models that are no students here."""
    models = {student.model for student in students().values()}
    return [run for run in runs if run.finished and run.teacher is None and run.model not in models]


def _pairs(alone: Sequence[Run], distilled: Sequence[Run]) -> dict[int, PairedComparison]:
    return {
        seed: compare(right, reference)
        for seed, (right, reference) in sorted(_rights(alone, distilled).items())
    }


def _rights(
    alone: Sequence[Run], distilled: Sequence[Run]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """By seed, which clips the two got right, in the same order."""
    references = {run.seed: run.predictions for run in alone}
    found = {}
    for run in distilled:
        ours, theirs = run.predictions, references.get(run.seed)
        if ours is None or theirs is None or ours.names != theirs.names:
            continue
        found[run.seed] = (ours.right, theirs.right)
    return found


def _gain(alone: Sequence[Run], distilled: Sequence[Run]) -> Gain | None:
    pairs = list(_rights(alone, distilled).values())
    return gain_over_seeds(pairs) if pairs else None
