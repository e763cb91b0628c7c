"""Forwards a run's events to TensorBoard, Weights & Biases or trackio.

Uses Accelerate's tracker classes but not its registry, which silently drops a tracker that isn't
installed and keeps a single run where several students are trained at once.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, TensorBoardTracker, TrackioTracker, WandBTracker

from lastkd.errors import UserError, nearest
from lastkd.settings.runs import RunSettings

PROJECT = "lastkd"
_PACKAGES = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}
_OF_A_STEP = (
    *("ce", "soft", "soft_weight", "total", "lr", "grad_norm"),
    *("clips_per_s", "teacher_ms", "student_ms"),
)
_OF_AN_EPOCH = ("top1", "top5", "mean_class")


def require_tracker(name: str | None) -> None:
    """Checks that a tracker can be used.

    Raises:
        UserError: the tracker is unknown or its package isn't installed.
    """
    if name is None:
        return
    if name not in _PACKAGES:
        raise UserError(f"--log-with {name}: unknown tracker; {nearest(name, _PACKAGES)}")
    if not any(importlib.util.find_spec(package) for package in _PACKAGES[name]):
        raise UserError(
            f"--log-with {name}: {name} is not installed; pip install {name}, or leave the option "
            "out (the event log is written in any case)"
        )


def _make_tracker(name: str, folder: Path, run_id: str, config: dict[str, Any]) -> GeneralTracker:
    if name == "tensorboard":
        return TensorBoardTracker("tensorboard", logging_dir=str(folder))
    if name == "wandb":
        # each student of a process gets its own run, and a resumed student continues its run
        return WandBTracker(
            PROJECT,
            name=folder.name,
            id=run_id,
            resume="allow",
            dir=str(folder),
            config=config,
            reinit="create_new",
        )
    return TrackioTracker(PROJECT, name=folder.name, config=config, resume="allow")


class RunTracker:
    """Forwards the events of one run to one tracker.

    A tracker that fails in the middle of a run is dropped with a warning in the event log: a
    dashboard is no reason to lose a training run.

    Args:
        settings: the run's settings; `log_with` names the tracker.
        run_id: of the run.
        record: records an event of the run.
    """

    def __init__(
        self, settings: RunSettings, folder: Path, run_id: str, record: Callable[..., None]
    ) -> None:
        self._name = str(settings.log_with)
        self._settings = settings
        self._folder = folder
        self._run_id = run_id
        self._record = record
        self._tracker: GeneralTracker | None = None

    def event(self, event: str, fields: dict[str, Any]) -> None:
        """Receives each event of the run.

        Raises:
            UserError: the tracker can't be started.
        """
        if event in ("start", "resume") and self._tracker is None:
            self._start()
        if self._tracker is None:
            return
        try:
            self._forward(self._tracker, event, fields)
        except Exception as error:
            self._tracker = None
            self._record("warning", text=f"{self._name} failed and gets no more events: {error}")

    def _start(self) -> None:
        settings = self._settings.model_dump(mode="json")
        config = {key: value if value is not None else "none" for key, value in settings.items()}
        try:
            tracker = _make_tracker(self._name, self._folder, self._run_id, config)
            tracker.start()
            if isinstance(tracker, TensorBoardTracker):
                tracker.store_init_configuration(config)
        except Exception as error:
            raise UserError(
                f"--log-with {self._name}: could not be started ({error}); fix that or leave the "
                "option out"
            ) from error
        self._tracker = tracker

    @staticmethod
    def _forward(tracker: GeneralTracker, event: str, fields: dict[str, Any]) -> None:
        forwarded = {"step": _OF_A_STEP, "epoch": _OF_AN_EPOCH}.get(event, ())
        part = "train" if event == "step" else "test"
        values = {
            f"{part}/{key}": float(fields[key]) for key in forwarded if fields.get(key) is not None
        }
        if values:
            tracker.log(values, step=fields["step"])
        if event == "end":
            tracker.finish()
