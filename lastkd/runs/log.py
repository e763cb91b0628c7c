"""Runs as their folders tell them: the event log, and predictions where they were kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.runs.events import FILE_NAME, read_events
from lastkd.runs.predictions import Predictions

PREDICTIONS = "predictions.npz"
"""A run's last epoch, as `lastkd evaluate RUN/last.safetensors --predictions` writes it."""
_OF_A_LOSS = (
    *("alpha", "tau", "ce_weight", "soft_weight"),
    *("dkd_alpha", "dkd_beta", "dist_beta", "dist_gamma"),
)


@dataclass(frozen=True)
class Run:
    """One run's folder.

    Attributes:
        start: its start event.
        steps, epochs: by number, the latest event of each.
        state: `finished`, or what else the log's end says; `unfinished` without one.
    """

    folder: Path
    start: dict[str, Any]
    steps: dict[int, dict[str, Any]]
    epochs: dict[int, dict[str, Any]]
    state: str

    @classmethod
    def read(cls, folder: Path) -> Run:
        """
        Raises:
            UserError: the log is damaged or doesn't begin with a start event.
        """
        start: dict[str, Any] | None = None
        steps: dict[int, dict[str, Any]] = {}
        epochs: dict[int, dict[str, Any]] = {}
        state = "unfinished"
        for event in read_events(folder / FILE_NAME):
            kind = event["event"]
            if kind == "start":
                start = start or event
            elif kind == "step":
                steps[event["step"]] = event
            elif kind == "epoch":
                epochs[event["epoch"]] = event
            elif kind == "resume":
                state = "unfinished"
            elif kind == "end":
                state = event.get("state", "unfinished")
        if start is None:
            raise UserError(f"{folder / FILE_NAME}: has no start event; is it a run's log?")
        return cls(folder, start, dict(sorted(steps.items())), dict(sorted(epochs.items())), state)

    @property
    def model(self) -> str:
        return str(self.start["model"])

    @property
    def seed(self) -> int:
        return int(self.start["settings"]["seed"])

    @property
    def place(self) -> tuple[str, str]:
        """What a run must share with another to be compared: data and split."""
        return self.start["data"]["hash"], self.start["settings"]["split"]

    @property
    def teacher(self) -> dict[str, Any] | None:
        teacher: dict[str, Any] | None = self.start["teacher"]
        return teacher

    @property
    def method(self) -> str:
        """`standalone`, or the loss with the settings that are its own."""
        if self.teacher is None:
            return "standalone"
        settings = self.start["settings"]
        loss = settings.get("loss", "kd")
        own = [name for name in _OF_A_LOSS if settings.get(name) is not None]
        return ", ".join([loss, *(f"{name} {settings[name]:g}" for name in own)])

    @property
    def last(self) -> dict[str, Any] | None:
        """The epoch event of the last epoch that was evaluated, which nobody chose."""
        return next(reversed(self.epochs.values()), None)

    @property
    def best(self) -> dict[str, Any] | None:
        """The best epoch by top-1 on the test part: chosen on what it is measured on."""
        return max(self.epochs.values(), key=lambda event: event["top1"], default=None)

    @cached_property
    def predictions(self) -> Predictions | None:
        """Of the last epoch; None where they weren't kept."""
        path = self.folder / PREDICTIONS
        return Predictions.load(path) if path.exists() else None


def read_runs(folder: Path) -> list[Run]:
    """All runs at any depth of a folder, by name.

    Raises:
        UserError: there is none, or a log is damaged.
    """
    logs = sorted(folder.rglob(FILE_NAME))
    if not logs:
        raise UserError(f"{folder}: holds no run at any depth; give the folder that --run named")
    return [Run.read(log.parent) for log in logs]
