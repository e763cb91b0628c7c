"""The reader of event logs: everything but the monitor, which follows growing files, uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.losses import KD, LOSSES, describe
from lastkd.runs.events import BEST, FILE_NAME, LAST, read_events
from lastkd.runs.predictions import Predictions

PREDICTIONS = "predictions.npz"
"""Predictions of a run's last epoch, in its folder (`lastkd evaluate --predictions`)."""


@dataclass(frozen=True)
class Run:
    """A run as its event log tells it; what was done again after a resume replaces the first try.

    Attributes:
        folder: the run's folder.
        start: its start event.
        steps, epochs: step and epoch events by number, in order.
        end: its end event; None while it is being trained, or if its process was killed.
        tests: what a run with a validation part reached on the test part at its end, by checkpoint
            (`last.safetensors`, `best.safetensors`); empty where the test part chose.
    """

    folder: Path
    start: dict[str, Any]
    steps: dict[int, dict[str, Any]]
    epochs: dict[int, dict[str, Any]]
    end: dict[str, Any] | None
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Reads a run's log from its folder.

        Raises:
            UserError: the log is missing or damaged, or has no start event.
        """
        run = cls.find(folder)
        if run is None:
            raise UserError(f"{folder / FILE_NAME}: has no start event; is it a run's log?")
        return run

    @classmethod
    def find(cls, folder: Path) -> Run | None:
        """The run in a folder; None where none was begun.

        Raises:
            UserError: the log is damaged.
        """
        if not (folder / FILE_NAME).exists():
            return None
        start: dict[str, Any] | None = None
        end: dict[str, Any] | None = None
        steps: dict[int, dict[str, Any]] = {}
        epochs: dict[int, dict[str, Any]] = {}
        tests: dict[str, dict[str, Any]] = {}
        for event in read_events(folder / FILE_NAME):
            kind = event["event"]
            if kind == "start":
                start = start or event
            elif kind == "step":
                if "kl" in event:  # schema 1
                    event["soft"] = event.pop("kl")
                steps[event["step"]] = event
            elif kind == "epoch":
                epochs[event["epoch"]] = event
            elif kind == "test":
                tests[event["checkpoint"]] = event
            if kind == "end":
                end = event
            elif kind in ("resume", "step"):
                end = None
        if start is None:
            return None
        by_number = dict(sorted(steps.items())), dict(sorted(epochs.items()))
        return cls(folder, start, *by_number, end, tests)

    @property
    def state(self) -> str:
        """`finished`, `stopped`, `failed`, or `unfinished` where the log has no end."""
        return "unfinished" if self.end is None else str(self.end.get("state", "unfinished"))

    @property
    def finished(self) -> bool:
        return self.state == "finished"

    @property
    def ended(self) -> str:
        """How the run's last process ended: the reason that its end event gives."""
        if self.end is None:
            return "killed or lost"
        return str(self.end.get("reason") or self.state)

    @property
    def model(self) -> str:
        return str(self.start["model"])

    @property
    def seed(self) -> int:
        return int(self.start["settings"]["seed"])

    @property
    def place(self) -> tuple[str, str]:
        """Hash of the data and split: only runs that share both can be compared."""
        return self.start["data"]["hash"], self.start["settings"]["split"]

    @property
    def teacher(self) -> dict[str, Any] | None:
        teacher: dict[str, Any] | None = self.start["teacher"]
        return teacher

    @property
    def method(self) -> str:
        """`standalone`, or the loss with its settings."""
        return "standalone" if self.teacher is None else describe(*self.loss)

    @property
    def loss(self) -> tuple[str, dict[str, Any]]:
        """Name and settings of a distilled run's loss."""
        loss = self.start.get("loss")
        if loss is not None:
            return loss["name"], loss["settings"]
        settings = self.start["settings"]  # schema 1
        name = settings.get("loss", KD.name)
        return name, {key: settings.get(key) for key in LOSSES[name].setting_names()}

    @property
    def soft_title(self) -> str:
        """Short name of the loss's soft term."""
        loss = self.start.get("loss") or {}
        name = self.start["settings"].get("loss", KD.name)
        return str(loss.get("title") or (LOSSES[name].title if name in LOSSES else "soft"))

    @property
    def chooser(self) -> str:
        """The part on which epochs are chosen: `test` or `validation`."""
        return "validation" if "validation" in self.start["data"] else "test"

    @property
    def last(self) -> dict[str, Any] | None:
        """Figures of the last epoch on the test part, which nobody chose.

        None before the end of a run that chooses on a validation part.
        """
        if self.chooser == "validation":
            return self.tests.get(LAST)
        return next(reversed(self.epochs.values()), None)

    @property
    def best(self) -> dict[str, Any] | None:
        """Figures of the best epoch on the test part, chosen by top-1 on the part that chooses."""
        if self.chooser == "validation":
            return self.tests.get(BEST)
        return max(self.epochs.values(), key=lambda event: event["top1"], default=None)

    @property
    def validated(self) -> dict[str, Any] | None:
        """Figures of the last epoch on the validation part; None where there is none."""
        if self.chooser == "test":
            return None
        return next(reversed(self.epochs.values()), None)

    def mean_over_epoch(self, key: str, epoch: int) -> float | None:
        """Mean of a step figure over an epoch's steps; None where the log has none of it.

        A step event is the mean over all steps since the event before it, and is weighted by them.
        """
        total, steps, before = 0.0, 0, 0
        for step, event in self.steps.items():
            if event["epoch"] == epoch and event.get(key) is not None:
                total += (step - before) * event[key]
                steps += step - before
            before = step
        return total / steps if steps else None

    @cached_property
    def predictions(self) -> Predictions | None:
        """Predictions of the last epoch; None where the folder has none."""
        path = self.folder / PREDICTIONS
        return Predictions.load(path) if path.exists() else None


def read_runs(folder: Path) -> list[Run]:
    """All runs at any depth of a folder, sorted by path.

    Raises:
        UserError: there is none, or a log is damaged.
    """
    logs = sorted(folder.rglob(FILE_NAME))
    if not logs:
        raise UserError(f"{folder}: holds no run at any depth; give the folder that --run named")
    return [Run.read(log.parent) for log in logs]
