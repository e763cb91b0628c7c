"""Event logs as a run writes them, with figures of a formula and times of long ago."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

BEGAN = 1_750_000_000.0
TEACHER = {"model": "last_v2_base", "hash": "t" * 8, "accuracy": {"top1": 91.5}, "cache": None}
SOFTNESS = {"tau": 4.0, "top": 0.31, "entropy": 0.72, "agreement": 97.0, "share": 0.45}
KD = {"name": "kd", "title": "KL", "hard_weight": 0.7, "soft_weight": 4.8}
NTU60 = {"hash": "n", "source": "NTU", "classes": 60, "train": 40_091, "test": 16_487}
SMALL_SET = {"hash": "d", "source": "synthetic (procedural)", "classes": 4, "train": 80, "test": 40}


class Log:
    """Writes one run's events, a tenth of a second a step.

    Args:
        folder: of the run; made.
        model: last_e_nano, last_v2_base, ...
        teacher: as in the start event.
        teacher_file: the setting `teacher` of a distilled run.
        of_loss: `loss` in the start event of a distilled run.
        schema: of the start event; in schema 1 it doesn't tell of the loss.
    """

    def __init__(
        self,
        folder: Path,
        model: str = "last_e_nano",
        *,
        teacher: dict[str, Any] | None = None,
        epochs: int = 4,
        steps_per_epoch: int = 50,
        data: dict[str, Any] = SMALL_SET,
        began: float = BEGAN,
        teacher_file: str = "runs/t/best.safetensors",
        softness: dict[str, Any] | None = None,
        of_loss: dict[str, Any] = KD,
        schema: int = 2,
        **settings: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "events.jsonl"
        self.began = began
        self.distilled = teacher is not None
        self.steps_per_epoch = steps_per_epoch
        known: dict[str, Any] = {"split": "xsub", "seed": 0, "epochs": epochs, "eval_every": 1}
        if teacher is not None:
            variant = model.removeprefix("last_e_")
            known |= {"variant": variant, "alpha": 0.7, "tau": 4.0, "teacher": teacher_file}
        self.start = {
            "schema": schema,
            "run_id": f"{folder.name:0<32}",
            "run": folder.name,
            "model": model,
            "parameters": 92_000 if "nano" in model else 9_200_000,
            "settings": known | settings,
            "device": {"type": "cpu", "name": "x86_64", "precision": "no"},
            "global_batch": 16,
            "steps_per_epoch": steps_per_epoch,
            "total_steps": steps_per_epoch * epochs,
            "data": data,
            **({} if schema == 1 else {"loss": of_loss if teacher else None}),
            "teacher": teacher,
            "softness": softness,
        }
        self.write("start", 0, **self.start)

    def write(self, event: str, tenth: int, /, **fields: Any) -> None:
        record = {"event": event, "time": self.began + tenth / 10, **fields}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def step(self, step: int, **replaced: Any) -> None:
        ce = 0.5 + 3 * math.exp(-step / 60) + 0.05 * math.sin(step * 1.7)
        soft = 0.05 + 0.2 * math.exp(-step / 80)
        fields: dict[str, Any] = {
            "step": step,
            "epoch": (step - 1) // self.steps_per_epoch + 1,
            "ce": ce,
            "total": 0.7 * ce + 4.8 * soft if self.distilled else ce,
            "lr": 0.01,
            "grad_norm": 1.0,
            "clips_per_s": 160.0,
            "student_ms": 60.0,
        }
        if self.distilled:
            fields |= {"soft": soft, "soft_weight": 4.8, "teacher_ms": 40.0}
        self.write("step", step, **fields | replaced)

    def epoch(self, epoch: int, top1: float, **more: Any) -> None:
        step = epoch * self.steps_per_epoch
        fields = {"epoch": epoch, "step": step, "top1": top1, "top5": 99.0, "seconds": 2.0}
        by_class = [top1 - 10, top1 + 5, top1, None]
        self.write("epoch", step, **{**fields, "by_class": by_class, **more})

    def device(self, step: int, **replaced: Any) -> None:
        gpu = {"index": 0, "name": "Tesla T4", "memory_used_mb": 6144, "memory_total_mb": 15360}
        gpu |= {"use_percent": 80 + step % 7, "temperature_c": 64}
        machine = {"cpu_percent": 35.0, "ram_used_mb": 8192, "ram_total_mb": 30720}
        machine |= {"disk_free_gb": 57.0}
        self.write("device", step, devices=[gpu], **machine | replaced)

    def run(self, top1: list[float], *, every: int = 5, until: int | None = None) -> Log:
        """Steps with an evaluation of each epoch and now and then the machine's state."""
        last = self.steps_per_epoch * len(top1) if until is None else until
        for step in range(1, last + 1):
            if step % every == 0:
                self.step(step)
            if step % 100 == 0:
                self.device(step)
            if step % self.steps_per_epoch == 0:
                epoch = step // self.steps_per_epoch
                self.epoch(epoch, top1[epoch - 1])
        return self

    def end(self, state: str = "finished", **fields: Any) -> Log:
        self.write("end", 100_000, state=state, **fields)
        return self


def three_runs(folder: Path) -> Path:
    """A teacher, a student alone and the same distilled, all finished."""
    Log(folder / "teacher", "last_v2_base", epochs=4).run([60.0, 80.0, 88.0, 91.5]).end()
    Log(folder / "alone").run([50.0, 65.0, 71.0, 72.5]).end()
    file = str(folder / "teacher" / "best.safetensors")
    distilled = Log(folder / "distilled", teacher=TEACHER, teacher_file=file)
    distilled.run([55.0, 69.0, 75.0, 76.5]).end()
    return folder
