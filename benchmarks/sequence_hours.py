"""Hours of a whole sequence on two T4 or one H100, from counts: no GPU is needed.

    python benchmarks/sequence_hours.py [--gpu t4x2] [--batch-size 16] [--json]

`device_costs.py` counts what a step asks of a GPU, and the estimate behind `lastkd sequence --plan`
says what a sequence of such steps takes. In between stands a model of the device (`MACHINES`): a
step takes as long as the slowest of three things, which overlap: the host launches kernels one
after the other, memory moves bytes, and fp16 arithmetic is done. The exchange of gradients comes on
top.

The set is NTU RGB+D 60 cross-subject, one clip in five with two bodies. Views, logging and
checkpoints aren't counted; a process takes 30 s to start. A kernel that uses a GPU badly isn't seen
by counting, so measured times may well be 1.5 times as long. Needs g++.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from device_costs import (
    Costs,
    body_counts,
    inference_costs,
    made_up_batch,
    pretended_cuda,
    training_costs,
)
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from lastkd.models.registry import build_model
from lastkd.pipeline.estimate import seconds_left
from lastkd.pipeline.pace import NTU60
from lastkd.pipeline.settings import SequenceSettings, sequence_settings
from lastkd.pipeline.steps import TrainingStep, make_steps
from lastkd.settings.architecture import get_architecture
from lastkd.settings.students import model_of

START_S = 30.0
FRAMES = 64


@dataclass(frozen=True)
class Machine:
    """What one GPU of a machine does in a second, 80 % of its memory's bandwidth and about 40 % of
    its fp16 arithmetic, and how many it has."""

    gpus: int
    launch_s: float
    bytes_per_s: float
    flop_per_s: float
    exchange_bytes_per_s: float


MACHINES = {
    # 320 GB/s and 65 TFLOP/s; two GPUs meet in main memory
    "t4x2": Machine(2, 8e-6, 256e9, 25e12, 5e9),
    # 3.35 TB/s and 990 TFLOP/s, with a faster host; there is nothing to exchange
    "h100": Machine(1, 5e-6, 2.7e12, 400e12, 1e12),
}


@dataclass
class Work:
    """What a part of a step asks of one GPU."""

    launches: float = 0.0
    moved: float = 0.0
    flop: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.launches + other.launches, self.moved + other.moved, self.flop + other.flop
        )

    def bounds(self, machine: Machine) -> dict[str, float]:
        """Seconds of each of the three."""
        return {
            "launch_s": self.launches * machine.launch_s,
            "memory_s": self.moved / machine.bytes_per_s,
            "arithmetic_s": self.flop / machine.flop_per_s,
        }

    def seconds(self, machine: Machine) -> float:
        return max(self.bounds(machine).values())


class Counted:
    """The counts of every model, for one process of `clips` clips a step."""

    def __init__(self, clips: int) -> None:
        self.clips = clips
        self._training: dict[str, dict[str, Costs]] = {}
        self._inference: dict[str, Costs] = {}
        self._flop: dict[str, tuple[float, float]] = {}

    def training(self, model: str) -> Work:
        """Forward pass, backward pass and optimiser step."""
        costs = self._costs(model)["total"]
        return Work(costs["launches"], costs["bytes"] * self._rows(model), self.flop(model)[1])

    def evaluation(self, model: str) -> Work:
        """A forward pass of the model as it is trained."""
        costs = self._costs(model)["forward"]
        return Work(costs["launches"], costs["bytes"] * self._rows(model), self.flop(model)[0])

    def inference(self, model: str) -> Work:
        """The frozen teacher's forward pass."""
        if model not in self._inference:
            self._inference[model] = inference_costs(model, self.clips, FRAMES)
        costs = self._inference[model]
        return Work(costs["launches"], costs["bytes"] * self._rows(model), self.flop(model)[0])

    def flop(self, model: str) -> tuple[float, float]:
        """Floating-point operations of a forward pass, and of forward and backward together."""
        if model not in self._flop:
            with pretended_cuda.device(values=False):
                built = build_model(get_architecture(model).for_training(), NTU60.classes)
                built.to("cuda").train()
                streams, bodies, labels = made_up_batch(self.clips, FRAMES)
                with FlopCounterMode(display=False) as counter:
                    with torch.autocast("cuda", torch.float16):
                        logits = built(streams, bodies)
                    forward = counter.get_total_flops()
                    F.cross_entropy(logits.float(), labels).backward()
                self._flop[model] = forward, counter.get_total_flops()
        return self._flop[model]

    def _costs(self, model: str) -> dict[str, Costs]:
        if model not in self._training:
            self._training[model] = training_costs(model, self.clips, FRAMES)
        return self._training[model]

    def _rows(self, model: str) -> int:
        bodies = int(sum(body_counts(self.clips)))
        return self.clips if get_architecture(model).family == "last_e" else bodies


def exchange_s(models: list[str], machine: Machine) -> float:
    """Seconds in which the processes average the gradients of models trained together."""
    if machine.gpus == 1:
        return 0.0
    built = (build_model(get_architecture(model), NTU60.classes) for model in models)
    weights = sum(parameter.numel() for model in built for parameter in model.parameters())
    return 4 * weights / machine.exchange_bytes_per_s


def measured(sequence: SequenceSettings, clips: int, machine: Machine) -> dict[str, Any]:
    """What `lastkd sequence --plan` would measure on this device, by the model of it."""
    counted, batch = Counted(clips), clips * machine.gpus
    teacher = sequence.teacher_model
    students = [model_of(variant) for variant in sequence.variant]
    standalone = sum((counted.training(model) for model in students), Work())

    def part(models: list[str], work: Work) -> dict[str, Any]:
        return {
            "step_s": work.seconds(machine) + exchange_s(models, machine),
            **work.bounds(machine),
            "steps_per_epoch": NTU60.train_clips // batch,
            "eval_s": {m: counted.evaluation(m).seconds(machine) / batch for m in models},
            "evaluated_clips": NTU60.test_clips,
            "test_clips": NTU60.test_clips,
        }

    return {
        "start_s": START_S,
        "parts": {
            "teacher": part([teacher], counted.training(teacher)),
            "standalone": part(students, standalone),
            "distilled": part(students, standalone + counted.inference(teacher)),
        },
    }


def hours(clips: int, machine: Machine) -> list[dict[str, Any]]:
    """Each step of the sequence with its hours, and what bounds it."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "ntu60"
        options = {"data": data, "split": "xsub", "out": Path(folder) / "runs"}
        sequence = sequence_settings(options, None)
        measurement = measured(sequence, clips, machine)
        rows: list[dict[str, Any]] = []
        for step in make_steps(sequence):
            seconds = seconds_left(step, step.status(), measurement)
            row: dict[str, Any] = {"step": step.title, "hours": (seconds or 0) / 3600}
            if isinstance(step, TrainingStep):
                part = measurement["parts"][step.part]
                names = ("step_s", "launch_s", "memory_s", "arithmetic_s")
                row |= {f"{name}_ms".replace("_s_", "_"): 1000 * part[name] for name in names}
            rows.append(row)
    return [*rows, {"step": "all", "hours": sum(row["hours"] for row in rows)}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", choices=MACHINES, default="t4x2")
    parser.add_argument("--batch-size", type=int, default=16, help="clips a process and step")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = hours(options.batch_size, MACHINES[options.gpu])
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title=f"NTU RGB+D 60 xsub, {options.gpu}, {options.batch_size} clips a GPU")
    table.add_column("step")
    columns = ("step_ms", "launch_ms", "memory_ms", "arithmetic_ms")
    for heading in ("ms a step", "launches", "memory", "arithmetic", "hours"):
        table.add_column(heading, justify="right")
    for row in rows:
        shown = [f"{row[name]:.0f}" if name in row else "" for name in columns]
        table.add_row(row["step"], *shown, f"{row['hours']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
