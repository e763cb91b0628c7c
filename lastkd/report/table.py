"""Standalone against distilled, student by student, for the runs on one set."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.evaluation.statistics import Gain, PairedComparison, compare, gain_over_seeds
from lastkd.losses import describe
from lastkd.runs.identity import PATHS
from lastkd.runs.log import Run
from lastkd.settings.runs import RuntimeSettings
from lastkd.settings.students import students

_NOT_COMPARED = {*RuntimeSettings.model_fields, *PATHS, "seed"}
"""Settings that runs of one experiment may differ in; their teachers' weights may not."""


@dataclass(frozen=True)
class Mean:
    """A value over seeds: the mean, and the standard deviation if there are several."""

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
    """One student distilled by one method, beside the same student trained alone.

    Attributes:
        model: the student's name.
        method: the loss with its settings.
        standalone, distilled: the finished runs, one for each seed.
        differing: settings that the distilled runs don't share with the standalone runs of their
            seeds, such as `epochs 100, alone 40`: the comparison isn't one of teachers alone.
    """

    model: str
    method: str
    standalone: tuple[Run, ...]
    distilled: tuple[Run, ...]
    differing: tuple[str, ...] = ()

    @property
    def parameters(self) -> int | None:
        runs = self.standalone + self.distilled
        return int(runs[0].start["parameters"]) if runs else None

    @property
    def chooser(self) -> str:
        """The part on which the best epochs were chosen: `test` or `validation`; empty if none."""
        return next((run.chooser for run in self.standalone + self.distilled), "")

    def figure(self, which: str, epoch: str, key: str) -> Mean:
        """A value of the `standalone` or the `distilled` runs on the test part.

        Args:
            which: `standalone` or `distilled`.
            epoch: `last` or `best`.
            key: `top1`, `top5` or `mean_class`.
        """
        events = [getattr(run, epoch) for run in getattr(self, which)]
        return Mean(tuple(float(event[key]) for event in events if event is not None))

    @property
    def mean_gain(self) -> float | None:
        """Distilled minus standalone at the last epoch over all seeds of each, in points."""
        first = self.figure("distilled", "last", "top1").mean
        second = self.figure("standalone", "last", "top1").mean
        return None if first is None or second is None else first - second

    @cached_property
    def gains(self) -> dict[int, float]:
        """By seed, distilled minus standalone at the last epoch, for seeds that both have."""
        alone = {run.seed: run.last for run in self.standalone}
        pairs = {run.seed: (run.last, alone.get(run.seed)) for run in self.distilled}
        return {
            seed: float(ours["top1"]) - float(theirs["top1"])
            for seed, (ours, theirs) in sorted(pairs.items())
            if ours is not None and theirs is not None
        }

    @cached_property
    def hits(self) -> dict[int, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """By seed, which clips `(N,)` the distilled and the standalone run got right.

        Only for seeds whose two runs have predictions of the same clips.
        """
        references = {run.seed: run.predictions for run in self.standalone}
        by_seed = {}
        for run in sorted(self.distilled, key=lambda run: run.seed):
            ours, theirs = run.predictions, references.get(run.seed)
            if ours is not None and theirs is not None and ours.names == theirs.names:
                by_seed[run.seed] = (ours.right, theirs.right)
        return by_seed

    @cached_property
    def gain(self) -> Gain | None:
        """The mean gain with its interval over the test clips; None without predictions."""
        pairs = list(self.hits.values())
        return gain_over_seeds(pairs) if pairs else None

    @cached_property
    def by_seed(self) -> dict[int, PairedComparison]:
        """McNemar's test and more, for each seed with predictions."""
        return {seed: compare(ours, theirs) for seed, (ours, theirs) in self.hits.items()}

    def by_class(self, which: str) -> NDArray[np.float64] | None:
        """Accuracy in percent on each class at the last epoch, `(K,)`, the mean over seeds.

        NaN for classes without a test clip; None without a run.

        Args:
            which: `standalone` or `distilled`.
        """
        events = [run.last for run in getattr(self, which)]
        values = [
            [np.nan if value is None else value for value in event["by_class"]]
            for event in events
            if event is not None
        ]
        if not values:
            return None
        mean: NDArray[np.float64] = np.array(values, float).mean(axis=0)
        return mean

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names in the predictions of the row's runs, if any."""
        predictions = (run.predictions for run in self.standalone + self.distilled)
        return next((one.class_names for one in predictions if one is not None), ())

    @property
    def teacher_top1(self) -> float | None:
        """The teacher's top-1 in percent, as recorded in its checkpoint; the mean of several."""
        known = [((run.teacher or {}).get("accuracy") or {}).get("top1") for run in self.distilled]
        numbers = [float(top1) for top1 in known if isinstance(top1, int | float)]
        return statistics.mean(numbers) if numbers else None


@dataclass(frozen=True)
class Section:
    """The runs that can be compared with each other: same data, split and parts.

    Attributes:
        name: short, and different for each section of a report.
        runs: finished and unfinished ones.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def data(self) -> dict[str, Any]:
        """The data of a start event."""
        data: dict[str, Any] = self.runs[0].start["data"]
        return data

    @property
    def split(self) -> str:
        return str(self.runs[0].start["settings"]["split"])

    @property
    def chooser(self) -> str:
        """The part on which epochs are chosen: `test` or `validation`."""
        return self.runs[0].chooser

    @property
    def description(self) -> str:
        """Source, split and parts, as the beginning of a sentence."""
        data = self.data
        name, store = data.get("name") or data["source"], data["hash"][:8]
        validation = f", {data['validation']:,} validation" if self.held_out else ""
        return (
            f"{name}, split {self.split} (store {store}): {data['train']:,} "
            f"training{validation} and {data['test']:,} test clips of {data['classes']} classes"
        )

    @property
    def held_out(self) -> str:
        """The validation part's hash, empty without one."""
        return str(self.data.get("validation_hash") or "")

    @cached_property
    def rows(self) -> list[Row]:
        """A row for each student and method, and one for each shipped student without a run."""
        done = [run for run in self.runs if run.finished]
        models = [student.model for student in students().values()]
        models += sorted({run.model for run in done if run.teacher is not None} - set(models))
        rows: list[Row] = []
        for model in models:
            alone = [run for run in done if run.model == model and run.teacher is None]
            distilled = [run for run in done if run.model == model and run.teacher is not None]
            methods = _methods(distilled) or {"distilled": []}
            for method, runs in methods.items():
                rows.append(_row(model, method, alone, runs))
        return rows

    @property
    def teachers(self) -> list[Run]:
        """Finished standalone runs of models that aren't students."""
        models = {student.model for student in students().values()}
        return [
            run
            for run in self.runs
            if run.finished and run.teacher is None and run.model not in models
        ]


def make_sections(runs: Sequence[Run]) -> list[Section]:
    """The runs by data, split and parts, in their order; named after the stores or sources."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        data = run.start["data"]
        key = (run.place[1], data["hash"], str(data.get("validation_hash") or ""))
        groups.setdefault(key, []).append(run)
    named = [(_set_name(group), key, group) for key, group in groups.items()]
    for detail in (0, 1, 2):  # split, hash and the validation part's hash
        shared = Counter(name for name, _, _ in named)
        named = [
            (f"{name} {key[detail][:8]}" if shared[name] > 1 and key[detail] else name, key, group)
            for name, key, group in named
        ]
    return [Section(name, tuple(group)) for name, _, group in named]


def _set_name(runs: Sequence[Run]) -> str:
    """The data's name, else the folder of the store that most runs used, else the source."""
    known = runs[0].start["data"]
    if known.get("name"):
        return str(known["name"])
    stores = Counter(Path(str(run.start["settings"].get("data") or "")).name for run in runs)
    (name, _), *_ = stores.most_common(1)
    return name or str(known["source"]).partition(" (")[0] or "unnamed data"


def _methods(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Distilled runs by method; runs of one seed that differ in other settings are told apart."""
    methods: dict[str, list[Run]] = {}
    for method, same in sorted(_same_method(runs).items()):
        repeated = max(Counter(run.seed for run in same).values()) > 1
        differing = _differing([_settings(run) for run in same]) if repeated else []
        for run in same:
            values = _settings(run)
            details = [f"{name} {_shown(values.get(name))}" for name in differing]
            methods.setdefault(", ".join([method, *details]), []).append(run)
    return methods


def _same_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Distilled runs by loss and settings.

    `--tau auto` measures a temperature for each seed: runs of different seeds that differ in their
    tau alone, which is the measured one in each, are of one method, `tau auto`.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.method, []).append(run)
    measured: dict[str, list[str]] = {}
    for method, same in found.items():
        softness = [run.start.get("softness") or {} for run in same]
        if all("tau" in one and one["tau"] == one.get("even_tau") for one in softness):
            loss, settings = same[0].loss
            measured.setdefault(describe(loss, settings | {"tau": "auto"}), []).append(method)
    for name, taus in measured.items():
        together = [run for method in taus for run in found[method]]
        if len(taus) > 1 and len({run.seed for run in together}) == len(together):
            for method in taus:
                del found[method]
            found[name] = together
    return found


def _row(model: str, method: str, alone: Sequence[Run], distilled: Sequence[Run]) -> Row:
    """One run a seed; of several standalone runs, the one with the distilled run's settings."""
    ours = {run.seed: run for run in distilled}  # of equal runs, the last

    def shared(run: Run) -> int:
        theirs = _settings(ours.get(run.seed) or next(iter(ours.values()), run))
        return sum(theirs.get(name) == value for name, value in _settings(run).items())

    baselines: dict[int, Run] = {}
    for run in sorted(alone, key=shared):
        baselines[run.seed] = run
    differing = {
        f"{name} {_shown(_settings(run)[name])}, alone {_shown(_settings(baselines[seed])[name])}"
        for seed, run in ours.items()
        if seed in baselines
        for name in _differing([_settings(run), _settings(baselines[seed])])
        if name in _settings(run) and name in _settings(baselines[seed])
    }
    seeds = tuple(baselines[seed] for seed in sorted(baselines))
    return Row(
        model, method, seeds, tuple(ours[seed] for seed in sorted(ours)), tuple(sorted(differing))
    )


def _settings(run: Run) -> dict[str, Any]:
    """The settings that decide a run's result, the teacher by its hash."""
    settings = {
        name: value for name, value in run.start["settings"].items() if name not in _NOT_COMPARED
    }
    if run.teacher is not None:
        settings["teacher"] = str(run.teacher["hash"])[:8]
    return settings


def _differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the settings that aren't equal everywhere."""
    names = {name for one in settings for name in one}
    return sorted(
        name for name in names if any(one.get(name) != settings[0].get(name) for one in settings)
    )


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
