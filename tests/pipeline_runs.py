"""Run folders of a short sequence, as its commands would leave them behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lastkd.data.store.clip_store import ClipStore
from lastkd.pipeline.settings import SequenceSettings, sequence_settings
from lastkd.pipeline.steps import DistillationStep, TrainingStep, make_steps
from lastkd.runs.events import FILE_NAME, EventLog
from lastkd.runs.log import PREDICTIONS
from lastkd.runs.predictions import Predictions

QUICK: dict[str, Any] = {"epochs": 2, "frames": 8, "batch_size": 8, "warmup_epochs": 0}
TOTAL = 8


def short_sequence(out: Path, store: Path) -> SequenceSettings:
    """LAST-v2 tiny with nano and small, two epochs each, into `out`."""
    given = {"data": store, "out": out, "teacher_model": "last_v2_tiny"}
    return sequence_settings(
        {**given, "variant": ("nano", "small"), "figures": False, **QUICK}, None
    )


def write_run(
    step: TrainingStep, folder: Path, *, ended: str | None = "finished", done: int = TOTAL
) -> None:
    """The run folder of a step, as its command would leave it; only the weights lack."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = step.settings()[step.folders.index(folder)]
    taught = isinstance(step, DistillationStep)
    log = EventLog(folder / FILE_NAME)
    log.write(
        "start",
        model=settings.model_name,
        parameters=1,
        settings=settings.model_dump(mode="json"),
        architecture=None,
        global_batch=8,
        processes=1,
        total_steps=TOTAL,
        device={"type": "cpu", "precision": "no"},
        versions={"lastkd": "0", "torch": "0"},
        data={
            "hash": ClipStore.open(step.sequence.data).content_hash,
            "source": "a test",
            "classes": 16,
            "train": 32,
            "test": 32,
        },
        teacher={"model": "last_v2_tiny", "hash": None} if taught else None,
    )
    if ended == "finished":
        log.write("end", state="finished")
    elif ended is not None:
        log.write("end", state="stopped", reason=ended)
    log.close()
    if ended != "finished":
        (folder / "checkpoints" / f"step-{done:08d}-epoch-0001").mkdir(parents=True)


def save_predictions(run: Path) -> None:
    logits = np.zeros((1, 2), np.float32)
    Predictions(("c",), np.zeros(1, np.int64), logits, ("a", "b")).save(run / PREDICTIONS)


def trainings(sequence: SequenceSettings) -> list[TrainingStep]:
    return [step for step in make_steps(sequence) if isinstance(step, TrainingStep)]
