"""What a run leaves in its folder: settings, events and checkpoints."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import accelerate
import torch
import yaml
from accelerate import Accelerator

import lastkd
from lastkd.config import DistillSettings, RunSettings
from lastkd.data.store import ClipStore
from lastkd.errors import UserError
from lastkd.events import FILE_NAME, EventLog
from lastkd.models import LastModel
from lastkd.models.checkpoint import CheckpointInfo, save_checkpoint
from lastkd.training.device import device_name
from lastkd.training.evaluation import Accuracy
from lastkd.training.plan import Plan
from lastkd.training.processes import precision_in_use
from lastkd.training.progress import RunProgress
from lastkd.training.soft_labels import SoftLabels

BEST, LAST = "best.safetensors", "last.safetensors"


class RunRecord:
    """One run's folder, written by the first rank alone."""

    def __init__(
        self,
        settings: RunSettings,
        store: ClipStore,
        soft_labels: SoftLabels | None,
        accelerator: Accelerator,
        folder: Path,
        plan: Plan,
    ) -> None:
        """
        Raises:
            UserError: the folder holds a run already or can't be written.
        """
        self.settings = settings
        self.store = store
        self.soft_labels = soft_labels
        self.folder = folder
        self.plan = plan
        self.accelerator = accelerator
        self.precision = precision_in_use(accelerator)
        taken = (folder / FILE_NAME).exists()
        accelerator.wait_for_everyone()
        if taken:
            raise UserError(f"{folder}: holds a run already; choose another --run or remove it")
        self._log: EventLog | None = None
        if accelerator.is_main_process:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
                (folder / "settings.yaml").write_text(text, encoding="utf-8")
            except OSError as error:
                raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
            self._log = EventLog(folder / FILE_NAME)

    def event(self, event: str, **fields: Any) -> None:
        if self._log is not None:
            self._log.write(event, **fields)

    def save(
        self, model: LastModel, file: str, epoch: int, accuracy: Accuracy | None, chosen_by: str
    ) -> None:
        """Writes a checkpoint of `model` as it is after `epoch`."""
        if not self.accelerator.is_main_process:
            return
        measured = {"split": self.settings.split, **accuracy.summary()} if accuracy else {}
        info = CheckpointInfo(
            architecture=model.architecture,
            num_classes=self.store.num_classes,
            layout=self.store.layout,
            class_names=self.store.class_names,
            accuracy=measured,
            epoch=epoch,
            chosen_by=chosen_by,
            settings={
                **self.settings.model_dump(mode="json"),
                "mixed_precision": self.precision,
            },
            data_hash=self.store.content_hash,
            teacher_hash=soft.identity.weights_hash if (soft := self.soft_labels) else None,
        )
        save_checkpoint(self.folder / file, model.state_dict(), info)

    def start(self, model: LastModel, store_place: str, progress: RunProgress) -> None:
        """The start event, and its gist for the one who watches.

        Args:
            store_place: where the clips are held, in words.
        """
        settings, plan, store, accelerator = self.settings, self.plan, self.store, self.accelerator
        parameters = sum(p.numel() for p in model.parameters())
        precision = self.precision
        train_clips, test_clips = store.split(settings.split)
        device = device_name(accelerator.device)
        peak = settings.lr * plan.global_batch / settings.reference_batch
        soft_labels = self.soft_labels
        self.event(
            "start",
            run=self.folder.name,
            model=settings.model_name,
            parameters=parameters,
            settings=settings.model_dump(mode="json"),
            versions={
                "lastkd": lastkd.__version__,
                "torch": torch.__version__,
                "accelerate": accelerate.__version__,
                "python": platform.python_version(),
            },
            device={"type": accelerator.device.type, "name": device, "precision": precision},
            processes=accelerator.num_processes,
            global_batch=plan.global_batch,
            steps_per_epoch=plan.steps_per_epoch,
            total_steps=plan.total_steps,
            peak_lr=peak,
            data={
                "hash": store.content_hash,
                "source": store.source,
                "classes": store.num_classes,
                "train": len(train_clips),
                "test": len(test_clips),
            },
            teacher=soft_labels and soft_labels.about(),
        )
        where = f"{accelerator.num_processes} x {accelerator.device.type}"
        progress.say(
            f"{self.folder.name}: {settings.model_name}, {parameters:,} parameters, on {where}, "
            f"precision {'float32' if precision == 'no' else precision}"
        )
        progress.say(
            f"  data: {store.path}, {settings.split}: {len(train_clips):,} training and "
            f"{len(test_clips):,} test clips, {store.num_classes} classes, "
            f"held in {store_place}"
        )
        if soft_labels and isinstance(settings, DistillSettings):
            identity = soft_labels.identity
            progress.say(
                f"  teacher: {identity.name}, top-1 {identity.accuracy.get('top1', 'unknown')}, "
                f"alpha {settings.alpha}, tau {settings.tau}{soft_labels.in_words(settings.epochs)}"
            )
        progress.say(
            f"  global batch {plan.global_batch} = {settings.batch_size} clips x "
            f"{accelerator.num_processes} processes x {settings.accumulation} passes; peak "
            f"learning rate {peak:g} = {settings.lr:g} x {plan.global_batch} / "
            f"{settings.reference_batch}; {settings.epochs} epochs of {plan.steps_per_epoch} steps"
        )
        left_out = len(train_clips) - plan.steps_per_epoch * plan.global_batch
        if left_out:
            self.event(
                "warning",
                text=f"{left_out} clips an epoch don't fill a global batch and wait for the next",
            )
