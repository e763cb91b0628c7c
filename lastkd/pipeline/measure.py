"""A few real steps of each kind on the real store, timed: accelerate launch -m this ORDER RESULT

It runs under the launch config of the sequence, so that processes, devices and precision are those
of the runs. Nothing of it stays: runs aren't begun, and a teacher that isn't trained yet is stood
in for by one of its size.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import Accelerator

from lastkd.data.store.clip_store import ClipStore
from lastkd.distributed.accelerator import leave, make_accelerator
from lastkd.distributed.agreement import decide_on_main_process
from lastkd.distributed.device import device_name
from lastkd.entry_point import PATH, run_command
from lastkd.evaluation.logits import evaluate
from lastkd.files.atomic import replacing
from lastkd.models.checkpoint import CheckpointInfo, save_checkpoint
from lastkd.models.registry import build_model
from lastkd.settings.architecture import get_architecture, model_names
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.terminal import Progress
from lastkd.training.loop import TrainingRun
from lastkd.training.soft_labels import open_soft_labels

ENOUGH_S = 3.0
"""A measurement that takes so long is believed; a shorter one is repeated for about that long."""
MOST_STEPS = 20


class Measurement:
    """The parts of a sequence, timed one after the other.

    Args:
        order: what `estimate.order` wrote.
        folder: for the stand-in of a teacher.
    """

    def __init__(self, order: dict[str, Any], folder: Path, accelerator: Accelerator) -> None:
        self.order = order
        self.folder = folder
        self.accelerator = accelerator
        self.store = ClipStore.open(Path(order["data"]))
        self.progress = Progress("measurement", 1, shown=False)

    def part(self, part: dict[str, Any]) -> dict[str, Any]:
        """Seconds a step and seconds an evaluated clip, and how many there are in an epoch."""
        kind = DistillSettings if part["teacher"] else TrainSettings
        settings: list[RunSettings] = [
            resolve(kind, given | {"checkpoint_minutes": 1e6, "log_every": 10**6})
            for given in part["settings"]
        ]
        soft = None
        distilled = [own for own in settings if isinstance(own, DistillSettings)]
        if distilled:
            teacher = self._teacher(part["teacher"])
            soft = open_soft_labels(distilled, self.store, teacher, self.accelerator)
        folders = [self.folder / f"{number}" for number in range(len(settings))]
        run = TrainingRun(settings, self.store, soft, self.accelerator, folders)
        plan = run.schedule
        epoch = 0

        def steps(count: int) -> None:
            nonlocal epoch
            epoch += 1
            run.schedule = replace(plan, steps_per_epoch=count)
            # places and clips of the epoch are those of a run this short
            run.position = run.position._replace(step=(epoch - 1) * count, epochs=epoch - 1)
            run.control.reported = run.resumed_at = run.position.step
            run.train_epoch(epoch, self.progress)

        device = self.accelerator.device
        if part["steps"] and (device.type == "cuda" or settings[0].compile):
            steps(1)  # kernels are chosen and compiled
        most = min(MOST_STEPS, plan.steps_per_epoch)
        said: dict[str, Any] = {"steps_per_epoch": plan.steps_per_epoch}
        said["step_s"] = self._seconds(steps, most) if part["steps"] else 0.0
        said["eval_s"] = {}
        size = settings[0].eval_batch_size * self.accelerator.num_processes
        for student in run.students:

            def batches(count: int, model: torch.nn.Module = student.model) -> None:
                evaluate(
                    model,
                    run.views,
                    run.test_clips[: count * size],
                    batch_size=settings[0].eval_batch_size,
                    accelerator=self.accelerator,
                )

            whole = -(-len(run.test_clips) // size)
            per_batch = self._seconds(batches, min(MOST_STEPS, whole))
            said["eval_s"][student.settings.model_name] = per_batch / min(size, len(run.test_clips))
        said["test_clips"] = len(run.test_clips)
        run.students.clear()
        self.accelerator.free_memory()
        return said

    def _seconds(self, work: Callable[[int], None], most: int) -> float:
        """Seconds a unit: of one if that is slow, else of as many as fit into a short time."""
        first = self._timed(work, 1)
        count = decide_on_main_process(
            self.accelerator, lambda: max(1, min(most, int(ENOUGH_S / max(first, 1e-6))))
        )
        return first if count == 1 else self._timed(work, count) / count

    def _timed(self, work: Callable[[int], None], count: int) -> float:
        started = time.perf_counter()
        work(count)
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize(self.accelerator.device)
        return time.perf_counter() - started

    def _teacher(self, said: str) -> Path:
        """A checkpoint, or the stand-in of a model."""
        if said not in model_names():
            return Path(said)
        made = self.folder / f"{said}.safetensors"

        decide_on_main_process(self.accelerator, lambda: self._make_teacher(made, said))
        return made

    def _make_teacher(self, path: Path, name: str) -> None:
        architecture = get_architecture(name).for_training()
        model = build_model(architecture, self.store.num_classes, self.store.layout)
        info = CheckpointInfo(
            architecture=architecture,
            num_classes=self.store.num_classes,
            layout=self.store.layout,
            class_names=self.store.class_names,
        )
        save_checkpoint(path, model.state_dict(), info)


@click.command()
@click.argument("order", type=PATH)
@click.argument("result", type=PATH)
def measure(order: Path, result: Path) -> None:
    """Times the parts that ORDER names and writes RESULT."""
    said = json.loads(order.read_text(encoding="utf-8"))
    accelerator = make_accelerator(said["accumulation"])
    speaks = accelerator.is_main_process
    found: dict[str, Any] = {
        "start_s": time.time() - said["begun"],
        "device": device_name(accelerator.device),
        "processes": accelerator.num_processes,
        "parts": {},
    }
    with tempfile.TemporaryDirectory() as own:
        folder = decide_on_main_process(accelerator, lambda: Path(own))
        measurement = Measurement(said, folder, accelerator)
        names = list(said["parts"])
        with Progress("measuring", len(names), shown=speaks, stderr=True) as progress:
            for number, name in enumerate(names):
                progress.update(number, name)
                found["parts"][name] = measurement.part(said["parts"][name])
        del measurement
        accelerator.wait_for_everyone()
    if speaks:
        with replacing(result) as part:
            part.write_text(json.dumps(found), encoding="utf-8")
    leave(accelerator)


if __name__ == "__main__":
    run_command(measure, "python -m lastkd.pipeline.measure")
