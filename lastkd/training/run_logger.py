"""Writes a run's folder: settings, events and checkpoints."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate import Accelerator

from lastkd.data.parts import Parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.distributed.accelerator import precision_in_use
from lastkd.distributed.agreement import decide_on_main_process
from lastkd.distributed.device import device_name
from lastkd.errors import UserError
from lastkd.models.checkpoint import Checkpoint, CheckpointInfo, read_checkpoint, save_checkpoint
from lastkd.models.registry import SkeletonModel
from lastkd.runs.events import EventLog
from lastkd.runs.folder import RunFolder
from lastkd.runs.identity import identity
from lastkd.runs.standalone import Lead, standalone_of
from lastkd.settings.resolve import defaults
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.settings.students import variant_of
from lastkd.terminal import Progress
from lastkd.training.checkpoints import Checkpoints
from lastkd.training.device_watch import DeviceWatch
from lastkd.training.resume import Resumed
from lastkd.training.schedule import Schedule
from lastkd.training.soft_labels import SoftLabels
from lastkd.training.softness import Softness
from lastkd.training.trackers import RunTracker, require_tracker
from lastkd.version import __version__

SMALL_SET = 5000
"""Training clips below which the recipe for small sets is suggested."""


class RunLogger:
    """The folder of one run, written by rank 0 only."""

    def __init__(
        self,
        settings: RunSettings,
        store: ClipStore,
        parts: Parts,
        soft_labels: SoftLabels | None,
        accelerator: Accelerator,
        folder: Path,
        schedule: Schedule,
    ) -> None:
        """
        Raises:
            UserError: the configured tracker isn't installed.
        """
        require_tracker(settings.log_with)
        self.settings = settings
        self.store = store
        self.parts = parts
        self.soft_labels = soft_labels
        self.folder = folder
        self.schedule = schedule
        self.accelerator = accelerator
        self.precision = precision_in_use(accelerator)
        self.run_folder = RunFolder(folder)
        self.checkpoints = Checkpoints(folder)
        self.failure: UserError | None = None
        self._log: EventLog | None = None
        self._listeners: list[DeviceWatch | RunTracker] = []

    def open(self) -> None:
        """Opens the event log. Only rank 0 calls it, after locking the folder.

        Raises:
            UserError: the folder can't be written.
        """
        self._log = self.run_folder.open(self.settings)
        self._listeners = [DeviceWatch(self.folder, self.event, self.accelerator.device)]
        if self.settings.log_with:
            self._listeners.append(
                RunTracker(self.settings, self.folder, self._log.run_id, self.event)
            )

    def close(self) -> None:
        """Closes the event log and releases the folder."""
        if self._log is not None:
            self._log.close()
            self._log = None
        self.run_folder.release()

    @property
    def begun(self) -> bool:
        """Whether an earlier process recorded the start; known on rank 0."""
        return self._log is not None and self._log.begun

    @property
    def run_id(self) -> str:
        return self._log.run_id if self._log is not None else ""

    def event(self, event: str, **fields: Any) -> None:
        """Records an event.

        If the log can't be written, the error is kept as `failure` rather than raised, so that all
        ranks learn of it and end at the same step.
        """
        if self._log is None or self.failure is not None:
            return
        try:
            self._log.write(event, **fields)
        except UserError as error:
            self.failure = error
        self._notify(event, fields)

    def _notify(self, event: str, fields: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener.event(event, fields)

    def sync(self) -> None:
        """Flushes the event log to disk.

        Raises:
            UserError: the log can't be written.
        """
        if self.failure is not None:
            raise self.failure
        if self._log is not None:
            self._log.sync()

    def end(self, **fields: Any) -> None:
        """Records the end of the run if the log can still be written."""
        if self._log is None:
            return
        with contextlib.suppress(UserError):
            self._log.write("end", **fields)
            self._log.sync()
        self._notify("end", fields)

    def read(self, file: str) -> Checkpoint:
        """A checkpoint that `save` wrote, on every rank as the first one has it."""
        return decide_on_main_process(self.accelerator, lambda: read_checkpoint(self.folder / file))

    def save(
        self, model: SkeletonModel, file: str, epoch: int, accuracy: dict[str, Any], chosen_by: str
    ) -> None:
        """Saves `model` as it is after `epoch`. Every rank must call it.

        Args:
            accuracy: what was measured and on which part; empty where nothing was.
            chosen_by: why this epoch was saved, as text.

        Raises:
            UserError: the disk is full or the folder can't be written.
        """
        info = CheckpointInfo(
            architecture=model.architecture,
            num_classes=self.store.num_classes,
            layout=self.store.layout,
            class_names=self.store.class_names,
            accuracy=accuracy,
            epoch=epoch,
            chosen_by=chosen_by,
            settings={
                # a checkpoint doesn't depend on how often its run was stopped
                **self.settings.model_dump(mode="json", exclude={"resume", "time_budget"}),
                "mixed_precision": self.precision,
            },
            data_hash=self.store.content_hash,
            keep_bodies=self.store.keeps_bodies,
            teacher_hash=soft.identity.weights_hash if (soft := self.soft_labels) else None,
        )
        decide_on_main_process(
            self.accelerator, lambda: save_checkpoint(self.folder / file, model.state_dict(), info)
        )

    def identity(self, model: SkeletonModel) -> dict[str, Any]:
        """What identifies the run, to refuse resuming another one in its folder."""
        return identity(
            self.settings.model_dump(mode="json"),
            data=self.store.content_hash,
            teacher=soft.identity.weights_hash if (soft := self.soft_labels) else None,
            architecture=model.architecture.model_dump(mode="json"),
            global_batch=self.schedule.global_batch,
            precision=self.precision,
            validation=self.parts.validation_hash,
        )

    def _is_small_set(self) -> bool:
        """Whether NTU's defaults train on a set that the recipe for small sets is meant for."""
        settings, usual = self.settings, defaults(TrainSettings)
        untouched = all(getattr(settings, name) == usual[name] for name in ("epochs", "lr"))
        return settings.recipe is None and untouched and len(self.parts.train) < SMALL_SET

    def _validation(self) -> dict[str, Any]:
        """What the start event says of the validation part, where there is one."""
        parts = self.parts
        if parts.validation is None:
            return {}
        return {
            "validation": len(parts.validation),
            "validation_hash": parts.validation_hash,
            "held_out": parts.held_out,
        }

    def conditions(self) -> dict[str, str | int]:
        """What rounding depends on: device, process count, versions."""
        device = self.accelerator.device
        conditions: dict[str, str | int] = {
            "processes": self.accelerator.num_processes,
            "clips a pass": self.settings.batch_size,
            "passes a step": self.settings.accumulation,
            "device": device_name(device),
            "torch": torch.__version__,
            "lastkd": __version__,
        }
        if device.type == "cpu":
            conditions["threads"] = torch.get_num_threads()
        return conditions

    def resume(self, resumed: Resumed, progress: Progress) -> None:
        """Records the resume event and prints its gist."""
        position = resumed.position
        notes = list(resumed.notes)
        if resumed.states:
            before = resumed.states[0].conditions
            differing = [
                f"{name} {before[name]} before and {value} now"
                for name, value in self.conditions().items()
                if before.get(name, value) != value
            ]
            if differing:
                notes.append(
                    f"resumes under other conditions ({'; '.join(differing)}): the result will not "
                    "be byte for byte that of an uninterrupted run"
                )
        self.event(
            "resume",
            step=position.step,
            epoch=position.epochs + 1,
            processes=self.accelerator.num_processes,
            device=self._device(),
            reason=resumed.ended,
        )
        progress.echo(
            f"{self.folder.name}: resumes after step {position.step} of "
            f"{self.schedule.total_steps} (the last process ended: {resumed.ended})"
        )
        for note in notes:
            self.event("warning", text=note)
            progress.echo(f"  {note}")

    def start(
        self,
        model: SkeletonModel,
        store_place: str,
        softness: Softness | None,
        progress: Progress,
    ) -> None:
        """Records the start event and prints its gist.

        Args:
            store_place: where the clips are held, as text.
            softness: of the teacher's labels; None without a teacher.
        """
        lead = self._lead()
        self.event(
            "start",
            **self._start_fields(model),
            softness=softness and softness.to_dict(),
            lead=lead and lead.to_dict(),
        )
        for line in self._start_lines(model, store_place):
            progress.echo(line)
        for measured in filter(None, (softness, lead)):
            progress.echo(f"  {measured}")
        warnings = [
            *(softness.warnings() if softness is not None else ()),
            *(lead.warnings() if lead is not None else ()),
            *(
                f"class {name!r} has validation clips and no training clip"
                for name in self.parts.lost
            ),
        ]
        for text in warnings:
            self.event("warning", text=text)
            progress.echo(f"  Warning: {text}")
        left_out = (
            len(self.parts.train) - self.schedule.steps_per_epoch * self.schedule.global_batch
        )
        if left_out:
            text = f"{left_out} clips per epoch don't fill a global batch and are left out"
            self.event("warning", text=text)

    def _lead(self) -> Lead | None:
        """How far the teacher is ahead of the student alone, where a standalone run is known."""
        settings, soft_labels = self.settings, self.soft_labels
        if soft_labels is None or not isinstance(settings, DistillSettings):
            return None
        if settings.standalone is None:
            return None
        return Lead.of(standalone_of(settings), soft_labels.identity.accuracy)

    def _start_fields(self, model: SkeletonModel) -> dict[str, Any]:
        """What the start event says of the run, its data and this machine."""
        settings, schedule, store, parts = self.settings, self.schedule, self.store, self.parts
        return {
            "run": self.folder.name,
            "model": settings.model_name,
            "parameters": _size(model),
            "architecture": model.architecture.model_dump(mode="json"),
            "settings": settings.model_dump(mode="json"),
            "versions": {
                "lastkd": __version__,
                "torch": torch.__version__,
                "accelerate": accelerate.__version__,
                "python": platform.python_version(),
            },
            "device": self._device(),
            "processes": self.accelerator.num_processes,
            "global_batch": schedule.global_batch,
            "steps_per_epoch": schedule.steps_per_epoch,
            "total_steps": schedule.total_steps,
            "peak_lr": self._peak_rate(),
            "data": {
                "hash": store.content_hash,
                "name": store.name,
                "source": store.source,
                "classes": store.num_classes,
                "train": len(parts.train),
                "test": len(parts.test),
                **self._validation(),
            },
            "variant": variant_of(settings.model_name),
            "loss": settings.loss.to_dict() if isinstance(settings, DistillSettings) else None,
            "teacher": self.soft_labels and self.soft_labels.about(),
        }

    def _start_lines(self, model: SkeletonModel, store_place: str) -> Iterator[str]:
        """The gist of the start event for people, line by line."""
        settings, schedule, store, parts = self.settings, self.schedule, self.store, self.parts
        processes, device = self.accelerator.num_processes, self.accelerator.device.type
        precision = "float32" if self.precision == "no" else self.precision
        yield (
            f"{self.folder.name}: {settings.model_name}, {_size(model):,} parameters, on "
            f"{processes} x {device}, precision {precision}"
        )
        yield (
            f"  data: {store.path}, {settings.split}: {len(parts.train):,} training and "
            f"{len(parts.test):,} test clips, {store.num_classes} classes, held in {store_place}"
        )
        if parts.validation is not None:
            yield f"  validation: {parts.held_out}; the test part is used once, at the end"
        if self._is_small_set():
            yield (
                f"  {len(parts.train):,} training clips are few for these defaults, meant for "
                "NTU; try --recipe small"
            )
        yield (
            f"  global batch {schedule.global_batch} = {settings.batch_size} clips x "
            f"{processes} processes x {settings.accumulation} passes; peak learning rate "
            f"{self._peak_rate():g} = {settings.lr:g} x {schedule.global_batch} / "
            f"{settings.reference_batch}; {settings.epochs} epochs of "
            f"{schedule.steps_per_epoch} steps"
        )
        if self.soft_labels and isinstance(settings, DistillSettings):
            yield (
                f"  teacher: {self.soft_labels.identity.describe()}, loss {settings.loss}"
                f"{self.soft_labels.describe(settings.epochs)}"
            )

    def _peak_rate(self) -> float:
        """The highest learning rate of the run."""
        return self.settings.lr * self.schedule.global_batch / self.settings.reference_batch

    def _device(self) -> dict[str, str]:
        """What events say of the device."""
        device = self.accelerator.device
        return {"type": device.type, "name": device_name(device), "precision": self.precision}


def _size(model: SkeletonModel) -> int:
    """How many parameters the model has."""
    return sum(parameter.numel() for parameter in model.parameters())
