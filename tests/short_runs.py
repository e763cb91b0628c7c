"""Runs of nine steps in this process, stopped after any of them, and what they left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from stopping import stopped_after

from lastkd.data.store.clip_store import ClipStore
from lastkd.models.checkpoint import read_checkpoint
from lastkd.runs.events import read_events
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.training.loop import TrainingRun
from lastkd.training.soft_labels import open_soft_labels

# 32 training clips in batches of 10: three steps an epoch, and two clips in no batch
SMALL: dict[str, Any] = {
    "epochs": 3,
    "frames": 8,
    "batch_size": 10,
    "log_every": 2,
    "warmup_epochs": 1,
    "lr": 0.05,
    "seed": 5,
}


def standalone(**given: Any) -> TrainSettings:
    return resolve(TrainSettings, SMALL | {"model": "last_e_nano"} | given)


def distilled(**given: Any) -> DistillSettings:
    return resolve(DistillSettings, SMALL | {"variant": "nano"} | given)


class Start:
    """Starts runs on one store, as a user does who repeats a command."""

    def __init__(self, data: Path, teacher: Path, accelerator: Accelerator) -> None:
        self.data, self.teacher, self.accelerator = data, teacher, accelerator

    def __call__(
        self,
        settings: RunSettings | list[DistillSettings],
        folder: Path | list[Path],
        between: Callable[[TrainingRun], None] | None = None,
        before: Callable[[TrainingRun], None] | None = None,
    ) -> None:
        """To the end, unless `between`, which is called after each step, stops it."""
        several = settings if isinstance(settings, list) else [settings]
        folders = folder if isinstance(folder, list) else [folder]
        store = ClipStore.open(self.data)
        ours = [own for own in several if isinstance(own, DistillSettings)]
        soft = open_soft_labels(ours, store, self.teacher, self.accelerator) if ours else None
        run = TrainingRun(several, store, soft, self.accelerator, folders)
        check = run.control.check

        def check_and(place: Any) -> None:
            if between is not None:
                between(run)
            check(place)

        run.control.check = check_and  # type: ignore[method-assign]
        if before is not None:
            before(run)
        run.run()

    def until(
        self,
        step: int,
        settings: RunSettings | list[DistillSettings],
        folder: Path | list[Path],
    ) -> None:
        """Stopped by a signal after `step`."""
        with stopped_after(step):
            self(settings, folder)


def weights(folder: Path, file: str = "last.safetensors") -> str:
    return read_checkpoint(folder / file).weights_hash


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def curve(folder: Path) -> dict[int, float]:
    """The loss by step, as a reader draws it: the latest event of each step."""
    return {event["step"]: event["total"] for event in events(folder, "step")}


def same_end(folder: Path, undisturbed: Path) -> bool:
    return all(
        weights(folder, file) == weights(undisturbed, file)
        and read_checkpoint(folder / file).info.accuracy
        == read_checkpoint(undisturbed / file).info.accuracy
        for file in ("best.safetensors", "last.safetensors")
    )
