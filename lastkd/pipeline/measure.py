"""Times real training steps and evaluations, for `lastkd bench` and the plan of a sequence.

    accelerate launch -m lastkd.pipeline.measure ORDER RESULT

measures the parts of a sequence under its launch config, so that processes, devices and precision
are those of its runs. Nothing is recorded, and an untrained model stands in for a teacher that
isn't trained yet.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Views
from lastkd.distributed.accelerator import leave, make_accelerator
from lastkd.distributed.agreement import decide_on_main_process
from lastkd.distributed.device import device_name
from lastkd.entry_point import PATH, run_command
from lastkd.evaluation.logits import evaluate
from lastkd.files.atomic import write_text
from lastkd.models.checkpoint import CheckpointInfo, save_checkpoint
from lastkd.models.registry import build_model
from lastkd.runs.folder import Position
from lastkd.settings.architecture import Architecture, get_architecture, model_names
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.terminal import Progress
from lastkd.training.loop import TrainingRun
from lastkd.training.soft_labels import open_soft_labels

ENOUGH_S = 3.0
"""A measurement that takes this long is kept; a shorter one is repeated for about this long."""
MAX_UNITS = 20
UNRECORDED = {"checkpoint_minutes": 1e6, "log_every": 10**6}
"""Settings of a run that is only timed: one report an epoch, and no checkpoints."""


def elapsed_s(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds that `work` takes, including what it leaves queued on a GPU."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def save_stand_in(
    path: Path, architecture: Architecture, store: ClipStore, warm_up: Views | None = None
) -> Path:
    """Writes an untrained checkpoint that takes as long to run as a trained one of its size.

    Args:
        warm_up: views of a few clips that the running statistics of its norms are taken from.
    """
    model = build_model(architecture, store.num_classes, store.layout)
    if warm_up is not None:
        clips = np.arange(min(4, len(store)))
        with torch.no_grad():
            for _ in range(2):
                model(warm_up.evaluation(clips), warm_up.bodies(clips))
    info = CheckpointInfo(
        architecture=architecture,
        num_classes=store.num_classes,
        layout=store.layout,
        class_names=store.class_names,
    )
    save_checkpoint(path, model.state_dict(), info)
    return path


class TimedRun:
    """A training run that is timed and leaves nothing behind.

    Args:
        settings: of each model, with `UNRECORDED`.
        teacher: its checkpoint; unused if nothing is distilled.
        folder: parent of the run folders, which aren't made.
    """

    def __init__(
        self,
        settings: Sequence[RunSettings],
        store: ClipStore,
        teacher: Path | None,
        accelerator: Accelerator,
        folder: Path,
    ) -> None:
        distilled = [one for one in settings if isinstance(one, DistillSettings)]
        labels = open_soft_labels(distilled, store, teacher, accelerator) if distilled else None
        folders = [folder / str(number) for number in range(len(settings))]
        self.run = TrainingRun(settings, store, labels, accelerator, folders)
        self.schedule = self.run.schedule
        self.device = accelerator.device
        self.progress = Progress("", 1, shown=False)
        self.epoch = 0

    def steps_s(self, count: int) -> float:
        """Seconds that an epoch of `count` steps takes; each call is the next epoch."""
        run = self.run
        self.epoch += 1
        run.schedule = replace(self.schedule, steps_per_epoch=count)
        # positions and clips are those of a run whose epochs are this short
        run.position = Position((self.epoch - 1) * count, self.epoch - 1)
        run.control.reported = run.resumed_at = run.position.step
        return elapsed_s(self.device, lambda: run.train_epoch(self.epoch, self.progress))

    def evaluation_s(self, model: nn.Module, clips: int) -> float:
        """Seconds that evaluating `model` on the first test clips takes."""
        run = self.run
        return elapsed_s(
            self.device,
            lambda: evaluate(
                model,
                run.views,
                run.parts.evaluated[:clips],
                batch_size=run.settings.eval_batch_size,
                accelerator=run.accelerator,
            ),
        )


class Measurement:
    """The parts of a sequence, timed one after the other.

    Args:
        order: what `estimate.order` returned.
        folder: for the stand-in of a teacher.
    """

    def __init__(self, order: dict[str, Any], folder: Path, accelerator: Accelerator) -> None:
        self.order = order
        self.folder = folder
        self.accelerator = accelerator
        self.store = ClipStore.open(Path(order["data"]))

    def part(self, part: dict[str, Any]) -> dict[str, Any]:
        """Seconds a step, seconds an evaluated clip by model, and how many there are of both."""
        kind = DistillSettings if part["teacher"] else TrainSettings
        settings: list[RunSettings] = [
            resolve(kind, given | UNRECORDED) for given in part["settings"]
        ]
        teacher = self._teacher(part["teacher"]) if part["teacher"] else None
        timed = TimedRun(settings, self.store, teacher, self.accelerator, self.folder)
        run, steps_per_epoch = timed.run, timed.schedule.steps_per_epoch
        step_s, eval_s = 0.0, {}
        if part["steps"]:
            if self.accelerator.device.type == "cuda" or settings[0].compile:
                timed.steps_s(1)  # kernels are chosen and compiled
            step_s = self._seconds_a_unit(timed.steps_s, min(MAX_UNITS, steps_per_epoch))
        evaluated = len(run.parts.evaluated)
        batch = min(settings[0].eval_batch_size * self.accelerator.num_processes, evaluated)
        for student in run.students:

            def batches_s(count: int, model: nn.Module = student.model) -> float:
                return timed.evaluation_s(model, count * batch)

            batch_s = self._seconds_a_unit(batches_s, min(MAX_UNITS, -(-evaluated // batch)))
            eval_s[student.settings.model_name] = batch_s / batch
        run.students.clear()
        self.accelerator.free_memory()
        return {
            "steps_per_epoch": steps_per_epoch,
            "global_batch": timed.schedule.global_batch,
            "step_s": step_s,
            "eval_s": eval_s,
            "evaluated_clips": evaluated,
            "test_clips": len(run.parts.test),
        }

    def _seconds_a_unit(self, seconds_of: Callable[[int], float], most: int) -> float:
        """Seconds a unit: from one if that is slow, else from as many as fit into `ENOUGH_S`."""
        first = seconds_of(1)
        count = decide_on_main_process(
            self.accelerator, lambda: max(1, min(most, int(ENOUGH_S / max(first, 1e-6))))
        )
        return first if count == 1 else seconds_of(count) / count

    def _teacher(self, name: str) -> Path:
        """A checkpoint, or the stand-in for a model's name."""
        if name not in model_names():
            return Path(name)
        architecture = get_architecture(name).for_training()
        path = self.folder / f"{name}.safetensors"
        return decide_on_main_process(
            self.accelerator, lambda: save_stand_in(path, architecture, self.store)
        )


@click.command()
@click.argument("order", type=PATH)
@click.argument("result", type=PATH)
def measure(order: Path, result: Path) -> None:
    """Times the parts that ORDER names and writes RESULT."""
    ordered = json.loads(order.read_text(encoding="utf-8"))
    accelerator = make_accelerator(ordered["accumulation"])
    is_main = accelerator.is_main_process
    measured: dict[str, Any] = {
        "start_s": time.time() - ordered["begun"],
        "device": device_name(accelerator.device),
        "processes": accelerator.num_processes,
        "parts": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = decide_on_main_process(accelerator, lambda: Path(temporary))
        measurement = Measurement(ordered, folder, accelerator)
        parts = ordered["parts"]
        with Progress("measuring", len(parts), unit="parts", shown=is_main, stderr=True) as bar:
            for number, (name, part) in enumerate(parts.items()):
                bar.update(number, name)
                measured["parts"][name] = measurement.part(part)
        del measurement
        accelerator.wait_for_everyone()
    if is_main:
        write_text(result, json.dumps(measured))
    leave(accelerator)


if __name__ == "__main__":
    run_command(measure, "python -m lastkd.pipeline.measure")
